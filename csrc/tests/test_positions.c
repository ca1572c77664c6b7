/* Positions as a node of a plan: values and gradients against plain loops; equal bits for a row
 * alone and in a batch, for chunks, streams and any number of threads. */
#include "single.h"

enum { B = 4, T = 13, LONG = 90, POSITIONS = 140 };

typedef struct problem {
    const crnn_kernels *kernels;
    crnn_steps steps;
    size_t features;
    bool learned;
    const int64_t *begun; /* [B], or NULL */
} problem;

/* In the type of the kernels. */
typedef struct buffers {
    void *x, *table, *dy, *y, *dx, *dtable;
    int64_t *final;
} buffers;

static const int64_t begun[B] = {3, 0, 40, 3}, lengths[B] = {T, 0, 5, 9};

static size_t size_of(const problem *p) { return p->steps.batch * p->steps.steps * p->features; }

static buffers new_buffers(const problem *p) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t item = crnn_dtype_size(d), table = POSITIONS * p->features;
    return (buffers){.x = sampled(d, 1, size_of(p)),
                     .table = sampled(d, 2, table),
                     .dy = sampled(d, 3, size_of(p)),
                     .y = fenced(size_of(p) * item),
                     .dx = fenced(size_of(p) * item),
                     .dtable = memset(fenced(table * item), 0, table * item),
                     .final = fenced(p->steps.batch * sizeof(int64_t))};
}

/* ---- plain loops */

static int64_t first_of(const problem *p, size_t b, size_t piece) {
    return piece == 0 && p->begun ? p->begun[b] : 0;
}

static double position(const problem *p, const buffers *f, int64_t n, size_t k) {
    const size_t H = p->features;
    if (p->learned) return real_at(p->kernels->dtype, f->table, (size_t)n * H + k);
    const double angle = (double)n * pow(10000, -2 * (double)(k / 2) / (double)H);
    return k % 2 ? cos(angle) : sin(angle);
}

typedef struct plain {
    double *y, *dx, *dtable;
} plain;

/* What a step of a row is, and what the gradients of the outputs that repeat it add. */
static void plain_step(const problem *p, const buffers *f, size_t b, const plain_steps *r, size_t i,
                       int64_t n, plain *to) {
    const size_t H = p->features, steps = p->steps.steps, at = (b * steps + r->time[i]) * H;
    for (size_t t = 0; t < steps; t++) {
        for (size_t k = 0; r->source[t] == (int)i && k < H; k++) {
            const double dy = real_at(p->kernels->dtype, f->dy, (b * steps + t) * H + k);
            to->y[(b * steps + t) * H + k] =
                real_at(p->kernels->dtype, f->x, at + k) + position(p, f, n, k);
            to->dx[at + k] += dy;
            to->dtable[(size_t)n * H + k] += dy;
        }
    }
}

static plain run_plain(const problem *p, const buffers *f) {
    plain to = {zeros(size_of(p)), zeros(size_of(p)), zeros(POSITIONS * p->features)};
    for (size_t b = 0; b < p->steps.batch; b++) {
        plain_steps r;
        list_steps(&p->steps, b, &r);
        int64_t n = first_of(p, b, 0);
        size_t piece = 0;
        for (size_t i = 0; i < r.count; i++) {
            if (r.piece[i] != piece) n = 0, piece = r.piece[i];
            plain_step(p, f, b, &r, i, n++, &to);
        }
        if (r.pieces != piece) n = 0;
        CHECK(f->final[b] == n, "final of row %zu: %lld, not %lld", b, (long long)f->final[b],
              (long long)n);
    }
    return to;
}

/* ---- the core */

static void make_model(model *m, const problem *p, const buffers *f) {
    make_single(m, p->kernels, &p->steps, CRNN_OP_POSITIONS, f->x, p->features, f->y, p->features);
    m->node[1].as.positions = (crnn_positions){.rows = &m->rows,
                                               .table = p->learned ? f->table : NULL,
                                               .dtable = p->learned ? f->dtable : NULL,
                                               .initial = p->begun,
                                               .final = f->final};
}

static void run_core(const problem *p, const buffers *f) {
    model m;
    make_model(&m, p, f);
    run_ahead(&m);
    run_back(&m, f->dy, f->dx, 1);
}

