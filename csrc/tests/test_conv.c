/* Causal convolutions as a node of a plan: values and gradients against plain loops and finite
 * differences; equal bits for a row alone and in a batch, for streams and for any number of
 * threads; nodes whose value is repeated at masked steps. */
#include "convs.h"

/* ---- problems */

enum { B = 4, T = 13, LONG = 90 };

static const int64_t lengths[B] = {T, 0, 5, 9};

static const uint8_t *holes(void) {
    static uint8_t mask[B * T];
    for (size_t i = 0; i < B * T; i++) mask[i] = i % 5 != 1 && i % 7 != 3;
    mask[0] = 0;
    return mask;
}

/* Some before the first step, some at masked steps, some one behind the other. */
static const uint8_t *cuts(void) {
    static uint8_t resets[B * T];
    for (size_t i = 0; i < B * T; i++) resets[i] = i % 6 == 3 || i == 16;
    resets[2 * T] = resets[4] = 1;
    return resets;
}

static void check_near(const problem *p, const char *what, size_t n, const void *found,
                       const double *wanted) {
    const double bound = p->kernels->dtype == CRNN_F64 ? 1e-12 : 4e-5;
    const double most = worst_error(p->kernels->dtype, n, found, wanted);
    CHECK(most <= bound,
          "%s %s, I %zu, H %zu, taps %zu, dilation %zu, norm %d, reverse %d, mask %d, resets %d, "
          "state %d: %s differs by %g",
          p->kernels->isa, type_name[p->kernels->dtype], p->inputs, p->units, p->taps, p->dilation,
          p->normed, p->reverse, p->mask != NULL, p->resets != NULL, p->begun, what, most);
}

static void check_plain(problem p) {
    const size_t mark = fences_used;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    const plain wanted = run_plain(&p, &f);
    check_near(&p, "y", cells_of(&p) * p.units, f.y, wanted.y);
    check_near(&p, "final", state_of(&p), f.final, wanted.final);
    check_near(&p, "dx", cells_of(&p) * p.inputs, f.dx, wanted.dx);
    check_near(&p, "dinitial", state_of(&p), f.dinitial, wanted.dinitial);
    check_near(&p, "dw", weights_of(&p), f.dw, wanted.dw);
    check_near(&p, "db", p.units, f.db, wanted.db);
    if (p.normed) check_near(&p, "dg", p.units, f.dg, wanted.dg);
    fences_release(mark);
}

static void check_ways(problem p) {
    for (unsigned how = 0; how < 16; how++) {
        if (how % (unsigned)thinned() != 0) continue;
        p.mask = how & 1 ? holes() : NULL;
        p.resets = how & 2 ? cuts() : NULL;
        p.reverse = how & 4;
        p.begun = how & 8;
        check_plain(p);
    }
}

static void check_small(const crnn_kernels *k) {
    static const size_t taps[] = {1, 2, 3, 9, 17}, dilations[] = {1, 2, 7};
    static const crnn_activation activations[] = {CRNN_IDENTITY, CRNN_RELU, CRNN_TANH};
    const size_t panel = TILE_VECS * k->width;
    const size_t sizes[][2] = {{1, 1}, {3, 5}, {k->width + 1, k->width}, {2, panel + 1}};
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 3; j++)
            for (size_t s = 0; s < 4; s++)
                check_ways((problem){.kernels = k,
                                     .batch = B,
                                     .steps = T,
                                     .inputs = sizes[s][0],
                                     .units = sizes[s][1],
                                     .taps = taps[i],
                                     .dilation = dilations[j],
                                     .activation = activations[(i + j + s) % 3],
                                     .normed = (i + s) % 2,
                                     .lengths = lengths});
}

/* More cells than are listed at a time, and more of them than one product to the weights reads;
 * rows that end before all taps have steps. */
static void check_many(const crnn_kernels *k) {
    for (size_t d = 1; d <= 160; d += 13)
        check_plain((problem){.kernels = k,
                              .batch = 5,
                              .steps = 150,
                              .inputs = 3,
                              .units = 6,
                              .taps = 3,
                              .dilation = d,
                              .activation = CRNN_TANH,
                              .begun = d % 2});
}

