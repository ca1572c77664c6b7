/* A problem for a recurrent layer, as a table row, and one call that solves it: every buffer of
 * exactly the size that was asked for, in guarded memory, and filled with NaN beforehand. */
#ifndef CRNN_TESTS_PROBLEM_H
#define CRNN_TESTS_PROBLEM_H

#include "support.h"
/* ---- a problem: a function gives its numbers, so that a part of it has those of the whole */

enum { GAP = 3 /* elements between the rows of a strided array */ };
enum { S_WEIGHTS, S_X, S_DY, S_H0, S_C0, S_DH, S_DC, S_GRADS, S_DX, S_LENGTHS };

typedef struct nudge {
    int stream;
    size_t at;
    double by;
} nudge;

typedef struct problem {
    const char *name;
    bool ragged;           /* lengths differ */
    bool symbols, one_hot; /* the input is symbols, or their one-hot rows */
    bool given;            /* initial state, and gradient of the final one */
    bool strided;          /* time-major, last step first, gaps between rows */
    bool add_dx, no_dy;
    bool no_traces, no_tape; /* no_tape: forward alone */
    bool packed;             /* forward gets packed weights, and no others */
    const crnn_kernels *kernels;
    crnn_layer layer;
    size_t batch, steps;
    const int64_t *lengths; /* [batch], or NULL */
    /* The part of the whole: row 0 is its first_row, step 0 its first_step, or its last one. */
    size_t first_row, first_step;
    bool turned;
    /* In place of samples, where not NULL: (B, H) dense, and the flat gradients before. */
    const void *h0, *c0, *dh, *dc, *grads;
    nudge nudge; /* one number of forward's, changed */
} problem;

static size_t item_of(const problem *p) { return crnn_dtype_size(p->layer.dtype); }

static size_t length_of(const problem *p, size_t b) {
    return p->lengths ? (size_t)p->lengths[b] : p->steps;
}

static crnn_layout layout_of(const problem *p) {
    crnn_layout at = {0};
    CHECK(crnn_layer_layout(&p->layer, &at) == CRNN_OK, "%s", p->name);
    return at;
}

/* Where in the whole's numbers element f of row b, step t stands. */
static size_t place_in_whole(const problem *p, size_t b, size_t t, size_t f) {
    const size_t time = p->first_step + (p->turned ? length_of(p, b) - 1 - t : t);
    return (p->first_row + b) * 10007 + time * 1009 + f;
}

static double state_number(const problem *p, int stream, size_t b, size_t f) {
    return sample((size_t)stream, (p->first_row + b) * 10007 + f);
}

static int64_t symbol_at(const problem *p, size_t b, size_t t) {
    const double unit = 0.5 + 0.5 * sample(S_X, place_in_whole(p, b, t, 0));
    return (int64_t)(unit * (double)p->layer.inputs);
}

static double number(const problem *p, int stream, size_t b, size_t t, size_t f) {
    if (stream == S_X && p->one_hot) return (int64_t)f == symbol_at(p, b, t);
    return sample((size_t)stream, place_in_whole(p, b, t, f));
}

static void apply_nudge(const problem *p, int stream, void *values) {
    if (p->nudge.by != 0 && p->nudge.stream == stream)
        real_put(p->layer.dtype, values, p->nudge.at,
                 real_at(p->layer.dtype, values, p->nudge.at) + p->nudge.by);
}

/* ---- arrays (B, T, F), dense or strided */

static size_t strided_size(const problem *p, size_t features) {
    const size_t rows = p->batch * p->steps;
    return rows ? rows * (features + GAP) - GAP : 0;
}

static crnn_seq new_seq(const problem *p, size_t features) {
    const size_t B = p->batch, T = p->steps, wide = features + GAP;
    if (!p->strided)
        return (crnn_seq){fenced(B * T * features * item_of(p)), (ptrdiff_t)(T * features),
                          (ptrdiff_t)features};
    char *data = fenced(strided_size(p, features) * item_of(p));
    const size_t step_0 = B > 0 && T > 0 ? (T - 1) * B * wide : 0;
    return (crnn_seq){data + step_0 * item_of(p), (ptrdiff_t)wide, -(ptrdiff_t)(B * wide)};
}

