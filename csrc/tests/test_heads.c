/* Self-attention as a node of a plan: values and gradients against plain loops; equal bits for a
 * row alone and in a batch, for chunks of a sequence, for streams, for any number of threads; what
 * is not seen is not read. */
#include "heads.h"

/* ---- problems */

enum { B = 4, T = 11 };

static const int64_t lengths[B] = {T, 0, 5, 8}, begun[B] = {2, 9, 0, 3};

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

static problem small(const crnn_kernels *k, size_t heads, size_t size, size_t window) {
    return (problem){.kernels = k,
                     .batch = B,
                     .steps = T,
                     .heads = heads,
                     .size = size,
                     .window = window,
                     .rotary = size % 2 ? 0 : 100,
                     .lengths = lengths};
}

static void check_states(problem p) {
    for (size_t slots = 0; slots < 10; slots += 3) {
        p.slots = slots;
        p.begun = begun;
        for (size_t more = 0; more <= T; more += 4) {
            p.final_slots = slots + more;
            check_plain(p);
        }
        if (slots) p.final_slots = 2, check_plain(p);
    }
}

static void check_small(const crnn_kernels *k) {
    static const size_t sizes[][2] = {{1, 1}, {2, 3}, {4, 2}, {3, 6}, {1, 9}, {2, 16}};
    static const size_t windows[] = {0, 1, 2, 5, 40};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t j = 0; j < 5; j++) {
            problem p = small(k, sizes[i][0], sizes[i][1], windows[j]);
            for (unsigned how = 0; how < 8; how++) {
                p.mask = how & 1 ? holes() : NULL;
                p.resets = how & 2 ? cuts() : NULL;
                p.reverse = how & 4;
                check_plain(p);
                p.p = 0.3;
                if (i < 4) check_states(p);
                p.p = 0;
            }
        }
        problem p = small(k, sizes[i][0], sizes[i][1], 0);
        p.whole = true;
        check_plain(p);
        p.mask = holes();
        p.resets = cuts();
        p.p = 0.3;
        check_plain(p);
    }
}

/* Sizes around a tile, a panel and a block. */
static void check_large(const crnn_kernels *k) {
    const size_t panel = TILE_VECS * k->width;
    const size_t sizes[] = {k->width + 1, panel, panel + 1}, steps[] = {panel - 1, panel + 2, 130};
    static const int64_t all[2] = {7, 20};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            const size_t A = sizes[i] > 36 ? 36 : sizes[i];
            problem p = {.kernels = k,
                         .batch = 2,
                         .steps = steps[j],
                         .heads = 2,
                         .size = A,
                         .rotary = A % 2 ? 0 : 10000,
                         .begun = all};
            for (p.window = 0; p.window <= 50; p.window += 25) {
                p.slots = p.window ? p.window - 1 : 20;
                p.final_slots = p.slots;
                p.p = 0;
                check_plain(p);
                p.p = 0.4;
                check_plain(p);
            }
            p.slots = p.final_slots = p.window = 0;
            p.whole = true;
            check_plain(p);
        }
    }
}

/* ---- gradients by finite differences, of the core alone */

static double loss_of(const problem *p, const buffers *f) {
    const size_t H = hidden_of(p);
    double loss = 0;
    run_core(p, f);
    for (size_t i = 0; i < p->batch * p->steps * H; i++)
        loss += sample(4, i) * ((const double *)f->y)[i];
    for (size_t i = 0; i < p->batch * p->final_slots * H; i++)
        loss += sample(5, i) * ((const double *)f->final.k)[i] +
                sample(6, i) * ((const double *)f->final.v)[i];
    return loss;
}

