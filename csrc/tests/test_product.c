/* The product: sums of factors and gradients of matrices, each table of this machine against plain
 * loops, bit by bit, at the sizes around its tiles. */
#include "chains.h"
#include "run.h"

/* ---- one dense factor, of every kind */

static const char *const kind_name[CORE_MATRIX_KINDS] = {"packed", "turned", "direct"};

/* w (inner, columns), or where turned its transpose, as a matrix of a kind. */
static core_matrix matrix_of(const crnn_kernels *k, core_matrix_kind kind, size_t inner,
                             size_t columns, const void *w) {
    const size_t padded = (columns + k->width - 1) / k->width * k->width;
    if (kind == CORE_DIRECT) return core_dense_matrix(k, kind, inner, columns, w);
    return core_pack_dense(k, kind, inner, columns, w,
                           fenced(inner * padded * crnn_dtype_size(k->dtype)), &core_alone);
}

static void check_product(const crnn_kernels *k, size_t n, size_t inner, size_t columns,
                          core_matrix_kind kind) {
    const size_t item = crnn_dtype_size(k->dtype), mark = fences_used;
    void *const c = fenced(n * columns * item);
    const void *const w = sampled(k->dtype, 2, inner * columns);
    const dense_product p = {.n = n,
                             .inner = inner,
                             .columns = columns,
                             .a = sampled(k->dtype, 1, n * inner),
                             .init = kind == CORE_TURNED ? NULL : sampled(k->dtype, 3, columns),
                             .c = c};
    const core_matrix matrix = matrix_of(k, kind, inner, columns, w);
    const size_t middle = n / 3;
    core_multiply(k, &matrix, p.a, p.init, c, middle, n); /* any share of the rows, in any order */
    core_multiply(k, &matrix, p.a, p.init, c, 0, middle);
    CHECK(product_is_chain(k, &p, w, kind == CORE_TURNED), "%s %s: (%zu, %zu) x (%zu, %zu), %s",
          WHERE(k), n, inner, inner, columns, kind_name[kind]);
    fences_release(mark);
}

static void check_products(const crnn_kernels *k) {
    static const size_t inners[] = {1, 2, 5, 19};
    size_t columns[COLUMN_SIZES];
    column_sizes(k, columns);
    for (size_t n = 1; n <= 2 * k->tile_rows + 1; n++)
        for (size_t i = 0; i < sizeof inners / sizeof *inners; i++)
            for (size_t j = 0; j < COLUMN_SIZES; j++)
                for (int kind = 0; kind < CORE_MATRIX_KINDS; kind++)
                    check_product(k, n, inners[i], columns[j], (core_matrix_kind)kind);
}

/* ---- the gradient of a matrix */

static void *outer_scratch(const crnn_kernels *k, size_t inner) {
    const size_t tiles = (inner + k->tile_rows - 1) / k->tile_rows;
    return fenced(k->block_rows * tiles * k->tile_rows * crnn_dtype_size(k->dtype));
}

static void check_outer(const crnn_kernels *k, size_t n, size_t inner, size_t columns,
                        size_t parts) {
    const size_t item = crnn_dtype_size(k->dtype), mark = fences_used;
    const void *before = sampled(k->dtype, 6, inner * columns);
    const dense_product p = {.n = n,
                             .inner = inner,
                             .columns = columns,
                             .a = sampled(k->dtype, 4, n * inner),
                             .d = sampled(k->dtype, 5, n * columns),
                             .c = copied(before, inner * columns * item)};
    const core_matrix matrix = core_dense_matrix(k, CORE_DIRECT, inner, columns, p.c);
    const core_factor factor = {.matrix = &matrix, .rows = core_rows_at(p.a, inner)};
    const core_outer outer = {n, &factor, core_rows_at(p.d, columns), outer_scratch(k, inner)};
    for (size_t part = parts; part-- > 0;)
        k->outer(&outer, &(core_member){.part = part, .parts = parts});
    CHECK(outer_is_chain(k, &p, before), "%s %s: (%zu, %zu)^T x (%zu, %zu) in %zu parts", WHERE(k),
          n, inner, n, columns, parts);
    fences_release(mark);
}

