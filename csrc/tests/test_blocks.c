/* Blocks of zeros: products that leave them out have the bits of those with all zeros, whatever the
 * numbers are; and so have whole calls of layers. */
#include "agreement.h"
#include "chains.h"
#include "run.h"
#include "teams.h"

/* ---- matrices */

static const double shares[] = {0, 0.3, 0.8, 0.97, 1}; /* of blocks that are zero */
enum { SHARES = sizeof shares / sizeof *shares, B = BLOCK_UNITS };

static bool is_left_out(double share, size_t row, size_t column) {
    return 0.5 + 0.5 * sample(71, 977 * row + column) < share;
}

/* w (rows, columns) whose blocks are zero, or -0 in one of them. */
static void *blocked(crnn_dtype d, size_t rows, size_t columns, double share) {
    void *w = sampled(d, 2, rows * columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            if (is_left_out(share, i / B, j / B)) real_put(d, w, i * columns + j, 0);
    if (share == 1) real_put(d, w, rows * columns - 1, -0.0);
    return w;
}

enum { PLAIN, ENDLESS, ZEROS, TINY, ROWS_KINDS };
static const char *const rows_name[ROWS_KINDS] = {"plain", "infinite", "zero", "tiny"};

/* Rows [n][inner]; some numbers of the second and third kind are infinite, NaN, 0 and -0. With tiny
 * ones, sums are -0. */
static void *rows_of_kind(crnn_dtype d, size_t n, size_t inner, int kind) {
    const double odd[] = {INFINITY, -INFINITY, NAN, 0, -0.0};
    void *a = sampled(d, 1, n * inner);
    for (size_t i = 0; i < n * inner; i++) {
        const double x = real_at(d, a, i);
        if (kind == ENDLESS && (i / inner) % 2 == 1 && i % 7 == 3) real_put(d, a, i, odd[i % 5]);
        if (kind == ZEROS && i / inner != 2) real_put(d, a, i, x < 0 ? -0.0 : 0);
        if (kind == TINY) real_put(d, a, i, x * (d == CRNN_F64 ? 1e-308 : 1e-38));
    }
    return a;
}

/* Packed, in two shares of its panels; leaves_out: without its zeros. */
static core_matrix packed_matrix(const crnn_kernels *k, core_matrix_kind kind, size_t inner,
                                 size_t columns, const void *w, core_skips *skips,
                                 bool leaves_out) {
    const size_t padded = (columns + k->width - 1) / k->width * k->width;
    core_matrix m = core_dense_matrix(k, kind, inner, columns, NULL);
    if (leaves_out) {
        core_arena size = core_arena_at(NULL);
        core_lay_skips(k, &m.columns, m.count, 1, inner, &size);
        core_arena at = core_arena_at(fenced(size.used.bytes));
        *skips = core_lay_skips(k, &m.columns, m.count, 1, inner, &at);
        m.skips = skips;
    }
    m.data = fenced(inner * padded * crnn_dtype_size(k->dtype));
    k->pack(&m, w, m.columns.panels / 2, m.columns.panels);
    k->pack(&m, w, 0, m.columns.panels / 2);
    return m;
}

/* The same bits, but for those of a NaN: C does not say which one of two a sum hands on. */
static bool are_same(crnn_dtype d, const void *a, const void *b, size_t count) {
    const size_t item = crnn_dtype_size(d);
    bool same = true;
    for (size_t i = 0; i < count; i++)
        same = same && (memcmp((const char *)a + i * item, (const char *)b + i * item, item) == 0 ||
                        (isnan(real_at(d, a, i)) && isnan(real_at(d, b, i))));
    return same;
}

static void check_matrix(const crnn_kernels *k, core_matrix_kind kind, size_t n, size_t inner,
                         size_t columns, double share, int rows) {
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used, bytes = n * columns * crnn_dtype_size(d);
    const bool turned = kind == CORE_TURNED;
    const void *w = turned ? blocked(d, columns, inner, share) : blocked(d, inner, columns, share);
    const void *a = rows_of_kind(d, n, inner, rows);
    void *init = sampled(d, 3, columns), *with = fenced(bytes), *without = fenced(bytes);
    for (size_t j = 0; rows >= ZEROS && j < columns; j++) real_put(d, init, j, j % 3 ? -0.0 : 0);
    core_skips skips;
    const core_matrix whole = packed_matrix(k, kind, inner, columns, w, &skips, false);
    const core_matrix sparse = packed_matrix(k, kind, inner, columns, w, &skips, true);
    core_multiply(k, &whole, a, init, with, 0, n);
    core_multiply(k, &sparse, a, init, without, n / 2, n);
    core_multiply(k, &sparse, a, init, without, 0, n / 2);
    CHECK(are_same(d, with, without, n * columns),
          "%s %s: (%zu, %zu) x (%zu, %zu), %s, %g zero, %s", WHERE(k), n, inner, inner, columns,
          turned ? "turned" : "packed", share, rows_name[rows]);
    fences_release(mark);
}

static void check_matrices(const crnn_kernels *k) {
    static const size_t inners[] = {1, 16, 33, 80}, columns[] = {1, 17, 40, 64, 130};
    const size_t rows[] = {1, 2, 3, 4, k->tile_rows, k->tile_rows + 1, 2 * k->tile_rows + 1};
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++)
        for (size_t i = 0; i < sizeof inners / sizeof *inners; i++)
            for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
                for (size_t s = 0; s < SHARES; s++)
                    for (int kind = 0; kind < ROWS_KINDS; kind++) {
                        check_matrix(k, CORE_PACKED, rows[n], inners[i], columns[j], shares[s],
                                     kind);
                        check_matrix(k, CORE_TURNED, rows[n], inners[i], columns[j], shares[s],
                                     kind);
                    }
}