static void check_slopes(const problem *p, const buffers *f, const char *what, size_t n, void *x_,
                         const void *d) {
    const double by = 1e-5;
    double *x = x_;
    for (size_t i = 0; i < n; i++) {
        const size_t mark = fences_used;
        const double here = x[i];
        x[i] = here + by;
        const double up = loss_of(p, f);
        x[i] = here - by;
        const double slope = (up - loss_of(p, f)) / (2 * by);
        x[i] = here;
        CHECK(fabs(slope - ((const double *)d)[i]) <= 1e-8 * (1 + fabs(slope)),
              "%s %zu: %g, not %g", what, i, ((const double *)d)[i], slope);
        fences_release(mark);
    }
}

static void check_differences(void) {
    const size_t mark = fences_used;
    problem p = small(core_kernels_for("scalar", CRNN_F64), 2, 2, 5);
    p.slots = p.final_slots = 4;
    p.begun = begun;
    p.mask = holes();
    p.p = 0.3;
    p.gradients = true;
    buffers f = new_buffers(&p);
    run_core(&p, &f);
    p.gradients = false;
    check_slopes(&p, &f, "dqkv", B * T * 12, f.qkv, f.dqkv);
    check_slopes(&p, &f, "dk", B * p.slots * 4, f.initial.k, f.dinitial.k);
    check_slopes(&p, &f, "dv", B * p.slots * 4, f.initial.v, f.dinitial.v);
    fences_release(mark);
}

/* ---- equal bits */

enum { LONG = 90, WINDOWS = 6 };

static const size_t windows[WINDOWS] = {0, 1, 2, 5, 16, 37};

static problem long_problem(const crnn_kernels *k, size_t window, bool dropped) {
    static const int64_t ends[B] = {LONG, 61, 0, 14};
    const size_t size = k->width + 2 + k->width % 2;
    return (problem){.kernels = k,
                     .batch = B,
                     .steps = LONG,
                     .heads = 2,
                     .size = size % 2 ? size + 1 : size,
                     .window = window,
                     .rotary = 50,
                     .p = dropped ? 0.2 : 0,
                     .lengths = ends,
                     .gradients = true};
}

/* Rows of `wide` elements: steps from..to-1 of some of (B, T, wide), dense. */
static void *steps_of(const problem *p, const void *from, size_t wide, size_t begin, size_t steps) {
    const size_t bytes = wide * crnn_dtype_size(p->kernels->dtype);
    char *to = fenced(p->batch * steps * bytes);
    for (size_t b = 0; b < p->batch; b++)
        memcpy(to + b * steps * bytes, (const char *)from + (b * p->steps + begin) * bytes,
               steps * bytes);
    return to;
}

/* Whether (B, steps, wide) are the steps from `begin` on of (B, T, wide); all that a row reads. */
static bool same_steps(const problem *p, const void *part, const void *whole, size_t wide,
                       size_t begin, size_t steps) {
    const size_t bytes = wide * crnn_dtype_size(p->kernels->dtype);
    bool same = true;
    for (size_t b = 0; b < p->batch; b++)
        same &= memcmp((const char *)part + b * steps * bytes,
                       (const char *)whole + (b * p->steps + begin) * bytes, steps * bytes) == 0;
    return same;
}

static void check_same(const problem *p, const char *what, size_t n, const void *a, const void *b) {
    CHECK(memcmp(a, b, n * crnn_dtype_size(p->kernels->dtype)) == 0, "%s %s, window %zu, p %g: %s",
          p->kernels->isa, type_name[p->kernels->dtype], p->window, p->p, what);
}

typedef struct chunk {
    problem p;
    buffers f;
    model m;
    size_t begin;
    int64_t ends[B], begun[B];
} chunk;

