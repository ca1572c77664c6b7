/* Plans: a causal convolution is a sum with an edge for each tap, without a loop of its own; a
 * layer that is read late; two layers that read one value; values with one step for each row, and
 * sums whose other steps are those of an input; sizes that do not fit. Decoders, in test_decoder.c,
 * are plans with a cycle. */
#include <float.h>

#include "support.h"

enum { TAPS = 3, NODES = 8, B = 5, T = 9, I = 4, H = 6 };

/* A batch: x (B, T, I), rows of every length. */
typedef struct batch {
    const crnn_kernels *kernels;
    size_t item;
    crnn_rows rows;
    int64_t lengths[B];
    uint8_t mask[B * T];
    void *x;
} batch;

static batch new_batch(const crnn_kernels *kernels) {
    batch b = {.kernels = kernels, .item = crnn_dtype_size(kernels->dtype)};
    b.x = sampled(kernels->dtype, 1, B * T * I);
    return b;
}

static void set_rows(batch *b, bool holes) {
    size_t words;
    for (size_t i = 0; i < B * T; i++) b->mask[i] = i % 3 != 1;
    for (size_t i = 0; i < B; i++) b->lengths[i] = (int64_t)((2 * i + T) % (T + 1));
    const crnn_steps steps = {
        .batch = B, .steps = T, .lengths = b->lengths, .mask = holes ? b->mask : NULL};
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&b->rows, fenced(words * sizeof words), &steps);
}

static crnn_seq new_seq(const batch *b, size_t features) {
    return (crnn_seq){fenced(B * T * features * b->item), (ptrdiff_t)(T * features),
                      (ptrdiff_t)features};
}

/* ---- a causal convolution: y_t = b + x_t W_0 + x_{t-2} W_1 + x_{t-4} W_2 */

typedef struct convolution {
    batch *b;
    void *w, *bias, *dw, *db; /* (TAPS * I, H), [H] */
    const void *weights;      /* [B][T][H]: the gradient of y */
    crnn_edge from[TAPS];
    crnn_node node[2];
} convolution;

static void describe(convolution *c) {
    batch *b = c->b;
    const crnn_seq x = {b->x, T * I, I};
    for (size_t k = 0; k < TAPS; k++) c->from[k] = (crnn_edge){.node = 0, .delay = 2 * k};
    c->node[0] = (crnn_node){.op = CRNN_OP_INPUT, .features = I, .value = x};
    c->node[1] = (crnn_node){
        .op = CRNN_OP_SUM, .edges = TAPS, .from = c->from, .features = H, .value = new_seq(b, H)};
    c->node[1].as.sum = (crnn_sum){.w = c->w, .symbols = I, .b = c->bias, .dw = c->dw, .db = c->db};
}

static void run(const crnn_kernels *kernels, const crnn_rows *rows, const crnn_node *nodes,
                size_t count, bool back) {
    crnn_plan plan = {.kernels = kernels, .rows = rows, .count = count, .node = nodes};
    size_t bytes;
    CHECK((back ? crnn_plan_backward_workspace : crnn_plan_workspace)(&plan, &bytes) == CRNN_OK,
          "workspace");
    plan.workspace = fenced(bytes);
    if (back) {
        crnn_plan_backward(&plan);
        return;
    }
    crnn_plan_lay(&plan);
    for (int runs = 0; runs < 2; runs++) crnn_plan_run(&plan); /* it may run any number of times */
}

/* The sum of y o weights over all steps, of a plain loop in double. */
static double plain_loss(const void *problem) {
    const convolution *c = problem;
    const double *weights = c->weights;
    const double *x = c->b->x, *w = c->w, *bias = c->bias;
    double loss = 0;
    for (size_t b = 0; b < B; b++) {
        for (size_t t = 0; t < (size_t)c->b->lengths[b]; t++) {
            for (size_t h = 0; h < H; h++) {
                double y = bias[h];
                for (size_t k = 0; k < TAPS && 2 * k <= t; k++)
                    for (size_t i = 0; i < I; i++)
                        y += x[(b * T + t - 2 * k) * I + i] * w[(k * I + i) * H + h];
                loss += y * weights[(b * T + t) * H + h];
            }
        }
    }
    return loss;
}

