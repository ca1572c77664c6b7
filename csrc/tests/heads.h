/* Self-attention: a problem, what plain loops in double find, which know nothing of pieces and
 * tiles, and the core's plan of it. */
#ifndef CRNN_TESTS_HEADS_H
#define CRNN_TESTS_HEADS_H

#include "single.h"

typedef struct problem {
    const crnn_kernels *kernels;
    size_t batch, steps, heads, size, window;
    bool whole, reverse;
    double rotary, p;
    const int64_t *lengths;
    const uint8_t *mask, *resets;
    size_t slots, final_slots; /* of `initial`, 0: there is none; of `final` */
    const int64_t *begun;      /* [batch] its steps */
    uint32_t first_step;
    uint64_t first_row;
    bool gradients;
} problem;

/* All in the type of the kernels. */
typedef struct buffers {
    void *qkv, *y, *weights, *dy, *dqkv; /* (B, T, 3 H), (B, T, H), [B][M][T][S + T] */
    crnn_cache initial, final, dinitial, dfinal;
} buffers;

static size_t hidden_of(const problem *p) { return p->heads * p->size; }

static crnn_noise noise_of(const problem *p) {
    return (crnn_noise){.on = p->p > 0,
                        .seed = 3,
                        .call = 5,
                        .first_row = p->first_row,
                        .first_step = p->first_step};
}

/* ---- plain loops */

/* A step whose key may be seen: of the cache, or of the sequence. */
typedef struct entry {
    bool cached;
    size_t at, piece; /* at: slot or time */
    int64_t position;
} entry;

typedef struct plain_row {
    entry step[MOST];
    size_t count, piece; /* piece: the last one */
    int64_t position;    /* behind the last step */
    int source[MOST];    /* of each time: the entry whose output is there, or NONE */
} plain_row;

static crnn_steps steps_of_rows(const problem *p) {
    return (crnn_steps){.batch = p->batch,
                        .steps = p->steps,
                        .lengths = p->lengths,
                        .mask = p->mask,
                        .resets = p->resets,
                        .reverse = p->reverse};
}

static void list_row(const problem *p, size_t b, plain_row *r) {
    const crnn_steps steps = steps_of_rows(p);
    const int64_t begun = p->slots ? p->begun[b] : 0;
    const size_t cached = (size_t)begun < p->slots ? (size_t)begun : p->slots;
    plain_steps own;
    list_steps(&steps, b, &own);
    *r = (plain_row){.position = begun, .piece = own.pieces};
    for (size_t s = p->slots - cached; s < p->slots; s++)
        r->step[r->count++] = (entry){.cached = true, .at = s};
    for (size_t i = 0; i < own.count; i++) {
        if (own.piece[i] != (i > 0 ? own.piece[i - 1] : 0)) r->position = 0;
        r->step[r->count++] =
            (entry){.at = own.time[i], .piece = own.piece[i], .position = r->position++};
    }
    if (own.count > 0 ? own.piece[own.count - 1] != own.pieces : own.pieces > 0) r->position = 0;
    for (size_t t = 0; t < p->steps; t++)
        r->source[t] = own.source[t] == NONE ? NONE : own.source[t] + (int)cached;
}

static double angle_of(const problem *p, size_t i, int64_t position) {
    return (double)position * pow(p->rotary, -2 * (double)i / (double)p->size);
}

/* to [A] = x turned, or turned back. */
static void turn_plain(const problem *p, int64_t position, double direction, const double *x,
                       double *to) {
    const size_t half = p->rotary != 0 ? p->size / 2 : 0;
    for (size_t i = 0; i < half; i++) {
        const double angle = angle_of(p, i, position);
        const double c = cos(angle), s = direction * sin(angle);
        to[i] = x[i] * c - x[half + i] * s;
        to[half + i] = x[half + i] * c + x[i] * s;
    }
    for (size_t i = 2 * half; i < p->size; i++) to[i] = x[i];
}

/* q, k or v of an entry: block 0, 1 or 2; k as it is in a cache. */
static void plain_part(const problem *p, const buffers *f, size_t b, size_t m, const entry *e,
                       size_t block, double *to) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t H = hidden_of(p), A = p->size;
    double x[MOST];
    for (size_t a = 0; a < A; a++) {
        if (e->cached)
            to[a] = real_at(d, block == 1 ? f->initial.k : f->initial.v,
                            (b * p->slots + e->at) * H + m * A + a);
        else
            x[a] = real_at(d, f->qkv, ((b * p->steps + e->at) * 3 + block) * H + m * A + a);
    }
    if (e->cached) return;
    if (block < 2)
        turn_plain(p, e->position, 1, x, to);
    else
        memcpy(to, x, A * sizeof *to);
}