/* What is kept of a matrix is what is not zero: no more is multiplied. */
static void check_count(const crnn_kernels *k) {
    const size_t mark = fences_used, inner = 5 * B + 3, columns = 4 * TILE_VECS * k->width + 1;
    const void *w = blocked(k->dtype, inner, columns, 0.8);
    core_skips skips;
    const core_matrix m = packed_matrix(k, CORE_PACKED, inner, columns, w, &skips, true);
    size_t elements = 0, wanted = 0;
    for (size_t i = 0; i < inner; i++)
        for (size_t j = 0; j < columns; j++) wanted += !is_left_out(0.8, i / B, j / B);
    for (size_t panel = 0; panel < m.columns.panels; panel++) {
        const size_t left = m.columns.vecs - panel * TILE_VECS;
        const size_t vecs = left < TILE_VECS ? left : TILE_VECS;
        const size_t most = B / k->width < 1 ? 1 : B / k->width;
        for (size_t v = 0, g = 0; v < vecs; v += most, g++) {
            const size_t column = (panel * TILE_VECS + v) * k->width;
            const size_t lanes = (most < vecs - v ? most : vecs - v) * k->width;
            const size_t there = lanes < columns - column ? lanes : columns - column;
            elements += skips.kept[panel * skips.groups + g].rows * there;
        }
    }
    CHECK(elements == wanted, "%s %s: %zu of %zu", WHERE(k), elements, wanted);
    fences_release(mark);
}

/* ---- layers */

static const problem forms[] = {
    {.name = "plain", .layer = {.bias = true}},
    {.name = "lengths", .layer = {.bias = true}, .ragged = true, .given = true},
    {.name = "reverse", .layer = {.reverse = true}, .strided = true, .given = true, .holes = 0.3},
    {.name = "options",
     .layer = {.bias = true, .recurrent_dropout = 0.3, .weight_drop = 0.2, .clip = 0.7},
     .training = true,
     .cuts = 0.2},
    {.name = "layer norm", .layer = {.bias = true, .layer_norm = true}, .given = true},
    {.name = "delays",
     .layer = {.bias = true, .delays = {1, 3}},
     .ragged = true,
     .given = true,
     .no_traces = true},
    {.name = "delays, options",
     .layer = {.reverse = true, .layer_norm = true, .delays = {4, 2, 7}},
     .strided = true,
     .given = true,
     .no_traces = true,
     .holes = 0.3,
     .cuts = 0.2},
};
enum { FORMS = sizeof forms / sizeof *forms, MOST_ROWS = 32 };

static void check_layer(const crnn_kernels *k, crnn_cell cell, problem p, size_t hidden,
                        size_t batch, double zeros) {
    static int64_t lengths[MOST_ROWS];
    const size_t mark = fences_used;
    p.kernels = k;
    p.layer.cell = cell;
    p.layer.dtype = k->dtype;
    p.layer.beta = 1;
    p.layer.inputs = 3;
    p.layer.hidden = hidden;
    if (crnn_cell_describe(cell)->states == 2 && hidden % 2) p.layer.projected = hidden / 2;
    p.batch = batch;
    p.steps = 6;
    p.zeros = zeros;
    for (size_t b = 0; b < batch; b++) lengths[b] = (int64_t)(b * 5 % 7);
    if (p.ragged) p.lengths = lengths;
    const outcome whole = run(&p);
    p.kept = 0.3; /* whatever it is */
    check_same("without zeros", &whole, &p);
    if (p.training) {
        fences_release(mark);
        return;
    }
    p.packed = true;
    check_same("packed", &whole, &p);
    p.packed = false;
    if (strcmp(k->isa, "scalar") != 0) check_against_scalar(&p);
    if (batch == 2 && crnn_longest_delay(&p.layer) == 1) check_bits(&p);
    fences_release(mark);
}

