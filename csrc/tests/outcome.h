/* One call that solves a problem, all that it gives, and outcomes compared: every buffer of exactly
 * the size that was asked for, in guarded memory, and filled with NaN beforehand. */
#ifndef CRNN_TESTS_OUTCOME_H
#define CRNN_TESTS_OUTCOME_H

#include "problem.h"

/* ---- one call, forward and backward, and all that it gives */

enum { MOST_GATES = MAX_PHASES * MAX_SLOTS };

enum {
    Y,
    TAPE_H,
    TAPE_C,
    TRACE_H,
    TRACE_C,
    DX,
    GATES,                           /* one after the other, in gate_order */
    TRACE_SUMS = GATES + MOST_GATES, /* of the same gates: what a trace has of each */
    TRACE_PRODUCTS = TRACE_SUMS + MOST_GATES,
    TRACE_READ = TRACE_PRODUCTS + MOST_GATES,
    STATES = TRACE_READ + MOST_GATES, /* from here on (B, D, ...), before it (B, T, ...) */
    H_LAST = STATES,
    C_LAST,
    DH_FIRST,
    DC_FIRST,
    GRADS, /* flat */
    RESULTS
};

static const char *const result_names[RESULTS] = {
    [Y] = "y",           [TAPE_H] = "tape h", [TAPE_C] = "tape c",   [TRACE_H] = "dh",
    [TRACE_C] = "dc",    [DX] = "dx",         [H_LAST] = "last h",   [C_LAST] = "last c",
    [DH_FIRST] = "dh_0", [DC_FIRST] = "dc_0", [GRADS] = "gradients",
};

static const char *name_of(int result) {
    return result_names[result] ? result_names[result] : "a gate";
}

/* P of h, I of x, H of the rest. */
static size_t features_of(const problem *p, int result) {
    const bool of_h = result == Y || result == TAPE_H || result == TRACE_H || result == H_LAST ||
                      result == DH_FIRST || (TRACE_READ <= result && result < STATES);
    if (result == DX) return p->layer.inputs;
    return of_h ? crnn_width(&p->layer) : p->layer.hidden;
}

typedef struct outcome {
    const problem *p;
    void *at[RESULTS];     /* NULL: not there */
    size_t count[RESULTS]; /* elements */
} outcome;

typedef struct call {
    const problem *p;
    outcome *out;
    crnn_rows rows;
    const void *params;
    crnn_input in;
    crnn_tape tape;
    bool from_learned;
} call;

/* Memory of the size that the library has just told. */
static void *asked_for(const problem *p, crnn_status status, const size_t *bytes) {
    CHECK(status == CRNN_OK, "%s: size", p->name);
    return fenced(*bytes);
}

static void want_flat(const problem *p, outcome *o, int result, size_t count) {
    o->count[result] = count;
    o->at[result] = fenced(count * item_of(p));
}

static void want(const problem *p, outcome *o, int result) {
    const size_t rows = result < STATES ? p->batch * p->steps : states_in(p);
    want_flat(p, o, result, rows * features_of(p, result));
}

static void want_traces(const problem *p, outcome *o) {
    const crnn_cell_facts *facts = crnn_cell_describe(p->layer.cell);
    want(p, o, TRACE_H);
    if (facts->states == 2) want(p, o, TRACE_C);
    for (int i = 0; facts->gates[i]; i++) {
        want(p, o, TRACE_SUMS + i);
        if (!facts->multiplies_h) continue;
        want(p, o, TRACE_PRODUCTS + i);
        want(p, o, TRACE_READ + i);
    }
}

static outcome new_outcome(const problem *p) {
    const crnn_cell_facts *facts = crnn_cell_describe(p->layer.cell);
    const bool c = facts->states == 2;
    outcome o = {.p = p};
    want(p, &o, Y);
    want(p, &o, H_LAST);
    if (c) want(p, &o, C_LAST);
    if (p->no_tape) return o;
    want(p, &o, TAPE_H);
    if (!p->no_traces) want_traces(p, &o);
    want(p, &o, DH_FIRST);
    want_flat(p, &o, GRADS, layout_of(p).total);
    if (!p->symbols) want(p, &o, DX);
    for (int i = 0; facts->gates[i]; i++) want(p, &o, GATES + i);
    if (!c) return o;
    want(p, &o, TAPE_C);
    want(p, &o, DC_FIRST);
    return o;
}

