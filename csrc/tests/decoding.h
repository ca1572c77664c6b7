/* A decoder as tests pose it: a problem as a table row, its numbers, and a step of it made of the
 * public calls of single layers, of dense maps and of attention, against which the decoders of the
 * library are held. */
#ifndef CRNN_TESTS_DECODING_H
#define CRNN_TESTS_DECODING_H

#include "support.h"

enum { DEPTH = 2 /* layers, at most */ };

typedef struct problem {
    const char *name;
    crnn_layer layer;                    /* of each level; the one above has a unit more */
    size_t depth, batch, steps, sources; /* B, T, T_s */
    size_t table, own; /* what the lowest layer reads: K symbols, 0 where there are none; floats */
    size_t embedded;   /* E: symbols have vectors; 0: they have rows of W_x */
    size_t key_size, value_size;         /* A, which is P where the query is h; C */
    bool attends, feeds, additive, asks; /* attention; read beside the input; v; w_query */
    bool given;                          /* initial states */
    bool training;                       /* there is noise */
    double dropout;                      /* between the layers, in training, */
    bool variational;                    /* of the same elements at all steps */
    bool time_major;
} problem;

typedef struct inputs {
    const problem *p;
    const crnn_kernels *kernels;
    crnn_layer layer[DEPTH];
    void *params[DEPTH];
    crnn_state initial[DEPTH];
    crnn_noise noise;
    size_t batch, steps;
    const int64_t *lengths;  /* [B] */
    const int64_t *symbols;  /* (B, T), or NULL; like all below dense, and no number past an end */
    void *x, *dy, *dcontext; /* (B, T, own), (B, T, P), (B, T, C) */
    crnn_attention attention;
    void *w_query, *vectors; /* (P, A), (K, E) */
} inputs;

#define ABOUT "%s %s %s, %s (%zu, %zu, %zu), depth %zu: "
#define WHO(in) \
    (in)->kernels->isa, type_name[(in)->kernels->dtype], \
        crnn_cell_describe((in)->layer[0].cell)->name, (in)->p->name, (in)->batch, (in)->steps, \
        (in)->layer[0].hidden, (in)->p->depth

/* ---- numbers */

enum {
    S_X,
    S_SYMBOLS,
    S_DY,
    S_DCONTEXT,
    S_KEYS,
    S_VALUES,
    S_V,
    S_QUERY,
    S_SUMS,
    S_VECTORS,
    S_LEVELS
};
enum { S_PARAMS = S_LEVELS, S_H = S_PARAMS + DEPTH, S_C = S_H + DEPTH, STREAMS = S_C + DEPTH };

static inline void *place(const void *base, size_t row, size_t wide, size_t item) {
    return (char *)base + row * wide * item;
}

static inline size_t item_of(const inputs *in) { return crnn_dtype_size(in->kernels->dtype); }

static inline size_t top_width(const inputs *in) {
    return crnn_width(&in->layer[in->p->depth - 1]);
}

static inline bool has_c(const inputs *in) {
    return crnn_cell_describe(in->layer[0].cell)->states == 2;
}

static inline size_t length_of(const inputs *in, size_t b) { return (size_t)in->lengths[b]; }

/* Floats that the lowest layer reads. */
static inline size_t floats_of(const inputs *in) {
    return in->p->own + (in->p->feeds ? in->p->value_size : 0);
}

/* Inputs of the lowest layer that symbols stand for. */
static inline size_t symbol_inputs(const inputs *in) {
    return in->p->embedded ? in->p->embedded : in->p->table;
}

static inline void *scaled(crnn_dtype dtype, size_t stream, size_t n, double scale) {
    void *p = fenced(n * crnn_dtype_size(dtype));
    for (size_t i = 0; i < n; i++) real_put(dtype, p, i, scale * sample(stream, i));
    return p;
}

/* [B][steps][wide] samples, NaN past the end of a row. */
static inline void *ragged(const inputs *in, size_t stream, size_t steps, const int64_t *lengths,
                           size_t wide) {
    void *p = fenced(in->batch * steps * wide * item_of(in));
    for (size_t b = 0; b < in->batch; b++)
        for (size_t i = b * steps * wide; i < (b * steps + (size_t)lengths[b]) * wide; i++)
            real_put(in->kernels->dtype, p, i, sample(stream, i));
    return p;
}