/* The gradient d, less what was there before, is the slope of the loss. */
static void check_slopes(double (*loss)(const void *problem), const void *problem, const char *what,
                         size_t count, double *x, const double *d, const double *before) {
    const double by = 1e-4;
    for (size_t i = 0; i < count; i++) {
        const double here = x[i];
        x[i] = here + by;
        const double up = loss(problem);
        x[i] = here - by;
        const double slope = (up - loss(problem)) / (2 * by);
        x[i] = here;
        const double found = d[i] - (before ? before[i] : 0);
        CHECK(fabs(slope - found) <= 1e-7 * (1 + fabs(slope)), "%s %zu: %g, not %g", what, i, found,
              slope);
    }
}

static convolution new_convolution(batch *b) {
    const crnn_dtype d = b->kernels->dtype;
    convolution c = {.b = b};
    c.w = sampled(d, 2, TAPS * I * H);
    c.bias = sampled(d, 3, H);
    c.dw = copied(sampled(d, 4, TAPS * I * H), TAPS * I * H * b->item);
    c.db = copied(sampled(d, 5, H), H * b->item);
    c.weights = sampled(d, 6, B * T * H);
    return c;
}

/* Forward, then back from `weights`; dx in dense (B, T, I). */
static void run_convolution(convolution *c) {
    batch *b = c->b;
    describe(c);
    run(b->kernels, &b->rows, c->node, 2, false);
    c->node[0].gradient = new_seq(b, I);
    c->node[1].gradient = (crnn_seq){(void *)c->weights, T * H, H};
    c->node[1].given = true;
    run(b->kernels, &b->rows, c->node, 2, true);
}

static void check_convolution_gradients(void) {
    const size_t mark = fences_used;
    batch b = new_batch(core_kernels_for("scalar", CRNN_F64));
    set_rows(&b, false);
    convolution c = new_convolution(&b);
    const double *dw = copied(c.dw, TAPS * I * H * sizeof(double)),
                 *db = copied(c.db, H * sizeof(double));
    run_convolution(&c);
    check_slopes(plain_loss, &c, "dx", B * T * I, b.x, c.node[0].gradient.data, NULL);
    check_slopes(plain_loss, &c, "dW", TAPS * I * H, c.w, c.dw, dw);
    check_slopes(plain_loss, &c, "db", H, c.bias, c.db, db);
    fences_release(mark);
}

/* Teams of any size find the same bits; steps past an end are 0. */
static void check_convolution_bits(const crnn_kernels *kernels) {
    const size_t mark = fences_used, item = crnn_dtype_size(kernels->dtype);
    convolution c[2];
    batch b[2];
    for (size_t k = 0; k < 2; k++) {
        crnn_set_threads(k ? 3 : 1);
        b[k] = new_batch(kernels);
        set_rows(&b[k], false);
        c[k] = new_convolution(&b[k]);
        run_convolution(&c[k]);
    }
    crnn_set_threads(1);
    CHECK(memcmp(c[0].node[1].value.data, c[1].node[1].value.data, B * T * H * item) == 0, "y");
    CHECK(memcmp(c[0].node[0].gradient.data, c[1].node[0].gradient.data, B * T * I * item) == 0,
          "dx");
    CHECK(memcmp(c[0].dw, c[1].dw, TAPS * I * H * item) == 0, "dW");
    for (size_t i = 0; i < B * T * H; i++)
        if (i / H % T >= (size_t)b[0].lengths[i / H / T])
            CHECK(real_at(kernels->dtype, c[0].node[1].value.data, i) == 0, "padding %zu", i);
    fences_release(mark);
}

/* ---- one step for each row: z = pool(h + x) + the final c, where h are the outputs of an LSTM; y
 * is z W; a = tanh(h). At steps that do not run, h + x is h. */

enum { X, LAYER, RESIDUAL, POOL, FINAL, BOTH, MAPPED, TANH };

