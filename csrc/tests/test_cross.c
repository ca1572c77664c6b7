/* Attention to a memory as a node of a plan: values and gradients against plain loops; equal bits
 * for a row alone and in a batch, for streams, for rows that follow others, for any number of
 * threads; what lies behind the length of a memory is not read, and resets change nothing. */
#include "support.h"

#include "plan.h"

enum { MOST = 80 /* steps of a memory, and features of a head */ };

typedef struct problem {
    const crnn_kernels *kernels;
    size_t batch, steps, heads, size, memory, inputs; /* B, T, M, A, S, C */
    const int64_t *lengths, *ends;                    /* of the queries, of the memory */
    const uint8_t *mask, *resets;
    bool bias;
    double p;
    size_t first_step;
} problem;

/* All in the type of the kernels. */
typedef struct buffers {
    void *q, *y, *e, *w, *b, *weights;
    void *dy, *dq, *de, *dw, *db, *dfinal;
} buffers;

static size_t hidden_of(const problem *p) { return p->heads * p->size; }

static crnn_noise noise_of(const problem *p) {
    return (crnn_noise){.on = p->p > 0,
                        .seed = 3,
                        .call = 5,
                        .first_row = 1,
                        .first_step = (uint32_t)p->first_step};
}

static bool is_read(const problem *p, size_t b, size_t t) {
    const size_t end = p->lengths ? (size_t)p->lengths[b] : p->steps;
    return t < end && (!p->mask || p->mask[b * p->steps + t]);
}

static size_t end_of(const problem *p, size_t b) {
    return p->ends ? (size_t)p->ends[b] : p->memory;
}

/* ---- plain loops, in double */

typedef struct plain {
    double *kv, *dkv, *y, *weights, *dq, *de, *dw, *db;
} plain;

static double *zeros(size_t n) {
    return memset(fenced((n + 1) * sizeof(double)), 0, n * sizeof(double));
}

static double factor_of(const problem *p, size_t b, size_t m, size_t t, size_t r) {
    const crnn_noise noise = noise_of(p);
    uint32_t key[2], words[4];
    if (!noise.on) return 1;
    crnn_noise_key(&noise, CRNN_NOISE_HEADS, key);
    crnn_philox(key, (uint32_t[4]){(uint32_t)m}, words);
    const uint32_t of_head[2] = {words[0], words[1]};
    const uint32_t counter[4] = {(uint32_t)(r / 4), noise.first_step + (uint32_t)t,
                                 (uint32_t)(noise.first_row + b), 0};
    crnn_philox(of_head, counter, words);
    return words[r % 4] < crnn_below(p->p) ? 0 : 1 / (1 - p->p);
}

static void plain_map(const problem *p, const buffers *f, plain *to) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t C = p->inputs, wide = 2 * hidden_of(p);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t s = 0; s < end_of(p, b); s++)
            for (size_t h = 0; h < wide; h++) {
                double sum = p->bias ? real_at(d, f->b, h) : 0;
                for (size_t c = 0; c < C; c++)
                    sum += real_at(d, f->e, (b * p->memory + s) * C + c) *
                           real_at(d, f->w, c * wide + h);
                to->kv[(b * p->memory + s) * wide + h] = sum;
            }
}