/* Whether element `at` of the parameters is in a block of W_h that is zero. */
static bool is_zeroed(const problem *p, const crnn_layout *layout, size_t at) {
    if (at < layout->w_h) return false;
    const size_t row = (at - layout->w_h) / layout->columns, H = p->layer.hidden;
    const size_t P = crnn_width(&p->layer), delay = row / P;
    const size_t column = (at - layout->w_h) % layout->columns;
    const size_t block = delay * 10007 + row % P / 16 * 1009 + column / H * 101 + column % H / 16;
    return delay < crnn_delay_count(&p->layer) && 0.5 + 0.5 * sample(S_WEIGHTS, block) < p->zeros;
}

static const void *params_of(const problem *p) {
    const crnn_layout layout = layout_of(p);
    const size_t total = layout.total;
    void *params = fenced(total * item_of(p));
    for (size_t i = 0; i < total; i++)
        real_put(p->layer.dtype, params, i, is_zeroed(p, &layout, i) ? 0 : param_number(p, i));
    apply_nudge(p, S_WEIGHTS, params);
    return params;
}

/* Beside packed weights: the learned state, and NaN in the place of all others.
 */
static const void *params_besides(const problem *p, const void *params) {
    const crnn_layout at = layout_of(p);
    const size_t h0 = at.extra[CRNN_H0] * item_of(p), item = item_of(p);
    if (!p->layer.learns_state) return NULL;
    char *learned = fenced(at.total * item);
    memcpy(learned + h0, (const char *)params + h0,
           (at.extra_size[CRNN_H0] + at.extra_size[CRNN_C0]) * item);
    return learned;
}

static const int64_t *symbols_of(const problem *p) {
    int64_t *symbols = fenced(p->batch * p->steps * sizeof *symbols);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t t = 0; t < length_of(p, b); t++)
            if (!is_hole(p, b, t)) symbols[b * p->steps + t] = symbol_at(p, b, t);
    return symbols;
}

/* (B, T), or NULL where there are none; past a row's end anything. */
static const uint8_t *marks_of(const problem *p, bool of_cuts) {
    if ((of_cuts ? p->cuts : p->holes) == 0) return NULL;
    uint8_t *marks = fenced(p->batch * p->steps * sizeof *marks);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t t = 0; t < p->steps; t++)
            marks[b * p->steps + t] = of_cuts ? is_cut(p, b, t) : !is_hole(p, b, t);
    return marks;
}

static const void *packed_of(const call *c) {
    const problem *p = c->p;
    size_t bytes;
    if (!p->packed) return NULL;
    void *packed = asked_for(p, crnn_packed_size(&p->layer, p->kernels, &bytes), &bytes);
    crnn_pack(&p->layer, p->kernels, c->params, packed);
    return packed;
}

static void forward(call *c) {
    const problem *p = c->p;
    size_t bytes;
    const crnn_seq y = new_seq(p, crnn_width(&p->layer));
    if (!p->no_tape) {
        const crnn_status status = crnn_tape_size(&p->layer, p->kernels, &c->rows, &bytes);
        c->tape.memory = asked_for(p, status, &bytes);
    }
    crnn_forward_args args = {.layer = &p->layer,
                              .kernels = p->kernels,
                              .rows = &c->rows,
                              .params = p->packed ? params_besides(p, c->params) : c->params,
                              .packed = packed_of(c),
                              .in = c->in,
                              .kept = p->kept,
                              .noise = noise_of(p),
                              .initial = {state_of(p, S_H0, p->h0), state_of(p, S_C0, p->c0)},
                              .y = y,
                              .final = {c->out->at[H_LAST], c->out->at[C_LAST]},
                              .tape = p->no_tape ? NULL : &c->tape};
    const crnn_status status = crnn_forward_workspace(&args, &bytes);
    args.workspace = asked_for(p, status, &bytes);
    crnn_forward(&args);
    c->from_learned = !args.initial.h;
    read_seq(p, &y, crnn_width(&p->layer), c->out->at[Y]);
}

