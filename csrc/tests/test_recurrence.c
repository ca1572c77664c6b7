/* Whole calls of crnn_forward and crnn_backward, for every cell, number type and instruction set.
 *
 * What a cell computes is not written down here a second time. The scalar table in double is held
 * against central differences of its own forward pass, every other table against the scalar one;
 * and calls that must agree to the last bit are held against each other: a row alone and in a
 * batch, a sequence in one piece and in two, read backward and turned around, as symbols and as
 * one-hot rows, on one thread and on several, with a tape and without.
 *
 * Every buffer has exactly the size that the library asks for, stands in fenced memory and holds
 * NaN at first, and so does the padding of what is read. */
#include "problem.h"

/* ---- comparing outcomes, number by number or bit by bit */

static size_t features_of(const problem *p, int result) {
    return result == DX ? p->layer.inputs : p->layer.hidden;
}

static const char *cell_name(const problem *p) { return crnn_cell_describe(p->layer.cell)->name; }

/* Who, where: for the messages of CHECK. */
#define ABOUT "%s %s %s, %s (%zu, %zu, %zu, %zu): "
#define WHO(p) \
    (p)->kernels->isa, type_name[(p)->layer.dtype], cell_name(p), (p)->name, (p)->batch, \
        (p)->steps, (p)->layer.inputs, (p)->layer.hidden

/* Bytes of a result from row b, step t on. */
static const char *from_step(const outcome *o, int result, size_t b, size_t t) {
    return (const char *)o->at[result] +
           (b * o->p->steps + t) * features_of(o->p, result) * item_of(o->p);
}

/* n steps of row rb of b, from its step 0 on, are those of row ra of a from step ta on. */
static void check_steps(const char *what, const outcome *a, size_t ra, size_t ta, const outcome *b,
                        size_t rb, size_t n) {
    for (int i = 0; i < STATES; i++) {
        if (!a->at[i] || !b->at[i]) continue;
        bool same = true;
        for (size_t t = 0; t < n; t++)
            same = same && memcmp(from_step(a, i, ra, ta + t),
                                  from_step(b, i, rb, b->p->turned ? n - 1 - t : t),
                                  features_of(a->p, i) * item_of(a->p)) == 0;
        CHECK(same, ABOUT "%s, %s of row %zu", WHO(a->p), what, name_of(i), ra);
    }
}

static void check_state(const char *what, int result, const outcome *a, size_t ra, const outcome *b,
                        size_t rb) {
    const size_t bytes = a->p->layer.hidden * item_of(a->p);
    if (!a->at[result] || !b->at[result]) return;
    CHECK(memcmp((const char *)a->at[result] + ra * bytes, (const char *)b->at[result] + rb * bytes,
                 bytes) == 0,
          ABOUT "%s, %s of row %zu", WHO(a->p), what, name_of(result), ra);
}

static void check_row(const char *what, const outcome *a, size_t ra, const outcome *b, size_t rb) {
    check_steps(what, a, ra, 0, b, rb, length_of(a->p, ra));
    for (int i = STATES; i < GRADS; i++) check_state(what, i, a, ra, b, rb);
}

static void check_grads(const char *what, const outcome *a, const outcome *b) {
    if (a->at[GRADS] && b->at[GRADS])
        CHECK(memcmp(a->at[GRADS], b->at[GRADS], a->count[GRADS] * item_of(a->p)) == 0,
              ABOUT "%s, gradients", WHO(a->p), what);
}

/* Runs `other`, which must give what a is, to the last bit. */
static void check_same(const char *what, const outcome *a, const problem *other) {
    const size_t mark = fences_used;
    const outcome b = run(other);
    for (size_t row = 0; row < a->p->batch; row++) check_row(what, a, row, &b, row);
    check_grads(what, a, &b);
    fences_release(mark);
}

/* Every number is one; zeros past every row's end. */
static void check_padding(const outcome *o) {
    const problem *p = o->p;
    for (int i = 0; i < RESULTS; i++) {
        bool numbers = true, zeros = true;
        for (size_t k = 0; k < o->count[i]; k++)
            numbers = numbers && isfinite(real_at(p->layer.dtype, o->at[i], k));
        for (size_t b = 0; i < STATES && o->at[i] && b < p->batch; b++)
            for (const char *c = from_step(o, i, b, length_of(p, b)); c < from_step(o, i, b + 1, 0);
                 c++)
                zeros = zeros && *c == 0;
        CHECK(numbers, ABOUT "%s is not finite", WHO(p), name_of(i));
        CHECK(zeros, ABOUT "%s past a row's end", WHO(p), name_of(i));
    }
}