static void plain_query(const problem *p, const buffers *f, size_t b, size_t m, size_t t,
                        plain *to) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t A = p->size, H = hidden_of(p), n = end_of(p, b), at = (b * p->steps + t) * H;
    const double scale = 1 / sqrt((double)A);
    const double *kv = to->kv + b * p->memory * 2 * H + m * A;
    double *dkv = to->dkv + b * p->memory * 2 * H + m * A;
    double *weights = to->weights + ((b * p->heads + m) * p->steps + t) * p->memory;
    double q[MOST], dc[MOST], top = -INFINITY, sum = 0, mean = 0;
    for (size_t a = 0; a < A; a++) {
        q[a] = real_at(d, f->q, at + m * A + a);
        dc[a] = real_at(d, f->dy, at + m * A + a);
    }
    for (size_t r = 0; r < n; r++) {
        for (size_t a = 0; a < A; a++) weights[r] += scale * q[a] * kv[r * 2 * H + a];
        top = fmax(top, weights[r]);
    }
    for (size_t r = 0; r < n; r++) sum += weights[r] = exp(weights[r] - top);
    for (size_t r = 0; r < n; r++) {
        weights[r] /= sum;
        for (size_t a = 0; a < A; a++)
            to->y[at + m * A + a] += weights[r] * factor_of(p, b, m, t, r) * kv[r * 2 * H + H + a];
    }
    for (size_t a = 0; a < A; a++) mean += to->y[at + m * A + a] * dc[a];
    for (size_t r = 0; r < n; r++) {
        const double factor = factor_of(p, b, m, t, r);
        double dp = 0;
        for (size_t a = 0; a < A; a++) {
            dp += factor * dc[a] * kv[r * 2 * H + H + a];
            dkv[r * 2 * H + H + a] += weights[r] * factor * dc[a];
        }
        for (size_t a = 0; a < A; a++) {
            to->dq[at + m * A + a] += weights[r] * (dp - mean) * scale * kv[r * 2 * H + a];
            dkv[r * 2 * H + a] += weights[r] * (dp - mean) * scale * q[a];
        }
    }
}

static void plain_map_back(const problem *p, const buffers *f, plain *to) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t C = p->inputs, wide = 2 * hidden_of(p), cells = p->batch * p->memory;
    for (size_t i = 0; i < cells * C; i++) to->de[i] = real_at(d, f->dfinal, i);
    for (size_t i = 0; i < C * wide; i++) to->dw[i] = 1;
    for (size_t i = 0; i < wide; i++) to->db[i] = 1;
    for (size_t b = 0; b < p->batch; b++)
        for (size_t s = 0; s < end_of(p, b); s++) {
            const size_t row = b * p->memory + s;
            for (size_t h = 0; h < wide; h++) {
                const double dkv = to->dkv[row * wide + h];
                to->db[h] += dkv;
                for (size_t c = 0; c < C; c++) {
                    to->dw[c * wide + h] += dkv * real_at(d, f->e, row * C + c);
                    to->de[row * C + c] += dkv * real_at(d, f->w, c * wide + h);
                }
            }
        }
}

static plain run_plain(const problem *p, const buffers *f) {
    const size_t H = hidden_of(p), C = p->inputs, cells = p->batch * p->memory;
    plain to = {.kv = zeros(cells * 2 * H),
                .dkv = zeros(cells * 2 * H),
                .y = zeros(p->batch * p->steps * H),
                .weights = zeros(p->batch * p->heads * p->steps * p->memory),
                .dq = zeros(p->batch * p->steps * H),
                .de = zeros(cells * C),
                .dw = zeros(C * 2 * H),
                .db = zeros(2 * H)};
    plain_map(p, f, &to);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t m = 0; m < p->heads; m++)
            for (size_t t = 0; t < p->steps; t++)
                if (is_read(p, b, t)) plain_query(p, f, b, m, t, &to);
    plain_map_back(p, f, &to);
    return to;
}

/* ---- the core */

static void *ones(crnn_dtype d, size_t n) {
    void *to = fenced(n * crnn_dtype_size(d));
    for (size_t i = 0; i < n; i++) real_put(d, to, i, 1);
    return to;
}

static buffers new_buffers(const problem *p) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t item = crnn_dtype_size(d), H = hidden_of(p), C = p->inputs;
    const size_t cells = p->batch * p->steps, rows = p->batch * p->memory;
    return (buffers){.q = sampled(d, 1, cells * H),
                     .y = fenced(cells * H * item),
                     .e = sampled(d, 2, rows * C),
                     .w = sampled(d, 3, C * 2 * H),
                     .b = p->bias ? sampled(d, 4, 2 * H) : NULL,
                     .weights = fenced(cells * p->heads * p->memory * item),
                     .dy = sampled(d, 5, cells * H),
                     .dq = fenced(cells * H * item),
                     .de = fenced(rows * C * item),
                     .dw = ones(d, C * 2 * H),
                     .db = ones(d, 2 * H),
                     .dfinal = sampled(d, 6, rows * C)};
}