/* ---- gradients by finite differences, of the core alone */

static double loss_of(const problem *p, const buffers *f) {
    double loss = 0;
    run_core(p, f);
    for (size_t i = 0; i < cells_of(p) * p->units; i++)
        loss += ((const double *)f->dy)[i] * ((const double *)f->y)[i];
    for (size_t i = 0; i < state_of(p); i++)
        loss += ((const double *)f->dfinal)[i] * ((const double *)f->final)[i];
    return loss;
}

static void check_slopes(const problem *p, const buffers *f, const char *what, size_t n, void *to,
                         const void *found) {
    const double h = 1e-5;
    double *x = to, most = 0;
    const double *grad = copied(found, n * sizeof *grad); /* loss_of adds to the gradients */
    for (size_t i = 0; i < n; i++) {
        const size_t mark = fences_used;
        const double before = x[i];
        x[i] = before + h;
        const double up = loss_of(p, f);
        x[i] = before - h;
        const double down = loss_of(p, f);
        x[i] = before;
        fences_release(mark);
        most = fmax(most, fabs((up - down) / (2 * h) - grad[i]) / (1 + fabs(grad[i])));
    }
    CHECK(most < 1e-8, "%s differs from finite differences by %g, reverse %d", what, most,
          p->reverse);
}

static void check_differences(void) {
    for (int reverse = 0; reverse < 2; reverse++) {
        const size_t mark = fences_used;
        const problem p = {.kernels = table_at(0, CRNN_F64),
                           .batch = B,
                           .steps = T,
                           .inputs = 2,
                           .units = 3,
                           .taps = 3,
                           .dilation = 2,
                           .activation = CRNN_TANH,
                           .normed = true,
                           .begun = true,
                           .reverse = reverse,
                           .lengths = lengths,
                           .mask = holes(),
                           .resets = cuts()};
        const buffers f = new_buffers(&p);
        run_core(&p, &f);
        const buffers g = {.dx = copied(f.dx, cells_of(&p) * 2 * sizeof(double)),
                           .dw = copied(f.dw, weights_of(&p) * sizeof(double)),
                           .dg = copied(f.dg, 3 * sizeof(double)),
                           .db = copied(f.db, 3 * sizeof(double)),
                           .dinitial = copied(f.dinitial, state_of(&p) * sizeof(double))};
        check_slopes(&p, &f, "dx", cells_of(&p) * 2, f.x, g.dx);
        check_slopes(&p, &f, "dw", weights_of(&p), f.w, g.dw);
        check_slopes(&p, &f, "dg", 3, f.g, g.dg);
        check_slopes(&p, &f, "db", 3, f.b, g.db);
        check_slopes(&p, &f, "dinitial", state_of(&p), f.initial, g.dinitial);
        fences_release(mark);
    }
}

/* ---- equal bits */

static problem long_problem(const crnn_kernels *k, size_t taps, size_t dilation) {
    return (problem){.kernels = k,
                     .batch = B,
                     .steps = LONG,
                     .inputs = 3,
                     .units = k->width + 2,
                     .taps = taps,
                     .dilation = dilation,
                     .activation = CRNN_RELU,
                     .normed = taps == 3,
                     .begun = true};
}

static void check_same(const problem *p, const char *what, size_t n, const void *a, const void *b) {
    CHECK(memcmp(a, b, n * crnn_dtype_size(p->kernels->dtype)) == 0,
          "%s %s, taps %zu, dilation %zu: other bits of %s", p->kernels->isa,
          type_name[p->kernels->dtype], p->taps, p->dilation, what);
}

/* Row b of y of a step, and of step t of the whole. */
static bool same_row(const problem *p, const void *y, size_t b, const void *whole, size_t row,
                     size_t t) {
    const size_t wide = p->units * crnn_dtype_size(p->kernels->dtype);
    return memcmp((const char *)y + b * wide, (const char *)whole + (row * LONG + t) * wide,
                  wide) == 0;
}

typedef struct stream {
    problem p;
    buffers f;
    model m;
} stream;