/* ---- shapes and options */

enum { SHAPES = 9, MOST_ROWS = 32 };

/* Around the tiles and vectors of a table; and longer than what is projected ahead at a time, or
 * kept of gradients. */
static void set_shape(problem *p, const crnn_kernels *k, crnn_cell cell, int i) {
    static int64_t lengths[MOST_ROWS];
    const size_t V = k->width, R = k->tile_rows;
    const size_t shapes[SHAPES][4] = {
        /* B, T, I, H */
        {1, 1, 4 * V + 1, 1},
        {R - 1, 5, 1, V},
        {R, 3, V, V + 1},
        {R + 1, 2, R + 1, 3 * V},
        {2 * R, 4, V + 1, 4 * V},
        {2 * R + 1, 3, 3, 4 * V + 1},
        {3 * R + 1, 6, 2 * R, 5 * V + 2},
        {2, AHEAD_ROWS + 10, 3, V + 1},
        {9, 40, 2, 2 * V},
    };
    p->layer.cell = cell;
    p->kernels = k;
    p->layer.dtype = k->dtype;
    p->layer.beta = 1;
    p->batch = shapes[i][0];
    p->steps = shapes[i][1];
    p->layer.inputs = shapes[i][2];
    p->layer.hidden = shapes[i][3];
    for (size_t b = 0; b < p->batch; b++)
        lengths[b] = (int64_t)((0.5 + 0.5 * sample(S_LENGTHS, b)) * (double)(p->steps + 1));
    lengths[p->batch / 2] = (int64_t)p->steps;
    if (p->ragged) p->lengths = lengths;
}

static const problem options[] = {
    {.name = "plain", .layer = {.bias = true}},
    {.name = "lengths", .layer = {.bias = true}, .ragged = true, .given = true},
    {.name = "reverse", .layer = {.bias = true, .reverse = true}, .ragged = true, .strided = true},
    {.name = "symbols", .layer = {.bias = true}, .symbols = true, .given = true},
    {.name = "no bias", .ragged = true, .symbols = true},
    {.name = "last gradient", .layer = {.reverse = true}, .given = true, .no_dy = true},
};
enum { OPTIONS = sizeof options / sizeof *options };

/* ---- the scalar table against central differences, the others against the scalar one */

/* The loss that dy, dh and dc are the gradients of. */
static double loss_of(const problem *p) {
    problem lean = *p;
    lean.no_tape = true;
    const size_t mark = fences_used, H = p->layer.hidden;
    const outcome o = run(&lean);
    double loss = 0;
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t t = 0; !p->no_dy && t < length_of(p, b); t++)
            for (size_t f = 0; f < H; f++)
                loss += ((const double *)from_step(&o, Y, b, t))[f] * number(p, S_DY, b, t, f);
        for (size_t f = 0; p->given && f < H; f++) {
            const double *h = o.at[H_LAST], *c = o.at[C_LAST];
            loss += h[b * H + f] * state_number(p, S_DH, b, f);
            if (c) loss += c[b * H + f] * state_number(p, S_DC, b, f);
        }
    }
    fences_release(mark);
    return loss;
}

/* One number of a stream, and the gradient found for it. */
static void check_slope(const problem *p, int stream, size_t at, double found) {
    const double step = 1e-5;
    problem up = *p, down = *p;
    up.nudge = (nudge){stream, at, step};
    down.nudge = (nudge){stream, at, -step};
    const double slope = (loss_of(&up) - loss_of(&down)) / (2 * step);
    CHECK(fabs(slope - found) <= 1e-8 * (1 + fabs(slope)), ABOUT "stream %d, %zu: %.12g, not %.12g",
          WHO(p), stream, at, found, slope);
}

/* Every n-th number of each kind. */
static void check_gradients(const problem *p, size_t every) {
    const size_t mark = fences_used, I = p->layer.inputs, T = p->steps;
    const outcome o = run(p);
    const double *grads = o.at[GRADS], *dx = o.at[DX], *dh = o.at[DH_FIRST], *dc = o.at[DC_FIRST];
    for (size_t i = 0; i < o.count[GRADS]; i += every)
        check_slope(p, S_WEIGHTS, i, grads[i] - sample(S_GRADS, i));
    for (size_t i = 0; dx && i < o.count[DX]; i += every)
        if (i / I % T < length_of(p, i / I / T)) check_slope(p, S_X, i, dx[i]);
    for (size_t i = 0; p->given && i < o.count[DH_FIRST]; i += every) {
        check_slope(p, S_H0, i, dh[i]);
        if (dc) check_slope(p, S_C0, i, dc[i]);
    }
    fences_release(mark);
}

