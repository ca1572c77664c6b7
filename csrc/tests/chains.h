/* Products as chains of multiply-adds in plain C, for the tests that compare bits. */
#ifndef CRNN_TESTS_CHAINS_H
#define CRNN_TESTS_CHAINS_H

#include "support.h"

/* Around a vector, around a tile's width, up to two tiles and a little more. */
enum { COLUMN_SIZES = 14 };

static inline void column_sizes(const crnn_kernels *k, size_t sizes[COLUMN_SIZES]) {
    const size_t V = k->width, tile = TILE_VECS * V;
    const size_t all[COLUMN_SIZES] = {
        1,    V > 1 ? V - 1 : 1, V,     V + 1,        2 * V,    2 * V + 1,   3 * V, tile - 1,
        tile, tile + 1,          6 * V, 2 * tile - 1, 2 * tile, 2 * tile + 1};
    memcpy(sizes, all, sizeof all);
}

static inline double multiply_add(const crnn_kernels *k, double a, double b, double c) {
    const bool fused = k->width > 1;
    if (k->dtype == CRNN_F64) return fused ? fma(a, b, c) : a * b + c;
    const float x = (float)a, y = (float)b, z = (float)c;
    return fused ? fmaf(x, y, z) : x * y + z;
}

static inline double plus(const crnn_kernels *k, double a, double b) {
    return k->dtype == CRNN_F64 ? a + b : (double)((float)a + (float)b);
}

#define WHERE(k) (k)->isa, type_name[(k)->dtype]

/* c [n][columns] = init + a [n][inner] w; or c (inner, columns) += a^T d; all dense. */
typedef struct dense_product {
    size_t n, inner, columns;
    const void *a, *init, *d, *c;
} dense_product;

/* w (inner, columns) of the product, or its transpose. */
static inline bool product_is_chain(const crnn_kernels *k, const dense_product *p, const void *w,
                                    bool transposed) {
    const crnn_dtype d = k->dtype;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t j = 0; j < p->columns; j++) {
            double sum = p->init ? real_at(d, p->init, j) : 0;
            for (size_t m = 0; m < p->inner; m++)
                sum = multiply_add(
                    k, real_at(d, p->a, i * p->inner + m),
                    real_at(d, w, transposed ? j * p->inner + m : m * p->columns + j), sum);
            if (real_at(d, p->c, i * p->columns + j) != sum) return false;
        }
    }
    return true;
}

static inline bool outer_is_chain(const crnn_kernels *k, const dense_product *p,
                                  const void *before) {
    const crnn_dtype d = k->dtype;
    for (size_t m = 0; m < p->inner; m++) {
        for (size_t j = 0; j < p->columns; j++) {
            double sum = real_at(d, before, m * p->columns + j);
            for (size_t i = p->n; i-- > 0;)
                sum = multiply_add(k, real_at(d, p->a, i * p->inner + m),
                                   real_at(d, p->d, i * p->columns + j), sum);
            if (real_at(d, p->c, m * p->columns + j) != sum) return false;
        }
    }
    return true;
}

/* Row index[i] of the table, or row 0, gained row i of d [n][columns], i from last to first. */
static inline bool table_is_chain(const crnn_kernels *k, size_t n, size_t columns,
                                  const int64_t *index, const void *d, size_t rows,
                                  const void *before, const void *table) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < columns; j++) {
            double sum = real_at(k->dtype, before, r * columns + j);
            for (size_t i = n; i-- > 0;)
                if (!index || index[i] == (int64_t)r)
                    sum = plus(k, sum, real_at(k->dtype, d, i * columns + j));
            if (real_at(k->dtype, table, r * columns + j) != sum) return false;
        }
    }
    return true;
}

#endif
