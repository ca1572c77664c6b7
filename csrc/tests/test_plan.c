/* Plans of single operations: a causal convolution is a sum with an edge for each tap, without a
 * loop of its own; two layers that read one value; sizes that do not fit. Decoders, in
 * test_decoder.c, are plans with a cycle. */
#include <float.h>

#include "support.h"

enum { TAPS = 3, EDGES = 4, NODES = 6, B = 5, T = 9, I = 4, H = 6 };

/* A batch: x (B, T, I), rows of every length. */
typedef struct batch {
    const crnn_kernels *kernels;
    size_t item;
    crnn_rows rows;
    int64_t lengths[B];
    void *x;
} batch;

static batch new_batch(const crnn_kernels *kernels) {
    batch b = {.kernels = kernels, .item = crnn_dtype_size(kernels->dtype)};
    b.x = sampled(kernels->dtype, 1, B * T * I);
    return b;
}

static void set_rows(batch *b) {
    size_t words;
    for (size_t i = 0; i < B; i++) b->lengths[i] = (int64_t)((2 * i + T) % (T + 1));
    const crnn_steps steps = {.batch = B, .steps = T, .lengths = b->lengths};
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
    (back ? crnn_plan_backward : crnn_plan_forward)(&plan);
}

/* The sum of y o weights over all steps, of a plain loop in double. */
static double plain_loss(const convolution *c, const double *weights) {
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

/* The gradient d, less what was there before, is the slope of the plain loss. */
static void check_slopes(const convolution *c, const char *what, size_t count, double *x,
                         const double *d, const double *before, const double *weights) {
    const double by = 1e-4;
    for (size_t i = 0; i < count; i++) {
        const double here = x[i];
        x[i] = here + by;
        const double up = plain_loss(c, weights);
        x[i] = here - by;
        const double slope = (up - plain_loss(c, weights)) / (2 * by);
        x[i] = here;
        const double found = d[i] - (before ? before[i] : 0);
        CHECK(fabs(slope - found) <= 1e-9 * (1 + fabs(slope)), "%s %zu: %g, not %g", what, i, found,
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
    return c;
}

/* Forward, then back from `weights`; dx in dense (B, T, I). */
static void run_convolution(convolution *c, const void *weights) {
    batch *b = c->b;
    describe(c);
    run(b->kernels, &b->rows, c->node, 2, false);
    c->node[0].gradient = new_seq(b, I);
    c->node[1].gradient = (crnn_seq){(void *)weights, T * H, H};
    c->node[1].given = true;
    run(b->kernels, &b->rows, c->node, 2, true);
}

static void check_convolution_gradients(void) {
    const size_t mark = fences_used;
    batch b = new_batch(core_kernels_for("scalar", CRNN_F64));
    set_rows(&b);
    convolution c = new_convolution(&b);
    const double *weights = sampled(CRNN_F64, 6, B * T * H);
    const double *dw = copied(c.dw, TAPS * I * H * sizeof(double)),
                 *db = copied(c.db, H * sizeof(double));
    run_convolution(&c, weights);
    check_slopes(&c, "dx", B * T * I, b.x, c.node[0].gradient.data, NULL, weights);
    check_slopes(&c, "dW", TAPS * I * H, c.w, c.dw, dw, weights);
    check_slopes(&c, "db", H, c.bias, c.db, db, weights);
    fences_release(mark);
}

/* Teams of any size find the same bits; steps past an end are 0. */
static void check_convolution_bits(const crnn_kernels *kernels) {
    const size_t mark = fences_used, item = crnn_dtype_size(kernels->dtype);
    const void *weights = sampled(kernels->dtype, 6, B * T * H);
    convolution c[2];
    batch b[2];
    for (size_t k = 0; k < 2; k++) {
        crnn_set_threads(k ? 3 : 1);
        b[k] = new_batch(kernels);
        set_rows(&b[k]);
        c[k] = new_convolution(&b[k]);
        run_convolution(&c[k], weights);
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
    set_rows(&b);
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
}

int main(void) {
    check_deadline(100);
    crnn_set_threads(1);
    check_convolution_gradients();
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_convolution_bits(k);
            check_readers(k, false);
            check_readers(k, true);
            check_overflow(k);
        }
    }
    return check_done();
}
