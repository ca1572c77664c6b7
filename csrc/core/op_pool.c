/* Operations whose value has one step for each row: pooling, and the final state of a recurrent
 * layer. */
#include <string.h>

#include "plan.h"

static double work(const core_node *n) { return (double)n->given->features; }

/* ---- pooling */

static crnn_pool pool_of(const core_node *n) {
    const crnn_plan *given = n->plan->given;
    return (crnn_pool){.how = n->given->as.pool,
                       .kernels = given->kernels,
                       .steps = &given->rows->given,
                       .features = n->given->features};
}

int64_t *core_take_steps(const crnn_plan *given, const crnn_node *node, core_arena *a) {
    const size_t rows = node->as.pool == CRNN_POOL_MEAN ? 0 : given->rows->given.batch;
    return core_take(a, rows, node->features, sizeof(int64_t));
}

static void lay(core_node *n, core_arena *a) {
    n->as.taken = n->given->kept ? n->given->kept : core_take_steps(n->plan->given, n->given, a);
}

static void pool(core_node *n) {
    const crnn_pool own = pool_of(n);
    crnn_pool_forward(&own, &core_read(n, 0)->value, n->given->value.data, n->as.taken);
}

static void pool_back(core_node *n) {
    const crnn_pool own = pool_of(n);
    if (n->to[0].data)
        crnn_pool_backward(&own, n->given->gradient.data, n->given->kept, &n->to[0], false);
}

const core_op core_op_pool = {.work = work, .lay = lay, .alone = pool, .alone_back = pool_back};

/* ---- the final state */

static const crnn_recurrent *layer_of(const core_node *n) {
    return &n->plan->given->node[n->given->as.final.node].as.recurrent;
}

/* Row b of a state, or of its gradient: the last of the states that a layer with delays has. */
static void *state_row(const core_node *n, const crnn_state *state, size_t b) {
    const size_t states = crnn_longest_delay(layer_of(n)->layer);
    return core_row_of(n->given->as.final.cell ? state->c : state->h, b * states + states - 1,
                       n->given->features, core_item(n));
}

static void state(core_node *n) {
    const size_t item = core_item(n);
    for (size_t b = 0; b < n->plan->given->rows->given.batch; b++)
        memcpy(crnn_seq_at(&n->given->value, b, 0, item), state_row(n, &layer_of(n)->final, b),
               n->given->features * item);
}

static void state_back(core_node *n) {
    const size_t features = n->given->features;
    for (size_t b = 0; b < n->plan->given->rows->given.batch; b++)
        n->plan->given->kernels->add_rows(1, features, features, NULL,
                                          crnn_seq_at(&n->given->gradient, b, 0, core_item(n)),
                                          state_row(n, &layer_of(n)->dfinal, b));
}

const core_op core_op_state = {.work = work, .alone = state, .alone_back = state_back};