static void check_all_gradients(crnn_cell cell) {
    problem p = {
        .name = "gradients",
        .kernels = core_kernels_for("scalar", CRNN_F64),
        .layer =
            {.cell = cell, .dtype = CRNN_F64, .inputs = 2, .hidden = 33, .bias = true, .beta = 0.7},
        .batch = 2,
        .steps = 4,
        .given = true,
        .zeros = 0.6,
        .kept = 0.4};
    check_gradients(&p, 13);
}

static void check_layers(const crnn_kernels *k, crnn_cell cell) {
    const size_t batches[] = {1, 2, k->tile_rows + 1, MOST_ROWS};
    for (int form = 0; form < FORMS; form++)
        for (size_t b = 0; b < 4; b++) {
            const size_t hidden = b % 2 ? 67 : 80;
            check_layer(k, cell, forms[form], hidden, batches[b], form % 2 ? 0.9 : 0.6);
            if (form == 0) check_layer(k, cell, forms[form], 21, batches[b], 1);
        }
}

static void check_no_steps(const crnn_kernels *k, crnn_cell cell) {
    static const int64_t none[MOST_ROWS];
    problem p = {.name = "no steps",
                 .kernels = k,
                 .layer = {.cell = cell, .dtype = k->dtype, .inputs = 2, .hidden = 35},
                 .batch = 3,
                 .steps = 4,
                 .zeros = 0.7,
                 .kept = 0.3};
    check_empty(p, none);
}

static void check_threads(const crnn_kernels *k, crnn_cell cell) {
    for (int shape = 0; shape < TEAM_SHAPES; shape++) {
        problem p = {.name = "threads",
                     .layer = {.cell = cell, .bias = true, .beta = 1},
                     .given = true,
                     .zeros = 0.7,
                     .kept = 0.3};
        set_team_shape(&p, k, shape);
        check_teams(p);
    }
}

/* ---- how much is zero */

static void check_share(crnn_cell cell, size_t hidden) {
    const size_t mark = fences_used;
    problem p = {.name = "share",
                 .kernels = core_kernels_for("scalar", CRNN_F32),
                 .layer = {.cell = cell, .inputs = 2, .hidden = hidden}};
    const size_t large = 4 * B;
    const double whole = crnn_kept_share(&p.layer, params_of(&p));
    p.zeros = 1;
    const double none = crnn_kept_share(&p.layer, params_of(&p));
    p.zeros = 0.8;
    const double some = crnn_kept_share(&p.layer, params_of(&p));
    CHECK(whole == 1 && (hidden < large ? none == 1 : none > 0 && none < 0.1), "%s: %g, %g", p.name,
          whole, none);
    CHECK(hidden < large ? some == 1 : some > 0 && some < 0.45, "%s: %g", p.name, some);
    fences_release(mark);
}

/* A matrix of which less is kept is packed for fewer steps, and never multiplied as it lies where
 * the whole one is not. */
static void check_choice(const crnn_kernels *k) {
    const core_way_size whole = {8, 1000, 1000, 0}, sparse = {8, 1000, 1000, 0.1};
    bool right = true;
    size_t first[2] = {0};
    for (size_t steps = 1; steps <= 400; steps++) {
        const core_way of[2] = {core_choose_way(k, whole, 1, (double)steps),
                                core_choose_way(k, sparse, 1, (double)steps)};
        right = right && (!of[1].direct || of[0].direct) && of[0].ahead == of[1].ahead;
        for (int i = 0; i < 2; i++)
            if (!of[i].direct && !first[i]) first[i] = steps;
    }
    CHECK(right && first[1] > 0 && first[1] < 12, "%s %s: %zu, %zu", WHERE(k), first[0], first[1]);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_matrices(k);
            check_count(k);
            check_choice(k);
            for (int cell = 0; cell < CRNN_CELLS && !left_out(k); cell++) {
                check_layers(k, (crnn_cell)cell);
                check_threads(k, (crnn_cell)cell);
                check_no_steps(k, (crnn_cell)cell);
            }
        }
    }
    for (int cell = 0; cell < CRNN_CELLS && !slow_runner(); cell++)
        check_all_gradients((crnn_cell)cell);
    for (size_t hidden = 48; hidden <= 200; hidden += 19) {
        check_share(CRNN_RNN_TANH, hidden);
        check_share(CRNN_LSTM, hidden);
    }
    return check_done();
}