/* A chunk of a problem, which goes on from the cache that the one before has left. */
static void make_chunk(chunk *c, const problem *whole, const buffers *f, size_t begin, size_t steps,
                       size_t slots, const chunk *before) {
    c->p = *whole;
    c->begin = begin;
    c->p.steps = steps;
    c->p.first_step = (uint32_t)begin;
    c->p.slots = c->p.final_slots = slots;
    c->p.lengths = c->ends;
    c->p.begun = c->begun;
    for (size_t b = 0; b < B; b++) {
        const int64_t left = whole->lengths[b] - (int64_t)begin;
        c->ends[b] = left<0 ? 0 : left>(int64_t) steps ? (int64_t)steps : left;
        c->begun[b] = before ? before->f.final.steps[b] : 0;
    }
    c->f = new_buffers(&c->p);
    c->f.qkv = steps_of(whole, f->qkv, 3 * hidden_of(whole), begin, steps);
    c->f.dy = steps_of(whole, f->dy, hidden_of(whole), begin, steps);
    if (before) c->f.initial = before->f.final;
}

/* The gradient of a chunk's final cache is that of the next one's initial one. */
static void run_chunks_back(chunk *chunks, size_t count, const problem *p, const buffers *f) {
    const size_t H = hidden_of(p);
    const double bound = p->kernels->dtype == CRNN_F64 ? 1e-13 : 2e-5;
    for (size_t i = count; i-- > 0;) {
        chunk *c = &chunks[i];
        c->f.dfinal = i + 1 < count ? chunks[i + 1].f.dinitial : (crnn_cache){0};
        run_core(&c->p, &c->f);
        const void *wanted = steps_of(p, f->dqkv, 3 * H, c->begin, c->p.steps);
        const double far = distance(p->kernels->dtype, B * c->p.steps * 3 * H, c->f.dqkv, wanted);
        CHECK(far <= bound, "%s, window %zu, chunk %zu: dqkv differs by %g", p->kernels->isa,
              p->window, i, far);
    }
}

static void check_chunks(const crnn_kernels *k, size_t window, bool dropped, size_t steps) {
    static chunk chunks[LONG];
    const size_t mark = fences_used, slots = window > 1 ? window - 1 : window ? 1 : LONG;
    problem p = long_problem(k, window, dropped);
    size_t count = 0;
    p.final_slots = slots;
    buffers f = new_buffers(&p);
    f.dfinal = (crnn_cache){0};
    run_core(&p, &f);
    for (size_t t = 0; t < LONG; t += steps, count++) {
        const size_t some = t + steps < LONG ? steps : LONG - t;
        chunk *c = &chunks[count];
        make_chunk(c, &p, &f, t, some, slots, count ? c - 1 : NULL);
        run_core(&c->p, &c->f);
        CHECK(same_steps(&p, c->f.y, f.y, hidden_of(&p), t, some),
              "%s, window %zu, step %zu of %zu", k->isa, window, t, steps);
    }
    check_same(&p, "final k", B * slots * hidden_of(&p), f.final.k, chunks[count - 1].f.final.k);
    check_same(&p, "final v", B * slots * hidden_of(&p), f.final.v, chunks[count - 1].f.final.v);
    run_chunks_back(chunks, count, &p, &f);
    fences_release(mark);
}

/* ---- streams */

/* A row is cleared before the step at which the whole has a reset. */
static void check_stream(const crnn_kernels *k, size_t window, bool dropped, size_t moved) {
    static uint8_t resets[B * LONG];
    const size_t mark = fences_used;
    problem p = long_problem(k, window, dropped);
    stream s;
    p.lengths = NULL;
    memset(resets, 0, sizeof resets);
    resets[LONG + 50] = resets[3 * LONG + 7] = resets[3 * LONG + 8] = 1;
    p.resets = resets;
    p.final_slots = window ? window : LONG;
    buffers f = new_buffers(&p);
    run_core(&p, &f);
    p.resets = NULL;
    make_stream(&s, &p, window ? 0 : moved);
    for (size_t t = 0; t < LONG; t++) {
        if (t == moved) enlarge(&s, window ? window - 1 : LONG);
        for (size_t b = 0; b < B; b++)
            if (resets[b * LONG + t]) crnn_node_clear(&s.m.plan, 1, b);
        run_step(&s, &p, f.qkv, t);
        CHECK(same_steps(&p, s.f.y, f.y, hidden_of(&p), t, 1),
              "%s, window %zu, step %zu of a stream", k->isa, window, t);
    }
    s.m.node[1].as.heads.final = new_cache(&p, p.final_slots);
    crnn_node_save(&s.m.plan, 1);
    const crnn_cache *end = &s.m.node[1].as.heads.final;
    check_same(&p, "k of a stream", B * p.final_slots * hidden_of(&p), end->k, f.final.k);
    check_same(&p, "v of a stream", B * p.final_slots * hidden_of(&p), end->v, f.final.v);
    CHECK(memcmp(end->steps, f.final.steps, B * sizeof *end->steps) == 0, "steps of a stream");
    fences_release(mark);
}

