/* A decoder that reads what it chose, run by the library in parts, and plainly: by hypotheses that
 * keep their whole state and take steps of single layers. */
#ifndef CRNN_TESTS_GENERATED_H
#define CRNN_TESTS_GENERATED_H

#include "decoded.h"

enum {
    K = 7 /* symbols */,
    STEPS = 5,
    WIDTH = 3,
    PARTS = 6,
    STATE = 4 * 100 * 8 /* bytes, at most */
};

/* ---- a decoder with logits and a choice */

/* Nodes: before the levels or behind them query and context; logits; the choice. NONE: there is
 * none. */
typedef struct model {
    inputs in;
    void *w_out, *b_out;
    int64_t *start;
    size_t query, context, level[DEPTH], logits, choice;
    const void *packed;
} model;

static inline size_t joined_width(const inputs *in) {
    return top_width(in) + in->attention.value_size;
}

static inline void number_model(model *m) {
    const problem *p = m->in.p;
    size_t next = 0;
    m->query = m->context = NONE;
    for (int last = 0; last < 2; last++) {
        if (p->attends && p->feeds != last) {
            if (m->in.w_query) m->query = next++;
            m->context = next++;
        }
        for (size_t l = 0; !last && l < p->depth; l++) m->level[l] = next++;
    }
    m->logits = next++;
    m->choice = next;
}

/* ---- a plan of it: one step of so many rows */

typedef struct planned {
    const model *m;
    crnn_edge from[NODES][NODE_EDGES];
    crnn_node node[NODES];
    crnn_rows rows;
    size_t *words;
    crnn_plan plan;
} planned;

static inline void put_edge(planned *p, size_t node, size_t from, size_t delay) {
    p->from[node][p->node[node].edges++] = (crnn_edge){from, delay};
}

static inline crnn_node *put_node(planned *p, size_t i, crnn_op op, size_t features) {
    const size_t bytes = p->rows.given.batch * features * item_of(&p->m->in);
    p->node[i] = (crnn_node){.op = op,
                             .from = p->from[i],
                             .features = features,
                             .value = {fenced(bytes), (ptrdiff_t)features, 0}};
    return &p->node[i];
}

static inline void put_attention(planned *p) {
    const inputs *in = &p->m->in;
    const size_t top = p->m->level[in->p->depth - 1], delay = in->p->feeds, *query = &p->m->query;
    const size_t rows = p->rows.given.batch;
    if (p->m->context == NONE) return;
    if (*query != NONE) {
        put_node(p, *query, CRNN_OP_SUM, in->attention.key_size)->as.sum.w = in->w_query;
        put_edge(p, *query, top, delay);
    }
    crnn_node *context = put_node(p, p->m->context, CRNN_OP_ATTEND, in->attention.value_size);
    context->as.attend = (crnn_attend){.attention = in->attention,
                                       .source = fenced(rows * sizeof(size_t)),
                                       .weights = fenced(rows * in->attention.steps * item_of(in))};
    put_edge(p, p->m->context, *query == NONE ? top : *query, *query == NONE ? delay : 0);
}

static inline crnn_state new_state(const planned *p, size_t l) {
    const crnn_layer *layer = &p->m->in.layer[l];
    const size_t rows = p->rows.given.batch, item = item_of(&p->m->in);
    return (crnn_state){fenced(rows * crnn_width(layer) * item),
                        has_c(&p->m->in) ? fenced(rows * layer->hidden * item) : NULL};
}

static inline void put_level(planned *p, size_t l) {
    const model *m = p->m;
    const inputs *in = &m->in;
    put_node(p, m->level[l], CRNN_OP_RECURRENT, crnn_width(&in->layer[l]))->as.recurrent =
        (crnn_recurrent){.layer = &in->layer[l],
                         .rows = &p->rows,
                         .params = in->params[l],
                         .table = l ? 0 : symbol_inputs(in),
                         .symbols = l ? 0 : K,
                         .vectors = l ? NULL : in->vectors,
                         .initial = new_state(p, l),
                         .final = new_state(p, l)};
    if (l > 0) put_edge(p, m->level[l], m->level[l - 1], 0);
    if (l == 0 && in->p->feeds) put_edge(p, m->level[0], m->context, 0);
    if (l == 0) put_edge(p, m->level[0], m->choice, 1);
}

