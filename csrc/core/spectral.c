/* Sums and eigenvalues with the same bits on every machine: crnn/spectral.h. The file is compiled
 * without contraction of products and sums. */
#include "crnn/spectral.h"

#include <math.h>
#include <string.h>

/* ---- sums */

static void add_listed(const crnn_ordered_rows *rows, const double *factors, double *total) {
    for (size_t k = 0; k < rows->count; k++) {
        const double factor = factors[k];
        for (int64_t e = rows->starts[k]; e < rows->starts[k + 1]; e++)
            total[rows->places[e]] += factor * rows->values[e];
    }
}

/* Columns from..to-1, few enough for their sums to stay in the L1 cache. */
static void add_columns(const crnn_ordered_rows *rows, const double *factors, size_t from,
                        size_t to, double *total) {
    for (size_t k = 0; k < rows->count; k++) {
        const double factor = factors[k], *row = rows->values + k * rows->pitch;
        for (size_t i = from; i < to; i++) total[i] += factor * row[i];
    }
}

void crnn_ordered_sum(const crnn_ordered_rows *rows, const double *factors, double *total) {
    enum { COLUMNS = 1024 };
    memset(total, 0, rows->n * sizeof *total);
    if (rows->starts) {
        add_listed(rows, factors, total);
        return;
    }
    for (size_t from = 0; from < rows->n; from += COLUMNS)
        add_columns(rows, factors, from, rows->n - from > COLUMNS ? from + COLUMNS : rows->n,
                    total);
}

/* ---- the eigenvalues of a Hessenberg matrix */

/* Rows and columns low..high of a matrix (n, n), from which the others have split off. */
typedef struct block {
    double *a;
    size_t n, low, high;
} block;

static double *at(const block *b, size_t i, size_t j) { return b->a + i * b->n + j; }

static double size_at(const block *b, size_t i, size_t j) { return fabs(*at(b, i, j)); }

/* The first row of the last block, above which the element below the diagonal is negligible. */
static size_t start_of_block(const block *b, double scale) {
    static const double EPS = 0x1p-52;
    for (size_t i = b->high; i > 0; i--) {
        double size = size_at(b, i - 1, i - 1) + size_at(b, i, i);
        if (size == 0) size = scale;
        if (size_at(b, i, i - 1) <= EPS * size) return i;
    }
    return 0;
}

/* The largest modulus of the eigenvalues of rows and columns low and low + 1. */
static double largest_of_2(const block *b) {
    const double d = *at(b, b->high, b->high), half = (*at(b, b->low, b->low) - d) / 2;
    const double across = *at(b, b->low, b->high) * *at(b, b->high, b->low);
    const double square = half * half + across;
    if (square < 0) { /* a pair of conjugates */
        const double real = d + half;
        return sqrt(real * real - square);
    }
    const double root = half + copysign(sqrt(square), half);
    const double other = root != 0 ? d - across / root : d;
    return fabs(d + root) > fabs(other) ? fabs(d + root) : fabs(other);
}

/* The sum and the product of two shifts, as two numbers and a product. */
typedef struct shifts {
    double x, y, w;
} shifts;

static shifts shifts_of(const block *b, bool exceptional) {
    const size_t h = b->high;
    if (exceptional) { /* other shifts, which end a cycle */
        const double size = size_at(b, h, h - 1) + size_at(b, h - 1, h - 2);
        const double x = *at(b, h, h) + 0.75 * size;
        return (shifts){x, x, -0.4375 * size * size};
    }
    return (shifts){*at(b, h, h), *at(b, h - 1, h - 1), *at(b, h, h - 1) * *at(b, h - 1, h)};
}

/* The row at which a step begins, and the first column v of the shifted product there. The step may
 * begin below `low`, where two elements below the diagonal in succession are small. */
static size_t first_column(const block *b, const shifts *shift, double v[3]) {
    static const double EPS = 0x1p-52;
    for (size_t m = b->high - 2;; m--) {
        const double z = *at(b, m, m), r = shift->x - z, s = shift->y - z;
        v[0] = (r * s - shift->w) / *at(b, m + 1, m) + *at(b, m, m + 1);
        v[1] = *at(b, m + 1, m + 1) - z - r - s;
        v[2] = *at(b, m + 2, m + 1);
        const double size = fabs(v[0]) + fabs(v[1]) + fabs(v[2]);
        for (size_t i = 0; i < 3; i++) v[i] /= size;
        if (m == b->low) return m;
        const double near = size_at(b, m - 1, m - 1) + fabs(z) + size_at(b, m + 1, m + 1);
        if (size_at(b, m, m - 1) * (fabs(v[1]) + fabs(v[2])) <= EPS * fabs(v[0]) * near) return m;
    }
}

/* Subtracts the sum of read[i] times line i, times write[i], from each of two or three lines.
 * Elements of a line are `step` apart, lines `apart`. */
static void reflect(double *line, size_t apart, size_t step, size_t lines, size_t count,
                    const double read[3], const double write[3]) {
    for (size_t j = 0; j < count; j++, line += step) {
        double total = line[0] * read[0] + line[apart] * read[1];
        if (lines == 3) total += line[2 * apart] * read[2];
        for (size_t i = 0; i < lines; i++) line[i * apart] -= total * write[i];
    }
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* One step of the QR algorithm with two shifts. */
static void francis_step(const block *b, bool exceptional) {
    const shifts shift = shifts_of(b, exceptional);
    double v[3];
    const size_t start = first_column(b, &shift, v);
    for (size_t k = start; k < b->high; k++) {
        const size_t lines = k < b->high - 1 ? 3 : 2;
        if (k > start) {
            v[0] = *at(b, k, k - 1);
            v[1] = *at(b, k + 1, k - 1);
            v[2] = lines == 3 ? *at(b, k + 2, k - 1) : 0;
            for (size_t i = 1; i < lines; i++) *at(b, k + i, k - 1) = 0;
        }
        const double size = fabs(v[0]) + fabs(v[1]) + fabs(v[2]);
        if (size == 0) continue;
        const double p = v[0] / size, q = v[1] / size, r = v[2] / size;
        const double s = copysign(sqrt(p * p + q * q + r * r), p), first = p + s;
        if (k > start)
            *at(b, k, k - 1) = -s * size;
        else if (start > b->low)
            *at(b, k, k - 1) = -*at(b, k, k - 1);
        const double left[3] = {first / s, q / s, r / s}, right[3] = {1, q / first, r / first};
        reflect(at(b, k, k), b->n, 1, lines, b->high + 1 - k, right, left);
        reflect(at(b, b->low, k), 1, b->n, lines, min_size(k + 3, b->high) + 1 - b->low, left,
                right);
    }
}

static double largest_entry(size_t count, const double *a) {
    double largest = 0;
    for (size_t i = 0; i < count; i++) largest = fabs(a[i]) > largest ? fabs(a[i]) : largest;
    return largest;
}

double crnn_hessenberg_radius(size_t n, double *a) {
    enum { STEPS = 300, EXCEPTIONAL = 10 };
    const double scale = largest_entry(n * n, a);
    double largest = 0;
    block b = {.a = a, .n = n, .high = n - 1};
    for (size_t steps = 0;;) {
        b.low = start_of_block(&b, scale);
        if (b.high - b.low < 2) {
            const double size = b.low == b.high ? size_at(&b, b.low, b.low) : largest_of_2(&b);
            largest = size > largest ? size : largest;
            if (b.low == 0) return largest;
            b.high = b.low - 1;
            steps = 0;
            continue;
        }
        if (steps++ == STEPS) return -1;
        francis_step(&b, steps % EXCEPTIONAL == 0);
    }
}