static void check_all_gradients(crnn_cell cell) {
    static const int64_t lengths[] = {1, 3, 0, 3, 2};
    for (int i = 0; i < 2 * OPTIONS; i++) {
        const bool large = i % 2; /* more than a tile each way */
        problem p = options[i / 2];
        p.kernels = crnn_kernels_for("scalar", CRNN_F64);
        p.layer.cell = cell;
        p.layer.dtype = CRNN_F64;
        p.layer.beta = 0.7;
        p.layer.inputs = large ? 9 : 2;
        p.layer.hidden = large ? 7 : 3;
        p.batch = large ? 5 : 2;
        p.steps = 3;
        p.strided = false;
        p.lengths = p.ragged ? lengths : NULL;
        check_gradients(&p, large ? 5 : 1);
    }
}

static void check_against_scalar(const problem *p) {
    const double limit = /* errors grow along a sequence */
        (p->layer.dtype == CRNN_F64 ? 1e-13 : 1e-5) * (1 + (double)p->steps / 50);
    const size_t mark = fences_used;
    problem scalar = *p;
    scalar.kernels = crnn_kernels_for("scalar", p->layer.dtype);
    const outcome exact = run(&scalar), o = run(p);
    for (int i = 0; i < RESULTS; i++)
        if (o.at[i])
            CHECK(distance(p->layer.dtype, o.count[i], o.at[i], exact.at[i]) <= limit,
                  ABOUT "%s is %g from the scalar one", WHO(p), name_of(i),
                  distance(p->layer.dtype, o.count[i], o.at[i], exact.at[i]));
    check_padding(&o);
    fences_release(mark);
}

/* ---- the same bits */

/* Also: T = a row's length, and so its padding is nothing to it. */
static void check_rows_alone(const outcome *a) {
    for (size_t b = 0; b < a->p->batch; b++) {
        problem alone = *a->p;
        const size_t mark = fences_used;
        alone.batch = 1;
        alone.first_row = b;
        alone.steps = length_of(a->p, b);
        alone.lengths = NULL;
        const outcome o = run(&alone);
        check_row("alone", a, b, &o, 0);
        fences_release(mark);
    }
}

static void check_variants(const outcome *a) {
    problem q = *a->p;
    q.no_tape = true;
    check_same("without a tape", a, &q);
    q = *a->p;
    q.strided = !q.strided;
    q.no_traces = true;
    check_same("strided", a, &q);
    q = *a->p;
    q.turned = true;
    q.layer.reverse = !q.layer.reverse;
    check_same("turned around", a, &q);
    q = *a->p;
    q.packed = true;
    check_same("with packed weights", a, &q);
    fence_fill = 0;
    check_same("in clean memory", a, a->p);
    fence_fill = FENCE_BYTE;
}

static void check_symbols(const problem *p) {
    problem one_hot = *p, symbols = *p;
    one_hot.one_hot = symbols.symbols = true;
    const size_t mark = fences_used;
    const outcome a = run(&one_hot);
    check_same("symbols", &a, &symbols);
    fences_release(mark);
}

/* dx is added to, and its padding left alone. */
static void check_add_dx(const outcome *a) {
    const crnn_dtype d = a->p->layer.dtype;
    const size_t mark = fences_used, I = a->p->layer.inputs, T = a->p->steps;
    problem q = *a->p;
    q.add_dx = true;
    const outcome b = run(&q);
    bool added = true;
    for (size_t i = 0; i < a->count[DX]; i++) {
        const size_t row = i / I / T, t = i / I % T;
        const double now = real_at(d, b.at[DX], i), before = number(&q, S_DX, row, t, i % I);
        if (t < length_of(a->p, row))
            added = added && fabs(now - before - real_at(d, a->at[DX], i)) < 1e-5;
        else
            added = added && isnan(now);
    }
    CHECK(added, ABOUT "dx added to", WHO(a->p));
    check_grads("dx added to", a, &b);
    fences_release(mark);
}

/* In two pieces, the state carried on forward and its gradient back: the pieces' gradients add up
 * in the same order as well. */