/* It refers to itself. */
static inline void make_plan(planned *p, const model *m, size_t rows, crnn_search *search) {
    const crnn_steps steps = {.batch = rows, .steps = 1};
    size_t words;
    *p = (planned){.m = m};
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "rows");
    p->words = fenced(words * sizeof words);
    crnn_rows_init(&p->rows, p->words, &steps);
    put_attention(p);
    for (size_t l = 0; l < m->in.p->depth; l++) put_level(p, l);
    put_node(p, m->logits, CRNN_OP_SUM, K)->as.sum = (crnn_sum){.w = m->w_out, .b = m->b_out};
    put_edge(p, m->logits, m->level[m->in.p->depth - 1], 0);
    if (m->context != NONE) put_edge(p, m->logits, m->context, 0);
    p->node[m->choice] = (crnn_node){.op = CRNN_OP_CHOOSE,
                                     .from = p->from[m->choice],
                                     .symbols = fenced(rows * sizeof(int64_t))};
    p->node[m->choice].as.choose.search = search;
    put_edge(p, m->choice, m->logits, 0);
    p->plan = (crnn_plan){.kernels = m->in.kernels,
                          .rows = &p->rows,
                          .count = m->choice + 1,
                          .node = p->node,
                          .packed = m->packed};
}

static inline const void *packed_model(const model *m) {
    planned p;
    size_t bytes;
    make_plan(&p, m, 1, NULL);
    CHECK(crnn_plan_packed_size(&p.plan, &bytes) == CRNN_OK, "packed");
    void *packed = fenced(bytes);
    crnn_plan_pack(&p.plan, packed);
    return packed;
}

/* It refers to itself. */
static inline void make_model(model *m, const problem *p, const crnn_kernels *k) {
    *m = (model){.in = new_inputs(p, k)};
    const size_t joined = joined_width(&m->in);
    m->start = fenced(m->in.batch * sizeof *m->start);
    for (size_t b = 0; b < m->in.batch; b++) m->start[b] = (int64_t)(b % K);
    m->w_out = scaled(k->dtype, STREAMS + 1, joined * K, 6 / sqrt((double)joined));
    m->b_out = p->asks ? NULL : sampled(k->dtype, STREAMS + 2, K);
    number_model(m);
    m->packed = packed_model(m);
}

/* ---- the same, plainly: hypotheses with all their states */

typedef struct guess {
    double score;
    size_t length;
    int64_t read, tokens[STEPS];
    char state[STATE];
} guess;

/* Copies the states of a row to the guess or from it. */
static inline void move_state(const inputs *row, const progress *s, guess *g, bool to_guess) {
    char *at = g->state;
    for (size_t i = 0; i < 2 * row->p->depth; i++) {
        const crnn_layer *layer = &row->layer[i / 2];
        void *part = i % 2 ? s->state[i / 2].c : s->state[i / 2].h;
        const size_t bytes = (i % 2 ? layer->hidden : crnn_width(layer)) * item_of(row);
        if (!part) continue;
        memcpy(to_guess ? at : part, to_guess ? part : at, bytes);
        at += bytes;
    }
    CHECK((size_t)(at - g->state) <= STATE, "the state of a guess");
}

static inline guess first_guess(const model *m, size_t b) {
    const size_t mark = fences_used;
    const inputs row = row_of(&m->in, b);
    guess g = {.read = m->start[b]};
    const progress s = begin(&row);
    move_state(&row, &s, &g, true);
    fences_release(mark);
    return g;
}