static bool sees(const problem *p, const plain_row *r, size_t query, size_t key) {
    if (r->step[query].piece != r->step[key].piece) return false;
    return p->whole || (key <= query && (!p->window || query - key < p->window));
}

static double factor_of(const problem *p, size_t b, size_t m, const plain_row *r, size_t query,
                        size_t key) {
    const crnn_noise noise = noise_of(p);
    uint32_t head[2], words[4];
    if (!noise.on) return 1;
    size_t unit = query - key, first = 0;
    while (p->whole && r->step[first].piece != r->step[key].piece) first++;
    if (p->whole) unit = key - first;
    crnn_noise_key(&noise, CRNN_NOISE_HEADS, head);
    crnn_philox(head, (uint32_t[4]){(uint32_t)m}, words);
    const uint32_t counter[4] = {(uint32_t)(unit / 4),
                                 noise.first_step + (uint32_t)r->step[query].at,
                                 (uint32_t)(noise.first_row + b), 0};
    const uint32_t key_of_head[2] = {words[0], words[1]};
    crnn_philox(key_of_head, counter, words);
    return words[unit % 4] < crnn_below(p->p) ? 0 : 1 / (1 - p->p);
}

/* What the plain loops find, in double. */
typedef struct plain {
    double *y, *weights, *dqkv, *dk, *dv; /* dk, dv: of the cache */
    double *final_k, *final_v;
} plain;

static plain new_plain(const problem *p) {
    const size_t H = hidden_of(p), cells = p->batch * p->steps;
    return (plain){.y = zeros(cells * H),
                   .weights = zeros(cells * p->heads * (p->slots + p->steps)),
                   .dqkv = zeros(cells * 3 * H),
                   .dk = zeros(p->batch * p->slots * H),
                   .dv = zeros(p->batch * p->slots * H),
                   .final_k = zeros(p->batch * p->final_slots * H),
                   .final_v = zeros(p->batch * p->final_slots * H)};
}

/* One head of one row: k and v of all entries, their gradients, those of the queries. */
typedef struct plain_head {
    double k[MOST][MOST / 4], v[MOST][MOST / 4], dk[MOST][MOST / 4], dv[MOST][MOST / 4];
    double context[MOST][MOST / 4], dcontext[MOST][MOST / 4];
} plain_head;

static void plain_query(const problem *p, const buffers *f, size_t b, size_t m, const plain_row *r,
                        size_t query, plain_head *h, plain *to) {
    const size_t A = p->size, H = hidden_of(p);
    const double scale = 1 / sqrt((double)A);
    double q[MOST], w[MOST], dq[MOST] = {0}, back[MOST], top = -INFINITY, sum = 0, mean = 0;
    plain_part(p, f, b, m, &r->step[query], 0, q);
    for (size_t j = 0; j < r->count; j++) {
        w[j] = 0;
        for (size_t a = 0; a < A; a++) w[j] += scale * q[a] * h->k[j][a];
        if (sees(p, r, query, j)) top = fmax(top, w[j]);
    }
    for (size_t j = 0; j < r->count; j++) {
        w[j] = sees(p, r, query, j) ? exp(w[j] - top) : 0;
        sum += w[j];
    }
    for (size_t j = 0; j < r->count; j++) {
        if (!sees(p, r, query, j)) continue;
        const size_t column = r->step[j].cached ? r->step[j].at : p->slots + r->step[j].at;
        w[j] /= sum;
        to->weights[((b * p->heads + m) * p->steps + r->step[query].at) * (p->slots + p->steps) +
                    column] = w[j];
        for (size_t a = 0; a < A; a++)
            h->context[query][a] += w[j] * factor_of(p, b, m, r, query, j) * h->v[j][a];
    }
    for (size_t a = 0; a < A; a++) mean += h->context[query][a] * h->dcontext[query][a];
    for (size_t j = 0; j < r->count; j++) {
        if (!sees(p, r, query, j)) continue;
        const double factor = factor_of(p, b, m, r, query, j);
        double d = 0;
        for (size_t a = 0; a < A; a++) {
            d += factor * h->dcontext[query][a] * h->v[j][a];
            h->dv[j][a] += w[j] * factor * h->dcontext[query][a];
        }
        for (size_t a = 0; a < A; a++) {
            dq[a] += w[j] * (d - mean) * scale * h->k[j][a];
            h->dk[j][a] += w[j] * (d - mean) * scale * q[a];
        }
    }
    turn_plain(p, r->step[query].position, -1, dq, back);
    for (size_t a = 0; a < A; a++)
        to->dqkv[(b * p->steps + r->step[query].at) * 3 * H + m * A + a] = back[a];
}