static inline const int64_t *made_symbols(const inputs *in) {
    const size_t T = in->steps, K = in->p->table;
    int64_t *symbols = fenced(in->batch * T * sizeof *symbols);
    for (size_t b = 0; b < in->batch; b++)
        for (size_t i = b * T; i < b * T + length_of(in, b); i++)
            symbols[i] = (int64_t)((0.5 + 0.5 * sample(S_SYMBOLS, i)) * (double)K);
    return symbols;
}

static inline void make_level(inputs *in, size_t l) {
    const crnn_dtype dtype = in->kernels->dtype;
    crnn_layer *layer = &in->layer[l];
    crnn_layout at;
    *layer = in->p->layer;
    layer->dtype = dtype;
    layer->hidden += l;
    layer->inputs = l ? crnn_width(layer - 1) : symbol_inputs(in) + floats_of(in);
    CHECK(crnn_layer_layout(layer, &at) == CRNN_OK, "layout");
    in->params[l] =
        scaled(dtype, S_PARAMS + l, at.total, 2 / sqrt((double)(layer->inputs + layer->hidden)));
    if (!in->p->given) return;
    in->initial[l].h = sampled(dtype, S_H + l, in->batch * crnn_width(layer));
    if (has_c(in)) in->initial[l].c = sampled(dtype, S_C + l, in->batch * layer->hidden);
}

/* Rows of every length there is on both sides. */
static inline const int64_t *made_lengths(size_t batch, size_t most, size_t stride) {
    int64_t *lengths = fenced(batch * sizeof *lengths);
    for (size_t b = 0; b < batch; b++) lengths[b] = (int64_t)((stride * b + most) % (most + 1));
    return lengths;
}

static inline void make_attention(inputs *in) {
    const problem *p = in->p;
    const crnn_dtype dtype = in->kernels->dtype;
    const size_t P = top_width(in), A = p->asks ? p->key_size : P;
    const int64_t *lengths = made_lengths(in->batch, p->sources, 1);
    in->attention =
        (crnn_attention){.dtype = dtype,
                         .batch = in->batch,
                         .queries = in->steps,
                         .steps = p->sources,
                         .key_size = A,
                         .value_size = p->value_size,
                         .lengths = lengths,
                         .query_lengths = in->lengths,
                         .keys = ragged(in, S_KEYS, p->sources, lengths, A),
                         .values = ragged(in, S_VALUES, p->sources, lengths, p->value_size),
                         .v = p->additive ? sampled(dtype, S_V, A) : NULL};
    if (p->asks) in->w_query = scaled(dtype, S_QUERY, P * A, 1 / sqrt((double)P));
}

static inline inputs new_inputs(const problem *p, const crnn_kernels *kernels) {
    inputs in = {.p = p, .kernels = kernels, .batch = p->batch, .steps = p->steps};
    in.noise = (crnn_noise){.on = p->training, .seed = 7, .call = 5, .first_row = 0xfffffffe};
    in.lengths = made_lengths(p->batch, p->steps, 2);
    if (p->table) in.symbols = made_symbols(&in);
    if (p->embedded) in.vectors = sampled(kernels->dtype, S_VECTORS, p->table * p->embedded);
    in.x = ragged(&in, S_X, p->steps, in.lengths, p->own);
    for (size_t l = 0; l < p->depth; l++) make_level(&in, l);
    in.dy = ragged(&in, S_DY, p->steps, in.lengths, top_width(&in));
    if (!p->attends) return in;
    make_attention(&in);
    in.dcontext = ragged(&in, S_DCONTEXT, p->steps, in.lengths, p->value_size);
    return in;
}

static inline crnn_noise level_noise(const inputs *in, size_t l) {
    crnn_noise noise = in->noise;
    noise.layer = (uint32_t)l;
    return noise;
}

/* What is dropped before level l > 0. */
static inline bool drops(const inputs *in) { return in->p->dropout > 0 && in->p->training; }

