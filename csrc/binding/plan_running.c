/* States of streams in a layout of the operation's own: the memory of convolutions and of
 * self-attention, which the core updates in place at every step. */
#include "plan.h"

enum { FIRST_SLOTS = 64 };

/* A plan with the rows of all memory, though fewer may live now. */
typedef struct whole_plan {
    crnn_rows rows;
    crnn_plan plan;
} whole_plan;

static const crnn_plan *whole_of(whole_plan *whole, const running_memory *m,
                                 const crnn_plan *core) {
    whole->rows = *core->rows;
    whole->rows.given.batch = m->rows;
    whole->plan = *core;
    whole->plan.rows = &whole->rows;
    return &whole->plan;
}

/* Whether all steps that are read are kept. */
static bool grows(const plan_node *node) { return node->op == CRNN_OP_HEADS && node->window == 0; }

static const plan_node *given_of(const Plan *plan, const crnn_plan *core, const crnn_node *node) {
    return &plan->nodes[node - core->node];
}

/* The most steps that a row of a state has. */
static size_t most_seen(const state_arrays *state) {
    size_t most = 0;
    for (npy_intp b = 0; state->steps && b < PyArray_SIZE(state->steps); b++) {
        const size_t seen = node_known_steps(state, (size_t)b);
        if (seen > most) most = seen;
    }
    return most;
}

/* The node reads no arrays; the slots of its memory tell the core how much scratch a step needs. */
static void forget_states(const running_memory *m, crnn_node *node) {
    const state_arrays none = {0};
    node_set_states(node, &none, &none, 0);
    if (node->op == CRNN_OP_HEADS) node->as.heads.initial.slots = m->slots;
}

/* Replaces the memory: by one with so many slots, which begins with the node's initial state. */
static bool replace(running_memory *m, const crnn_plan *core, crnn_node *node, size_t slots) {
    whole_plan whole;
    const crnn_plan *all = whole_of(&whole, m, core);
    const size_t i = (size_t)(node - core->node);
    size_t bytes;
    if (!check_status(crnn_node_running(all, i, &bytes), "batch_size")) return false;
    void *memory = alloc_aligned(bytes);
    if (!memory) return false;
    node->running = memory; /* before, a copy of a node points to the memory of another */
    crnn_node_load(all, i);
    free_aligned(m->memory);
    m->memory = memory;
    m->slots = slots;
    return true;
}

bool running_new(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                 size_t rows) {
    const state_arrays none = {0};
    m->rows = rows;
    return running_load(m, plan, core, node, &none, 0);
}

/* Rows of `state` from `row` on, with room for more steps: its slots are the last ones of the new
 * arrays. */
static bool widen(const Plan *plan, size_t i, size_t rows, size_t slots, const state_arrays *state,
                  size_t row, state_arrays *to) {
    if (!node_state_new(plan, i, NULL, rows, slots, false, to)) return false;
    PyArrayObject *const from[] = {state->h, state->c}, *const wide[] = {to->h, to->c};
    memset(PyArray_DATA(to->steps), 0, (size_t)PyArray_NBYTES(to->steps));
    for (int k = 0; k < 2; k++) memset(PyArray_DATA(wide[k]), 0, (size_t)PyArray_NBYTES(wide[k]));
    if (!state->h) return true;
    const size_t own = node_slots(state), given = (size_t)PyArray_DIM(state->h, 0);
    const size_t bytes = plan->nodes[i].features * (size_t)PyArray_ITEMSIZE(to->h);
    const size_t kept = own < slots ? own : slots;
    for (size_t b = 0; row + b < given && b < rows; b++) {
        for (int k = 0; k < 2; k++)
            memcpy((char *)PyArray_DATA(wide[k]) + (b * slots + slots - kept) * bytes,
                   (char *)PyArray_DATA(from[k]) + ((row + b) * own + own - kept) * bytes,
                   kept * bytes);
        ((int64_t *)PyArray_DATA(to->steps))[b] =
            ((const int64_t *)PyArray_DATA(state->steps))[row + b];
    }
    return true;
}

/* The memory becomes one with so many slots and this state. */
static bool take_over(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                      const state_arrays *state, size_t row, size_t slots) {
    const state_arrays none = {0};
    state_arrays wide = {0};
    const size_t i = (size_t)(node - core->node);
    if (grows(&plan->nodes[i]) && !widen(plan, i, m->rows, slots, state, row, &wide)) return false;
    node_set_states(node, wide.h ? &wide : state, &none, wide.h ? 0 : row);
    const bool fine = replace(m, core, node, slots);
    forget_states(m, node);
    state_clear(&wide);
    return fine;
}

/* Room for as many steps again. */
static size_t slots_for(size_t seen) {
    return seen < FIRST_SLOTS / 2 ? FIRST_SLOTS : seen > SIZE_MAX / 2 ? SIZE_MAX : 2 * seen;
}

bool running_load(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  const state_arrays *state, size_t row) {
    const size_t seen = most_seen(state);
    const size_t slots = grows(given_of(plan, core, node)) ? slots_for(seen) : 0;
    if (!take_over(m, plan, core, node, state, row, slots)) return false;
    m->seen = seen;
    return true;
}

size_t running_slots(const running_memory *m, const plan_node *node) {
    if (node->op != CRNN_OP_HEADS) return 0;
    return grows(node) ? m->seen : node->window - 1;
}

void running_save(const running_memory *m, const crnn_plan *core, crnn_node *node,
                  const state_arrays *state, size_t row) {
    const state_arrays none = {0};
    whole_plan whole;
    node_set_states(node, &none, state, row);
    crnn_node_save(whole_of(&whole, m, core), (size_t)(node - core->node));
    forget_states(m, node);
}

bool running_reserve(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                     size_t steps, bool *grown) {
    state_arrays state;
    size_t slots;
    if (!grows(given_of(plan, core, node))) return true;
    if (!crnn_size_add(m->seen, steps, &slots)) return PyErr_NoMemory() != NULL;
    if (slots > m->slots) {
        if (!node_state_new(plan, (size_t)(node - core->node), NULL, m->rows, m->seen, false,
                            &state))
            return false;
        running_save(m, core, node, &state, 0);
        const size_t seen = most_seen(&state); /* less, where rows have begun anew */
        const bool fine = crnn_size_add(seen, steps, &slots) &&
                          take_over(m, plan, core, node, &state, 0, slots_for(slots));
        state_clear(&state);
        if (!fine) return false;
        *grown = true;
    }
    m->seen = slots;
    return true;
}

void running_cleared(running_memory *m) { m->seen = 0; }

void running_clear(running_memory *m) {
    free_aligned(m->memory);
    m->memory = NULL;
}