/* The steps that are there; the rest stays NaN. */
static crnn_seq filled_seq(const problem *p, int stream, size_t features) {
    const crnn_seq seq = new_seq(p, features);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t t = 0; t < length_of(p, b); t++)
            for (size_t f = 0; f < features; f++)
                real_put(p->layer.dtype, crnn_seq_at(&seq, b, t, item_of(p)), f,
                         number(p, stream, b, t, f));
    if (!p->strided) apply_nudge(p, stream, seq.data);
    return seq;
}

/* to (B, T, F) dense; and nothing was written between the rows. */
static void read_seq(const problem *p, const crnn_seq *seq, size_t features, char *to) {
    const size_t bytes = features * item_of(p);
    bool gaps = true;
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t t = 0; t < p->steps; t++, to += bytes) {
            const unsigned char *row = crnn_seq_at(seq, b, t, item_of(p));
            memcpy(to, row, bytes);
            if (!p->strided || (t == 0 && b + 1 == p->batch)) continue; /* the last one has none */
            for (size_t i = 0; i < GAP * item_of(p); i++)
                gaps = gaps && row[bytes + i] == fence_fill;
        }
    }
    CHECK(gaps, "%s: wrote between rows", p->name);
}

/* (B, H) samples, `instead` if there is one, or none. */
static void *state_of(const problem *p, int stream, const void *instead) {
    const size_t H = p->layer.hidden, count = p->batch * H;
    if (instead) return copied(instead, count * item_of(p));
    if (!p->given) return NULL;
    void *state = fenced(count * item_of(p));
    for (size_t i = 0; i < count; i++)
        real_put(p->layer.dtype, state, i, state_number(p, stream, i / H, i % H));
    apply_nudge(p, stream, state);
    return state;
}

/* ---- one call, forward and backward, and all that it gives */

enum {
    Y,
    TAPE_H,
    TAPE_C,
    TRACE_H,
    TRACE_C,
    DX,
    GATES, /* one after the other, in gate_order */
    STATES = GATES +
        MAX_PHASES * MAX_SLOTS, /* from here on (B, H), before it (B, T, H) or (B, T, I) */
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
} call;

/* Memory of the size that the library has just told. */
static void *asked_for(const problem *p, crnn_status status, const size_t *bytes) {
    CHECK(status == CRNN_OK, "%s: size", p->name);
    return fenced(*bytes);
}

static void want(const problem *p, outcome *o, int result, size_t count) {
    o->count[result] = count;
    o->at[result] = fenced(count * item_of(p));
}

static outcome new_outcome(const problem *p) {
    const crnn_cell_facts *facts = crnn_cell_describe(p->layer.cell);
    const size_t H = p->layer.hidden, state = p->batch * H, all = state * p->steps;
    const bool c = facts->states == 2;
    outcome o = {.p = p};
    want(p, &o, Y, all);
    want(p, &o, H_LAST, state);
    if (c) want(p, &o, C_LAST, state);
    if (p->no_tape) return o;
    want(p, &o, TAPE_H, all);
    if (!p->no_traces) want(p, &o, TRACE_H, all);
    want(p, &o, DH_FIRST, state);
    want(p, &o, GRADS, layout_of(p).total);
    if (!p->symbols) want(p, &o, DX, p->batch * p->steps * p->layer.inputs);
    for (int i = 0; facts->gates[i]; i++) want(p, &o, GATES + i, all);
    if (!c) return o;
    want(p, &o, TAPE_C, all);
    if (!p->no_traces) want(p, &o, TRACE_C, all);
    want(p, &o, DC_FIRST, state);
    return o;
}

static const void *params_of(const problem *p) {
    const size_t total = layout_of(p).total;
    const double scale = 2 / sqrt((double)(p->layer.inputs + p->layer.hidden));
    void *params = fenced(total * item_of(p));
    for (size_t i = 0; i < total; i++)
        real_put(p->layer.dtype, params, i, scale * sample(S_WEIGHTS, i));
    apply_nudge(p, S_WEIGHTS, params);
    return params;
}