static void check_near(const problem *p, const char *what, size_t n, const void *found,
                       const double *wanted) {
    const double most = worst_error(p->kernels->dtype, n, found, wanted);
    CHECK(most <= (p->kernels->dtype == CRNN_F64 ? 1e-14 : 1e-6),
          "%s %s, H %zu, learned %d, reverse %d, mask %d, resets %d, begun %d: %s differs by %g",
          p->kernels->isa, type_name[p->kernels->dtype], p->features, p->learned, p->steps.reverse,
          p->steps.mask != NULL, p->steps.resets != NULL, p->begun != NULL, what, most);
}

static void check_same(const problem *p, const char *what, size_t bytes, const void *a,
                       const void *b) {
    CHECK(memcmp(a, b, bytes) == 0, "%s %s, learned %d: other bits of %s", p->kernels->isa,
          type_name[p->kernels->dtype], p->learned, what);
}

static void check_plain(const problem *p) {
    const size_t mark = fences_used;
    const buffers f = new_buffers(p);
    run_core(p, &f);
    const plain wanted = run_plain(p, &f);
    check_near(p, "y", size_of(p), f.y, wanted.y);
    check_near(p, "dx", size_of(p), f.dx, wanted.dx);
    if (p->learned) check_near(p, "dtable", POSITIONS * p->features, f.dtable, wanted.dtable);
    fences_release(mark);
}

static void check_ways(const crnn_kernels *k, size_t features) {
    static uint8_t mask[B * T], resets[B * T];
    for (size_t i = 0; i < B * T; i++) mask[i] = i % 5 != 1 && i % 7 != 3;
    for (size_t i = 0; i < B * T; i++) resets[i] = i % 6 == 3 || i == 16 || i == 2 * T || i == 4;
    mask[0] = 0;
    for (unsigned how = 0; how < 32; how++)
        check_plain(&(problem){.kernels = k,
                               .steps = {.batch = B,
                                         .steps = T,
                                         .lengths = lengths,
                                         .mask = how & 1 ? mask : NULL,
                                         .resets = how & 2 ? resets : NULL,
                                         .reverse = how & 4},
                               .features = features,
                               .learned = how & 8,
                               .begun = how & 16 ? begun : NULL});
}

/* ---- equal bits */

static problem long_problem(const crnn_kernels *k, bool learned) {
    return (problem){.kernels = k,
                     .steps = {.batch = B, .steps = LONG},
                     .features = k->width + 3,
                     .learned = learned,
                     .begun = begun};
}