/* The final cache, and the gradient that comes from it. */
static void plain_final(const problem *p, const buffers *f, size_t b, size_t m, const plain_row *r,
                        plain_head *h, plain *to) {
    const crnn_dtype d = p->kernels->dtype;
    for (size_t age = 1; age <= p->final_slots && age <= r->count; age++) {
        const size_t j = r->count - age;
        const size_t at = (b * p->final_slots + p->final_slots - age) * hidden_of(p) + m * p->size;
        if (r->step[j].piece != r->piece) return;
        for (size_t a = 0; a < p->size; a++) {
            to->final_k[at + a] = h->k[j][a];
            to->final_v[at + a] = h->v[j][a];
            if (!f->dfinal.k) continue;
            h->dk[j][a] += real_at(d, f->dfinal.k, at + a);
            h->dv[j][a] += real_at(d, f->dfinal.v, at + a);
        }
    }
}

static void plain_pair(const problem *p, const buffers *f, size_t b, size_t m, const plain_row *r,
                       plain *to) {
    static plain_head h;
    const size_t A = p->size, H = hidden_of(p);
    const crnn_dtype d = p->kernels->dtype;
    memset(&h, 0, sizeof h);
    for (size_t t = 0; f->dy && t < p->steps; t++)
        for (size_t a = 0; r->source[t] != NONE && a < A; a++)
            h.dcontext[r->source[t]][a] += real_at(d, f->dy, (b * p->steps + t) * H + m * A + a);
    for (size_t j = 0; j < r->count; j++) {
        plain_part(p, f, b, m, &r->step[j], 1, h.k[j]);
        plain_part(p, f, b, m, &r->step[j], 2, h.v[j]);
    }
    for (size_t j = 0; j < r->count; j++)
        if (!r->step[j].cached) plain_query(p, f, b, m, r, j, &h, to);
    plain_final(p, f, b, m, r, &h, to);
    for (size_t t = 0; t < p->steps; t++)
        for (size_t a = 0; r->source[t] != NONE && a < A; a++)
            to->y[(b * p->steps + t) * H + m * A + a] = h.context[r->source[t]][a];
    for (size_t j = 0; j < r->count; j++) {
        const entry *e = &r->step[j];
        const size_t at = (b * p->steps + e->at) * 3 * H + m * A;
        double back[MOST];
        turn_plain(p, e->position, -1, h.dk[j], back);
        for (size_t a = 0; a < A; a++) {
            if (e->cached) {
                to->dk[(b * p->slots + e->at) * H + m * A + a] = h.dk[j][a];
                to->dv[(b * p->slots + e->at) * H + m * A + a] = h.dv[j][a];
            } else {
                to->dqkv[at + H + a] = back[a];
                to->dqkv[at + 2 * H + a] = h.dv[j][a];
            }
        }
    }
}

static plain run_plain(const problem *p, const buffers *f) {
    static plain_row r;
    plain to = new_plain(p);
    for (size_t b = 0; b < p->batch; b++) {
        list_row(p, b, &r);
        for (size_t m = 0; m < p->heads; m++) plain_pair(p, f, b, m, &r, &to);
    }
    return to;
}

/* ---- the core */

static crnn_cache new_cache(const problem *p, size_t slots) {
    const size_t bytes = p->batch * slots * hidden_of(p) * crnn_dtype_size(p->kernels->dtype);
    return (crnn_cache){fenced(bytes), fenced(bytes), fenced(p->batch * sizeof(int64_t)), slots};
}

static crnn_cache sampled_cache(const problem *p, size_t slots, size_t stream) {
    const size_t count = p->batch * slots * hidden_of(p);
    crnn_cache c = new_cache(p, slots);
    c.k = sampled(p->kernels->dtype, stream, count);
    c.v = sampled(p->kernels->dtype, stream + 1, count);
    return c;
}

static buffers new_buffers(const problem *p) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t H = hidden_of(p), cells = p->batch * p->steps, item = crnn_dtype_size(d);
    buffers f = {.qkv = sampled(d, 1, cells * 3 * H), .y = fenced(cells * H * item)};
    for (size_t i = 0; i < cells * 3 * H; i++)
        real_put(d, f.qkv, i, 2 * real_at(d, f.qkv, i)); /* weights that differ */
    if (p->slots) {
        f.initial = sampled_cache(p, p->slots, 2);
        memcpy(f.initial.steps, p->begun, p->batch * sizeof(int64_t));
    }
    if (p->final_slots) f.final = new_cache(p, p->final_slots);
    if (!p->gradients) return f;
    f.dy = sampled(d, 4, cells * H);
    f.dqkv = fenced(cells * 3 * H * item);
    if (p->slots) f.dinitial = new_cache(p, p->slots);
    if (p->final_slots) f.dfinal = sampled_cache(p, p->final_slots, 5);
    return f;
}