static void check_split(const outcome *a, size_t at) {
    const size_t mark = fences_used, T = a->p->steps;
    problem first = *a->p, second = *a->p;
    first.steps = at;
    second.steps = T - at;
    second.first_step = at;
    const outcome begin = run(&first);
    second.h0 = begin.at[H_LAST];
    second.c0 = begin.at[C_LAST];
    const outcome end = run(&second);
    first.dh = end.at[DH_FIRST];
    first.dc = end.at[DC_FIRST];
    first.grads = end.at[GRADS];
    const outcome whole = run(&first);
    for (size_t b = 0; b < a->p->batch; b++) {
        check_steps("first piece", a, b, 0, &whole, b, at);
        check_steps("second piece", a, b, at, &end, b, T - at);
        for (int i = H_LAST; i <= C_LAST; i++) check_state("second piece", i, a, b, &end, b);
        for (int i = DH_FIRST; i <= DC_FIRST; i++) check_state("first piece", i, a, b, &whole, b);
    }
    check_grads("two pieces", a, &whole);
    fences_release(mark);
}

/* dL/dh of a row's last step is what dy and the gradient of its final state add up to. With
 * check_split, which makes any step a last one, that is every step's. And what reaches the first c
 * of an LSTM is dL/dc after the first step, times f. */
static void check_traces(const outcome *a) {
    const problem *p = a->p;
    const crnn_dtype d = p->layer.dtype;
    const size_t H = p->layer.hidden;
    bool h = true, c = true;
    for (size_t b = 0; b < p->batch; b++) {
        if (length_of(p, b) == 0) continue;
        const size_t end = length_of(p, b) - 1, last = p->layer.reverse ? 0 : end;
        const size_t first = p->layer.reverse ? end : 0;
        for (size_t f = 0; f < H; f++) {
            const double dh = p->given ? state_number(p, S_DH, b, f) : 0;
            const double sum = dh + (p->no_dy ? 0 : number(p, S_DY, b, last, f));
            h = h && fabs(real_at(d, from_step(a, TRACE_H, b, last), f) - sum) < 1e-6;
            if (p->layer.cell != CRNN_LSTM) continue;
            const double product = real_at(d, from_step(a, TRACE_C, b, first), f) *
                                   real_at(d, from_step(a, GATES + 1, b, first), f);
            c = c && fabs(real_at(d, a->at[DC_FIRST], b * H + f) - product) < 1e-6;
        }
    }
    CHECK(h && c, ABOUT "traces: dh %d, dc %d", WHO(p), h, c);
}

/* The h of the tape is y, its c ends as the last c. */
static void check_tape(const outcome *a) {
    const problem *p = a->p;
    const size_t bytes = p->layer.hidden * item_of(p);
    bool c = true;
    for (size_t b = 0; a->at[TAPE_C] && b < p->batch; b++)
        if (length_of(p, b) > 0)
            c = c && memcmp(from_step(a, TAPE_C, b, p->layer.reverse ? 0 : length_of(p, b) - 1),
                            (char *)a->at[C_LAST] + b * bytes, bytes) == 0;
    CHECK(memcmp(a->at[TAPE_H], a->at[Y], a->count[Y] * item_of(p)) == 0, ABOUT "tape h", WHO(p));
    CHECK(c, ABOUT "tape c", WHO(p));
}

/* A gate that the tape keeps as a sum is shown through the logistic function. */
static void check_raw_gates(const outcome *a) {
    const problem *p = a->p;
    const char *gates = crnn_cell_describe(p->layer.cell)->gates;
    size_t phase, slot;
    for (int i = 0; gates[i]; i++) {
        bool raw = false, inside = true;
        CHECK(crnn_find_gate(&p->layer, gates[i], &phase, &slot, &raw), ABOUT "%c", WHO(p),
              gates[i]);
        for (size_t k = 0; raw && k < a->count[GATES + i]; k++)
            inside = inside && real_at(p->layer.dtype, a->at[GATES + i], k) >= 0;
        CHECK(inside, ABOUT "gate %c", WHO(p), gates[i]);
    }
}

static void check_bits(const problem *p) {
    const size_t mark = fences_used;
    const outcome a = run(p);
    check_padding(&a);
    check_traces(&a);
    check_raw_gates(&a);
    check_tape(&a);
    check_rows_alone(&a);
    check_variants(&a);
    if (!p->symbols) check_symbols(p);
    if (!p->symbols) check_add_dx(&a);
    for (size_t at = 1; !p->lengths && !p->layer.reverse && at < p->steps; at += 1 + at / 2)
        check_split(&a, at);
    fences_release(mark);
}

/* ---- threads */

/* Enough work for three threads: where there are more inputs than units, more units than inputs,
 * and so few rows that threads share the panels of every step. */