static inline crnn_rowwise drop_of(const inputs *in, size_t l) {
    return (crnn_rowwise){.kind = CRNN_ROWWISE_DROP,
                          .kernels = in->kernels,
                          .inputs = 1,
                          .features = {in->layer[l].inputs},
                          .p = in->p->dropout,
                          .noise = level_noise(in, DEPTH + l),
                          .variational = in->p->variational};
}

/* One row of them, without padding on either side. */
static inline inputs row_of(const inputs *in, size_t row) {
    const size_t item = item_of(in), T = in->steps, at = row * T;
    const crnn_attention *a = &in->attention;
    inputs own = *in;
    own.batch = 1;
    own.lengths += row;
    own.steps = length_of(in, row);
    own.noise.first_row += row;
    own.x = place(in->x, at, in->p->own, item);
    own.dy = place(in->dy, at, top_width(in), item);
    if (in->symbols) own.symbols += at;
    for (size_t l = 0; l < in->p->depth && in->p->given; l++) {
        own.initial[l].h = place(in->initial[l].h, row, crnn_width(&in->layer[l]), item);
        if (has_c(in)) own.initial[l].c = place(in->initial[l].c, row, in->layer[l].hidden, item);
    }
    if (!in->p->attends) return own;
    own.dcontext = place(in->dcontext, at, a->value_size, item);
    own.attention.batch = 1;
    own.attention.queries = own.steps;
    own.attention.steps = (size_t)a->lengths[row];
    own.attention.lengths = own.attention.query_lengths = NULL;
    own.attention.keys = place(a->keys, row * a->steps, a->key_size, item);
    own.attention.values = place(a->values, row * a->steps, a->value_size, item);
    return own;
}

/* ---- a step */

/* The states of all rows, and what the last step made. */
typedef struct progress {
    crnn_state state[DEPTH];
    void *y[DEPTH];                  /* [B][P] */
    void *query, *weights, *context; /* [B][A], [B][T_s], [B][C] */
} progress;

/* [B][wide]: what is given, else the learned state, else zeros. */
static inline void *first_state(const inputs *in, const void *given, const void *learned,
                                size_t wide) {
    const size_t bytes = wide * item_of(in);
    char *state = fenced(in->batch * bytes);
    memset(state, 0, in->batch * bytes);
    if (given) memcpy(state, given, in->batch * bytes);
    for (size_t b = 0; b < in->batch && !given && learned; b++)
        memcpy(state + b * bytes, learned, bytes);
    return state;
}

static inline progress begin(const inputs *in) {
    const size_t B = in->batch, item = item_of(in);
    const crnn_attention *a = &in->attention;
    progress s = {.query = fenced(B * a->key_size * item),
                  .weights = fenced(B * a->steps * item),
                  .context = fenced(B * a->value_size * item)};
    for (size_t l = 0; l < in->p->depth; l++) {
        const crnn_layer *layer = &in->layer[l];
        crnn_layout at;
        CHECK(crnn_layer_layout(layer, &at) == CRNN_OK, "layout");
        const bool learns = layer->learns_state;
        const char *h0 = place(in->params[l], at.extra[CRNN_H0], 1, item);
        const char *c0 = place(in->params[l], at.extra[CRNN_C0], 1, item);
        s.state[l].h = first_state(in, in->initial[l].h, learns ? h0 : NULL, crnn_width(layer));
        if (has_c(in))
            s.state[l].c = first_state(in, in->initial[l].c, learns ? c0 : NULL, layer->hidden);
        s.y[l] = fenced(B * crnn_width(layer) * item);
    }
    return s;
}

/* The top layer's h asks for the context of those rows that are there, [B] each 0 or 1. */
static inline void ask(const inputs *in, const int64_t *there, progress *s) {
    const void *h = s->state[in->p->depth - 1].h;
    const size_t P = top_width(in), A = in->attention.key_size;
    crnn_attention a = in->attention;
    a.queries = 1;
    a.query_lengths = there;
    if (in->w_query) {
        const crnn_dense dense = {in->kernels, in->batch, P, A};
        size_t bytes;
        CHECK(crnn_dense_workspace(&dense, &bytes) == CRNN_OK, "workspace");
        crnn_dense_forward(&dense, h, in->w_query, NULL, s->query, fenced(bytes));
    } else {
        memcpy(s->query, h, in->batch * P * item_of(in));
    }
    crnn_attention_forward(&a, s->query, s->weights, s->context);
}