typedef struct pooled {
    batch *b;
    crnn_pool_how how;
    crnn_layer layer;
    crnn_tape tape;
    size_t count;               /* of params */
    void *params, *w, *initial; /* [count], (I, H), [B][I] */
    void *final, *dfinal, *dinitial, *grads, *dw;
    const void *weights[NODES]; /* the gradient of a value that comes from outside, or NULL */
    crnn_node node[NODES];
} pooled;

static const crnn_edge pooled_edges[NODES][2] = {
    [LAYER] = {{X, 0}},       [RESIDUAL] = {{LAYER, 0}, {X, 0}},
    [POOL] = {{RESIDUAL, 0}}, [BOTH] = {{POOL, 0}, {FINAL, 0}},
    [MAPPED] = {{BOTH, 0}},   [TANH] = {{LAYER, 0}}};
static const size_t pooled_edge_counts[NODES] = {0, 1, 2, 1, 0, 2, 1, 1};

static crnn_rowwise rowwise_of(const batch *b, crnn_rowwise_kind kind) {
    return (crnn_rowwise){.kind = kind,
                          .kernels = b->kernels,
                          .inputs = kind == CRNN_ROWWISE_SUM ? 2 : 1,
                          .features = {I, I},
                          .activation = CRNN_TANH};
}

static void describe_pooled(pooled *p) {
    static const crnn_op ops[NODES] = {CRNN_OP_INPUT, CRNN_OP_RECURRENT, CRNN_OP_ROWWISE,
                                       CRNN_OP_POOL,  CRNN_OP_STATE,     CRNN_OP_ROWWISE,
                                       CRNN_OP_SUM,   CRNN_OP_ROWWISE};
    batch *b = p->b;
    for (size_t i = 0; i < NODES; i++) {
        const size_t features = i == MAPPED ? H : I;
        const bool once = i >= POOL && i <= MAPPED;
        const crnn_seq value = {fenced(B * (once ? 1 : T) * features * b->item),
                                (ptrdiff_t)((once ? 1 : T) * features), (ptrdiff_t)features};
        p->node[i] = (crnn_node){.op = ops[i],
                                 .edges = pooled_edge_counts[i],
                                 .from = pooled_edges[i],
                                 .features = features,
                                 .value = i == X ? (crnn_seq){b->x, T * I, I} : value,
                                 .rest = i == RESIDUAL,
                                 .once = once};
    }
    p->node[LAYER].as.recurrent = (crnn_recurrent){.layer = &p->layer,
                                                   .rows = &b->rows,
                                                   .params = p->params,
                                                   .initial = {.h = p->initial},
                                                   .final = {.c = p->final},
                                                   .tape = &p->tape,
                                                   .dfinal = {.c = p->dfinal},
                                                   .dinitial = {.h = p->dinitial},
                                                   .grads = p->grads};
    p->node[RESIDUAL].as.rowwise = p->node[BOTH].as.rowwise = rowwise_of(b, CRNN_ROWWISE_SUM);
    p->node[POOL].as.pool = p->how;
    p->node[FINAL].as.final = (crnn_final){.node = LAYER, .cell = true};
    p->node[MAPPED].as.sum = (crnn_sum){.w = p->w, .dw = p->dw};
    p->node[TANH].as.rowwise = rowwise_of(b, CRNN_ROWWISE_ACTIVATE);
}

/* Forward; the steps that the pool selects are kept for backward where there is one. */
static void run_pooled_forward(pooled *p, bool keep) {
    const crnn_plan plan = {
        .kernels = p->b->kernels, .rows = &p->b->rows, .count = NODES, .node = p->node};
    size_t bytes;
    describe_pooled(p);
    CHECK(crnn_node_kept(&plan, POOL, &bytes) == CRNN_OK, "kept");
    if (keep) p->node[POOL].kept = fenced(bytes);
    run(p->b->kernels, &p->b->rows, p->node, NODES, false);
}

static void run_pooled_back(pooled *p) {
    for (size_t i = 0; i < NODES; i++) {
        crnn_node *n = &p->node[i];
        const size_t count = B * (n->once ? 1 : T) * n->features;
        n->gradient = n->value;
        n->gradient.data =
            p->weights[i] ? copied(p->weights[i], count * p->b->item) : fenced(count * p->b->item);
        n->given = p->weights[i] != NULL;
    }
    run(p->b->kernels, &p->b->rows, p->node, NODES, true);
}