typedef struct model {
    crnn_node node[2];
    crnn_rows rows;
    crnn_plan plan;
} model;

static const crnn_edge edge_to_q = {0, 0};

static void make_model(model *m, const problem *p, const buffers *f) {
    const size_t H = hidden_of(p), T = p->steps;
    const crnn_steps steps = {
        .batch = p->batch, .steps = T, .lengths = p->lengths, .mask = p->mask, .resets = p->resets};
    const crnn_seq seq = {NULL, (ptrdiff_t)(H * T), (ptrdiff_t)H};
    size_t words;
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&m->rows, fenced(words * sizeof words), &steps);
    m->node[0] = (crnn_node){.op = CRNN_OP_INPUT, .features = H, .value = seq};
    m->node[1] = (crnn_node){
        .op = CRNN_OP_CROSS, .edges = 1, .from = &edge_to_q, .features = H, .value = seq};
    m->node[0].value.data = f->q;
    m->node[1].value.data = f->y;
    m->node[1].as.cross = (crnn_cross){.heads = p->heads,
                                       .size = p->inputs,
                                       .steps = p->memory,
                                       .memory = f->e,
                                       .lengths = p->ends,
                                       .w = f->w,
                                       .b = f->b,
                                       .dw = f->dw,
                                       .db = p->bias ? f->db : NULL,
                                       .p = p->p,
                                       .noise = noise_of(p),
                                       .dfinal = f->dfinal,
                                       .dmemory = f->de,
                                       .weights = f->weights};
    m->plan = (crnn_plan){.kernels = p->kernels, .rows = &m->rows, .count = 2, .node = m->node};
}

static void take_workspace(crnn_plan *plan, bool back) {
    size_t bytes;
    CHECK((back ? crnn_plan_backward_workspace : crnn_plan_workspace)(plan, &bytes) == CRNN_OK,
          "workspace");
    plan->workspace = fenced(bytes);
}

/* Forward without anything kept, then with it, and backward. */
static void run_core(const problem *p, const buffers *f) {
    model m;
    size_t kept;
    make_model(&m, p, f);
    take_workspace(&m.plan, false);
    crnn_plan_forward(&m.plan);
    CHECK(crnn_node_kept(&m.plan, 1, &kept) == CRNN_OK, "kept");
    m.node[1].kept = fenced(kept);
    take_workspace(&m.plan, false);
    crnn_plan_forward(&m.plan);
    for (int i = 0; i < 2; i++) m.node[i].gradient = m.node[i].value;
    m.node[0].gradient.data = f->dq;
    m.node[1].gradient.data = f->dy;
    m.node[1].given = true;
    take_workspace(&m.plan, true);
    crnn_plan_backward(&m.plan);
}

/* ---- comparisons */

static void check_near(const problem *p, const char *what, size_t n, const void *found,
                       const double *wanted) {
    const double bound = p->kernels->dtype == CRNN_F64 ? 1e-12 : 4e-5;
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double error =
            fabs(real_at(p->kernels->dtype, found, i) - wanted[i]) / (1 + fabs(wanted[i]));
        if (!(error <= most)) most = error;
    }
    CHECK(most <= bound, "%s %s, T %zu, S %zu, heads %zu of %zu, C %zu, p %g: %s differs by %g",
          p->kernels->isa, type_name[p->kernels->dtype], p->steps, p->memory, p->heads, p->size,
          p->inputs, p->p, what, most);
}