enum { MANY_INPUTS, MANY_UNITS, FEW, KINDS };

static void set_thread_shape(problem *p, const crnn_kernels *k, int kind) {
    static int64_t lengths[MOST_ROWS];
    const size_t inputs[KINDS] = {90, 3 * k->tile_rows, 64}, hidden[KINDS] = {5, 80, 1};
    const size_t gates = strlen(crnn_cell_describe(p->layer.cell)->gates), I = inputs[kind];
    const size_t rows[KINDS] = {2 * k->tile_rows, 2 * k->tile_rows, k->tile_rows > 3 ? 2 : 1};
    size_t H = hidden[kind];
    while (kind == FEW && rows[kind] * gates * H * H < 130000) H++;
    p->kernels = k;
    p->layer.dtype = k->dtype;
    p->layer.inputs = I;
    p->layer.hidden = H;
    p->batch = rows[kind];
    p->steps = (k->width > 1 ? 12000000 : 3600000) / (p->batch * gates * H * (I + H)) + 2;
    for (size_t b = 0; b < p->batch; b++) lengths[b] = (int64_t)(p->steps * (b % 5) / 4);
    lengths[0] = (int64_t)p->steps;
    p->lengths = lengths;
}

static void check_threads(const crnn_kernels *k, crnn_cell cell, int kind) {
    problem p = {
        .name = "threads", .layer = {.cell = cell, .bias = true, .beta = 1}, .given = true};
    const size_t mark = fences_used;
    set_thread_shape(&p, k, kind);
    crnn_set_threads(1);
    const outcome a = run(&p);
    crnn_set_threads(2);
    check_same("two threads", &a, &p);
    crnn_set_threads(3);
    check_same("three threads", &a, &p);
    p.no_tape = true;
    check_same("three threads, no tape", &a, &p);
    crnn_set_threads(1);
    fences_release(mark);
}

/* ---- nothing to do */

/* B = 0, T = 0, or no row has a step: states and their gradients pass through. */
static void check_empty(const problem *p) {
    const size_t mark = fences_used;
    const outcome o = run(p);
    bool passed = true;
    const int pairs[4][2] = {{H_LAST, S_H0}, {C_LAST, S_C0}, {DH_FIRST, S_DH}, {DC_FIRST, S_DC}};
    for (int i = 0; i < 4; i++) {
        const void *expected = state_of(p, pairs[i][1], NULL);
        const size_t bytes = o.count[pairs[i][0]] * item_of(p);
        if (expected && bytes) passed = passed && memcmp(o.at[pairs[i][0]], expected, bytes) == 0;
    }
    for (size_t i = 0; !p->given && i < o.count[H_LAST]; i++)
        passed = passed && real_at(p->layer.dtype, o.at[H_LAST], i) == 0;
    CHECK(passed, ABOUT "states", WHO(p));
    const void *grads = sampled(p->layer.dtype, S_GRADS, o.count[GRADS]);
    CHECK(memcmp(o.at[GRADS], grads, o.count[GRADS] * item_of(p)) == 0, ABOUT "gradients", WHO(p));
    check_padding(&o);
    fences_release(mark);
}

static void check_all_empty(const crnn_kernels *k, crnn_cell cell) {
    static const int64_t zeros[MOST_ROWS];
    for (int i = 0; i < OPTIONS; i++) {
        problem p = options[i];
        set_shape(&p, k, cell, 3);
        p.lengths = zeros;
        check_empty(&p);
        p.lengths = NULL;
        p.steps = 0;
        check_empty(&p);
        p.batch = 0;
        check_empty(&p);
        p.steps = 4;
        check_empty(&p);
    }
}

/* ---- everything */

static void check_table(const crnn_kernels *k, crnn_cell cell) {
    const bool scalar = strcmp(k->isa, "scalar") == 0;
    for (int shape = 0; shape < SHAPES; shape++) {
        for (int i = 0; i < OPTIONS; i++) {
            problem p = options[i];
            set_shape(&p, k, cell, shape);
            if (!scalar) check_against_scalar(&p);
            if ((shape + i) % 2 == 0) check_bits(&p);
        }
    }
    check_all_empty(k, cell);
    for (int kind = 0; kind < KINDS; kind++) check_threads(k, cell, kind);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (int cell = 0; cell < CRNN_CELLS; cell++) {
        check_all_gradients((crnn_cell)cell);
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k;
            for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++)
                check_table(k, (crnn_cell)cell);
        }
    }
    return check_done();
}
