/* One call of a decoder that is fed what it attends to, all that it gives, the same forward made of
 * single steps, and outcomes compared. */
#ifndef CRNN_TESTS_DECODED_H
#define CRNN_TESTS_DECODED_H

#include "decoding.h"

/* ---- all that a call gives */

enum { PER_STEP, PER_SOURCE_STEP, PER_ROW, SUM /* over the batch, added to what is there */ };
enum {
    CONTEXT,
    QUERIES,
    WEIGHTS,
    DX,
    DCONTEXT,
    DQUERIES,
    DKEYS,
    DVALUES,
    DV,
    DW_QUERY,
    DVECTORS,
    LEVELS
};
enum { Y, H_LAST, C_LAST, DH_FIRST, DC_FIRST, GRADS, OF_LEVEL }; /* of each level */
enum { RESULTS = LEVELS + DEPTH * OF_LEVEL };

typedef struct result {
    const char *name; /* NULL: not there */
    int kind;
    size_t wide;
    void *data;
} result;

typedef struct outcome {
    result at[RESULTS];
} outcome;

static inline result *level_result(outcome *o, size_t l, int i) {
    return &o->at[LEVELS + l * OF_LEVEL + (size_t)i];
}

/* Elements. */
static inline size_t count_of(const inputs *in, const result *r) {
    const size_t rows[] = {in->batch * in->steps, in->batch * in->attention.steps, in->batch, 1};
    return rows[r->kind] * r->wide;
}

/* Where the numbers of a row begin, and how many are not padding. */
static inline char *row_result(const inputs *in, const result *r, size_t b) {
    const size_t steps[] = {in->steps, in->attention.steps, 1, 0};
    return place(r->data, b * steps[r->kind], r->wide, item_of(in));
}

static inline size_t row_count(const inputs *in, const result *r, size_t b) {
    const int64_t *sources = in->attention.lengths;
    if (r->kind == PER_STEP) return length_of(in, b) * r->wide;
    if (r->kind == PER_SOURCE_STEP)
        return (sources ? (size_t)sources[b] : in->attention.steps) * r->wide;
    return r->kind == PER_ROW ? r->wide : 0;
}

/* Sums go on from those of `onto`, or from samples. */
static inline outcome new_outcome(const inputs *in, const outcome *onto, bool back) {
    const crnn_attention *a = &in->attention;
    const size_t A = a->key_size, C = a->value_size;
    outcome o = {{[CONTEXT] = {"contexts", PER_STEP, C, NULL},
                  [QUERIES] = {in->w_query ? "queries" : NULL, PER_STEP, A, NULL},
                  [WEIGHTS] = {"weights", PER_STEP, a->steps, NULL},
                  [DX] = {in->p->own ? "dx" : NULL, PER_STEP, floats_of(in), NULL},
                  [DCONTEXT] = {"dcontext", PER_STEP, C, NULL},
                  [DQUERIES] = {in->w_query ? "dqueries" : NULL, PER_STEP, A, NULL},
                  [DKEYS] = {"dkeys", PER_SOURCE_STEP, A, NULL},
                  [DVALUES] = {"dvalues", PER_SOURCE_STEP, C, NULL},
                  [DV] = {a->v ? "dv" : NULL, SUM, A, NULL},
                  [DW_QUERY] = {in->w_query ? "dW_query" : NULL, SUM, top_width(in) * A, NULL},
                  [DVECTORS] = {in->vectors ? "dvectors" : NULL, SUM,
                                in->p->table * in->p->embedded, NULL}}};
    for (size_t l = 0; l < in->p->depth; l++) {
        const crnn_layer *layer = &in->layer[l];
        crnn_layout at;
        CHECK(crnn_layer_layout(layer, &at) == CRNN_OK, "layout");
        *level_result(&o, l, Y) = (result){"y", PER_STEP, crnn_width(layer), NULL};
        *level_result(&o, l, H_LAST) = (result){"last h", PER_ROW, crnn_width(layer), NULL};
        *level_result(&o, l, DH_FIRST) = (result){"dh_0", PER_ROW, crnn_width(layer), NULL};
        *level_result(&o, l, GRADS) = (result){"gradients", SUM, at.total, NULL};
        if (!has_c(in)) continue;
        *level_result(&o, l, C_LAST) = (result){"last c", PER_ROW, layer->hidden, NULL};
        *level_result(&o, l, DC_FIRST) = (result){"dc_0", PER_ROW, layer->hidden, NULL};
    }
    for (size_t i = 0; i < RESULTS; i++) {
        result *r = &o.at[i];
        const bool forward = i < DX || (i >= LEVELS && (i - LEVELS) % OF_LEVEL <= C_LAST);
        if (!back && !forward) r->name = NULL;
        if (!r->name) continue;
        r->data = fenced(count_of(in, r) * item_of(in));
        for (size_t k = 0; r->kind == SUM && k < r->wide; k++)
            real_put(in->kernels->dtype, r->data, k,
                     onto ? real_at(in->kernels->dtype, onto->at[i].data, k) : sample(S_SUMS, k));
    }
    return o;
}