/* A plan of one step, with packed weights and the state in its running memory. */
static void make_stream(stream *s, const problem *whole, const buffers *f) {
    size_t bytes;
    s->p = *whole;
    s->p.steps = 1;
    s->p.mask = s->p.resets = NULL;
    s->f = new_buffers(&s->p);
    s->f.initial = f->initial;
    make_model(&s->m, &s->p, &s->f);
    new_running(&s->m);
    s->m.node[1].as.conv.initial = s->m.node[1].as.conv.final = NULL;
    CHECK(crnn_plan_packed_size(&s->m.plan, &bytes) == CRNN_OK, "packed");
    void *packed = fenced(bytes);
    crnn_plan_pack(&s->m.plan, packed);
    s->m.plan.packed = packed;
    take_workspace(&s->m.plan, false);
    crnn_plan_lay(&s->m.plan);
}

/* Step t of row b is that of row rows[b] of x. */
static void run_step(stream *s, const void *x, const size_t *rows, size_t t) {
    const size_t wide = s->p.inputs * crnn_dtype_size(s->p.kernels->dtype);
    for (size_t b = 0; b < s->m.rows.given.batch; b++)
        memcpy((char *)s->f.x + b * wide, (const char *)x + (rows[b] * LONG + t) * wide, wide);
    crnn_plan_run(&s->m.plan);
}

static const size_t in_order[B] = {0, 1, 2, 3};

/* Steps of a stream, whose ring is turned several times, with rows that are cleared. */
static void check_stream(const crnn_kernels *k, size_t taps, size_t dilation) {
    static uint8_t resets[B * LONG];
    const size_t mark = fences_used;
    problem p = long_problem(k, taps, dilation);
    stream s;
    memset(resets, 0, sizeof resets);
    resets[LONG + 50] = resets[3 * LONG + 7] = resets[3 * LONG + 8] = 1;
    p.resets = resets;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    make_stream(&s, &p, &f);
    for (size_t t = 0; t < LONG; t++) {
        for (size_t b = 0; b < B; b++)
            if (resets[b * LONG + t]) crnn_node_clear(&s.m.plan, 1, b);
        run_step(&s, f.x, in_order, t);
        for (size_t b = 0; b < B; b++)
            CHECK(same_row(&p, s.f.y, b, f.y, b, t),
                  "%s, taps %zu, dilation %zu: step %zu, row %zu", k->isa, taps, dilation, t, b);
    }
    s.m.node[1].as.conv.final = s.f.final;
    crnn_node_save(&s.m.plan, 1);
    check_same(&p, "the state of a stream", state_of(&p), s.f.final, f.final);
    fences_release(mark);
}

/* Rows of a stream that do not read a step stay what they are. */
static void check_gaps(const crnn_kernels *k, size_t taps, size_t dilation) {
    static uint8_t mask[B * LONG];
    const size_t mark = fences_used;
    problem p = long_problem(k, taps, dilation);
    stream s;
    uint8_t here[B];
    for (size_t i = 0; i < sizeof mask; i++) mask[i] = i % 3 != 1 && i % 7 != 4;
    p.mask = mask;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    make_stream(&s, &p, &f);
    const crnn_steps steps = {.batch = B, .steps = 1, .mask = here};
    for (size_t t = 0; t < LONG; t++) {
        for (size_t b = 0; b < B; b++) here[b] = mask[b * LONG + t];
        replace_rows(&s.m, &steps);
        run_step(&s, f.x, in_order, t);
        for (size_t b = 0; b < B; b++)
            CHECK(!here[b] || same_row(&p, s.f.y, b, f.y, b, t),
                  "%s, taps %zu, dilation %zu: step %zu of row %zu, which has gaps", k->isa, taps,
                  dilation, t, b);
    }
    fences_release(mark);
}

