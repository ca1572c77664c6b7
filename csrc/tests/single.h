/* What the tests of operations that run alone share: convolutions, self-attention, positions. The
 * steps of a row in the order of reading, as plain loops find them; a plan of one such node behind
 * an input. */
#ifndef CRNN_TESTS_SINGLE_H
#define CRNN_TESTS_SINGLE_H

#include "support.h"

#include "plan.h"

enum { MOST = 160 /* steps of a row, with those of its state */, NONE = -1 };

/* ---- plain loops */

/* The steps of a row that are read, in the order of reading. */
typedef struct plain_steps {
    size_t time[MOST], piece[MOST];
    size_t count, pieces; /* pieces: before the last one */
    int source[MOST];     /* of each time: the step whose output is there, or NONE */
} plain_steps;

static inline void list_steps(const crnn_steps *s, size_t b, plain_steps *r) {
    const size_t end = s->lengths ? (size_t)s->lengths[b] : s->steps;
    int last = NONE;
    *r = (plain_steps){0};
    for (size_t t = 0; t < s->steps; t++) r->source[t] = NONE;
    for (size_t i = 0; i < end; i++) {
        const size_t t = s->reverse ? end - 1 - i : i;
        const size_t cut = s->reverse ? t + 1 : t; /* between t and the step read before it */
        if (s->resets && cut < end && s->resets[b * s->steps + cut]) {
            r->pieces++;
            last = NONE;
        }
        if (!s->mask || s->mask[b * s->steps + t]) {
            last = (int)r->count;
            r->time[r->count] = t;
            r->piece[r->count++] = r->pieces;
        }
        r->source[t] = last;
    }
}

static inline double *zeros(size_t n) {
    return memset(fenced((n + 1) * sizeof(double)), 0, n * sizeof(double));
}

/* The largest error of n numbers, relative to those above 1; NaN where there is one. */
static inline double worst_error(crnn_dtype dtype, size_t n, const void *found,
                                 const double *wanted) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs(real_at(dtype, found, i) - wanted[i]) / (1 + fabs(wanted[i]));
        if (!(error <= most)) most = error;
    }
    return most;
}

/* ---- the core */

typedef struct model {
    crnn_rows rows;
    crnn_node node[2]; /* the input, and the node */
    crnn_plan plan;
} model;

static const crnn_edge edge_to_input = {0, 0};

/* Dense values (B, T, features): x of the input, y of the node, which has no description yet. */
static inline void make_single(model *m, const crnn_kernels *kernels, const crnn_steps *steps,
                               crnn_op op, void *x, size_t inputs, void *y, size_t features) {
    const size_t T = steps->steps;
    size_t words;
    CHECK(crnn_rows_size(steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&m->rows, fenced(words * sizeof words), steps);
    m->node[0] = (crnn_node){.op = CRNN_OP_INPUT,
                             .features = inputs,
                             .value = {x, (ptrdiff_t)(inputs * T), (ptrdiff_t)inputs}};
    m->node[1] = (crnn_node){.op = op,
                             .edges = 1,
                             .from = &edge_to_input,
                             .features = features,
                             .value = {y, (ptrdiff_t)(features * T), (ptrdiff_t)features}};
    m->plan = (crnn_plan){.kernels = kernels, .rows = &m->rows, .count = 2, .node = m->node};
}

static inline void take_workspace(crnn_plan *plan, bool back) {
    size_t bytes;
    CHECK((back ? crnn_plan_backward_workspace : crnn_plan_workspace)(plan, &bytes) == CRNN_OK,
          "workspace");
    plan->workspace = fenced(bytes);
}

/* Forward may run any number of times, and runs twice. */
static inline void run_ahead(model *m) {
    take_workspace(&m->plan, false);
    crnn_plan_lay(&m->plan);
    for (int runs = 0; runs < 2; runs++) crnn_plan_run(&m->plan);
}

/* dy, dx: dense, like y and x. */
static inline void run_back(model *m, void *dy, void *dx, int runs) {
    m->node[0].gradient = m->node[0].value;
    m->node[0].gradient.data = dx;
    m->node[1].gradient = m->node[1].value;
    m->node[1].gradient.data = dy;
    m->node[1].given = true;
    take_workspace(&m->plan, true);
    while (runs-- > 0) crnn_plan_backward(&m->plan);
}

/* ---- streams: a plan of one step whose state has a layout of its own */

static inline void new_running(model *m) {
    size_t bytes;
    CHECK(crnn_node_running(&m->plan, 1, &bytes) == CRNN_OK, "running");
    m->node[1].running = fenced(bytes);
    crnn_node_load(&m->plan, 1);
}

/* Other rows of a plan that was laid out, in memory of their own. */
static inline void replace_rows(model *m, const crnn_steps *steps) {
    size_t words;
    CHECK(crnn_rows_size(steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&m->rows, fenced(words * sizeof words), steps);
    crnn_plan_lay(&m->plan);
}

/* After a choice: so many rows, which go on from their parents. */
static inline void follow_rows(model *m, const core_op *op, const size_t *parents, size_t count) {
    const core_plan plan = {.given = &m->plan};
    const core_node n = {.plan = &plan, .given = &m->node[1]};
    op->follow(&n, parents, count);
    replace_rows(m, &(crnn_steps){.batch = count, .steps = 1});
}

#endif
