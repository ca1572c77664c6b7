/* Closed loops: a plan that reads its own output, beside inputs that are given, writes what the
 * same layers compute of the whole sequence that it read; and that it matters neither how rows are
 * shared out among parts and threads, nor how many steps are taken at once. */
#include "repeated.h"

enum { B = 5, STEPS = 7, GIVEN = 2, OUTPUTS = 3, TWICE = 2, PARTS = 3 };

typedef struct model {
    network net; /* its input is what is given, then the output once or twice */
    size_t given;
    void *x, *start; /* (B, STEPS, given), (B, OUTPUTS) */
} model;

static void init_model(model *m, const crnn_kernels *kernels, crnn_cell cell, size_t hidden,
                       size_t given, size_t times) {
    const crnn_dtype d = kernels->dtype;
    *m = (model){.given = given};
    init_network(&m->net, kernels, cell, given + times * OUTPUTS, hidden, OUTPUTS);
    m->x = sampled(d, 4, B * STEPS * (given + 1));
    m->start = sampled(d, 5, B * OUTPUTS);
}

/* y (B, STEPS, OUTPUTS) of a closed loop, and h and c behind it. */
typedef struct found {
    char *y, *h, *c;
} found;

static char *place(const model *m, void *data, size_t row, size_t features) {
    return (char *)data + row * features * m->net.item;
}

/* Part `at` of some: rows from `first` on. */
static void open_part(const model *m, planned *p, crnn_feedback *part, const found *f, size_t first,
                      size_t rows) {
    make_plan(
        p, &m->net, rows, 1,
        (crnn_state){place(m, f->h, first, m->net.hidden), place(m, f->c, first, m->net.hidden)});
    for (size_t b = 0; b < rows; b++)
        for (size_t i = m->given; i < m->net.features; i += OUTPUTS)
            memcpy(place(m, p->node[0].value.data, b, m->net.features) + i * m->net.item,
                   place(m, m->start, first + b, OUTPUTS), OUTPUTS * m->net.item);
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
    const size_t state = B * m->net.hidden * m->net.item;
    const found f = {fenced(B * STEPS * OUTPUTS * m->net.item), zeros(state), zeros(state)};
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
    const size_t state = B * m->net.hidden * m->net.item;
    found f = {NULL, zeros(state), zeros(state)};
    planned p;
    make_plan(&p, &m->net, B, STEPS, (crnn_state){f.h, f.c});
    for (size_t i = 0; i < B * STEPS; i++) {
        char *to = place(m, p.node[0].value.data, i, m->net.features);
        const char *before =
            i % STEPS ? place(m, loop->y, i - 1, OUTPUTS) : place(m, m->start, i / STEPS, OUTPUTS);
        memcpy(to, place(m, m->x, i, m->given), m->given * m->net.item);
        for (size_t k = m->given; k < m->net.features; k += OUTPUTS)
            memcpy(to + k * m->net.item, before, OUTPUTS * m->net.item);
    }
    crnn_plan_forward(&p.plan);
    f.y = p.node[2].value.data;
    return f;
}

static void check_equal(const model *m, const char *what, const found *a, const found *b) {
    const size_t state = B * m->net.hidden * m->net.item;
    const bool has_c = crnn_cell_describe(m->net.layer.cell)->states == 2;
    CHECK(memcmp(a->y, b->y, B * STEPS * OUTPUTS * m->net.item) == 0, "%s %s: y",
          m->net.kernels->isa, what);
    CHECK(memcmp(a->h, b->h, state) == 0 && (!has_c || memcmp(a->c, b->c, state) == 0),
          "%s %s: state", m->net.kernels->isa, what);
}

static void check_model(model *m) {
    const found one = run_closed(m, 1, STEPS), all = run_open(m, &one);
    check_equal(m, "all steps at once", &one, &all);
    m->net.packed = pack(&m->net);
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