static pooled new_pooled(batch *b, crnn_pool_how how) {
    const crnn_dtype d = b->kernels->dtype;
    pooled p = {.b = b, .how = how, .tape = {.kernels = b->kernels}};
    p.layer = (crnn_layer){.cell = CRNN_LSTM, .dtype = d, .inputs = I, .hidden = I, .bias = true};
    crnn_layout at;
    size_t bytes;
    CHECK(crnn_layer_layout(&p.layer, &at) == CRNN_OK, "layout");
    CHECK(crnn_tape_size(&p.layer, b->kernels, &b->rows, &bytes) == CRNN_OK, "tape");
    p.count = at.total;
    p.tape.memory = fenced(bytes);
    p.params = sampled(d, 11, p.count);
    p.w = sampled(d, 12, I * H);
    p.initial = sampled(d, 13, B * I);
    p.final = fenced(B * I * b->item);
    p.dinitial = fenced(B * I * b->item);
    p.dfinal = sampled(d, 14, B * I);
    p.grads = memset(fenced(p.count * b->item), 0, p.count * b->item);
    p.dw = memset(fenced(I * H * b->item), 0, I * H * b->item);
    return p;
}

/* Of all values that have weights, and of the final state. */
static double pooled_loss(const void *problem) {
    pooled p = *(const pooled *)problem;
    const size_t mark = fences_used;
    double loss = 0;
    p.final = fenced(B * I * sizeof(double));
    run_pooled_forward(&p, false);
    for (size_t i = 0; i < NODES; i++) {
        const crnn_node *n = &p.node[i];
        for (size_t k = 0; p.weights[i] && k < B * (n->once ? 1 : T) * n->features; k++)
            loss += ((const double *)p.weights[i])[k] * ((const double *)n->value.data)[k];
    }
    for (size_t k = 0; k < B * I; k++) loss += sample(14, k) * ((const double *)p.final)[k];
    fences_release(mark);
    return loss;
}

/* Gradients from y alone, and from values that other nodes read as well. */
static void check_pooled_gradients(crnn_pool_how how, bool more) {
    const size_t mark = fences_used;
    batch b = new_batch(core_kernels_for("scalar", CRNN_F64));
    set_rows(&b, true);
    pooled p = new_pooled(&b, how);
    p.weights[MAPPED] = sampled(CRNN_F64, 15, B * H);
    if (more) p.weights[RESIDUAL] = sampled(CRNN_F64, 16, B * T * I);
    if (more) p.weights[TANH] = sampled(CRNN_F64, 17, B * T * I);
    run_pooled_forward(&p, true);
    run_pooled_back(&p);
    check_slopes(pooled_loss, &p, "dx", B * T * I, b.x, p.node[X].gradient.data, NULL);
    check_slopes(pooled_loss, &p, "dparams", p.count, p.params, p.grads, NULL);
    check_slopes(pooled_loss, &p, "dinitial", B * I, p.initial, p.dinitial, NULL);
    check_slopes(pooled_loss, &p, "dW", I * H, p.w, p.dw, NULL);
    fences_release(mark);
}

/* Values of a sum, a pool and a final state, from the values that they read. */
static void check_pooled_values(const pooled *p) {
    const crnn_dtype d = p->b->kernels->dtype;
    const void *h = p->node[LAYER].value.data, *sum = p->node[RESIDUAL].value.data;
    for (size_t i = 0; i < B * T; i++) {
        const bool runs = p->b->mask[i] && i % T < (size_t)p->b->lengths[i / T];
        for (size_t k = i * I; k < (i + 1) * I; k++)
            CHECK(fabs(real_at(d, sum, k) - real_at(d, h, k) -
                       (runs ? real_at(d, p->b->x, k) : 0)) < 1e-6,
                  "residual %zu", k);
    }
    void *y = fenced(B * I * p->b->item);
    int64_t *steps = fenced(B * I * sizeof *steps);
    const crnn_pool pool = {p->how, p->b->kernels, &p->b->rows.given, I};
    crnn_pool_forward(&pool, &p->node[RESIDUAL].value, y, steps);
    CHECK(memcmp(y, p->node[POOL].value.data, B * I * p->b->item) == 0, "pool");
    CHECK(memcmp(p->final, p->node[FINAL].value.data, B * I * p->b->item) == 0, "state");
}