static void check_outers(const crnn_kernels *k) {
    const size_t R = k->tile_rows, blocks[] = {1,
                                               2,
                                               k->block_rows - 1,
                                               k->block_rows,
                                               k->block_rows + 1,
                                               2 * k->block_rows + 1};
    size_t columns[COLUMN_SIZES];
    column_sizes(k, columns);
    for (size_t inner = 1; inner <= 2 * R + 1; inner++)
        for (size_t j = 0; j < COLUMN_SIZES; j++)
            check_outer(k, 1 + inner % 4, inner, columns[j], 1 + j % 3);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        for (size_t parts = 1; parts <= 5; parts++)
            check_outer(k, blocks[i], 3 * R + 1, k->width + 1, parts);
}

/* ---- rows looked up, and a bias */

enum { SYMBOLS = 5 };

/* y = b + row index[i] of a table, -1: none; then table and b gain dy. */
static void check_look_up(const crnn_kernels *k, size_t n, size_t columns, core_matrix_kind kind) {
    const crnn_dtype d = k->dtype;
    const size_t item = crnn_dtype_size(d), mark = fences_used;
    const void *w = sampled(d, 2, SYMBOLS * columns), *b = sampled(d, 3, columns);
    const void *dy = sampled(d, 5, n * columns);
    void *y = fenced(n * columns * item), *dw = copied(w, SYMBOLS * columns * item),
         *db = copied(b, columns * item);
    int64_t *index = fenced(n * sizeof *index);
    for (size_t i = 0; i < n; i++) index[i] = (int64_t)(i * i % (SYMBOLS + 1)) - 1;
    const core_matrix table = matrix_of(k, kind, SYMBOLS, columns, w);
    const core_factor factor = {.matrix = &table, .index = index};
    const core_sum sum = {.columns = &table.columns,
                          .factors = 1,
                          .factor = &factor,
                          .init = b,
                          .to = core_rows_at(y, columns)};
    k->sum(&sum, 0, n);
    bool right = true;
    for (size_t i = 0; i < n * columns; i++) {
        const int64_t row = index[i / columns];
        const double from = real_at(d, b, i % columns);
        const double term = row < 0 ? 0 : real_at(d, w, (size_t)row * columns + i % columns);
        right = right && real_at(d, y, i) == plus(k, from, term);
    }
    CHECK(right, "%s %s: %zu rows of %zu, %s", WHERE(k), n, columns, kind_name[kind]);
    const core_matrix grads = core_dense_matrix(k, CORE_DIRECT, SYMBOLS, columns, dw);
    const core_matrix bias = core_dense_matrix(k, CORE_DIRECT, 1, columns, db);
    const core_factor to_w = {.matrix = &grads, .index = index}, to_b = {.matrix = &bias};
    for (size_t part = 0; part < 2; part++) {
        k->outer(&(core_outer){n, &to_w, core_rows_at(dy, columns), NULL},
                 &(core_member){.part = part, .parts = 2});
        k->outer(&(core_outer){n, &to_b, core_rows_at(dy, columns), NULL},
                 &(core_member){.part = part, .parts = 2});
    }
    CHECK(table_is_chain(k, n, columns, index, dy, SYMBOLS, w, dw), "%s %s: %zu rows of %zu",
          WHERE(k), n, columns);
    CHECK(table_is_chain(k, n, columns, NULL, dy, 1, b, db), "%s %s: %zu rows of %zu", WHERE(k), n,
          columns);
    fences_release(mark);
}

static void check_look_ups(const crnn_kernels *k) {
    size_t columns[COLUMN_SIZES];
    column_sizes(k, columns);
    for (size_t j = 0; j < COLUMN_SIZES; j++)
        for (int kind = 0; kind < CORE_MATRIX_KINDS; kind++)
            if (kind != CORE_TURNED) check_look_up(k, 1 + j, columns[j], (core_matrix_kind)kind);
}

