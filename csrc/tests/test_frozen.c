/* Plans with frozen nodes: two layers and a sum, of which some get no gradients, and of which the
 * first ones keep no tape where dx is not wanted. Every gradient that is wanted has the bits that
 * it has where all are. test_recurrence.c and test_options.c compare single layers. */
#include "support.h"

enum { B = 5, T = 9, I = 4, H = 6, K = 3, NODES = 4 };
enum { X, FIRST, SECOND, SUM };

/* What a backward computes. */
typedef struct wanted {
    bool dx, first, second, sum; /* the gradients of x and of the parameters of each node */
    bool no_tape;                /* of the first layer: it does not run back */
} wanted;

typedef struct problem {
    const crnn_kernels *kernels;
    size_t item, count[2]; /* of params */
    crnn_rows rows;
    int64_t lengths[B];
    crnn_layer layer[2];
    crnn_tape tape[2];
    void *grads[2], *dh[2], *dw, *db, *dx;
    crnn_node node[NODES];
    size_t workspace; /* of backward */
} problem;

static const crnn_edge reads[NODES] = {{0, 0}, {X, 0}, {FIRST, 0}, {SECOND, 0}};

static void *zeros(size_t bytes) { return memset(fenced(bytes), 0, bytes); }

static crnn_seq sequence(void *data, size_t features) {
    return (crnn_seq){data, (ptrdiff_t)(T * features), (ptrdiff_t)features};
}

static void describe_layer(problem *p, size_t k, crnn_cell cell) {
    const size_t inputs = k ? H : I;
    crnn_layer *layer = &p->layer[k];
    crnn_layout at;
    size_t bytes;
    *layer = (crnn_layer){.cell = cell,
                          .dtype = p->kernels->dtype,
                          .inputs = inputs,
                          .hidden = H,
                          .bias = true,
                          .learns_state = true};
    CHECK(crnn_layer_layout(layer, &at) == CRNN_OK, "layout");
    CHECK(crnn_tape_size(layer, p->kernels, &p->rows, &bytes) == CRNN_OK, "tape");
    p->count[k] = at.total;
    p->tape[k].memory = fenced(bytes);
    p->grads[k] = zeros(at.total * p->item);
    p->dh[k] = fenced(B * H * p->item);
    p->node[FIRST + k] = (crnn_node){.op = CRNN_OP_RECURRENT,
                                     .edges = 1,
                                     .from = &reads[FIRST + k],
                                     .features = H,
                                     .value = sequence(fenced(B * T * H * p->item), H)};
    p->node[FIRST + k].as.recurrent =
        (crnn_recurrent){.layer = layer,
                         .rows = &p->rows,
                         .params = sampled(layer->dtype, 2 + (uint32_t)k, at.total),
                         .final.h = fenced(B * H * p->item),
                         .tape = &p->tape[k]};
}