/* The same bits in teams of any size, and with steps that are not kept. */
static void check_pooled_bits(const crnn_kernels *kernels, crnn_pool_how how) {
    const size_t mark = fences_used;
    pooled p[2];
    batch b[2];
    for (size_t k = 0; k < 2; k++) {
        crnn_set_threads(k ? 3 : 1);
        b[k] = new_batch(kernels);
        set_rows(&b[k], true);
        p[k] = new_pooled(&b[k], how);
        p[k].weights[MAPPED] = sampled(kernels->dtype, 15, B * H);
        run_pooled_forward(&p[k], false);
        check_pooled_values(&p[k]);
        run_pooled_forward(&p[k], true);
        check_pooled_values(&p[k]);
        run_pooled_back(&p[k]);
    }
    crnn_set_threads(1);
    CHECK(memcmp(p[0].node[MAPPED].value.data, p[1].node[MAPPED].value.data, B * H * b[0].item) ==
              0,
          "y");
    CHECK(memcmp(p[0].node[X].gradient.data, p[1].node[X].gradient.data, B * T * I * b[0].item) ==
              0,
          "dx");
    CHECK(memcmp(p[0].grads, p[1].grads, p[0].count * b[0].item) == 0, "dparams");
    fences_release(mark);
}

/* ---- a sum reads h_t and h_{t-2} of a layer, at first its initial h; no node reads node 1 */

typedef struct late {
    batch *b;
    crnn_layer layer;
    void *params, *grads, *h0, *dh0, *last, *w;
    const void *weights; /* [B][T][H]: the gradient of y */
    crnn_tape tape;
    crnn_edge from[3];
    crnn_node node[4];
} late;

static late new_late(batch *b) {
    late l = {.b = b, .from = {{0, 0}, {2, 0}, {2, 2}}};
    crnn_layout at;
    l.layer =
        (crnn_layer){.cell = CRNN_GRU_AFTER, .dtype = b->kernels->dtype, .inputs = I, .hidden = H};
    CHECK(crnn_layer_layout(&l.layer, &at) == CRNN_OK, "layout");
    l.params = sampled(l.layer.dtype, 7, at.total);
    l.grads = copied(sampled(l.layer.dtype, 8, at.total), at.total * b->item);
    l.h0 = sampled(l.layer.dtype, 9, B * H);
    l.dh0 = fenced(B * H * b->item);
    l.last = fenced(B * H * b->item);
    l.w = sampled(l.layer.dtype, 10, 2 * H * H);
    l.weights = sampled(l.layer.dtype, 6, B * T * H);
    return l;
}

static void run_late(late *l) {
    const batch *b = l->b;
    const crnn_seq x = {b->x, T * I, I};
    size_t bytes;
    CHECK(crnn_tape_size(&l->layer, b->kernels, &b->rows, &bytes) == CRNN_OK, "tape");
    l->tape.memory = fenced(bytes);
    l->node[0] = l->node[1] = (crnn_node){.op = CRNN_OP_INPUT, .features = I, .value = x};
    l->node[2] = (crnn_node){.op = CRNN_OP_RECURRENT,
                             .edges = 1,
                             .from = l->from,
                             .features = H,
                             .value = new_seq(b, H),
                             .as.recurrent = {.layer = &l->layer,
                                              .rows = &b->rows,
                                              .params = l->params,
                                              .initial.h = l->h0,
                                              .final.h = l->last,
                                              .tape = &l->tape,
                                              .dinitial.h = l->dh0,
                                              .grads = l->grads}};
    l->node[3] = (crnn_node){.op = CRNN_OP_SUM,
                             .edges = 2,
                             .from = l->from + 1,
                             .features = H,
                             .value = new_seq(b, H),
                             .as.sum.w = l->w};
    run(b->kernels, &b->rows, l->node, 4, false);
}