/* ---- sequences as a decoder reads them */

static inline crnn_seq new_seq(const inputs *in, size_t wide) {
    void *data = fenced(in->batch * in->steps * wide * item_of(in));
    const ptrdiff_t each = (ptrdiff_t)wide;
    if (in->p->time_major) return (crnn_seq){data, each, each * (ptrdiff_t)in->batch};
    return (crnn_seq){data, each * (ptrdiff_t)in->steps, each};
}

/* The first features of a sequence are those of dense (B, T, wide). */
static inline void fill_seq(const inputs *in, const crnn_seq *seq, size_t wide, const void *dense) {
    const size_t T = in->steps, item = item_of(in);
    for (size_t i = 0; i < in->batch * T; i++)
        memcpy(crnn_seq_at(seq, i / T, i % T, item), place(dense, i, wide, item), wide * item);
}

/* Features from `first` on to a result. */
static inline void read_seq(const inputs *in, const crnn_seq *seq, size_t first, const result *to) {
    const size_t T = in->steps, item = item_of(in);
    for (size_t i = 0; i < in->batch * T; i++)
        memcpy(place(to->data, i, to->wide, item),
               (char *)crnn_seq_at(seq, i / T, i % T, item) + first * item, to->wide * item);
}

/* ---- the library: a plan whose nodes from the query to the top layer are a cycle */

enum { NODES = 4 + 2 * DEPTH, NODE_EDGES = 2, NONE = NODES };

typedef struct call {
    const inputs *in;
    outcome *out;
    crnn_rows rows;
    crnn_tape tape[DEPTH];
    crnn_node node[NODES];
    crnn_edge from[NODES][NODE_EDGES];
    size_t own, symbols, query, context, joined, level[DEPTH]; /* nodes; NONE: there is none */
    crnn_plan plan;
} call;

static inline crnn_node *add_node(call *c, crnn_op op, size_t features, crnn_seq value) {
    crnn_node *node = &c->node[c->plan.count];
    *node =
        (crnn_node){.op = op, .from = c->from[c->plan.count], .features = features, .value = value};
    c->plan.count++;
    return node;
}

static inline void add_edge(call *c, size_t node, size_t from, size_t delay) {
    c->from[node][c->node[node].edges++] = (crnn_edge){from, delay};
}

static inline crnn_seq dense_seq(const inputs *in, void *data, size_t wide) {
    return (crnn_seq){data, (ptrdiff_t)(in->steps * wide), (ptrdiff_t)wide};
}

/* The indices of all nodes. */
static inline void number_nodes(call *c) {
    const inputs *in = c->in;
    size_t next = 0;
    c->own = in->p->own ? next++ : NONE;
    c->symbols = in->symbols ? next++ : NONE;
    c->query = in->w_query ? next++ : NONE;
    c->context = next++;
    c->joined = in->p->own ? next++ : NONE;
    for (size_t l = 0; l < in->p->depth; l++) {
        next += l > 0 && drops(in); /* a node before the layer */
        c->level[l] = next++;
    }
}

static inline void add_inputs(call *c) {
    const inputs *in = c->in;
    if (c->own != NONE) {
        crnn_node *own = add_node(c, CRNN_OP_INPUT, in->p->own, new_seq(in, in->p->own));
        fill_seq(in, &own->value, in->p->own, in->x);
    }
    if (c->symbols != NONE)
        add_node(c, CRNN_OP_INPUT, 0, (crnn_seq){0})->symbols = (int64_t *)in->symbols;
}