static void describe(problem *p) {
    const crnn_dtype d = p->kernels->dtype;
    size_t words;
    for (size_t i = 0; i < B; i++) p->lengths[i] = (int64_t)((2 * i + T) % (T + 1));
    const crnn_steps steps = {.batch = B, .steps = T, .lengths = p->lengths};
    CHECK(crnn_rows_size(&steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&p->rows, fenced(words * sizeof words), &steps);
    p->node[X] = (crnn_node){
        .op = CRNN_OP_INPUT, .features = I, .value = sequence(sampled(d, 1, B * T * I), I)};
    describe_layer(p, 0, CRNN_GRU_AFTER);
    describe_layer(p, 1, CRNN_RNN_TANH);
    p->dw = zeros(H * K * p->item);
    p->db = zeros(K * p->item);
    p->node[SUM] = (crnn_node){.op = CRNN_OP_SUM,
                               .edges = 1,
                               .from = &reads[SUM],
                               .features = K,
                               .value = sequence(fenced(B * T * K * p->item), K),
                               .as.sum = {.w = sampled(d, 4, H * K), .b = sampled(d, 5, K)}};
}

/* Where gradients go. */
static void want(problem *p, const wanted *w) {
    const bool layers[2] = {w->first, w->second};
    p->dx = w->dx ? fenced(B * T * I * p->item) : NULL;
    p->node[X].gradient = sequence(p->dx, I);
    for (size_t k = 0; k < 2; k++) {
        crnn_node *n = &p->node[FIRST + k];
        n->as.recurrent.grads = layers[k] ? p->grads[k] : NULL;
        n->as.recurrent.dinitial.h = p->dh[k];
        n->gradient = sequence(fenced(B * T * H * p->item), H);
        n->as.recurrent.from_learned = true;
    }
    p->node[SUM].as.sum.dw = w->sum ? p->dw : NULL;
    p->node[SUM].as.sum.db = w->sum ? p->db : NULL;
    p->node[SUM].gradient = sequence(sampled(p->kernels->dtype, 6, B * T * K), K);
    p->node[SUM].given = true;
    if (!w->no_tape) return;
    /* nothing of the first layer is read: its buffers are gone */
    p->node[FIRST].as.recurrent.tape = NULL;
    p->node[FIRST].as.recurrent.params = NULL;
    p->node[FIRST].as.recurrent.dinitial.h = NULL;
    p->node[FIRST].gradient.data = p->node[X].value.data = NULL;
}

static problem solved(const crnn_kernels *kernels, const wanted *w) {
    problem p = {.kernels = kernels,
                 .item = crnn_dtype_size(kernels->dtype),
                 .tape = {{.kernels = kernels}, {.kernels = kernels}}};
    size_t bytes;
    describe(&p);
    crnn_plan plan = {.kernels = kernels, .rows = &p.rows, .count = NODES, .node = p.node};
    if (w->no_tape) p.node[FIRST].as.recurrent.tape = NULL;
    CHECK(crnn_plan_workspace(&plan, &bytes) == CRNN_OK, "workspace");
    plan.workspace = fenced(bytes);
    crnn_plan_forward(&plan);
    want(&p, w);
    CHECK(crnn_plan_backward_workspace(&plan, &p.workspace) == CRNN_OK, "workspace");
    plan.workspace = fenced(p.workspace);
    crnn_plan_backward(&plan);
    return p;
}

/* The bits of `whole`, or zeros where the gradient was not wanted. */
static void check_same(const problem *p, const char *what, bool is_wanted, const void *found,
                       const void *whole, size_t count) {
    const void *expected = is_wanted ? whole : zeros(count * p->item);
    CHECK(memcmp(found, expected, count * p->item) == 0, "%s, wanted: %d", what, is_wanted);
}

static void check_frozen(const crnn_kernels *kernels, const wanted *w) {
    const wanted all = {true, true, true, true, false};
    const size_t mark = fences_used;
    /* of a problem that is solved, only the buffers are read */
    const problem whole = solved(kernels, &all), p = solved(kernels, w);
    check_same(&p, "first", w->first, p.grads[0], whole.grads[0], p.count[0]);
    check_same(&p, "second", w->second, p.grads[1], whole.grads[1], p.count[1]);
    check_same(&p, "dW", w->sum, p.dw, whole.dw, H * K);
    check_same(&p, "db", w->sum, p.db, whole.db, K);
    check_same(&p, "dh of the second", true, p.dh[1], whole.dh[1], B * H);
    if (w->dx) check_same(&p, "dx", true, p.dx, whole.dx, B * T * I);
    if (!w->no_tape) check_same(&p, "dh of the first", true, p.dh[0], whole.dh[0], B * H);
    CHECK(p.workspace <= whole.workspace, "workspace: %zu, not %zu", p.workspace, whole.workspace);
    CHECK(!w->no_tape || p.workspace < whole.workspace, "workspace of a layer that does not run");
    fences_release(mark);
}

int main(void) {
    static const wanted cases[] = {
        {true, false, true, true, false},  {true, true, false, true, false},
        {true, true, true, false, false},  {true, false, false, false, false},
        {false, false, true, true, false}, {false, false, true, true, true},
        {false, false, true, false, true},
    };
    check_deadline(100);
    for (int threads = 1; threads <= 3; threads += 2) {
        crnn_set_threads((size_t)threads);
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k;
            for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++)
                for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
                    check_frozen(k, &cases[c]);
        }
    }
    return check_done();
}