/* ---- a causal convolution: a factor for each tap, whose rows are those of x some steps before */

enum { TAPS = 3, DILATION = 2, STEPS = 9, BATCH = 2, CONV_ROWS = BATCH * STEPS };

typedef struct convolution {
    const crnn_kernels *k;
    size_t inputs, outputs;
    const void *x, *w, *b, *dy, *dw0; /* x (B, T, I), w (TAPS, I, H), b [H], dy (B, T, H) */
    void *y, *dx, *dw;
} convolution;

static convolution convolution_of(const crnn_kernels *k, size_t inputs, size_t outputs) {
    const crnn_dtype d = k->dtype;
    const size_t item = crnn_dtype_size(d), weights = TAPS * inputs * outputs;
    convolution c = {.k = k, .inputs = inputs, .outputs = outputs};
    c.x = sampled(d, 1, CONV_ROWS * inputs);
    c.w = sampled(d, 2, weights);
    c.b = sampled(d, 3, outputs);
    c.dy = sampled(d, 4, CONV_ROWS * outputs);
    c.dw0 = sampled(d, 5, weights);
    c.dw = copied(c.dw0, weights * item);
    c.y = fenced(CONV_ROWS * outputs * item);
    c.dx = fenced(CONV_ROWS * inputs * item);
    return c;
}

/* Row (b, t - tap * DILATION), or (b, t + tap * DILATION), of (B, T, ...); CONV_ROWS: none. */
static size_t shifted(size_t row, size_t tap, bool later) {
    const size_t t = row % STEPS, by = tap * DILATION;
    if (later) return t + by < STEPS ? row + by : CONV_ROWS;
    return t >= by ? row - by : CONV_ROWS;
}

/* The rows of each tap, NULL where there is none. */
static void list_taps(const crnn_kernels *k, const void *from, size_t wide, bool later,
                      const void *list[TAPS][CONV_ROWS]) {
    for (size_t tap = 0; tap < TAPS; tap++)
        for (size_t i = 0; i < CONV_ROWS; i++) {
            const size_t row = shifted(i, tap, later), item = crnn_dtype_size(k->dtype);
            list[tap][i] = row < CONV_ROWS ? (const char *)from + row * wide * item : NULL;
        }
}

/* Rows of y, or of dx, from a third of them on, then the first third. */
static void sum_taps(const convolution *c, bool back, core_matrix_kind kind) {
    const crnn_kernels *k = c->k;
    const size_t I = c->inputs, H = c->outputs, item = crnn_dtype_size(k->dtype);
    const void *list[TAPS][CONV_ROWS];
    core_matrix matrix[TAPS];
    core_factor factor[TAPS];
    list_taps(k, back ? c->dy : c->x, back ? H : I, back, list);
    for (size_t tap = 0; tap < TAPS; tap++) {
        const void *w = (const char *)c->w + tap * I * H * item;
        matrix[tap] = matrix_of(k, kind, back ? H : I, back ? I : H, w);
        factor[tap] = (core_factor){.matrix = &matrix[tap], .rows = {.list = list[tap]}};
    }
    const core_sum sum = {.columns = &matrix->columns,
                          .factors = TAPS,
                          .factor = factor,
                          .init = back ? NULL : c->b,
                          .to = core_rows_at(back ? c->dx : c->y, back ? I : H)};
    k->sum(&sum, CONV_ROWS / 3, CONV_ROWS);
    k->sum(&sum, 0, CONV_ROWS / 3);
}

/* Element j of row i of y, or of dx: one chain, tap after tap. */
static double tap_chain(const convolution *c, bool back, size_t i, size_t j) {
    const crnn_dtype d = c->k->dtype;
    const size_t I = c->inputs, H = c->outputs, inner = back ? H : I;
    double sum = back ? 0 : real_at(d, c->b, j);
    for (size_t tap = 0; tap < TAPS; tap++) {
        const size_t row = shifted(i, tap, back);
        for (size_t m = 0; row < CONV_ROWS && m < inner; m++)
            sum = multiply_add(c->k, real_at(d, back ? c->dy : c->x, row * inner + m),
                               real_at(d, c->w, (tap * I + (back ? j : m)) * H + (back ? m : j)),
                               sum);
    }
    return sum;
}