/* A row that does not read a step of a stream stays what it is. */
static void check_gaps(const crnn_kernels *k, size_t window) {
    static uint8_t mask[B * LONG];
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    problem p = long_problem(k, window, false);
    stream s;
    uint8_t here[B];
    p.lengths = NULL;
    for (size_t i = 0; i < sizeof mask; i++) mask[i] = i % 3 != 1 && i % 7 != 4;
    p.mask = mask;
    buffers f = new_buffers(&p);
    const size_t row = hidden_of(&p) * item;
    run_core(&p, &f);
    p.mask = NULL;
    make_stream(&s, &p, LONG);
    const crnn_steps steps = {.batch = B, .steps = 1, .mask = here};
    for (size_t t = 0; t < LONG; t++) {
        for (size_t b = 0; b < B; b++) here[b] = mask[b * LONG + t];
        replace_rows(&s.m, &steps);
        run_step(&s, &p, f.qkv, t);
        for (size_t b = 0; b < B; b++)
            CHECK(!here[b] ||
                      memcmp((char *)s.f.y + b * row, (char *)f.y + (b * LONG + t) * row, row) == 0,
                  "%s, window %zu: step %zu of row %zu, which has gaps", k->isa, window, t, b);
    }
    fences_release(mark);
}

/* After a choice, rows go on from their parents: there may be fewer rows, then more. */
static void check_follow(const crnn_kernels *k, size_t window) {
    static const size_t counts[3] = {3, 4, 4},
                        parents[3][B] = {{2, 0, 2}, {1, 1, 0, 2}, {3, 2, 1, 0}};
    const size_t mark = fences_used, wide = 3 * LONG, H = 3 * 2;
    problem p = long_problem(k, window, false);
    stream s;
    p.lengths = NULL;
    p.size = 2;
    p.heads = 3;
    buffers f = new_buffers(&p);
    const size_t item = crnn_dtype_size(k->dtype), row = wide * H * item;
    char *qkv = copied(f.qkv, B * row), *old = fenced(B * row);
    make_stream(&s, &p, LONG);
    for (size_t t = 0, turn = 0; t < 40; t++) {
        run_step(&s, &p, qkv, t);
        if (t % 13 != 10) continue;
        const size_t count = counts[turn];
        memcpy(old, qkv, B * row); /* what a row has read is what its parent has read */
        for (size_t i = 0; i < count; i++)
            memcpy(qkv + i * row, old + parents[turn][i] * row, (t + 1) * 3 * H * item);
        follow_rows(&s.m, &core_op_heads, parents[turn++], count);
    }
    memcpy(f.qkv, qkv, B * row);
    run_core(&p, &f);
    CHECK(same_steps(&p, s.f.y, f.y, H, 39, 1), "%s, window %zu: rows that follow others", k->isa,
          window);
    fences_release(mark);
}

/* ---- what is not seen is not read */

static void put_nan(const problem *p, void *seq, size_t wide, size_t b, size_t from, size_t to) {
    for (size_t i = (b * p->steps + from) * wide; i < (b * p->steps + to) * wide; i++)
        real_put(p->kernels->dtype, seq, i, NAN);
}

/* NaN at step `at` of row 0, behind the ends, and in slots that nothing is in: all but the steps
 * that see it have the bits that they had. */