/* Sum of y o weights over all steps. */
static double late_loss(const void *problem) {
    const size_t mark = fences_used;
    late l = *(const late *)problem;
    double loss = 0;
    run_late(&l);
    const double *y = l.node[3].value.data, *weights = l.weights;
    for (size_t i = 0; i < B * T * H; i++) loss += y[i] * weights[i];
    fences_release(mark);
    return loss;
}

static void check_late_reads(void) {
    const size_t mark = fences_used;
    batch b = new_batch(core_kernels_for("scalar", CRNN_F64));
    set_rows(&b, false);
    late l = new_late(&b);
    run_late(&l);
    for (size_t i = 0; i < 3; i++) l.node[i].gradient = new_seq(&b, i < 2 ? I : H);
    l.node[3].gradient = (crnn_seq){(void *)l.weights, T * H, H};
    l.node[3].given = true;
    run(b.kernels, &b.rows, l.node, 4, true);
    const double *dx = l.node[0].gradient.data, *unread = l.node[1].gradient.data;
    for (size_t i = 0; i < B * T * I; i++) CHECK(unread[i] == 0, "unread %zu: %g", i, unread[i]);
    const double *dh0 = copied(l.dh0, B * H * b.item);
    check_slopes(late_loss, &l, "dx", B * T * I, b.x, dx, NULL);
    check_slopes(late_loss, &l, "dh0", B * H, l.h0, dh0, NULL);
    fences_release(mark);
}

/* ---- two layers that read one value, in opposite directions */

enum { READER_NODES = 5 };

/* x twice, a layer, a layer that reads backwards, the sum of both. */
typedef struct readers {
    crnn_layer layer[2];
    crnn_rows rows[2];
    crnn_tape tape[2];
    crnn_node node[READER_NODES];
} readers;

static const crnn_edge reads_x[] = {{0, 0}, {1, 0}}, reads_layers[] = {{2, 0}, {3, 0}};

static crnn_recurrent described(readers *r, const batch *b, size_t k, const crnn_steps *steps) {
    crnn_steps own = *steps;
    crnn_layout at;
    size_t words, bytes;
    own.reverse = k == 1;
    r->layer[k] = (crnn_layer){
        .cell = CRNN_GRU_AFTER, .dtype = b->kernels->dtype, .inputs = I, .hidden = H, .bias = true};
    CHECK(crnn_layer_layout(&r->layer[k], &at) == CRNN_OK, "layout");
    CHECK(crnn_rows_size(&own, &words) == CRNN_OK, "rows");
    crnn_rows_init(&r->rows[k], fenced(words * sizeof words), &own);
    CHECK(crnn_tape_size(&r->layer[k], b->kernels, &r->rows[k], &bytes) == CRNN_OK, "tape");
    r->tape[k].memory = fenced(bytes);
    return (crnn_recurrent){.layer = &r->layer[k],
                            .rows = &r->rows[k],
                            .params = sampled(b->kernels->dtype, 7 + (uint32_t)k, at.total),
                            .final = {.h = fenced(B * H * b->item)},
                            .tape = &r->tape[k],
                            .dinitial = {.h = fenced(B * H * b->item)},
                            .grads = memset(fenced(at.total * b->item), 0, at.total * b->item)};
}

/* Both layers read node 0, or each of them a node of its own. */
static void describe_readers(readers *r, const batch *b, const crnn_steps *steps, bool filled,
                             bool together) {
    crnn_node *sum = &r->node[4];
    for (size_t k = 0; k < 2; k++) {
        r->node[k] = (crnn_node){.op = CRNN_OP_INPUT, .features = I, .value = {b->x, T * I, I}};
        r->node[2 + k] = (crnn_node){.op = CRNN_OP_RECURRENT,
                                     .edges = 1,
                                     .from = &reads_x[together ? 0 : k],
                                     .features = H,
                                     .value = new_seq(b, H),
                                     .filled = filled};
        r->node[2 + k].as.recurrent = described(r, b, k, steps);
    }
    *sum = (crnn_node){.op = CRNN_OP_ROWWISE,
                       .edges = 2,
                       .from = reads_layers,
                       .features = H,
                       .value = new_seq(b, H),
                       .filled = true};
    sum->as.rowwise = (crnn_rowwise){
        .kind = CRNN_ROWWISE_SUM, .kernels = b->kernels, .inputs = 2, .features = {H, H}};
}