static const int64_t *symbols_of(const problem *p) {
    int64_t *symbols = fenced(p->batch * p->steps * sizeof *symbols);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t t = 0; t < length_of(p, b); t++) symbols[b * p->steps + t] = symbol_at(p, b, t);
    return symbols;
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
    const crnn_seq y = new_seq(p, p->layer.hidden);
    if (!p->no_tape) {
        const crnn_status status = crnn_tape_size(&p->layer, p->kernels, &c->rows, &bytes);
        c->tape.memory = asked_for(p, status, &bytes);
    }
    crnn_forward_args args = {.layer = &p->layer,
                              .kernels = p->kernels,
                              .rows = &c->rows,
                              .params = p->packed ? NULL : c->params,
                              .packed = packed_of(c),
                              .in = c->in,
                              .initial = {state_of(p, S_H0, p->h0), state_of(p, S_C0, p->c0)},
                              .y = y,
                              .final = {c->out->at[H_LAST], c->out->at[C_LAST]},
                              .tape = p->no_tape ? NULL : &c->tape};
    const crnn_status status = crnn_forward_workspace(&args, &bytes);
    args.workspace = asked_for(p, status, &bytes);
    crnn_forward(&args);
    read_seq(p, &y, p->layer.hidden, c->out->at[Y]);
}

static void look_into_tape(const call *c, const void *dh, const void *dc) {
    const crnn_layer *layer = &c->p->layer;
    const outcome *o = c->out;
    const char *gates = crnn_cell_describe(layer->cell)->gates;
    crnn_tape_state(layer, &c->rows, &c->tape, false, o->at[TAPE_H]);
    if (o->at[TAPE_C]) crnn_tape_state(layer, &c->rows, &c->tape, true, o->at[TAPE_C]);
    if (dh) crnn_rows_view(layer, &c->rows, &c->tape, layer->hidden, dh, o->at[TRACE_H]);
    if (dc) crnn_rows_view(layer, &c->rows, &c->tape, layer->hidden, dc, o->at[TRACE_C]);
    for (int i = 0; gates[i]; i++)
        crnn_tape_gate(layer, &c->rows, &c->tape, gates[i], o->at[GATES + i]);
}

static void backward(call *c) {
    const problem *p = c->p;
    outcome *o = c->out;
    const size_t I = p->layer.inputs;
    const size_t trace = c->rows.total * crnn_padded(p->layer.hidden, &c->tape) * item_of(p);
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
                               .dy = p->no_dy ? none : filled_seq(p, S_DY, p->layer.hidden),
                               .dfinal = {state_of(p, S_DH, p->dh), state_of(p, S_DC, p->dc)},
                               .dinitial = {o->at[DH_FIRST], o->at[DC_FIRST]},
                               .grads = o->at[GRADS],
                               .dx = dx,
                               .add_dx = p->add_dx,
                               .dh = o->at[TRACE_H] ? fenced(trace) : NULL,
                               .dc = o->at[TRACE_C] ? fenced(trace) : NULL};
    const crnn_status status = crnn_backward_workspace(&args, &bytes);
    args.workspace = asked_for(p, status, &bytes);
    crnn_backward(&args);
    if (dx.data) read_seq(p, &dx, I, o->at[DX]);
    look_into_tape(c, args.dh, args.dc);
}

/* The outcome stays fenced; the rest of the memory is given back. */
static outcome run(const problem *p) {
    outcome o = new_outcome(p);
    const size_t mark = fences_used;
    call c = {.p = p, .out = &o};
    size_t words;
    const crnn_steps steps = {p->batch, p->steps, p->lengths, NULL, NULL, p->layer.reverse};
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "%s", p->name);
    crnn_rows_init(&c.rows, fenced(words * sizeof words), &steps);
    c.params = params_of(p);
    if (p->symbols)
        c.in.symbols = symbols_of(p);
    else
        c.in.x = filled_seq(p, S_X, p->layer.inputs);
    forward(&c);
    if (!p->no_tape) backward(&c);
    fences_release(mark);
    return o;
}

#endif