/* Query and context. */
static inline void add_attention(call *c) {
    const inputs *in = c->in;
    const size_t A = in->attention.key_size, top = c->level[in->p->depth - 1];
    if (c->query != NONE) {
        crnn_node *query = add_node(c, CRNN_OP_SUM, A, dense_seq(in, c->out->at[QUERIES].data, A));
        query->as.sum = (crnn_sum){.w = in->w_query, .dw = c->out->at[DW_QUERY].data};
        add_edge(c, c->query, top, 1);
    }
    crnn_node *context =
        add_node(c, CRNN_OP_ATTEND, in->attention.value_size,
                 dense_seq(in, c->out->at[CONTEXT].data, in->attention.value_size));
    context->as.attend =
        (crnn_attend){.attention = in->attention, .weights = c->out->at[WEIGHTS].data};
    add_edge(c, c->context, c->query == NONE ? top : c->query, c->query == NONE);
    if (c->joined == NONE) return;
    crnn_node *joined = add_node(c, CRNN_OP_ROWWISE, floats_of(in), new_seq(in, floats_of(in)));
    joined->as.rowwise = (crnn_rowwise){.kind = CRNN_ROWWISE_CONCAT,
                                        .kernels = in->kernels,
                                        .inputs = 2,
                                        .features = {in->p->own, in->attention.value_size}};
    add_edge(c, c->joined, c->own, 0);
    add_edge(c, c->joined, c->context, 0);
}

/* Level l reads node `below`. */
static inline void add_level(call *c, size_t l, size_t below) {
    const inputs *in = c->in;
    const crnn_layer *layer = &in->layer[l];
    size_t bytes;
    if (l > 0 && drops(in)) {
        add_node(c, CRNN_OP_ROWWISE, layer->inputs, new_seq(in, layer->inputs))->as.rowwise =
            drop_of(in, l);
        add_edge(c, c->level[l] - 1, below, 0);
        below = c->level[l] - 1;
    }
    CHECK(crnn_tape_size(layer, in->kernels, &c->rows, &bytes) == CRNN_OK, "tape");
    c->tape[l].memory = fenced(bytes);
    crnn_node *node =
        add_node(c, CRNN_OP_RECURRENT, crnn_width(layer), new_seq(in, crnn_width(layer)));
    node->as.recurrent = (crnn_recurrent){
        .layer = layer,
        .rows = &c->rows,
        .params = in->params[l],
        .table = l ? 0 : symbol_inputs(in),
        .symbols = l ? 0 : in->p->table,
        .vectors = l ? NULL : in->vectors,
        .dvectors = l ? NULL : c->out->at[DVECTORS].data,
        .noise = level_noise(in, l),
        .initial = in->initial[l],
        .final = {level_result(c->out, l, H_LAST)->data, level_result(c->out, l, C_LAST)->data},
        .tape = &c->tape[l],
        .from_learned = !in->initial[l].h,
        .dinitial = {level_result(c->out, l, DH_FIRST)->data,
                     level_result(c->out, l, DC_FIRST)->data},
        .grads = level_result(c->out, l, GRADS)->data};
    add_edge(c, c->level[l], below, 0);
    if (l == 0 && c->symbols != NONE) add_edge(c, c->level[0], c->symbols, 0);
}

static inline void build(call *c) {
    const inputs *in = c->in;
    c->plan = (crnn_plan){.kernels = in->kernels, .rows = &c->rows, .node = c->node};
    number_nodes(c);
    add_inputs(c);
    add_attention(c);
    for (size_t l = 0; l < in->p->depth; l++)
        add_level(c, l, l ? c->level[l - 1] : c->level[0] - 1);
}

static inline void forward(call *c) {
    const inputs *in = c->in;
    size_t bytes;
    build(c);
    CHECK(crnn_plan_workspace(&c->plan, &bytes) == CRNN_OK, "workspace");
    c->plan.workspace = fenced(bytes);
    crnn_plan_forward(&c->plan);
    for (size_t l = 0; l < in->p->depth; l++)
        read_seq(in, &c->node[c->level[l]].value, 0, level_result(c->out, l, Y));
}