static void run_readers(readers *r, const batch *b, const void *dy, bool together) {
    run(b->kernels, &r->rows[0], r->node, READER_NODES, false);
    r->node[4].gradient = (crnn_seq){(void *)dy, T * H, H};
    r->node[4].given = true;
    for (size_t k = 0; k < 2; k++) {
        r->node[2 + k].gradient = new_seq(b, H);
        if (k == 0 || !together) r->node[k].gradient = new_seq(b, I);
    }
    run(b->kernels, &r->rows[0], r->node, READER_NODES, true);
}

/* The gradient of x is the sum of those of both layers, also where masked steps are answered. */
static void check_readers(const crnn_kernels *kernels, bool filled) {
    const size_t mark = fences_used;
    batch b = new_batch(kernels);
    uint8_t mask[B * T];
    readers apart, both;
    const void *dy = sampled(kernels->dtype, 6, B * T * H);
    set_rows(&b, false);
    for (size_t i = 0; i < B * T; i++) mask[i] = i % 3 != 1;
    const crnn_steps steps = {.batch = B, .steps = T, .lengths = b.lengths, .mask = mask};
    describe_readers(&apart, &b, &steps, filled, false);
    describe_readers(&both, &b, &steps, filled, true);
    run_readers(&apart, &b, dy, false);
    run_readers(&both, &b, dy, true);
    void *sum = apart.node[1].gradient.data;
    kernels->add_rows(1, B * T * I, B * T * I, NULL, apart.node[0].gradient.data, sum);
    CHECK(memcmp(sum, both.node[0].gradient.data, B * T * I * b.item) == 0, "dx of two layers");
    fences_release(mark);
}

/* ---- sizes that do not fit */

static void check_overflow(const crnn_kernels *kernels) {
    const size_t most = SIZE_MAX / 16;
    const crnn_rows rows = {.given = {.batch = most, .steps = 1}, .places = most, .total = most};
    const crnn_edge from = {0, 0};
    const crnn_node nodes[] = {{.op = CRNN_OP_INPUT, .features = most},
                               {.op = CRNN_OP_SUM, .edges = 1, .from = &from, .features = most}};
    const crnn_plan plan = {.kernels = kernels, .rows = &rows, .count = 2, .node = nodes};
    size_t bytes;
    CHECK(crnn_plan_workspace(&plan, &bytes) == CRNN_OVERFLOW, "forward");
    CHECK(crnn_plan_backward_workspace(&plan, &bytes) == CRNN_OVERFLOW, "backward");
    CHECK(crnn_plan_packed_size(&plan, &bytes) == CRNN_OVERFLOW, "packed");
    const crnn_node pools[] = {nodes[0],
                               {.op = CRNN_OP_POOL,
                                .edges = 1,
                                .from = &from,
                                .features = most,
                                .once = true,
                                .as.pool = CRNN_POOL_MAX}};
    const crnn_plan pooling = {.kernels = kernels, .rows = &rows, .count = 2, .node = pools};
    CHECK(crnn_plan_workspace(&pooling, &bytes) == CRNN_OVERFLOW, "pool");
    CHECK(crnn_node_kept(&pooling, 1, &bytes) == CRNN_OVERFLOW, "selected steps");
}

int main(void) {
    check_deadline(100);
    crnn_set_threads(1);
    check_convolution_gradients();
    check_late_reads();
    for (int how = 0; how < 6; how++) check_pooled_gradients((crnn_pool_how)(how % 3), how >= 3);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_convolution_bits(k);
            check_readers(k, false);
            check_readers(k, true);
            for (int how = 0; how < 3; how++) check_pooled_bits(k, (crnn_pool_how)how);
            check_overflow(k);
        }
    }
    return check_done();
}
