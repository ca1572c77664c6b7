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

/* ---- a decoder with a way in and a way out */

typedef struct model {
    inputs in;
    crnn_generator_level level[DEPTH];
    crnn_generator generator;
    void *embedding, *w_out;
} model;

static inline const void *packed_level(const inputs *in, size_t l) {
    size_t bytes;
    CHECK(crnn_packed_size(&in->layer[l], in->kernels, &bytes) == CRNN_OK, "packed");
    void *packed = fenced(bytes);
    crnn_pack(&in->layer[l], in->kernels, in->params[l], packed);
    return packed;
}

static inline size_t joined_width(const inputs *in) {
    return top_width(in) + in->attention.value_size;
}

/* Of symbols' own vectors where the decoder reads floats. */
static inline void make_ends(model *m) {
    const inputs *in = &m->in;
    const crnn_dtype dtype = in->kernels->dtype;
    const size_t joined = joined_width(in);
    int64_t *start = fenced(in->batch * sizeof *start);
    for (size_t b = 0; b < in->batch; b++) start[b] = (int64_t)(b % K);
    if (in->p->own) m->embedding = sampled(dtype, STREAMS, K * in->p->own);
    m->w_out = scaled(dtype, STREAMS + 1, joined * K, 6 / sqrt((double)joined));
    m->generator = (crnn_generator){.kernels = in->kernels,
                                    .depth = in->p->depth,
                                    .level = m->level,
                                    .symbols = K,
                                    .embedding = m->embedding,
                                    .embedded = in->p->own,
                                    .attention = in->p->attends ? &in->attention : NULL,
                                    .feeds = in->p->feeds,
                                    .w_query = in->w_query,
                                    .w_out = m->w_out,
                                    .b_out = in->p->asks ? NULL : sampled(dtype, STREAMS + 2, K),
                                    .start = start};
}

static inline void pack(model *m) {
    size_t bytes;
    CHECK(crnn_generator_size(&m->generator, &bytes) == CRNN_OK, "generator");
    m->generator.packed = fenced(bytes);
    crnn_generator_pack(&m->generator);
}

/* It refers to itself. */
static inline void make_model(model *m, const problem *p, const crnn_kernels *k) {
    *m = (model){.in = new_inputs(p, k)};
    for (size_t l = 0; l < p->depth; l++)
        m->level[l] =
            (crnn_generator_level){&m->in.layer[l], packed_level(&m->in, l), m->in.initial[l]};
    make_ends(m);
    pack(m);
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
    guess g = {.read = m->generator.start[b]};
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
    crnn_dense_forward(&dense, joined, m->w_out, m->generator.b_out, logits, fenced(bytes));
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
    const size_t mark = fences_used, item = item_of(&m->in), E = m->in.p->own;
    const inputs row = row_of(&m->in, b);
    const size_t P = top_width(&row), C = row.attention.value_size;
    const int64_t there = 1;
    progress s = begin(&row);
    move_state(&row, &s, g, false);
    step(&row, 0, &there, E ? place(m->embedding, (size_t)g->read, E, item) : NULL,
         E ? NULL : &g->read, &s);
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
    crnn_generation part[PARTS];
} running;

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
        r->part[i].search = &r->search[i];
        CHECK(crnn_generation_size(&m->generator, &r->search[i], &bytes) == CRNN_OK, "part");
        r->part[i].memory = fenced(bytes);
        crnn_generation_begin(&m->generator, &r->part[i]);
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
        crnn_generate(&m->generator, r.part, parts,
                      at_once < STEPS - done ? at_once : STEPS - done);
    return result_of(&r);
}

#endif