/* Logits of rows [n] of h and context. */
static inline void *logits_of(const model *m, size_t n, const void *joined) {
    const crnn_dense dense = {m->in.kernels, n, joined_width(&m->in), K};
    size_t bytes;
    void *logits = fenced(n * K * item_of(&m->in));
    CHECK(crnn_dense_workspace(&dense, &bytes) == CRNN_OK, "workspace");
    crnn_dense_forward(&dense, joined, m->w_out, m->b_out, logits, fenced(bytes));
    return logits;
}

static inline void log_softmax(crnn_dtype dtype, const void *logits, double *out) {
    double top = -INFINITY, sum = 0;
    for (size_t k = 0; k < K; k++) {
        out[k] = real_at(dtype, logits, k);
        if (out[k] > top) top = out[k];
    }
    for (size_t k = 0; k < K; k++) sum += exp(out[k] - top);
    for (size_t k = 0; k < K; k++) out[k] -= top + log(sum);
}

/* A step of a guess in source row b. */
static inline void plain_step(const model *m, size_t b, guess *g, double *log_p) {
    const size_t mark = fences_used, item = item_of(&m->in);
    const inputs row = row_of(&m->in, b);
    const size_t P = top_width(&row), C = row.attention.value_size;
    const int64_t there = 1;
    progress s = begin(&row);
    move_state(&row, &s, g, false);
    step(&row, 0, &there, NULL, &g->read, &s);
    move_state(&row, &s, g, true);
    char *joined = fenced((P + C) * item);
    memcpy(joined, s.y[row.p->depth - 1], P * item);
    memcpy(joined + P * item, s.context, C * item);
    log_softmax(row.kernels->dtype, logits_of(m, 1, joined), log_p);
    fences_release(mark);
}

static inline void append(guess *g, int64_t symbol, double log_p) {
    g->tokens[g->length++] = g->read = symbol;
    g->score += log_p;
}

static inline double rank(const crnn_search_options *o, const guess *g) {
    return g->score / pow((double)g->length, o->length_penalty);
}

/* Best first; of equal ones those that came first. At most so many are kept. */
static inline size_t insert(const crnn_search_options *o, guess *best, size_t count, size_t most,
                            const guess *g) {
    size_t i = count;
    while (i > 0 && rank(o, g) > rank(o, &best[i - 1])) i--;
    if (i >= most) return count;
    const size_t kept = count < most ? count + 1 : most;
    memmove(best + i + 1, best + i, (kept - i - 1) * sizeof *best);
    best[i] = *g;
    return kept;
}

/* A beam search in one source row; a beam of one takes the likeliest symbol. */
static inline size_t beams(const model *m, const crnn_search_options *o, size_t b, guess *out) {
    static guess live[WIDTH], best[WIDTH + 1];
    const crnn_search_options plain = {.length_penalty = 0};
    size_t ended = 0, rows = 1, ranked = 0;
    live[0] = first_guess(m, b);
    for (size_t t = 0; t < STEPS && rows; t++) {
        const size_t most = o->width - ended;
        size_t count = 0, kept = 0;
        for (size_t i = 0; i < rows; i++) {
            double log_p[K];
            plain_step(m, b, &live[i], log_p);
            for (int64_t k = 0; k < K; k++) {
                guess next = live[i];
                append(&next, k, log_p[k]);
                count = insert(&plain, best, count, most, &next);
            }
        }
        for (size_t i = 0; i < count; i++) {
            if (best[i].read == o->stop)
                ranked = insert(o, out, ranked, WIDTH, &best[i]), ended++;
            else
                live[kept++] = best[i];
        }
        rows = kept;
    }
    for (size_t i = 0; i < rows; i++) ranked = insert(o, out, ranked, WIDTH, &live[i]);
    return ranked;
}