static inline void set_gradient(crnn_node *node, crnn_seq gradient, bool given) {
    node->gradient = gradient;
    node->given = given;
}

/* Where the gradients of all values go. */
static inline void set_gradients(call *c) {
    const inputs *in = c->in;
    result *at = c->out->at;
    const size_t A = in->attention.key_size, C = in->attention.value_size, depth = in->p->depth;
    for (size_t i = c->level[0]; i < c->plan.count; i++)
        set_gradient(&c->node[i], new_seq(in, c->node[i].features), i == c->level[depth - 1]);
    fill_seq(in, &c->node[c->level[depth - 1]].gradient, top_width(in), in->dy);
    memcpy(at[DCONTEXT].data, in->dcontext, count_of(in, &at[DCONTEXT]) * item_of(in));
    set_gradient(&c->node[c->context], dense_seq(in, at[DCONTEXT].data, C), true);
    if (c->query != NONE)
        set_gradient(&c->node[c->query], dense_seq(in, at[DQUERIES].data, A), false);
    if (c->own != NONE) set_gradient(&c->node[c->own], new_seq(in, in->p->own), false);
    if (c->joined != NONE) set_gradient(&c->node[c->joined], new_seq(in, floats_of(in)), false);
    crnn_attend *attend = &c->node[c->context].as.attend;
    attend->dkeys = at[DKEYS].data;
    attend->dvalues = at[DVALUES].data;
    attend->dv = at[DV].data;
}

static inline void backward(call *c) {
    size_t bytes;
    set_gradients(c);
    CHECK(crnn_plan_backward_workspace(&c->plan, &bytes) == CRNN_OK, "workspace");
    c->plan.workspace = fenced(bytes);
    crnn_plan_backward(&c->plan);
    if (c->joined != NONE) read_seq(c->in, &c->node[c->joined].gradient, 0, &c->out->at[DX]);
}

static inline call begin_call(const inputs *in, outcome *o) {
    const crnn_steps steps = {.batch = in->batch, .steps = in->steps, .lengths = in->lengths};
    call c = {.in = in, .out = o};
    size_t words;
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&c.rows, fenced(words * sizeof words), &steps);
    return c;
}

/* Forward, and so many times back. */
static inline outcome run(const inputs *in, const outcome *onto, int times) {
    outcome o = new_outcome(in, onto, times > 0);
    const size_t mark = fences_used;
    call c = begin_call(in, &o);
    forward(&c);
    for (int i = 0; i < times; i++) backward(&c);
    fences_release(mark);
    return o;
}

/* ---- forward, step by step */

/* What a step made, [B][wide], to the rows that are there, or to all. */
static inline void put_step(const inputs *in, size_t t, bool all, const void *made,
                            const result *to) {
    const size_t item = item_of(in), T = in->steps;
    for (size_t b = 0; b < in->batch; b++)
        if (all || t < length_of(in, b))
            memcpy(place(to->data, b * T + t, to->wide, item), place(made, b, to->wide, item),
                   to->wide * item);
}

static inline outcome run_stepwise(const inputs *in) {
    outcome o = new_outcome(in, NULL, false);
    const size_t mark = fences_used, B = in->batch, T = in->steps, wide = in->p->own;
    progress s = begin(in);
    int64_t *there = fenced(B * sizeof *there), *symbols = fenced(B * sizeof *symbols);
    char *own = fenced(B * wide * item_of(in));
    for (size_t i = CONTEXT; i <= QUERIES; i++) /* zeros past a row's end */
        if (o.at[i].name) memset(o.at[i].data, 0, count_of(in, &o.at[i]) * item_of(in));
    for (size_t t = 0; t < T; t++) {
        for (size_t b = 0; b < B; b++) {
            there[b] = t < length_of(in, b);
            if (in->symbols) symbols[b] = in->symbols[b * T + t];
            memcpy(place(own, b, wide, item_of(in)), place(in->x, b * T + t, wide, item_of(in)),
                   wide * item_of(in));
        }
        step(in, t, there, own, in->symbols ? symbols : NULL, &s);
        put_step(in, t, false, s.context, &o.at[CONTEXT]);
        if (in->w_query) put_step(in, t, false, s.query, &o.at[QUERIES]);
        put_step(in, t, true, s.weights, &o.at[WEIGHTS]);
        for (size_t l = 0; l < in->p->depth; l++)
            put_step(in, t, true, s.y[l], level_result(&o, l, Y));
    }
    for (size_t l = 0; l < in->p->depth; l++) {
        const result *h = level_result(&o, l, H_LAST), *c = level_result(&o, l, C_LAST);
        memcpy(h->data, s.state[l].h, count_of(in, h) * item_of(in));
        if (c->name) memcpy(c->data, s.state[l].c, count_of(in, c) * item_of(in));
    }
    fences_release(mark);
    return o;
}

