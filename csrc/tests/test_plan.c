/* Plans of single operations: a causal convolution is a sum with an edge for each tap, without a
 * loop of its own; a layer that is read late; sizes that do not fit. Decoders, in test_decoder.c,
 * are plans with a cycle. */
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

/* ---- a sum reads h_t and h_{t-2} of a layer, at first its initial h; no node reads node 1 */

typedef struct late {
    batch *b;
    crnn_layer layer;
    void *params, *grads, *h0, *dh0, *last, *w;
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
static double late_loss(late *l, const double *weights) {
    const size_t mark = fences_used;
    double loss = 0;
    run_late(l);
    const double *y = l->node[3].value.data;
    for (size_t i = 0; i < B * T * H; i++) loss += y[i] * weights[i];
    fences_release(mark);
    return loss;
}

static void check_late_slopes(late *l, const char *what, size_t count, double *x, const double *d,
                              const double *weights) {
    const double by = 1e-5;
    for (size_t i = 0; i < count; i++) {
        const double here = x[i];
        x[i] = here + by;
        const double up = late_loss(l, weights);
        x[i] = here - by;
        const double slope = (up - late_loss(l, weights)) / (2 * by);
        x[i] = here;
        CHECK(fabs(slope - d[i]) <= 1e-7, "%s %zu: %g, not %g", what, i, d[i], slope);
    }
}

static void check_late_reads(void) {
    const size_t mark = fences_used;
    batch b = new_batch(core_kernels_for("scalar", CRNN_F64));
    set_rows(&b);
    late l = new_late(&b);
    const double *weights = sampled(CRNN_F64, 6, B * T * H);
    run_late(&l);
    for (size_t i = 0; i < 3; i++) l.node[i].gradient = new_seq(&b, i < 2 ? I : H);
    l.node[3].gradient = (crnn_seq){(void *)weights, T * H, H};
    l.node[3].given = true;
    run(b.kernels, &b.rows, l.node, 4, true);
    const double *dx = l.node[0].gradient.data, *unread = l.node[1].gradient.data;
    for (size_t i = 0; i < B * T * I; i++) CHECK(unread[i] == 0, "unread %zu: %g", i, unread[i]);
    const double *dh0 = copied(l.dh0, B * H * b.item);
    check_late_slopes(&l, "dx", B * T * I, b.x, dx, weights);
    check_late_slopes(&l, "dh0", B * H, l.h0, dh0, weights);
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
    check_late_reads();
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_convolution_bits(k);
            check_overflow(k);
        }
    }
    return check_done();
}