/* After a choice, rows go on from their parents: there may be fewer rows, then more. */
static void check_follow(const crnn_kernels *k, size_t taps, size_t dilation) {
    static const size_t counts[3] = {3, 4, 4},
                        parents[3][B] = {{2, 0, 2}, {1, 1, 0, 2}, {3, 2, 1, 0}};
    const size_t mark = fences_used;
    problem p = long_problem(k, taps, dilation);
    const buffers f = new_buffers(&p);
    stream s;
    size_t rows[B] = {0, 1, 2, 3};
    run_core(&p, &f);
    make_stream(&s, &p, &f);
    for (size_t t = 0, turn = 0; t < 60; t++) {
        run_step(&s, f.x, rows, t);
        for (size_t b = 0; b < s.m.rows.given.batch; b++)
            CHECK(same_row(&p, s.f.y, b, f.y, rows[b], t),
                  "%s, taps %zu, dilation %zu: step %zu of row %zu, which follows row %zu", k->isa,
                  taps, dilation, t, b, rows[b]);
        if (t % 17 != 10 || turn == 3) continue;
        size_t before[B];
        memcpy(before, rows, sizeof rows);
        for (size_t b = 0; b < counts[turn]; b++) rows[b] = before[parents[turn][b]];
        follow_rows(&s.m, &core_op_conv, parents[turn], counts[turn]);
        turn++;
    }
    fences_release(mark);
}

