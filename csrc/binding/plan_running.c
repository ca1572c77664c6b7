/* States of streams in a layout of the operation's own: the memory of convolutions, self-attention
 * and positions, which the core updates in place at every step. */
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

/* Whether rows may read no more than some steps. */
static bool ends(const plan_node *node) { return node->op == CRNN_OP_POSITIONS && node->most > 0; }

static size_t index_of(const crnn_plan *core, const crnn_node *node) {
    return (size_t)(node - core->node);
}

static const plan_node *given_of(const Plan *plan, const crnn_plan *core, const crnn_node *node) {
    return &plan->nodes[index_of(core, node)];
}

/* The most steps that a row of a state has; 0 of nodes for which that does not count. */
static size_t most_seen(const plan_node *node, const state_arrays *state) {
    const size_t rows = state->h ? (size_t)PyArray_DIM(state->h, 0) : 0;
    size_t most = 0;
    if (!grows(node) && !ends(node)) return 0;
    for (size_t b = 0; b < rows; b++) {
        const size_t own = grows(node) ? node_known_steps(state, b)
                                       : (size_t)((const int64_t *)PyArray_DATA(state->h))[b];
        if (own > most) most = own;
    }
    return most;
}

/* The node reads and writes these, from a row on. */
static void set_states(crnn_node *node, const state_arrays *initial, const state_arrays *final,
                       size_t row) {
    const state_arrays none = {0};
    node_set_states(node, initial ? initial : &none, final ? final : &none, row);
}

static void set_room(crnn_node *node, size_t slots) {
    if (node->op == CRNN_OP_HEADS) node->as.heads.room = slots;
}

/* ---- taking over a state: first memory, which may fail, then its content */

/* Memory for so many slots, where there is not as much. */
static bool make_room(const running_memory *m, const crnn_plan *core, crnn_node *node, size_t slots,
                      running_room *room) {
    whole_plan whole;
    size_t bytes;
    *room = (running_room){.slots = slots};
    if (m->memory && slots == m->slots) return true;
    set_room(node, slots);
    const bool fine = check_status(
        crnn_node_running(whole_of(&whole, m, core), index_of(core, node), &bytes), "batch_size");
    set_room(node, m->slots);
    if (fine) room->memory = alloc_aligned(bytes);
    return room->memory != NULL;
}

/* Room for as many steps again. */
static size_t slots_for(size_t seen) {
    return seen < FIRST_SLOTS / 2 ? FIRST_SLOTS : seen > SIZE_MAX / 2 ? SIZE_MAX : 2 * seen;
}

bool running_prepare(const running_memory *m, const Plan *plan, const crnn_plan *core,
                     crnn_node *node, const state_arrays *state, running_room *room) {
    const plan_node *given = given_of(plan, core, node);
    const size_t seen = most_seen(given, state);
    const bool suffices = m->memory && seen < m->slots;
    return make_room(m, core, node, !grows(given) || suffices ? m->slots : slots_for(seen), room);
}

bool running_take(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  const state_arrays *state, size_t row, running_room *room) {
    whole_plan whole;
    const bool replaces = room->memory != NULL;
    if (replaces) {
        free_aligned(m->memory);
        m->memory = room->memory;
        m->slots = room->slots;
        room->memory = NULL;
    }
    node->running = m->memory; /* a copy of a node pointed to the memory of another */
    set_room(node, m->slots);
    set_states(node, state, NULL, row);
    crnn_node_load(whole_of(&whole, m, core), index_of(core, node));
    set_states(node, NULL, NULL, 0);
    m->seen = most_seen(given_of(plan, core, node), state);
    return replaces;
}

bool running_load(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  size_t rows, const state_arrays *state, size_t row) {
    const state_arrays none = {0};
    running_room room;
    m->rows = rows;
    if (!state) state = &none;
    if (!running_prepare(m, plan, core, node, state, &room)) return false;
    running_take(m, plan, core, node, state, row, &room);
    return true;
}

/* ---- a state shown, and steps to come */

size_t running_slots(const running_memory *m, const plan_node *node) {
    if (node->op != CRNN_OP_HEADS) return 0;
    return grows(node) ? m->seen : node->window - 1;
}

void running_save(const running_memory *m, const crnn_plan *core, crnn_node *node,
                  const state_arrays *state, size_t row) {
    whole_plan whole;
    set_states(node, NULL, state, row);
    crnn_node_save(whole_of(&whole, m, core), index_of(core, node));
    set_states(node, NULL, NULL, 0);
}

/* The state of all rows, new arrays; `seen` becomes what it tells: less, where rows have begun
 * anew. False: an exception. */
static bool count_again(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                        state_arrays *state) {
    const plan_node *given = given_of(plan, core, node);
    if (!node_state_new(plan, index_of(core, node), NULL, m->rows, running_slots(m, given), false,
                        state))
        return false;
    running_save(m, core, node, state, 0);
    m->seen = most_seen(given, state);
    return true;
}

bool running_left(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  size_t steps, size_t *left) {
    const plan_node *given = given_of(plan, core, node);
    state_arrays state;
    *left = steps;
    if (!ends(given) || (m->seen <= given->most && steps <= given->most - m->seen)) return true;
    if (!count_again(m, plan, core, node, &state)) return false;
    if (steps > given->most - m->seen) *left = given->most - m->seen;
    state_clear(&state);
    return true;
}

bool running_may_read(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                      size_t steps) {
    size_t left;
    if (!running_left(m, plan, core, node, steps, &left)) return false;
    return left == steps || refuse_steps(given_of(plan, core, node), m->seen + steps);
}

/* Moves the state to more memory, where there is not enough for so many more steps. */
static bool enlarge(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                    size_t steps, bool *grown) {
    state_arrays state;
    running_room room;
    size_t slots;
    if (!count_again(m, plan, core, node, &state)) return false;
    bool fine = crnn_size_add(m->seen, steps, &slots) || PyErr_NoMemory() != NULL;
    if (fine && slots > m->slots && (fine = make_room(m, core, node, slots_for(slots), &room)))
        *grown |= running_take(m, plan, core, node, &state, 0, &room);
    state_clear(&state);
    return fine;
}

bool running_reserve(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                     size_t steps, bool *grown) {
    const plan_node *given = given_of(plan, core, node);
    size_t slots;
    if (ends(given)) {
        if (!running_may_read(m, plan, core, node, steps)) return false;
    } else if (grows(given)) {
        if (!crnn_size_add(m->seen, steps, &slots)) return PyErr_NoMemory() != NULL;
        if (slots > m->slots && !enlarge(m, plan, core, node, steps, grown)) return false;
    } else {
        return true;
    }
    m->seen += steps;
    return true;
}

void running_cleared(running_memory *m) { m->seen = 0; }

void running_clear(running_memory *m) {
    free_aligned(m->memory);
    m->memory = NULL;
}