static void make_model(model *m, const problem *p, const buffers *f) {
    const crnn_steps steps = steps_of_rows(p);
    make_single(m, p->kernels, &steps, CRNN_OP_HEADS, f->qkv, 3 * hidden_of(p), f->y, hidden_of(p));
    m->node[1].as.heads = (crnn_heads){.rows = &m->rows,
                                       .heads = p->heads,
                                       .window = p->window,
                                       .whole = p->whole,
                                       .rotary = p->rotary,
                                       .p = p->p,
                                       .noise = noise_of(p),
                                       .initial = f->initial,
                                       .final = f->final,
                                       .dinitial = f->dinitial,
                                       .dfinal = f->dfinal,
                                       .weights = f->weights};
}

/* Forward, and backward where the problem has gradients. Each runs twice: it may run any number of
 * times. */
static void run_core(const problem *p, const buffers *f) {
    model m;
    size_t kept;
    make_model(&m, p, f);
    CHECK(crnn_node_kept(&m.plan, 1, &kept) == CRNN_OK, "kept");
    if (p->gradients) m.node[1].kept = fenced(kept);
    run_ahead(&m);
    if (p->gradients) run_back(&m, f->dy, f->dqkv, 2);
}

/* ---- comparisons */

static void check_near(const problem *p, const char *what, size_t n, const void *found,
                       const double *wanted) {
    const double bound = p->kernels->dtype == CRNN_F64 ? 1e-12 : 2e-5;
    const double most = worst_error(p->kernels->dtype, n, found, wanted);
    CHECK(most <= bound,
          "%s %s, T %zu, heads %zu of %zu, window %zu, whole %d, slots %zu, p %g: %s differs by %g",
          p->kernels->isa, type_name[p->kernels->dtype], p->steps, p->heads, p->size, p->window,
          p->whole, p->slots, p->p, what, most);
}

static void check_plain(problem p) {
    const size_t mark = fences_used, H = hidden_of(&p), cells = p.batch * p.steps;
    p.gradients = true;
    buffers f = new_buffers(&p);
    f.weights = fenced(cells * p.heads * (p.slots + p.steps) * crnn_dtype_size(p.kernels->dtype));
    run_core(&p, &f);
    const plain wanted = run_plain(&p, &f);
    check_near(&p, "y", cells * H, f.y, wanted.y);
    check_near(&p, "weights", cells * p.heads * (p.slots + p.steps), f.weights, wanted.weights);
    check_near(&p, "dqkv", cells * 3 * H, f.dqkv, wanted.dqkv);
    if (p.slots) {
        check_near(&p, "dk", p.batch * p.slots * H, f.dinitial.k, wanted.dk);
        check_near(&p, "dv", p.batch * p.slots * H, f.dinitial.v, wanted.dv);
    }
    if (p.final_slots) {
        check_near(&p, "final k", p.batch * p.final_slots * H, f.final.k, wanted.final_k);
        check_near(&p, "final v", p.batch * p.final_slots * H, f.final.v, wanted.final_v);
        for (size_t b = 0; b < p.batch; b++) {
            plain_row r;
            list_row(&p, b, &r);
            CHECK(f.final.steps[b] == r.position, "steps of row %zu: %lld, not %lld", b,
                  (long long)f.final.steps[b], (long long)r.position);
        }
    }
    fences_release(mark);
}

/* ---- streams */

typedef struct stream {
    problem p;
    buffers f;
    model m;
} stream;

static void make_stream(stream *s, const problem *whole, size_t slots) {
    s->p = *whole;
    s->p.steps = 1;
    s->p.lengths = NULL;
    s->p.gradients = false;
    s->f = new_buffers(&s->p);
    s->f.initial.slots = slots;
    make_model(&s->m, &s->p, &s->f);
    new_running(&s->m);
    take_workspace(&s->m.plan, false);
    crnn_plan_lay(&s->m.plan);
}

/* Step t of so many rows, of a sequence; y then is that of these rows. */
static void run_step(stream *s, const problem *whole, const void *qkv, size_t t) {
    const size_t wide = 3 * hidden_of(whole) * crnn_dtype_size(whole->kernels->dtype);
    for (size_t b = 0; b < s->m.rows.given.batch; b++)
        memcpy((char *)s->f.qkv + b * wide, (const char *)qkv + (b * whole->steps + t) * wide,
               wide);
    s->m.node[1].as.heads.noise.first_step = (uint32_t)t;
    crnn_plan_run(&s->m.plan);
}

/* Moves the state to memory with room for more steps, through a cache. */
static void enlarge(stream *s, size_t slots) {
    crnn_heads *heads = &s->m.node[1].as.heads;
    problem p = s->p;
    p.final_slots = slots;
    heads->final = new_cache(&p, slots);
    crnn_node_save(&s->m.plan, 1);
    heads->initial = heads->final;
    heads->final = (crnn_cache){0};
    new_running(&s->m);
    take_workspace(&s->m.plan, false);
    crnn_plan_lay(&s->m.plan);
}

#endif