static void check_team(const crnn_kernels *k, size_t taps, size_t dilation) {
    const size_t mark = fences_used;
    problem p = long_problem(k, taps, dilation);
    p.inputs = 40;
    p.units = 70;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    for (size_t threads = 2; threads <= 4; threads++) {
        const buffers g = new_buffers(&p);
        crnn_set_threads(threads);
        run_core(&p, &g);
        check_same(&p, "y of a team", cells_of(&p) * p.units, f.y, g.y);
        check_same(&p, "dx of a team", cells_of(&p) * p.inputs, f.dx, g.dx);
        check_same(&p, "dw of a team", weights_of(&p), f.dw, g.dw);
        check_same(&p, "dg of a team", p.units, f.dg, g.dg);
        check_same(&p, "db of a team", p.units, f.db, g.db);
        check_same(&p, "dinitial of a team", state_of(&p), f.dinitial, g.dinitial);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

/* Rows [from, from + 1) of a buffer with so many numbers for each row. */
static void *row_of(const problem *p, void *from, size_t row, size_t wide) {
    return (char *)from + row * wide * crnn_dtype_size(p->kernels->dtype);
}

static void check_alone(const crnn_kernels *k, size_t taps, size_t dilation) {
    const size_t mark = fences_used;
    const problem p = long_problem(k, taps, dilation);
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    for (size_t b = 0; b < B; b++) {
        problem one = p;
        one.batch = 1;
        buffers g = new_buffers(&one);
        const size_t past = past_of(&p) * p.inputs;
        g.x = row_of(&p, f.x, b, LONG * p.inputs);
        g.initial = row_of(&p, f.initial, b, past);
        g.dy = row_of(&p, f.dy, b, LONG * p.units);
        g.dfinal = row_of(&p, f.dfinal, b, past);
        run_core(&one, &g);
        check_same(&p, "y alone", LONG * p.units, row_of(&p, f.y, b, LONG * p.units), g.y);
        check_same(&p, "dx alone", LONG * p.inputs, row_of(&p, f.dx, b, LONG * p.inputs), g.dx);
        check_same(&p, "dinitial alone", past, row_of(&p, f.dinitial, b, past), g.dinitial);
    }
    fences_release(mark);
}

/* NaN where nothing is read, in x and in dy. */
static void check_unread(const crnn_kernels *k, bool reverse) {
    const size_t mark = fences_used;
    const problem p = {.kernels = k,
                       .batch = B,
                       .steps = T,
                       .inputs = 3,
                       .units = 5,
                       .taps = 3,
                       .dilation = 2,
                       .activation = CRNN_RELU,
                       .begun = true,
                       .reverse = reverse,
                       .lengths = lengths,
                       .mask = holes(),
                       .resets = cuts()};
    const buffers f = new_buffers(&p), g = new_buffers(&p);
    for (size_t i = 0; i < B * T; i++) {
        const bool ended = (int64_t)(i % T) >= lengths[i / T];
        for (size_t j = 0; (ended || !p.mask[i]) && j < 3; j++)
            real_put(k->dtype, g.x, i * 3 + j, NAN);
        for (size_t j = 0; ended && j < 5; j++) real_put(k->dtype, g.dy, i * 5 + j, NAN);
    }
    run_core(&p, &f);
    run_core(&p, &g);
    check_same(&p, "y, NaN unread", cells_of(&p) * 5, f.y, g.y);
    check_same(&p, "dx, NaN unread", cells_of(&p) * 3, f.dx, g.dx);
    check_same(&p, "dw, NaN unread", weights_of(&p), f.dw, g.dw);
    check_same(&p, "final, NaN unread", state_of(&p), f.final, g.final);
    check_same(&p, "dinitial, NaN unread", state_of(&p), f.dinitial, g.dinitial);
    fences_release(mark);
}

/* ---- a function of steps whose value is repeated at masked steps */

/* backwards: rows are read from their end. */
static void check_repeats(const crnn_kernels *k, bool backwards) {
    const size_t mark = fences_used, wide = 3;
    problem p = {.kernels = k,
                 .batch = B,
                 .steps = T,
                 .inputs = wide,
                 .units = wide,
                 .taps = 1,
                 .dilation = 1,
                 .lengths = lengths,
                 .mask = holes(),
                 .resets = cuts()};
    const buffers f = new_buffers(&p);
    const void *dy = copied(f.dy, cells_of(&p) * wide * crnn_dtype_size(k->dtype));
    double *y = zeros(cells_of(&p) * wide), *dx = zeros(cells_of(&p) * wide);
    model m;
    make_model(&m, &p, &f);
    m.node[1].op = CRNN_OP_ROWWISE;
    m.node[1].repeats = true;
    m.node[1].backwards = backwards;
    m.node[1].as.rowwise = (crnn_rowwise){.kind = CRNN_ROWWISE_ACTIVATE,
                                          .kernels = k,
                                          .inputs = 1,
                                          .features = {wide},
                                          .activation = CRNN_RELU};
    take_workspace(&m.plan, false);
    crnn_plan_forward(&m.plan);
    run_back(&m, f.dy, f.dx, 1);
    p.reverse = backwards;
    for (size_t b = 0; b < B; b++) {
        plain_row r;
        list_row(&p, b, &r);
        for (size_t i = 0; i < T * wide; i++) {
            if (r.s.source[i / wide] == NONE) continue;
            const size_t read = (b * T + r.s.time[r.s.source[i / wide]]) * wide + i % wide;
            const double x = real_at(k->dtype, f.x, read);
            y[b * T * wide + i] = fmax(x, 0);
            dx[read] += x > 0 ? real_at(k->dtype, dy, b * T * wide + i) : 0;
        }
    }
    check_near(&p, "a repeated value", cells_of(&p) * wide, f.y, y);
    check_near(&p, "the gradient of a repeated value", cells_of(&p) * wide, f.dx, dx);
    fences_release(mark);
}

static void check_sizes(const crnn_kernels *k) {
    const size_t mark = fences_used;
    problem p = long_problem(k, 2, 1);
    const buffers f = new_buffers(&p);
    model m;
    size_t bytes;
    make_model(&m, &p, &f);
    CHECK(crnn_node_running(&m.plan, 0, &bytes) == CRNN_OK && bytes == 0, "of an input");
    m.node[1].as.conv.dilation = SIZE_MAX / 64;
    CHECK(crnn_node_running(&m.plan, 1, &bytes) == CRNN_OVERFLOW, "running");
    fences_release(mark);
}

static void check_bits(const crnn_kernels *k) {
    static const size_t shapes[][2] = {{1, 1}, {2, 1}, {2, 7}, {3, 4}, {9, 2}, {17, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_stream(k, shapes[i][0], shapes[i][1]);
        check_gaps(k, shapes[i][0], shapes[i][1]);
        check_follow(k, shapes[i][0], shapes[i][1]);
        check_team(k, shapes[i][0], shapes[i][1]);
        check_alone(k, shapes[i][0], shapes[i][1]);
    }
    check_unread(k, false);
    check_unread(k, true);
    check_repeats(k, false);
    check_repeats(k, true);
    check_sizes(k);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (size_t i = 0; crnn_isa_available(i); i++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k = table_at(i, (crnn_dtype)d);
            if (left_out(k)) continue;
            check_small(k);
            check_many(k);
            check_bits(k);
        }
    }
    check_differences();
    return check_done();
}