static void look_into_trace(const call *c, const void *trace) {
    const crnn_layer *layer = &c->p->layer;
    const outcome *o = c->out;
    const char *gates = crnn_cell_describe(layer->cell)->gates;
    const crnn_traced t = {layer, &c->rows, &c->tape, trace};
    crnn_trace_state(&t, false, o->at[TRACE_H]);
    if (o->at[TRACE_C]) crnn_trace_state(&t, true, o->at[TRACE_C]);
    for (int i = 0; gates[i]; i++) {
        crnn_trace_sum(&t, gates[i], o->at[TRACE_SUMS + i]);
        if (crnn_reads(layer) == 0) continue;
        crnn_trace_product(&t, gates[i], o->at[TRACE_PRODUCTS + i]);
        crnn_trace_read(&t, gates[i], o->at[TRACE_READ + i]);
    }
}

static void look_into_tape(const call *c) {
    const crnn_layer *layer = &c->p->layer;
    const outcome *o = c->out;
    const char *gates = crnn_cell_describe(layer->cell)->gates;
    crnn_tape_state(layer, &c->rows, &c->tape, false, o->at[TAPE_H]);
    if (o->at[TAPE_C]) crnn_tape_state(layer, &c->rows, &c->tape, true, o->at[TAPE_C]);
    for (int i = 0; gates[i]; i++)
        crnn_tape_gate(layer, &c->rows, &c->tape, gates[i], o->at[GATES + i]);
}

/* A layer whose gradients are not wanted has the same dx and the same gradient of the initial
 * state. given: the arguments of a backward whose dx is in the outcome. */
static void check_frozen(const call *c, const crnn_backward_args *given) {
    const size_t mark = fences_used, item = item_of(c->p), I = c->p->layer.inputs;
    const outcome *o = c->out;
    crnn_backward_args args = *given;
    size_t bytes;
    args.grads = args.trace = NULL;
    args.dinitial = (crnn_state){fenced(o->count[DH_FIRST] * item),
                                 o->at[DC_FIRST] ? fenced(o->count[DC_FIRST] * item) : NULL};
    if (args.dx.data) args.dx = args.add_dx ? filled_seq(c->p, S_DX, I) : new_seq(c->p, I);
    CHECK(crnn_backward_workspace(&args, &bytes) == CRNN_OK, "%s", c->p->name);
    args.workspace = fenced(bytes);
    crnn_backward(&args);
    void *dx = fenced(o->count[DX] * item);
    if (args.dx.data) read_seq(c->p, &args.dx, I, dx);
    CHECK(!args.dx.data || memcmp(dx, o->at[DX], o->count[DX] * item) == 0, "%s: frozen, dx",
          c->p->name);
    CHECK(memcmp(args.dinitial.h, o->at[DH_FIRST], o->count[DH_FIRST] * item) == 0,
          "%s: frozen, dh", c->p->name);
    CHECK(!args.dinitial.c ||
              memcmp(args.dinitial.c, o->at[DC_FIRST], o->count[DC_FIRST] * item) == 0,
          "%s: frozen, dc", c->p->name);
    fences_release(mark);
}

static void backward(call *c) {
    const problem *p = c->p;
    outcome *o = c->out;
    const size_t I = p->layer.inputs, P = crnn_width(&p->layer);
    const crnn_seq none = {0};
    size_t bytes;
    crnn_seq dx = none;
    if (o->at[DX]) dx = p->add_dx ? filled_seq(p, S_DX, I) : new_seq(p, I);
    memcpy(o->at[GRADS], p->grads ? p->grads : sampled(p->layer.dtype, S_GRADS, o->count[GRADS]),
           o->count[GRADS] * item_of(p));
    crnn_backward_args args = {.layer = &p->layer,
                               .rows = &c->rows,
                               .tape = &c->tape,
                               .params = c->params,
                               .in = c->in,
                               .kept = p->kept,
                               .noise = noise_of(p),
                               .from_learned = c->from_learned,
                               .dy = p->no_dy ? none : filled_seq(p, S_DY, P),
                               .dfinal = {state_of(p, S_DH, p->dh), state_of(p, S_DC, p->dc)},
                               .dinitial = {o->at[DH_FIRST], o->at[DC_FIRST]},
                               .grads = o->at[GRADS],
                               .dx = dx,
                               .add_dx = p->add_dx};
    if (o->at[TRACE_H])
        args.trace = asked_for(p, crnn_trace_size(&p->layer, &c->tape, &c->rows, &bytes), &bytes);
    const crnn_status status = crnn_backward_workspace(&args, &bytes);
    args.workspace = asked_for(p, status, &bytes);
    crnn_backward(&args);
    if (dx.data) read_seq(p, &dx, I, o->at[DX]);
    look_into_tape(c);
    if (args.trace) look_into_trace(c, args.trace);
    check_frozen(c, &args);
}