static inline void step_level(const inputs *in, size_t l, size_t t, const int64_t *there,
                              crnn_input read, progress *s) {
    const crnn_steps steps = {.batch = in->batch, .steps = 1, .lengths = there};
    crnn_noise noise = level_noise(in, l);
    crnn_rows rows;
    size_t size;
    noise.first_step = (uint32_t)t;
    CHECK(crnn_rows_size(&steps, &size) == CRNN_OK, "rows");
    crnn_rows_init(&rows, fenced(size * sizeof size), &steps);
    crnn_forward_args args = {.layer = &in->layer[l],
                              .kernels = in->kernels,
                              .rows = &rows,
                              .params = in->params[l],
                              .in = read,
                              .noise = noise,
                              .initial = s->state[l],
                              .y = {s->y[l], (ptrdiff_t)crnn_width(&in->layer[l]), 0},
                              .final = s->state[l]};
    CHECK(crnn_forward_workspace(&args, &size) == CRNN_OK, "workspace");
    args.workspace = fenced(size);
    crnn_forward(&args);
}

/* [K][G*H]: the vectors times their rows of W_x, for symbols of the lowest layer. */
static inline void *products_of(const inputs *in) {
    crnn_layout at;
    size_t bytes;
    CHECK(crnn_layer_layout(&in->layer[0], &at) == CRNN_OK, "layout");
    const crnn_dense dense = {in->kernels, in->p->table, in->p->embedded, at.columns};
    void *products = fenced(in->p->table * at.columns * item_of(in));
    CHECK(crnn_dense_workspace(&dense, &bytes) == CRNN_OK, "workspace");
    crnn_dense_forward(&dense, in->vectors, place(in->params[0], at.w_x, 1, item_of(in)), NULL,
                       products, fenced(bytes));
    return products;
}

/* Step t of y [B][features], some of it dropped before level l reads it. */
static inline void *dropped(const inputs *in, size_t l, size_t t, const int64_t *there,
                            const crnn_seq *y) {
    const crnn_rowwise drop = drop_of(in, l);
    const size_t features = drop.features[0];
    void *to = fenced(in->batch * features * item_of(in));
    const crnn_rowwise_call call = {.x = {*y}, .y = {to, (ptrdiff_t)features, 0}};
    for (size_t b = 0; b < in->batch; b++) {
        const crnn_cells cell = {.n = (size_t)there[b], .row = &b, .time = &t};
        crnn_rowwise_forward(&drop, &cell, &call);
    }
    return to;
}

/* Step t of all rows, which read own [B][own] and symbols [B]. Where contexts are not read, they
 * are asked for with what the step made. */
static inline void step(const inputs *in, size_t t, const int64_t *there, const void *own,
                        const int64_t *symbols, progress *s) {
    const problem *p = in->p;
    const size_t mark = fences_used, floats = floats_of(in), item = item_of(in);
    if (p->feeds) ask(in, there, s);
    char *x = fenced(in->batch * floats * item);
    for (size_t b = 0; b < in->batch; b++) {
        char *row = place(x, b, floats, item);
        if (p->own) memcpy(row, place(own, b, p->own, item), p->own * item);
        if (p->feeds)
            memcpy(row + p->own * item, place(s->context, b, p->value_size, item),
                   p->value_size * item);
    }
    crnn_input read = {.x = {floats ? x : NULL, (ptrdiff_t)floats, 0},
                       .symbols = symbols,
                       .table = symbol_inputs(in),
                       .products = p->embedded ? products_of(in) : NULL};
    for (size_t l = 0; l < p->depth; l++) {
        if (l > 0 && drops(in)) read.x.data = dropped(in, l, t, there, &read.x);
        step_level(in, l, t, there, read, s);
        read = (crnn_input){.x = {s->y[l], (ptrdiff_t)crnn_width(&in->layer[l]), 0}};
    }
    if (p->attends && !p->feeds) ask(in, there, s);
    fences_release(mark);
}

#endif