static void check_unseen(const crnn_kernels *k, size_t window, size_t at) {
    static const int64_t cached[B] = {3, 0, 5, 2};
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    problem p = long_problem(k, window, false);
    p.slots = window && window < 5 ? window : 5;
    p.begun = cached;
    buffers f = new_buffers(&p), g = new_buffers(&p);
    const size_t H = hidden_of(&p);
    run_core(&p, &f);
    put_nan(&p, g.qkv, 3 * H, 0, at, at + 1);
    for (size_t b = 0; b < B; b++) {
        const size_t seen = (size_t)cached[b] < p.slots ? (size_t)cached[b] : p.slots;
        put_nan(&p, g.qkv, 3 * H, b, (size_t)p.lengths[b], LONG);
        put_nan(&p, g.dy, H, b, (size_t)p.lengths[b], LONG);
        for (size_t i = b * p.slots * H; i < (b * p.slots + p.slots - seen) * H; i++) {
            real_put(k->dtype, g.initial.k, i, NAN);
            real_put(k->dtype, g.initial.v, i, NAN);
        }
    }
    run_core(&p, &g);
    const size_t end = window && at + window < LONG ? at + window : LONG;
    const char *y = f.y, *z = g.y;
    CHECK(memcmp(y, z, at * H * item) == 0, "%s, window %zu: before step %zu", k->isa, window, at);
    CHECK(memcmp(y + end * H * item, z + end * H * item, (B * LONG - end) * H * item) == 0,
          "%s, window %zu: behind step %zu", k->isa, window, end);
    for (size_t i = at * H; i < end * H; i++)
        CHECK(isnan(real_at(k->dtype, z, i)), "%s: %zu is not NaN", k->isa, i);
    check_same(&p, "dqkv of other rows", (B - 1) * LONG * 3 * H,
               (char *)f.dqkv + LONG * 3 * H * item, (char *)g.dqkv + LONG * 3 * H * item);
    fences_release(mark);
}

/* ---- rows, threads, noise */

static void check_alone(const crnn_kernels *k, bool dropped) {
    static const int64_t cached[B] = {3, 0, 5, 2};
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    problem p = long_problem(k, 16, dropped);
    p.slots = p.final_slots = 5;
    p.begun = cached;
    p.mask = holes();
    static uint8_t mask[B * LONG];
    for (size_t i = 0; i < sizeof mask; i++) mask[i] = i % 4 != 2;
    p.mask = mask;
    buffers f = new_buffers(&p);
    const size_t H = hidden_of(&p), row = LONG * H * item, cache = p.slots * H * item;
    run_core(&p, &f);
    for (size_t b = 0; b < B; b++) {
        problem q = p;
        q.batch = 1;
        q.first_row += b;
        q.lengths += b;
        q.begun += b;
        q.mask += b * LONG;
        buffers g = new_buffers(&q);
        g.qkv = (char *)f.qkv + b * 3 * row;
        g.dy = (char *)f.dy + b * row;
        g.initial.k = (char *)f.initial.k + b * cache;
        g.initial.v = (char *)f.initial.v + b * cache;
        g.dfinal.k = (char *)f.dfinal.k + b * cache;
        g.dfinal.v = (char *)f.dfinal.v + b * cache;
        run_core(&q, &g);
        check_same(&q, "y alone", LONG * H, g.y, (char *)f.y + b * row);
        check_same(&q, "dqkv alone", 3 * LONG * H, g.dqkv, (char *)f.dqkv + b * 3 * row);
        check_same(&q, "dk alone", p.slots * H, g.dinitial.k, (char *)f.dinitial.k + b * cache);
    }
    fences_release(mark);
}