/* A sample, which has a number for each of its steps. */
static inline guess sample_of(const model *m, const crnn_search_options *o, size_t b,
                              size_t which) {
    guess g = first_guess(m, b);
    while (g.length < STEPS && !(g.length && g.read == o->stop)) {
        double log_p[K], u, sum = 0;
        const uint64_t row = b * o->width + which;
        crnn_random_uniform(o->seed, 0x73616d706c65, (row << 32) + g.length, 1, &u);
        plain_step(m, b, &g, log_p);
        int64_t k = 0;
        while (k < K - 1 && (sum += exp(log_p[k])) <= u) k++;
        append(&g, k, log_p[k]);
    }
    return g;
}

/* ---- the library */

typedef struct running {
    const model *m;
    size_t count;
    crnn_search search[PARTS];
    planned plan[PARTS];
    crnn_generation part[PARTS];
} running;

/* The states, symbols and sources that a part begins with. */
static inline void begin_part(planned *p, const crnn_search_options *o) {
    const inputs *in = &p->m->in;
    const size_t first = o->first_group, item = item_of(in);
    for (size_t l = 0; l < in->p->depth; l++) {
        const size_t wide[2] = {crnn_width(&in->layer[l]), in->layer[l].hidden};
        const crnn_state from = in->initial[l], to = p->node[p->m->level[l]].as.recurrent.initial;
        memcpy(to.h, place(from.h, first, wide[0], item), o->groups * wide[0] * item);
        if (to.c) memcpy(to.c, place(from.c, first, wide[1], item), o->groups * wide[1] * item);
    }
    for (size_t i = 0; i < o->groups; i++) {
        p->node[p->m->choice].symbols[i] = p->m->start[first + i];
        if (p->m->context != NONE) p->node[p->m->context].as.attend.source[i] = first + i;
    }
}

/* So many parts with about as many source rows each; some have none where rows are few. */
static inline void open(running *r, const model *m, const crnn_search_options *all, size_t count) {
    *r = (running){.m = m, .count = count};
    for (size_t i = 0; i < count; i++) {
        crnn_search_options o = *all;
        size_t bytes;
        o.first_group = m->in.batch * i / count;
        o.groups = m->in.batch * (i + 1) / count - o.first_group;
        CHECK(crnn_search_size(&o, &bytes) == CRNN_OK, "search");
        crnn_search_begin(&r->search[i], &o, fenced(bytes));
        CHECK(crnn_search_history_size(&o, STEPS, &bytes) == CRNN_OK, "history");
        r->search[i].history = fenced(bytes);
        planned *p = &r->plan[i];
        make_plan(p, m, o.groups * o.width, &r->search[i]);
        CHECK(crnn_plan_workspace(&p->plan, &bytes) == CRNN_OK, "workspace");
        p->plan.workspace = fenced(bytes);
        begin_part(p, &o);
        r->part[i] = (crnn_generation){&p->plan, &p->rows, p->words, true};
    }
}

typedef struct found {
    int64_t *tokens; /* [B][width][STEPS] */
    double *scores;  /* [B][width] */
} found;

static inline found result_of(const running *r) {
    const size_t width = r->search[0].options.width, B = r->m->in.batch;
    found f = {fenced(B * width * STEPS * sizeof *f.tokens), fenced(B * width * sizeof *f.scores)};
    for (size_t i = 0; i < r->count; i++) {
        const size_t first = r->search[i].options.first_group * width;
        CHECK(r->part[i].finite, "a NaN");
        crnn_search_result(&r->search[i], width, STEPS, f.tokens + first * STEPS, f.scores + first);
    }
    return f;
}

/* All steps, `at_once` at a time. */
static inline found generate(const model *m, const crnn_search_options *o, size_t parts,
                             size_t at_once) {
    running r;
    open(&r, m, o, parts);
    for (size_t done = 0; done < STEPS; done += at_once)
        crnn_generate(r.part, parts, at_once < STEPS - done ? at_once : STEPS - done);
    return result_of(&r);
}

#endif