static void check_plain(problem p) {
    const size_t mark = fences_used, H = hidden_of(&p), cells = p.batch * p.steps;
    const buffers f = new_buffers(&p);
    run_core(&p, &f);
    const plain wanted = run_plain(&p, &f);
    check_near(&p, "y", cells * H, f.y, wanted.y);
    check_near(&p, "weights", cells * p.heads * p.memory, f.weights, wanted.weights);
    check_near(&p, "dq", cells * H, f.dq, wanted.dq);
    check_near(&p, "dmemory", p.batch * p.memory * p.inputs, f.de, wanted.de);
    check_near(&p, "dw", p.inputs * 2 * H, f.dw, wanted.dw);
    if (p.bias) check_near(&p, "db", 2 * H, f.db, wanted.db);
    fences_release(mark);
}

/* ---- problems */

enum { B = 4, T = 9 };

static const int64_t lengths[B] = {T, 0, 5, 8};

static problem small(const crnn_kernels *k, size_t heads, size_t size, size_t memory) {
    return (problem){.kernels = k,
                     .batch = B,
                     .steps = T,
                     .heads = heads,
                     .size = size,
                     .memory = memory,
                     .inputs = 5,
                     .lengths = lengths,
                     .bias = size % 2};
}

static const uint8_t *marks(size_t every) {
    static uint8_t marks[2][B * T];
    for (size_t i = 0; i < B * T; i++) marks[every % 2][i] = i % every == 1;
    return marks[every % 2];
}

static void check_small(const crnn_kernels *k) {
    static const size_t sizes[][2] = {{1, 1}, {2, 3}, {3, 4}, {1, 9}, {2, 16}};
    const size_t panel = TILE_VECS * k->width;
    const size_t memories[] = {0, 1, 3, k->width, panel - 1, panel + 2};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t j = 0; j < sizeof memories / sizeof *memories; j++) {
            problem p = small(k, sizes[i][0], sizes[i][1], memories[j]);
            const int64_t S = (int64_t)p.memory, ends[B] = {S, S / 2, 0, S > 0};
            for (unsigned how = 0; how < 8; how++) {
                p.ends = how & 1 ? ends : NULL;
                p.mask = how & 2 ? marks(2) : NULL;
                p.resets = how & 2 ? marks(3) : NULL;
                p.p = how & 4 ? 0.3 : 0;
                check_plain(p);
            }
        }
    }
    problem p = {.kernels = k, .batch = 2, .steps = 130, .heads = 2, .size = 7, .memory = 75};
    p.inputs = panel + 3;
    check_plain(p);
    p.p = 0.4;
    check_plain(p);
}

/* ---- equal bits */

static void check_same(const problem *p, const char *what, size_t n, const void *a, const void *b) {
    CHECK(memcmp(a, b, n * crnn_dtype_size(p->kernels->dtype)) == 0, "%s %s, S %zu: %s",
          p->kernels->isa, type_name[p->kernels->dtype], p->memory, what);
}

static const int64_t memory_ends[B] = {20, 0, 7, 16};

static problem bits_problem(const crnn_kernels *k) {
    problem p = small(k, 2, k->width + 3, 20);
    p.ends = memory_ends;
    p.p = 0.2;
    return p;
}

static void check_alone(const crnn_kernels *k) {
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    problem p = bits_problem(k), own;
    p.p = 0;
    const buffers f = new_buffers(&p);
    const size_t H = hidden_of(&p), row = T * H * item, wide = p.memory * p.inputs * item;
    run_core(&p, &f);
    for (size_t b = 0; b < B; b++) {
        own = p;
        own.batch = 1;
        own.lengths = p.lengths + b;
        own.ends = p.ends + b;
        buffers g = new_buffers(&own);
        g.q = copied((char *)f.q + b * row, row);
        g.dy = copied((char *)f.dy + b * row, row);
        g.e = copied((char *)f.e + b * wide, wide);
        g.dfinal = copied((char *)f.dfinal + b * wide, wide);
        run_core(&own, &g);
        check_same(&own, "y of a row alone", T * H, g.y, (char *)f.y + b * row);
        check_same(&own, "dq of a row alone", T * H, g.dq, (char *)f.dq + b * row);
        check_same(&own, "dmemory of a row alone", own.memory * own.inputs, g.de,
                   (char *)f.de + b * wide);
    }
    fences_release(mark);
}

