/* Layer normalisation, dropout, an activation, a sum and the like as a node of a plan. */
#include "plan.h"

static const crnn_rowwise *operation_of(const core_node *n) { return &n->given->as.rowwise; }

static double work(const core_node *n) {
    return (double)n->given->features * crnn_rowwise_work(operation_of(n));
}

static crnn_rowwise_call call_of(const core_node *n) {
    crnn_rowwise_call call = {.y = n->given->value, .kept = n->given->kept};
    for (size_t k = 0; k < n->given->edges; k++) call.x[k] = core_read(n, k)->value;
    return call;
}

static void cells(const core_node *n, size_t from, size_t to) {
    const crnn_rowwise_call call = call_of(n);
    n->plan->given->kernels->rowwise(operation_of(n), n->cells, from, to, &call);
}

static void cells_back(const core_node *n, size_t k, size_t from, size_t to) {
    crnn_rowwise_call call = call_of(n);
    call.dy = n->given->gradient;
    call.dx[k] = n->to[k];
    n->plan->given->kernels->rowwise_back(operation_of(n), n->cells, from, to, &call);
}

static void grads(const core_node *n, const core_window *w, const core_member *me) {
    const crnn_rowwise *o = operation_of(n);
    const crnn_cells cells = {
        .n = w->rows, .row = n->cells->row + w->row, .time = n->cells->time + w->row};
    crnn_rowwise_call call = call_of(n);
    if (!n->given->grads) return;
    call.dy = n->given->gradient;
    call.kept = core_row_of(call.kept, w->row, crnn_rowwise_kept(o), core_item(n));
    call.grads = n->given->grads;
    n->plan->given->kernels->rowwise_grads(o, &cells, me, &call);
}

const core_op core_op_rowwise = {
    .work = work, .cells = cells, .cells_back = cells_back, .grads = grads};