static void check_taps(const convolution *c, bool back, core_matrix_kind kind) {
    const size_t wide = back ? c->inputs : c->outputs;
    bool right = true;
    sum_taps(c, back, kind);
    for (size_t i = 0; i < CONV_ROWS * wide; i++)
        right = right && real_at(c->k->dtype, back ? c->dx : c->y, i) ==
                             tap_chain(c, back, i / wide, i % wide);
    CHECK(right, "%s %s: %zu to %zu, %s", WHERE(c->k), c->inputs, c->outputs, kind_name[kind]);
}

/* dw of each tap: the rows that are there, last to first. */
static void check_tap_grads(const convolution *c, size_t parts) {
    const crnn_kernels *k = c->k;
    const crnn_dtype d = k->dtype;
    const size_t I = c->inputs, H = c->outputs, item = crnn_dtype_size(d);
    const void *list[TAPS][CONV_ROWS];
    void *scratch = outer_scratch(k, I);
    list_taps(k, c->x, I, false, list);
    bool right = true;
    for (size_t tap = 0; tap < TAPS; tap++) {
        const core_matrix matrix =
            core_dense_matrix(k, CORE_DIRECT, I, H, (char *)c->dw + tap * I * H * item);
        const core_factor factor = {.matrix = &matrix, .rows = {.list = list[tap]}};
        const core_outer outer = {CONV_ROWS, &factor, core_rows_at(c->dy, H), scratch};
        for (size_t part = 0; part < parts; part++)
            k->outer(&outer, &(core_member){.part = part, .parts = parts});
        for (size_t e = tap * I * H; e < (tap + 1) * I * H; e++) {
            double sum = real_at(d, c->dw0, e);
            for (size_t i = CONV_ROWS; i-- > 0;) {
                const size_t row = shifted(i, tap, false);
                if (row < CONV_ROWS)
                    sum = multiply_add(k, real_at(d, c->x, row * I + e / H % I),
                                       real_at(d, c->dy, i * H + e % H), sum);
            }
            right = right && real_at(d, c->dw, e) == sum;
        }
    }
    CHECK(right, "%s %s: %zu to %zu in %zu parts", WHERE(k), I, H, parts);
}

static void check_convolution(const crnn_kernels *k, size_t inputs, size_t outputs, size_t parts) {
    const size_t mark = fences_used;
    const convolution c = convolution_of(k, inputs, outputs);
    check_taps(&c, false, CORE_PACKED);
    check_taps(&c, false, CORE_DIRECT);
    check_taps(&c, true, CORE_TURNED);
    check_tap_grads(&c, parts);
    fences_release(mark);
}

static void check_convolutions(const crnn_kernels *k) {
    size_t columns[COLUMN_SIZES];
    column_sizes(k, columns);
    for (size_t j = 0; j < COLUMN_SIZES; j++) check_convolution(k, 3 + j, columns[j], 1 + j % 3);
}

/* ---- rows of results that go on from what they hold, anywhere in memory */