/* Behind the lengths of the memory and of the queries there may be any values. */
static void check_unread(const crnn_kernels *k) {
    const size_t mark = fences_used;
    problem p = bits_problem(k);
    const buffers f = new_buffers(&p), g = new_buffers(&p);
    const size_t H = hidden_of(&p), C = p.inputs;
    run_core(&p, &f);
    for (size_t b = 0; b < B; b++) {
        for (size_t i = (size_t)p.ends[b] * C; i < p.memory * C; i++)
            real_put(k->dtype, g.e, b * p.memory * C + i, NAN);
        for (size_t i = (size_t)p.lengths[b] * H; i < T * H; i++) {
            real_put(k->dtype, g.q, b * T * H + i, INFINITY);
            real_put(k->dtype, g.dy, b * T * H + i, NAN);
        }
    }
    p.resets = marks(3); /* nor do resets change anything */
    run_core(&p, &g);
    check_same(&p, "y beside NaN", B * T * H, g.y, f.y);
    check_same(&p, "dq beside NaN", B * T * H, g.dq, f.dq);
    check_same(&p, "dmemory beside NaN", B * p.memory * C, g.de, f.de);
    check_same(&p, "dw beside NaN", C * 2 * H, g.dw, f.dw);
    fences_release(mark);
}

static void check_threads(const crnn_kernels *k) {
    const size_t mark = fences_used;
    problem p = bits_problem(k);
    p.lengths = NULL;
    p.inputs = 150;
    const buffers f = new_buffers(&p), g = new_buffers(&p);
    run_core(&p, &f);
    crnn_set_threads(3);
    run_core(&p, &g);
    crnn_set_threads(1);
    check_same(&p, "y on three threads", B * T * hidden_of(&p), g.y, f.y);
    check_same(&p, "dmemory on three threads", B * p.memory * p.inputs, g.de, f.de);
    check_same(&p, "dw on three threads", p.inputs * 2 * hidden_of(&p), g.dw, f.dw);
    fences_release(mark);
}

/* A plan of one step, with the memory of a problem. */
static void make_stream(model *m, const problem *whole, const buffers *f, buffers *own) {
    problem p = *whole;
    size_t bytes;
    p.steps = 1;
    p.lengths = NULL;
    *own = new_buffers(&p);
    make_model(m, &p, own);
    m->node[1].as.cross.memory = f->e;
    CHECK(crnn_node_running(&m->plan, 1, &bytes) == CRNN_OK, "running");
    m->node[1].running = fenced(bytes);
    crnn_node_load(&m->plan, 1);
    m->node[1].as.cross.memory = NULL; /* it is not read any more */
    m->node[1].as.cross.w = NULL;
    take_workspace(&m->plan, false);
    crnn_plan_lay(&m->plan);
}

static void run_step(model *m, const problem *p, const void *q, const buffers *own, size_t t) {
    const size_t bytes = hidden_of(p) * crnn_dtype_size(p->kernels->dtype);
    for (size_t b = 0; b < m->rows.given.batch; b++)
        memcpy((char *)own->q + b * bytes, (const char *)q + (b * p->steps + t) * bytes, bytes);
    m->node[1].as.cross.noise.first_step = (uint32_t)t;
    crnn_plan_run(&m->plan);
}

