/* Closed loops: a plan that reads its own output, beside inputs that are given, writes what the
 * same layers compute of the whole sequence that it read; and that it matters neither how rows are
 * shared out among parts and threads, nor how many steps are taken at once. */
#include "support.h"

enum { B = 5, STEPS = 7, GIVEN = 2, OUTPUTS = 3, TWICE = 2, NODES = 3, PARTS = 3 };

typedef struct model {
    const crnn_kernels *kernels;
    size_t item, given, features, hidden; /* features: given, then the output once or twice */
    crnn_layer layer;
    const void *params, *w, *b, *packed;
    void *x, *start; /* (B, STEPS, given), (B, OUTPUTS) */
} model;

static const crnn_edge edges[NODES] = {{0, 0}, {0, 0}, {1, 0}}; /* of each node */

static void init_model(model *m, const crnn_kernels *kernels, crnn_cell cell, size_t hidden,
                       size_t given, size_t times) {
    const crnn_dtype d = kernels->dtype;
    crnn_layout at;
    *m = (model){.kernels = kernels, .item = crnn_dtype_size(d), .given = given, .hidden = hidden};
    m->features = given + times * OUTPUTS;
    m->layer = (crnn_layer){
        .cell = cell, .dtype = d, .inputs = m->features, .hidden = hidden, .bias = true};
    CHECK(crnn_layer_layout(&m->layer, &at) == CRNN_OK, "layout");
    m->params = sampled(d, 1, at.total);
    m->w = sampled(d, 2, hidden * OUTPUTS);
    m->b = sampled(d, 3, OUTPUTS);
    m->x = sampled(d, 4, B * STEPS * (given + 1));
    m->start = sampled(d, 5, B * OUTPUTS);
}

/* Rows of so many steps, with a plan for them. */
typedef struct planned {
    crnn_node node[NODES];
    crnn_rows rows;
    crnn_plan plan;
} planned;

static void make_plan(planned *p, const model *m, size_t batch, size_t steps, void *state_h,
                      void *state_c) {
    const size_t widths[NODES] = {m->features, m->hidden, OUTPUTS};
    static const crnn_op ops[NODES] = {CRNN_OP_INPUT, CRNN_OP_RECURRENT, CRNN_OP_SUM};
    const crnn_steps shape = {.batch = batch, .steps = steps};
    size_t words, bytes;
    CHECK(crnn_rows_size(&shape, &words) == CRNN_OK, "rows");
    crnn_rows_init(&p->rows, fenced(words * sizeof words), &shape);
    for (size_t i = 0; i < NODES; i++)
        p->node[i] = (crnn_node){.op = ops[i],
                                 .edges = i > 0,
                                 .from = &edges[i],
                                 .features = widths[i],
                                 .value = {fenced(batch * steps * widths[i] * m->item),
                                           (ptrdiff_t)(steps * widths[i]), (ptrdiff_t)widths[i]}};
    p->node[1].as.recurrent = (crnn_recurrent){.layer = &m->layer,
                                               .rows = &p->rows,
                                               .params = m->params,
                                               .initial = {state_h, state_c},
                                               .final = {state_h, state_c}};
    p->node[2].as.sum = (crnn_sum){.w = m->w, .b = m->b};
    p->plan = (crnn_plan){.kernels = m->kernels,
                          .rows = &p->rows,
                          .count = NODES,
                          .node = p->node,
                          .packed = m->packed};
    CHECK(crnn_plan_workspace(&p->plan, &bytes) == CRNN_OK, "workspace");
    p->plan.workspace = fenced(bytes);
}

static const void *pack(const model *m) {
    planned p;
    size_t bytes;
    make_plan(&p, m, 1, 1, NULL, NULL);
    CHECK(crnn_plan_packed_size(&p.plan, &bytes) == CRNN_OK, "packed");
    void *packed = fenced(bytes);
    crnn_plan_pack(&p.plan, packed);
    return packed;
}

static void *zeros(size_t bytes) { return memset(fenced(bytes), 0, bytes); }

/* y (B, STEPS, OUTPUTS) of a closed loop, and h and c behind it. */
typedef struct found {
    char *y, *h, *c;
} found;

static char *place(const model *m, void *data, size_t row, size_t features) {
    return (char *)data + row * features * m->item;
}