static void check_threads(const crnn_kernels *k, size_t window) {
    static const int64_t cached[6] = {3, 0, 5, 2, 9, 9};
    const size_t mark = fences_used;
    problem p = {.kernels = k,
                 .batch = 6,
                 .steps = 150,
                 .heads = 3,
                 .size = 24,
                 .window = window,
                 .rotary = 10,
                 .p = 0.1,
                 .slots = 9,
                 .final_slots = 9,
                 .begun = cached,
                 .gradients = true};
    const size_t H = hidden_of(&p), cells = p.batch * p.steps;
    buffers f = new_buffers(&p);
    run_core(&p, &f);
    for (size_t threads = 2; threads <= 4; threads++) {
        buffers g = new_buffers(&p);
        crnn_set_threads(threads);
        run_core(&p, &g);
        check_same(&p, "y of a team", cells * H, f.y, g.y);
        check_same(&p, "dqkv of a team", cells * 3 * H, f.dqkv, g.dqkv);
        check_same(&p, "dk of a team", p.batch * 9 * H, f.dinitial.k, g.dinitial.k);
        check_same(&p, "final v of a team", p.batch * 9 * H, f.final.v, g.final.v);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

/* The mean of ones is one on average, whatever is dropped. */
static void check_expectation(const crnn_kernels *k, bool whole) {
    const size_t mark = fences_used;
    problem p = long_problem(k, 0, true);
    p.lengths = NULL;
    p.whole = whole;
    p.p = 0.4;
    buffers f = new_buffers(&p);
    const size_t H = hidden_of(&p), count = B * LONG * H;
    for (size_t i = 0; i < 3 * count; i++)
        if (i / H % 3 == 2) real_put(k->dtype, f.qkv, i, 1);
    run_core(&p, &f);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += real_at(k->dtype, f.y, i);
    CHECK(fabs(sum / (double)count - 1) < 0.03, "%s: a mean of %g", k->isa, sum / (double)count);
    fences_release(mark);
}

static void check_far(const crnn_kernels *k) {
    static const int64_t far[B] = {1000000, 123456789, 3, 1000000};
    problem p = small(k, 2, 4, 5);
    p.slots = p.final_slots = 4;
    p.begun = far;
    check_plain(p);
}

static void check_sizes(const crnn_kernels *k) {
    const size_t mark = fences_used;
    problem p = small(k, 2, 2, 0);
    p.slots = 1;
    p.begun = begun;
    buffers f = new_buffers(&p);
    model m;
    size_t bytes;
    make_model(&m, &p, &f);
    CHECK(crnn_node_running(&m.plan, 0, &bytes) == CRNN_OK && bytes == 0, "of an input");
    m.node[1].gradient = m.node[1].value;
    m.node[1].as.heads.initial.slots = SIZE_MAX;
    CHECK(crnn_plan_workspace(&m.plan, &bytes) == CRNN_OVERFLOW, "workspace");
    CHECK(crnn_plan_backward_workspace(&m.plan, &bytes) == CRNN_OVERFLOW, "of backward");
    CHECK(crnn_node_running(&m.plan, 1, &bytes) == CRNN_OVERFLOW, "running");
    m.node[1].as.heads.window = SIZE_MAX;
    CHECK(crnn_node_running(&m.plan, 1, &bytes) == CRNN_OVERFLOW, "running");
    fences_release(mark);
}

static void check_bits(const crnn_kernels *k) {
    static const size_t chunk_steps[] = {1, 7, 64};
    for (size_t i = 0; i < WINDOWS; i++) {
        for (int dropped = 0; dropped < 2; dropped++) {
            for (size_t j = 0; j < 3; j++) check_chunks(k, windows[i], dropped, chunk_steps[j]);
            check_stream(k, windows[i], dropped, 9);
            check_stream(k, windows[i], dropped, 40);
        }
        check_follow(k, windows[i]);
        check_gaps(k, windows[i]);
        check_unseen(k, windows[i], 0);
        check_unseen(k, windows[i], 43);
        check_threads(k, windows[i]);
    }
    for (int i = 0; i < 2; i++) {
        check_alone(k, i);
        check_expectation(k, i);
    }
    check_far(k);
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
            check_large(k);
            check_bits(k);
        }
    }
    check_differences();
    return check_done();
}