static void check_stream(const crnn_kernels *k) {
    const size_t mark = fences_used;
    problem p = bits_problem(k);
    p.lengths = NULL;
    const buffers f = new_buffers(&p);
    buffers own;
    model m;
    const size_t bytes = hidden_of(&p) * crnn_dtype_size(k->dtype);
    p.p = 0;
    run_core(&p, &f);
    make_stream(&m, &p, &f, &own);
    for (size_t t = 0; t < T; t++) {
        run_step(&m, &p, f.q, &own, t);
        for (size_t b = 0; b < B; b++)
            check_same(&p, "y of a stream", hidden_of(&p), (char *)own.y + b * bytes,
                       (char *)f.y + (b * T + t) * bytes);
    }
    fences_release(mark);
}

/* Rows that follow others read the memory of these: without a copy of it. */
static void check_follow(const crnn_kernels *k) {
    static const size_t parents[3][B] = {{2, 0, 2}, {1, 1, 0, 2}, {3, 2, 1, 0}},
                        counts[3] = {3, 4, 4};
    const size_t mark = fences_used;
    problem p = bits_problem(k);
    p.lengths = NULL;
    p.p = 0;
    const buffers f = new_buffers(&p);
    buffers own;
    model m;
    size_t source[B] = {0, 1, 2, 3}, wanted[B] = {0, 1, 2, 3}, old[B], words;
    const size_t H = hidden_of(&p), item = crnn_dtype_size(k->dtype), wide = p.memory * p.inputs;
    make_stream(&m, &p, &f, &own);
    m.node[1].as.cross.source = source;
    CHECK(crnn_rows_size(&m.rows.given, &words) == CRNN_OK, "rows");
    size_t *memory = fenced(words * sizeof words);
    for (size_t turn = 0; turn < 3; turn++) {
        const core_plan *plan = m.plan.workspace;
        run_step(&m, &p, f.q, &own, turn);
        core_op_cross.follow(&plan->nodes[1], parents[turn], counts[turn]);
        memcpy(old, wanted, sizeof old);
        for (size_t i = 0; i < counts[turn]; i++) wanted[i] = old[parents[turn][i]];
        crnn_rows_init(&m.rows, memory, &(crnn_steps){.batch = counts[turn], .steps = 1});
        crnn_plan_lay(&m.plan);
        run_step(&m, &p, f.q, &own, turn + 1);
        problem one = p;
        int64_t ends[B];
        one.batch = counts[turn];
        one.steps = 1;
        one.ends = ends;
        buffers g = new_buffers(&one);
        memcpy(g.q, own.q, one.batch * H * item);
        for (size_t i = 0; i < one.batch; i++) {
            CHECK(source[i] == wanted[i], "row %zu reads %zu, not %zu", i, source[i], wanted[i]);
            ends[i] = p.ends[wanted[i]];
            memcpy((char *)g.e + i * wide * item, (char *)f.e + wanted[i] * wide * item,
                   wide * item);
        }
        run_core(&one, &g);
        check_same(&one, "y of rows that follow others", one.batch * H, own.y, g.y);
    }
    fences_release(mark);
}

/* Sizes that overflow are refused. */
static void check_sizes(const crnn_kernels *k) {
    const size_t mark = fences_used;
    problem p = small(k, 1, 2, 3);
    const buffers f = new_buffers(&p);
    model m;
    size_t bytes;
    make_model(&m, &p, &f);
    m.node[1].as.cross.steps = SIZE_MAX / 64;
    m.node[1].as.cross.size = SIZE_MAX / 8;
    CHECK(crnn_plan_workspace(&m.plan, &bytes) == CRNN_OVERFLOW, "workspace that overflows");
    CHECK(crnn_node_kept(&m.plan, 1, &bytes) == CRNN_OVERFLOW, "memory that overflows");
    CHECK(crnn_node_running(&m.plan, 1, &bytes) == CRNN_OVERFLOW, "a state that overflows");
    fences_release(mark);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (size_t i = 0; crnn_isa_available(i); i++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k = table_at(i, (crnn_dtype)d);
            if (left_out(k)) continue;
            check_small(k);
            check_alone(k);
            check_unread(k);
            check_threads(k);
            check_stream(k);
            check_follow(k);
            check_sizes(k);
        }
    }
    return check_done();
}