static void check_begun(const crnn_kernels *k, core_matrix_kind kind) {
    enum { ROWS = 11, INNER = 6, COLUMNS = 37 };
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used;
    const void *a = sampled(d, 1, ROWS * INNER), *w = sampled(d, 2, INNER * COLUMNS);
    const core_matrix matrix = matrix_of(k, kind, INNER, COLUMNS, w);
    const core_factor twice[2] = {{.matrix = &matrix, .rows = core_rows_at(a, INNER)},
                                  {.matrix = &matrix, .rows = core_rows_at(a, INNER)}};
    void *c = fenced(ROWS * COLUMNS * crnn_dtype_size(d)), *to[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        to[i] = (char *)c + (ROWS - 1 - i) * COLUMNS * crnn_dtype_size(d);
    core_sum sum = {.columns = &matrix.columns,
                    .factors = 1,
                    .factor = twice,
                    .to = {.list = (const void *const *)to}};
    k->sum(&sum, 0, ROWS); /* one factor after the other, */
    sum.begin = &sum.to;
    k->sum(&sum, 0, ROWS);
    void *whole = fenced(ROWS * COLUMNS * crnn_dtype_size(d));
    sum.factors = 2;
    sum.begin = NULL;
    sum.to = core_rows_at(whole, COLUMNS);
    k->sum(&sum, 0, ROWS);
    bool same = true; /* or both in one sum */
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        same = same && real_at(d, to[i / COLUMNS], i % COLUMNS) == real_at(d, whole, i);
    CHECK(same, "%s %s, %s", WHERE(k), kind_name[kind]);
    fences_release(mark);
}

/* ---- how weights are read: packing must be worth it, and then it is for all later steps */

static void check_ways(const crnn_kernels *k) {
    static const size_t sizes[] = {1, 16, 100, 512};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const core_way_size size = {sizes[i], sizes[i], 4 * sizes[i], 1};
        for (size_t rows = 1; rows <= 40; rows++) {
            bool packed = false;
            for (size_t steps = 1; steps <= 64; steps++) {
                const core_way way = core_choose_way(k, size, (double)rows, (double)steps);
                CHECK(!(packed && way.direct), "%s %s: H %zu, %zu rows, %zu steps", WHERE(k),
                      sizes[i], rows, steps);
                packed = !way.direct;
            }
        }
        CHECK(sizes[i] < 16 || core_choose_way(k, size, 1, 1).direct, "%s %s: H %zu", WHERE(k),
              sizes[i]);
        CHECK(k->width == 1 || sizes[i] < 100 || !core_choose_way(k, size, 40, 64).direct,
              "%s %s: H %zu", WHERE(k), sizes[i]);
    }
    const core_way_size large = {512, 512, 2048, 1}, small = {3, 8, 32, 1};
    CHECK(core_choose_way(k, large, 1, 100).ahead, "%s %s", WHERE(k));
    CHECK(!core_choose_way(k, large, 64 * (double)k->tile_rows, 100).ahead, "%s %s", WHERE(k));
    CHECK(core_choose_way(k, large, 1, 5).direct, "%s %s", WHERE(k));
    CHECK(k->width == 1 || !core_choose_way(k, small, 1, 8).direct, "%s %s", WHERE(k));
}

/* Dense maps: one row never pays for packing, and more steps of the same rows always do. */
static void check_kinds(const crnn_kernels *k) {
    static const size_t columns[] = {1, 50, 256, 10000};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        for (size_t rows = 1; rows <= 64; rows++) {
            bool packed = false;
            for (size_t steps = 1; steps <= 64; steps++) {
                const core_matrix_kind kind =
                    core_choose_kind(k, 64, columns[i], (double)rows, (double)steps);
                CHECK(kind == CORE_PACKED || (kind == CORE_DIRECT && !packed),
                      "%s %s: %zu columns, %zu rows, %zu steps", WHERE(k), columns[i], rows, steps);
                packed = kind == CORE_PACKED;
            }
        }
    CHECK(core_choose_kind(k, 64, 256, 1, 1) == CORE_DIRECT, "%s %s", WHERE(k));
    CHECK(k->width == 1 || core_choose_kind(k, 64, 256, 64, 64) == CORE_PACKED, "%s %s", WHERE(k));
}

int main(void) {
    check_deadline(120);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_products(k);
            check_outers(k);
            check_look_ups(k);
            check_convolutions(k);
            check_begun(k, CORE_PACKED);
            check_begun(k, CORE_DIRECT);
            check_ways(k);
            check_kinds(k);
        }
    }
    return check_done();
}