/* Part `at` of some: rows from `first` on. */
static void open_part(const model *m, planned *p, crnn_feedback *part, const found *f, size_t first,
                      size_t rows) {
    make_plan(p, m, rows, 1, place(m, f->h, first, m->hidden), place(m, f->c, first, m->hidden));
    for (size_t b = 0; b < rows; b++)
        for (size_t i = m->given; i < m->features; i += OUTPUTS)
            memcpy(place(m, p->node[0].value.data, b, m->features) + i * m->item,
                   place(m, m->start, first + b, OUTPUTS), OUTPUTS * m->item);
    *part =
        (crnn_feedback){.plan = &p->plan,
                        .node = p->node,
                        .given = m->given,
                        .x = {place(m, m->x, first * STEPS, m->given),
                              (ptrdiff_t)(STEPS * m->given), (ptrdiff_t)m->given},
                        .y = {place(m, f->y, first * STEPS, OUTPUTS), STEPS * OUTPUTS, OUTPUTS}};
}

static found run_closed(const model *m, size_t parts, size_t at_once) {
    static planned p[PARTS];
    crnn_feedback part[PARTS];
    const size_t state = B * m->hidden * m->item;
    const found f = {fenced(B * STEPS * OUTPUTS * m->item), zeros(state), zeros(state)};
    for (size_t i = 0, first = 0; i < parts; i++) {
        const size_t rows = B / parts + (i < B % parts);
        open_part(m, &p[i], &part[i], &f, first, rows);
        first += rows;
    }
    for (size_t t = 0; t < STEPS; t += at_once)
        crnn_feed_back(part, parts, STEPS - t < at_once ? STEPS - t : at_once);
    for (size_t i = 0; i < parts; i++) CHECK(part[i].step == STEPS, "step %zu", part[i].step);
    return f;
}

/* All steps at once, of what the loop has read. */
static found run_open(const model *m, const found *loop) {
    const size_t state = B * m->hidden * m->item;
    found f = {NULL, zeros(state), zeros(state)};
    planned p;
    make_plan(&p, m, B, STEPS, f.h, f.c);
    for (size_t i = 0; i < B * STEPS; i++) {
        char *to = place(m, p.node[0].value.data, i, m->features);
        const char *before =
            i % STEPS ? place(m, loop->y, i - 1, OUTPUTS) : place(m, m->start, i / STEPS, OUTPUTS);
        memcpy(to, place(m, m->x, i, m->given), m->given * m->item);
        for (size_t k = m->given; k < m->features; k += OUTPUTS)
            memcpy(to + k * m->item, before, OUTPUTS * m->item);
    }
    crnn_plan_forward(&p.plan);
    f.y = p.node[2].value.data;
    return f;
}

static void check_equal(const model *m, const char *what, const found *a, const found *b) {
    const size_t state = B * m->hidden * m->item;
    const bool has_c = crnn_cell_describe(m->layer.cell)->states == 2;
    CHECK(memcmp(a->y, b->y, B * STEPS * OUTPUTS * m->item) == 0, "%s %s: y", m->kernels->isa,
          what);
    CHECK(memcmp(a->h, b->h, state) == 0 && (!has_c || memcmp(a->c, b->c, state) == 0),
          "%s %s: state", m->kernels->isa, what);
}

static void check_model(model *m) {
    const found one = run_closed(m, 1, STEPS), all = run_open(m, &one);
    check_equal(m, "all steps at once", &one, &all);
    m->packed = pack(m);
    for (size_t threads = 1; threads <= 2; threads++) {
        crnn_set_threads(threads);
        for (size_t parts = 1; parts <= PARTS; parts++) {
            const found other = run_closed(m, parts, parts);
            check_equal(m, "in parts", &one, &other);
        }
    }
    crnn_set_threads(1);
}

static void check_cell(const crnn_kernels *kernels, crnn_cell cell) {
    const size_t sizes[][3] = {{4, 0, 1}, {kernels->width + 1, GIVEN, 1}, {3, GIVEN, TWICE}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t mark = fences_used;
        model m;
        init_model(&m, kernels, cell, sizes[i][0], sizes[i][1], sizes[i][2]);
        check_model(&m);
        fences_release(mark);
    }
}

/* Enough work for a team at each step, and for one of all steps. */
static void check_teams(const crnn_kernels *kernels) {
    const size_t mark = fences_used;
    model m;
    init_model(&m, kernels, CRNN_GRU_AFTER, 300, GIVEN, 1);
    check_model(&m);
    fences_release(mark);
}

int main(void) {
    check_deadline(120);
    crnn_set_threads(1);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *kernels;
        for (size_t i = 0; (kernels = table_at(i, (crnn_dtype)d)); i++) {
            for (int cell = 0; cell < CRNN_CELLS; cell++) check_cell(kernels, (crnn_cell)cell);
            check_teams(kernels);
        }
    }
    return check_done();
}