/* ---- comparisons */

/* What both have, to the last bit. */
static inline void check_same(const char *what, const inputs *in, const outcome *a,
                              const outcome *b, bool sums) {
    for (size_t i = 0; i < RESULTS; i++) {
        const result *r = &a->at[i];
        if (!r->name || !b->at[i].name || (r->kind == SUM && !sums)) continue;
        CHECK(memcmp(r->data, b->at[i].data, count_of(in, r) * item_of(in)) == 0, ABOUT "%s, %s",
              WHO(in), what, r->name);
    }
}

/* The numbers of `wanted` that are not padding, and of sums what was added; relative to the
 * largest. */
static inline double apart(const inputs *in, const result *got, const result *wanted) {
    const crnn_dtype dtype = in->kernels->dtype;
    double most = 0;
    if (wanted->kind == SUM) return distance(dtype, wanted->wide, got->data, wanted->data);
    for (size_t b = 0; b < in->batch; b++)
        most = fmax(most, distance(dtype, row_count(in, wanted, b), row_result(in, got, b),
                                   row_result(in, wanted, b)));
    return most;
}

static inline double limit_of(const inputs *in) {
    const double one = in->kernels->dtype == CRNN_F64 ? 1e-13 : 1e-5;
    return one * (1 + (double)in->steps / 10) * (in->layer[0].layer_norm ? 30 : 1);
}

static inline void check_near(const char *what, const inputs *in, const outcome *got,
                              const outcome *wanted, bool sums_alone) {
    for (size_t i = 0; i < RESULTS; i++) {
        const result *r = &wanted->at[i];
        if (!r->name || (sums_alone && r->kind != SUM)) continue;
        const double error = apart(in, &got->at[i], r);
        CHECK(error <= limit_of(in), ABOUT "%s, %s: %g", WHO(in), what, r->name, error);
    }
}

static inline void check_zeros(const inputs *in, const result *r, size_t steps) {
    bool zeros = true;
    for (size_t b = 0; b < in->batch; b++)
        for (size_t i = row_count(in, r, b); i < steps * r->wide; i++)
            zeros = zeros && real_at(in->kernels->dtype, row_result(in, r, b), i) == 0;
    CHECK(zeros, ABOUT "%s past an end", WHO(in), r->name);
}

/* What is past an end; and of contexts their gradient is what came from outside and through the
 * lowest layer. */
static inline void check_padding(const inputs *in, outcome *o) {
    const crnn_dtype dtype = in->kernels->dtype;
    const size_t T = in->steps, C = in->attention.value_size, floats = floats_of(in);
    check_zeros(in, &o->at[WEIGHTS], T);
    if (o->at[DX].name) check_zeros(in, &o->at[DX], T);
    check_zeros(in, &o->at[DKEYS], in->attention.steps);
    check_zeros(in, &o->at[DVALUES], in->attention.steps);
    for (size_t l = 0; l < in->p->depth; l++) check_zeros(in, level_result(o, l, Y), T);
    bool sums = true;
    for (size_t i = 0; o->at[DX].name && i < in->batch * T * C; i++) {
        const double outside = real_at(dtype, in->dcontext, i);
        const double inside = real_at(dtype, o->at[DX].data, i / C * floats + in->p->own + i % C);
        const double sum = dtype == CRNN_F64 ? outside + inside : (float)outside + (float)inside;
        const bool there = i / C % T < length_of(in, i / C / T);
        sums = sums && (!there || sum == real_at(dtype, o->at[DCONTEXT].data, i));
    }
    CHECK(sums, ABOUT "gradients of contexts", WHO(in));
}

#endif