static void check_team(const crnn_kernels *k, bool learned) {
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    problem p = long_problem(k, learned);
    p.features = 700;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    for (size_t threads = 2; threads <= 4; threads++) {
        const buffers g = new_buffers(&p);
        crnn_set_threads(threads);
        run_core(&p, &g);
        check_same(&p, "y of a team", size_of(&p) * item, f.y, g.y);
        check_same(&p, "dx of a team", size_of(&p) * item, f.dx, g.dx);
        check_same(&p, "dtable of a team", POSITIONS * p.features * item, f.dtable, g.dtable);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

static void check_alone(const crnn_kernels *k, bool learned) {
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    const problem p = long_problem(k, learned);
    const buffers f = new_buffers(&p);
    const size_t row = LONG * p.features * item;
    run_core(&p, &f);
    for (size_t b = 0; b < B; b++) {
        problem one = p;
        one.steps.batch = 1;
        one.begun += b;
        buffers g = new_buffers(&one);
        g.x = (char *)f.x + b * row;
        run_core(&one, &g);
        check_same(&p, "y alone", row, (char *)f.y + b * row, g.y);
    }
    fences_release(mark);
}

typedef struct stream {
    problem p;
    buffers f;
    model m;
} stream;

static void make_stream(stream *s, const problem *whole) {
    s->p = *whole;
    s->p.steps = (crnn_steps){.batch = B, .steps = 1};
    s->f = new_buffers(&s->p);
    make_model(&s->m, &s->p, &s->f);
    new_running(&s->m);
    s->m.node[1].as.positions.initial = NULL;
    s->m.node[1].as.positions.final = NULL;
    take_workspace(&s->m.plan, false);
    crnn_plan_lay(&s->m.plan);
}

/* Step t of row b is that of row rows[b] of the whole; its output is, too. */
static void check_step(stream *s, const buffers *f, const size_t *rows, size_t t,
                       const uint8_t *here) {
    const size_t wide = s->p.features * crnn_dtype_size(s->p.kernels->dtype);
    for (size_t b = 0; b < s->m.rows.given.batch; b++)
        memcpy((char *)s->f.x + b * wide, (const char *)f->x + (rows[b] * LONG + t) * wide, wide);
    crnn_plan_run(&s->m.plan);
    for (size_t b = 0; b < s->m.rows.given.batch; b++)
        CHECK((here && !here[b]) ||
                  memcmp((const char *)s->f.y + b * wide,
                         (const char *)f->y + (rows[b] * LONG + t) * wide, wide) == 0,
              "%s, learned %d: step %zu of row %zu", s->p.kernels->isa, s->p.learned, t, b);
}

static const size_t in_order[B] = {0, 1, 2, 3};

/* Rows that are cleared where the whole has resets, and that do not read masked steps. */
static void check_stream(const crnn_kernels *k, bool learned, bool gaps) {
    static uint8_t resets[B * LONG], mask[B * LONG];
    const size_t mark = fences_used;
    problem p = long_problem(k, learned);
    uint8_t here[B];
    stream s;
    for (size_t i = 0; i < B * LONG; i++) {
        resets[i] = i == LONG + 50 || i == 3 * LONG + 7 || i == 3 * LONG + 8;
        mask[i] = !gaps || (i % 3 != 1 && i % 7 != 4);
    }
    p.steps.resets = resets;
    p.steps.mask = mask;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    make_stream(&s, &p);
    for (size_t t = 0; t < LONG; t++) {
        for (size_t b = 0; b < B; b++) {
            here[b] = mask[b * LONG + t];
            if (resets[b * LONG + t]) crnn_node_clear(&s.m.plan, 1, b);
        }
        if (gaps) replace_rows(&s.m, &(crnn_steps){.batch = B, .steps = 1, .mask = here});
        check_step(&s, &f, in_order, t, here);
    }
    s.m.node[1].as.positions.final = s.f.final;
    crnn_node_save(&s.m.plan, 1);
    check_same(&p, "the state of a stream", B * sizeof *f.final, s.f.final, f.final);
    fences_release(mark);
}

/* After a choice, rows go on from their parents: there may be fewer rows, then more. */
static void check_follow(const crnn_kernels *k, bool learned) {
    static const size_t counts[3] = {3, 4, 4},
                        parents[3][B] = {{2, 0, 2}, {1, 1, 0, 2}, {3, 2, 1, 0}};
    const size_t mark = fences_used;
    const problem p = long_problem(k, learned);
    const buffers f = new_buffers(&p);
    size_t rows[B] = {0, 1, 2, 3};
    stream s;
    run_core(&p, &f);
    make_stream(&s, &p);
    for (size_t t = 0, turn = 0; t < 60; t++) {
        check_step(&s, &f, rows, t, NULL);
        if (t % 17 != 10 || turn == 3) continue;
        size_t before[B];
        memcpy(before, rows, sizeof rows);
        for (size_t b = 0; b < counts[turn]; b++) rows[b] = before[parents[turn][b]];
        follow_rows(&s.m, &core_op_positions, parents[turn], counts[turn]);
        turn++;
    }
    fences_release(mark);
}

static void check_sizes(const crnn_kernels *k) {
    const size_t mark = fences_used;
    const problem p = long_problem(k, false);
    const buffers f = new_buffers(&p);
    model m;
    size_t bytes;
    make_model(&m, &p, &f);
    m.node[1].features = SIZE_MAX / 4;
    CHECK(crnn_plan_workspace(&m.plan, &bytes) == CRNN_OVERFLOW, "workspace");
    m.rows.given.batch = SIZE_MAX / 8;
    CHECK(crnn_node_running(&m.plan, 1, &bytes) == CRNN_OVERFLOW, "running");
    fences_release(mark);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (size_t i = 0; crnn_isa_available(i); i++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k = table_at(i, (crnn_dtype)d);
            if (left_out(k)) continue;
            const size_t sizes[] = {1, 2, 5, k->width, k->width + 1, 4 * k->width + 3};
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) check_ways(k, sizes[s]);
            for (int learned = 0; learned < 2; learned++) {
                check_team(k, learned);
                check_alone(k, learned);
                check_stream(k, learned, false);
                check_stream(k, learned, true);
                check_follow(k, learned);
            }
            check_sizes(k);
        }
    }
    return check_done();
}
