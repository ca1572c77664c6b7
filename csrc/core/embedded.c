/* Symbols that have vectors, in front of a recurrent layer. */
#include "embedded.h"

#include <string.h>

/* Rows of products: steps that are read, or symbols if these are fewer. */
static size_t most_products(const core_embedded *e) {
    const size_t steps = e->rows->total;
    return e->distinct && e->count < steps ? e->count : steps;
}

void core_lay_embedded(core_embedded *e, bool back, core_arena *a) {
    const crnn_kernels *k = e->kernels;
    const size_t item = crnn_dtype_size(k->dtype), S = most_products(e);
    const crnn_steps *steps = &e->rows->given;
    e->index = core_take(a, steps->batch, steps->steps, sizeof *e->index);
    e->symbol = core_take(a, S, 1, sizeof *e->symbol);
    e->row_of = core_take(a, e->distinct ? e->count : 0, 1, sizeof *e->row_of);
    e->row = core_take(a, S, 1, sizeof *e->row);
    e->product = core_take(a, S, e->columns, item);
    e->packed = back ? core_take_packed(k, e->columns, e->size, a)
                     : core_take_packed(k, e->size, e->columns, a);
    if (!back) return;
    e->dvectors = core_take(a, S, e->size, item);
    e->scratch = core_take(a, core_outer_rows(k, e->size), k->block_rows, item);
}

/* Calls of `visit` for every step that is read: its place in (B, T). */
static void number_steps(core_embedded *e) {
    const crnn_rows *rows = e->rows;
    e->products = 0;
    for (size_t i = 0; i < rows->places; i++) {
        for (size_t n = 0; n < rows->length[i]; n++) {
            const size_t at = rows->order[i] * rows->given.steps + crnn_rows_time(rows, i, n);
            if (e->distinct) {
                e->row_of[e->symbols[at]] = 0;
            } else {
                e->symbol[e->products] = e->symbols[at];
                e->index[at] = (int64_t)e->products++;
            }
        }
    }
}

/* Rows of products in the order of the symbols, and the row of each step. */
static void number_symbols(core_embedded *e) {
    const crnn_rows *rows = e->rows;
    for (size_t k = 0; k < e->count; k++) {
        if (e->row_of[k] < 0) continue;
        e->symbol[e->products] = (int64_t)k;
        e->row_of[k] = (int64_t)e->products++;
    }
    for (size_t i = 0; i < rows->places; i++) {
        for (size_t n = 0; n < rows->length[i]; n++) {
            const size_t at = rows->order[i] * rows->given.steps + crnn_rows_time(rows, i, n);
            e->index[at] = e->row_of[e->symbols[at]];
        }
    }
}

void core_open_embedded(core_embedded *e, bool back) {
    const size_t item = crnn_dtype_size(e->kernels->dtype);
    for (size_t k = 0; e->distinct && k < e->count; k++) e->row_of[k] = -1;
    number_steps(e);
    if (e->distinct) number_symbols(e);
    for (size_t s = 0; s < e->products; s++)
        e->row[s] = core_row_of(e->vectors, (size_t)e->symbol[s], e->size, item);
    if (back) memset(e->product, 0, e->products * e->columns * item);
}

enum { FEW_PRODUCTS = 4 /* up to so many, W is read as it lies */ };

void core_run_embedded(const core_embedded *e, const core_member *me) {
    const core_range own = core_share(e->products, me);
    const bool few = e->products <= FEW_PRODUCTS;
    const core_matrix matrix =
        e->ready ? core_dense_matrix(e->kernels, CORE_PACKED, e->size, e->columns, e->ready)
        : few ? core_dense_matrix(e->kernels, CORE_DIRECT, e->size, e->columns, e->w)
              : core_pack_dense(e->kernels, CORE_PACKED, e->size, e->columns, e->w, e->packed, me);
    const core_factor factor = {.matrix = &matrix, .rows = {.list = e->row}};
    const core_sum sum = {.columns = &matrix.columns,
                          .factors = 1,
                          .factor = &factor,
                          .to = core_rows_at(e->product, e->columns)};
    core_meet(me);
    e->kernels->sum(&sum, own.from, own.to);
    core_meet(me);
}

void core_embedded_back(const core_embedded *e, void *dw, void *dvectors, const core_member *me) {
    const crnn_kernels *k = e->kernels;
    const core_range own = core_share(e->products, me);
    const core_matrix gradient = core_dense_matrix(k, CORE_DIRECT, e->size, e->columns, dw);
    const core_factor rows = {.matrix = &gradient, .rows = {.list = e->row}};
    const core_outer outer = {.n = e->products,
                              .factor = &rows,
                              .d = core_rows_at(e->product, e->columns),
                              .scratch = e->scratch};
    if (dw) k->outer(&outer, me);
    if (!dvectors) return;
    const core_matrix turned =
        core_pack_dense(k, CORE_TURNED, e->columns, e->size, e->w, e->packed, me);
    core_meet(me);
    core_multiply(k, &turned, e->product, NULL, e->dvectors, own.from, own.to);
    core_meet(me);
    if (me->part == 0) k->add_rows(e->products, e->size, e->size, e->symbol, e->dvectors, dvectors);
}

enum { FEW_SYMBOLS = 256 };

bool core_has_few_symbols(const core_embedded *e) { return e->count <= FEW_SYMBOLS; }

void *core_pack_embedded(const core_embedded *e, core_arena *a) {
    const crnn_kernels *k = e->kernels;
    const size_t item = crnn_dtype_size(k->dtype);
    void *packed = core_has_few_symbols(e) ? core_take(a, e->count, e->columns, item)
                                           : core_take_packed(k, e->size, e->columns, a);
    if (!packed) return NULL;
    if (core_has_few_symbols(e)) {
        const core_matrix w = core_dense_matrix(k, CORE_DIRECT, e->size, e->columns, e->w);
        core_multiply(k, &w, e->vectors, NULL, packed, 0, e->count);
    } else {
        core_pack_dense(k, CORE_PACKED, e->size, e->columns, e->w, packed, &core_alone);
    }
    return packed;
}

double core_embedded_work(const core_embedded *e) {
    return (double)most_products(e) * (double)e->size * (double)e->columns;
}
