/* A recurrent layer and a sum of its output, and plans of them that run again and again. */
#ifndef TESTS_REPEATED_H
#define TESTS_REPEATED_H

#include "support.h"

enum { NODES = 3 };

typedef struct network {
    const crnn_kernels *kernels;
    size_t item, features, hidden, outputs;
    crnn_layer layer;
    const void *params, *w, *b, *packed; /* packed: NULL where each call packs */
} network;

static const crnn_edge edges[NODES] = {{0, 0}, {0, 0}, {1, 0}}; /* of each node */

static void init_network(network *n, const crnn_kernels *kernels, crnn_cell cell, size_t features,
                         size_t hidden, size_t outputs) {
    const crnn_dtype d = kernels->dtype;
    crnn_layout at;
    *n = (network){.kernels = kernels,
                   .item = crnn_dtype_size(d),
                   .features = features,
                   .hidden = hidden,
                   .outputs = outputs};
    n->layer =
        (crnn_layer){.cell = cell, .dtype = d, .inputs = features, .hidden = hidden, .bias = true};
    CHECK(crnn_layer_layout(&n->layer, &at) == CRNN_OK, "layout");
    n->params = sampled(d, 1, at.total);
    n->w = sampled(d, 2, hidden * outputs);
    n->b = sampled(d, 3, outputs);
}

static void *zeros(size_t bytes) { return memset(fenced(bytes), 0, bytes); }

/* Rows of so many steps, with a plan for them. */
typedef struct planned {
    crnn_node node[NODES];
    crnn_rows rows;
    crnn_plan plan;
} planned;

/* state: where the state is before the steps and behind them. */
static void make_plan(planned *p, const network *n, size_t batch, size_t steps, crnn_state state) {
    const size_t widths[NODES] = {n->features, n->hidden, n->outputs};
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
                                 .value = {fenced(batch * steps * widths[i] * n->item),
                                           (ptrdiff_t)(steps * widths[i]), (ptrdiff_t)widths[i]}};
    p->node[1].as.recurrent = (crnn_recurrent){.layer = &n->layer,
                                               .rows = &p->rows,
                                               .params = n->params,
                                               .initial = state,
                                               .final = state};
    p->node[2].as.sum = (crnn_sum){.w = n->w, .b = n->b};
    p->plan = (crnn_plan){.kernels = n->kernels,
                          .rows = &p->rows,
                          .count = NODES,
                          .node = p->node,
                          .packed = n->packed};
    CHECK(crnn_plan_workspace(&p->plan, &bytes) == CRNN_OK, "workspace");
    p->plan.workspace = fenced(bytes);
}

static const void *pack(const network *n) {
    planned p;
    size_t bytes;
    make_plan(&p, n, 1, 1, (crnn_state){NULL, NULL});
    CHECK(crnn_plan_packed_size(&p.plan, &bytes) == CRNN_OK, "packed");
    void *packed = fenced(bytes);
    crnn_plan_pack(&p.plan, packed);
    return packed;
}

#endif