/* The outcome stays fenced; the rest of the memory is given back. */
static outcome run(const problem *p) {
    outcome o = new_outcome(p);
    const size_t mark = fences_used;
    call c = {.p = p, .out = &o};
    size_t words;
    const crnn_steps steps = {p->batch,          p->steps,         p->lengths, marks_of(p, false),
                              marks_of(p, true), p->layer.reverse, 0};
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "%s", p->name);
    crnn_rows_init(&c.rows, fenced(words * sizeof words), &steps);
    c.params = params_of(p);
    if (p->symbols) c.in = (crnn_input){.symbols = symbols_of(p), .table = symbols_in(p)};
    if (!p->symbols || p->table) c.in.x = filled_seq(p, S_X, p->layer.inputs);
    if (p->symbols && p->table) c.in.x.data = (char *)c.in.x.data + p->table * item_of(p);
    forward(&c);
    for (int i = 0; !p->no_tape && i < 1 + p->twice; i++) backward(&c);
    fences_release(mark);
    return o;
}

/* ---- comparing outcomes, number by number or bit by bit */

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

/* Of a relative error: they grow along a sequence, and where little is divided by its deviation. */
static double limit_of(const problem *p) {
    const double one = p->layer.dtype == CRNN_F64 ? 1e-13 : 1e-5;
    return one * (1 + (double)p->steps / 50) * (p->layer.layer_norm ? 30 : 1);
}

static void check_state(const char *what, int result, const outcome *a, size_t ra, const outcome *b,
                        size_t rb) {
    const size_t depth = crnn_longest_delay(&a->p->layer);
    const size_t bytes = depth * features_of(a->p, result) * item_of(a->p);
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

/* Where the same numbers are added up in another order. */
static void check_grads_near(const char *what, const outcome *a, const outcome *b) {
    const double apart = distance(a->p->layer.dtype, a->count[GRADS], b->at[GRADS], a->at[GRADS]);
    CHECK(apart <= limit_of(a->p), ABOUT "%s, gradients are %g apart", WHO(a->p), what, apart);
}

/* Runs `other`, which must give what a is, to the last bit. */
static void check_same(const char *what, const outcome *a, const problem *other) {
    const size_t mark = fences_used;
    const outcome b = run(other);
    for (size_t row = 0; row < a->p->batch; row++) check_row(what, a, row, &b, row);
    check_grads(what, a, &b);
    fences_release(mark);
}

/* In a hole a state is what it was when the step before was read, or zero; all else is zero. */
static bool hole_is_filled(const outcome *o, int result, size_t b, size_t t, size_t last) {
    const size_t bytes = features_of(o->p, result) * item_of(o->p);
    const bool repeats = result == Y || result == TAPE_H || result == TAPE_C;
    const char *here = from_step(o, result, b, t);
    const char *from = repeats && last != NOTHING ? from_step(o, result, b, last) : NULL;
    bool right = true;
    for (size_t i = 0; i < bytes; i++) right = right && here[i] == (from ? from[i] : 0);
    return right;
}

static void check_holes(const outcome *o, int result) {
    const problem *p = o->p;
    bool filled = true;
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t i = 0, last = NOTHING; i < length_of(p, b); i++) {
            const size_t t = in_turn(p, b, i);
            last = last_read(p, b, i, last);
            filled = filled && (last == t || hole_is_filled(o, result, b, t, last));
        }
    }
    CHECK(filled, ABOUT "%s in holes", WHO(p), name_of(result));
}

/* The same but for the order in which pieces of rows stand, and so are added up. */
static void check_same_rows(const char *what, const outcome *a, const problem *other) {
    const size_t mark = fences_used;
    const outcome b = run(other);
    for (size_t row = 0; row < a->p->batch; row++) check_row(what, a, row, &b, row);
    check_grads_near(what, a, &b);
    fences_release(mark);
}

/* Every number is one; zeros past every row's end, and in holes what belongs there. */
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
        if (i < STATES && o->at[i] && p->holes > 0) check_holes(o, i);
    }
}

#endif
