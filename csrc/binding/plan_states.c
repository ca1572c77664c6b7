/* The states of the nodes of a plan, and how Python sees them. */
#include "plan.h"

/* ---- the state of one node */

/* (B, D, I): the earlier inputs that a convolution reads. */
static dims past_dims(const Plan *plan, const plan_node *node, size_t batch) {
    const size_t inputs = plan->nodes[node->from[0].node].features;
    return (dims){
        3,
        {(npy_intp)batch, (npy_intp)((node->taps - 1) * node->dilation), (npy_intp)inputs},
        {"B", "D", "I"}};
}

size_t node_slots(const state_arrays *state) {
    return state->c ? (size_t)PyArray_DIM(state->h, 1) : 0;
}

size_t node_known_steps(const state_arrays *state, size_t row) {
    const size_t slots = node_slots(state);
    if (!state->steps) return 0;
    const int64_t steps = ((const int64_t *)PyArray_DATA(state->steps))[row];
    return (uint64_t)steps < slots ? (size_t)steps : slots;
}

size_t node_final_slots(const plan_node *node, const crnn_rows *rows, const state_arrays *initial) {
    size_t most = 0;
    if (node->op != CRNN_OP_HEADS) return 0;
    if (node->window > 0) return node->window - 1;
    for (size_t i = 0; i < rows->places; i++) {
        size_t known = rows->length[i];
        if (!(rows->ends[i] & CRNN_READ_LAST)) continue;
        if (rows->ends[i] & CRNN_READ_FIRST) known += node_known_steps(initial, rows->order[i]);
        if (known > most) most = known;
    }
    return most;
}

/* k and v: (B, S, H). */
static dims cache_dims(const plan_node *node, size_t batch, npy_intp slots) {
    return (dims){3, {(npy_intp)batch, slots, (npy_intp)node->features}, {"B", "S", "H"}};
}

static bool cache_new(const Plan *plan, const plan_node *node, size_t batch, size_t slots,
                      bool gradient, state_arrays *to) {
    const dims cache = cache_dims(node, batch, (npy_intp)slots);
    const npy_intp rows = (npy_intp)batch;
    to->h = (PyArrayObject *)new_array(plan->module, 3, cache.size, plan->dtype);
    to->c = to->h ? (PyArrayObject *)new_array(plan->module, 3, cache.size, plan->dtype) : NULL;
    if (to->c && !gradient) to->steps = (PyArrayObject *)new_plain_array(1, &rows, NPY_INT64);
    if (to->c && (gradient || to->steps)) return true;
    state_clear(to);
    return false;
}

bool node_state_new(const Plan *plan, size_t i, const crnn_layer *layer, size_t batch, size_t slots,
                    bool gradient, state_arrays *to) {
    const plan_node *node = &plan->nodes[i];
    if (node->op == CRNN_OP_RECURRENT) return state_new(to, layer, batch);
    *to = (state_arrays){0};
    if (node->op == CRNN_OP_HEADS) return cache_new(plan, node, batch, slots, gradient, to);
    if (node->op == CRNN_OP_POSITIONS) {
        const npy_intp rows = (npy_intp)batch;
        if (!gradient) to->h = (PyArrayObject *)new_plain_array(1, &rows, NPY_INT64);
        return gradient || to->h;
    }
    const dims past = past_dims(plan, node, batch);
    to->h = (PyArrayObject *)new_array(plan->module, past.count, past.size, plan->dtype);
    return to->h != NULL;
}

bool node_state_own(const Plan *plan, size_t i, const crnn_layer *layer, size_t batch,
                    state_arrays *s) {
    state_arrays own;
    if (!node_state_new(plan, i, layer, batch, 0, true, &own)) return false;
    state_part_copy(own.h, s->h);
    state_part_copy(own.c, s->c);
    state_clear(s);
    *s = own;
    return true;
}

void state_copy(const state_arrays *to, const state_arrays *from) {
    if (to->h) state_part_copy(to->h, from->h);
    if (to->c) state_part_copy(to->c, from->c);
    if (to->steps) state_part_copy(to->steps, from->steps);
}

void *row_of(PyArrayObject *array, size_t row) {
    return array ? PyArray_BYTES(array) + (npy_intp)row * PyArray_STRIDE(array, 0) : NULL;
}

static crnn_cache cache_of(const state_arrays *state, size_t row) {
    return (crnn_cache){.k = row_of(state->h, row),
                        .v = row_of(state->c, row),
                        .steps = row_of(state->steps, row),
                        .slots = state->h ? (size_t)PyArray_DIM(state->h, 1) : 0};
}

void node_set_states(crnn_node *node, const state_arrays *initial, const state_arrays *final,
                     size_t row) {
    if (node->op == CRNN_OP_RECURRENT) {
        node->as.recurrent.initial = (crnn_state){row_of(initial->h, row), row_of(initial->c, row)};
        node->as.recurrent.final = (crnn_state){row_of(final->h, row), row_of(final->c, row)};
    } else if (node->op == CRNN_OP_CONV) {
        node->as.conv.initial = row_of(initial->h, row);
        node->as.conv.final = row_of(final->h, row);
    } else if (node->op == CRNN_OP_HEADS) {
        node->as.heads.initial = cache_of(initial, row);
        node->as.heads.final = cache_of(final, row);
    } else if (node->op == CRNN_OP_CROSS) {
        cross_set_memory(&node->as.cross, initial);
    } else if (node->op == CRNN_OP_POSITIONS) {
        node->as.positions.initial = row_of(initial->h, row);
        node->as.positions.final = row_of(final->h, row);
    }
}

void node_set_rows(crnn_node *node, const crnn_rows *rows) {
    if (node->op == CRNN_OP_RECURRENT)
        node->as.recurrent.rows = rows;
    else if (node->op == CRNN_OP_CONV)
        node->as.conv.rows = rows;
    else if (node->op == CRNN_OP_HEADS)
        node->as.heads.rows = rows;
    else if (node->op == CRNN_OP_POSITIONS)
        node->as.positions.rows = rows;
}

void node_set_gradients(crnn_node *node, const state_arrays *dinitial, const state_arrays *dfinal) {
    if (node->op == CRNN_OP_RECURRENT) {
        node->as.recurrent.dinitial = state_pointers(dinitial);
        node->as.recurrent.dfinal = state_pointers(dfinal);
    } else if (node->op == CRNN_OP_CONV) {
        node->as.conv.dinitial = state_pointers(dinitial).h;
        node->as.conv.dfinal = state_pointers(dfinal).h;
    } else if (node->op == CRNN_OP_HEADS) {
        node->as.heads.dinitial = cache_of(dinitial, 0);
        node->as.heads.dfinal = cache_of(dfinal, 0);
    }
}

/* The most steps that a row may have read before a call: with the positions of the call there is no
 * overflow. */
#define MOST_STEPS (INT64_MAX / 4)

/* Steps that a row has read: from 0 to `most`, of which `letter` tells the name, such as "S=". */
static bool steps_within(const char *name, PyArrayObject *steps, const char *letter, int64_t most) {
    const int64_t *step = PyArray_DATA(steps);
    for (npy_intp b = 0; b < PyArray_SIZE(steps); b++) {
        if (step[b] >= 0 && step[b] <= most) continue;
        PyErr_Format(PyExc_ValueError, "%s: expected steps from 0 to %s%lld, got %lld in row %zd",
                     name, letter, (long long)most, (long long)step[b], (Py_ssize_t)b);
        return false;
    }
    return true;
}

/* Without a window there is a slot for each step that was read. */
static bool cached_within(const char *name, PyArrayObject *steps, size_t window, npy_intp slots) {
    return window ? steps_within(name, steps, "", MOST_STEPS)
                  : steps_within(name, steps, "S=", slots);
}

/* k, v, and unless of a gradient steps: the first of these parts. */
static bool cache_parts_read(const Plan *plan, const plan_node *node, const char *name,
                             size_t batch, PyObject *const *part, bool gradient, state_arrays *to) {
    dims cache = cache_dims(node, batch, node->window > 0 ? (npy_intp)node->window - 1 : -1);
    const dims rows = {1, {(npy_intp)batch}, {"B"}};
    to->h = float_array(name, part[0], plan->dtype, &cache, true);
    if (to->h) cache.size[1] = PyArray_DIM(to->h, 1);
    if (to->h) to->c = float_array(name, part[1], plan->dtype, &cache, true);
    if (to->c && !gradient) to->steps = integer_array(name, part[2], &rows);
    return to->c &&
           (gradient || (to->steps && cached_within(name, to->steps, node->window, cache.size[1])));
}

/* Where nothing was read before the memory was given. */
static bool cache_empty(const Plan *plan, const plan_node *node, size_t batch, state_arrays *to) {
    if (!cache_new(plan, node, batch, node->window > 0 ? node->window - 1 : 0, false, to))
        return false;
    state_part_copy(to->h, NULL);
    state_part_copy(to->c, NULL);
    state_part_copy(to->steps, NULL);
    return true;
}

static const char *cache_form(const plan_node *node, bool gradient) {
    if (node->cross)
        return gradient ? "None or (dk, dv, dmemory)" : "(k, v, steps, memory, lengths)";
    return gradient ? "None or the pair (dk, dv)" : "None or (k, v, steps)";
}

/* (k, v, steps); of a gradient (dk, dv). With a window, slots are those of the window. With a
 * memory behind, (k, v, steps, memory, lengths), where the first three may be None, and of a
 * gradient (dk, dv, dmemory). */
static bool cache_read(const Plan *plan, const plan_node *node, const char *name, size_t batch,
                       PyObject *given, bool gradient, state_arrays *to) {
    const Py_ssize_t own = gradient ? 2 : 3, parts = own + (node->cross ? own - 1 : 0);
    PyObject *part[5] = {NULL};
    if (!(PyTuple_Check(given) || PyList_Check(given)) || PySequence_Size(given) != parts) {
        PyErr_Format(PyExc_TypeError, "%s: expected %s, got %.200R", name,
                     cache_form(node, gradient), given);
        return false;
    }
    bool fine = true;
    for (Py_ssize_t k = 0; fine && k < parts; k++)
        fine = (part[k] = PySequence_GetItem(given, k)) != NULL;
    const bool empty = fine && node->cross && !gradient && part[0] == Py_None &&
                       part[1] == Py_None && part[2] == Py_None;
    if (empty)
        fine = cache_empty(plan, node, batch, to);
    else
        fine = fine && cache_parts_read(plan, node, name, batch, part, gradient, to);
    if (node->cross)
        fine =
            fine && memory_read(plan, node, name, batch, part[own], gradient ? NULL : part[4], to);
    for (Py_ssize_t k = 0; k < parts; k++) drop(part[k]);
    if (!fine) state_clear(to);
    return fine;
}

/* The steps that were read, int64 (B,), a copy; they have no gradient. */
static bool counts_read(const plan_node *node, const char *name, size_t batch, PyObject *given,
                        bool gradient, state_arrays *to) {
    const dims rows = {1, {(npy_intp)batch}, {"B"}};
    if (gradient) {
        PyErr_Format(PyExc_TypeError,
                     "%s: expected None, because a number of steps has no gradient, got %.200R",
                     name, given);
        return false;
    }
    to->h = integer_array(name, given, &rows);
    if (to->h && !(node->most ? steps_within(name, to->h, "", (int64_t)node->most)
                              : steps_within(name, to->h, "", MOST_STEPS)))
        Py_CLEAR(to->h);
    return to->h != NULL;
}

bool refuse_steps(const plan_node *node, size_t steps) {
    PyErr_Format(PyExc_ValueError,
                 "x: expected at most %zu steps in a row, as many as there are positions, got %zu",
                 node->most, steps);
    return false;
}

/* A piece that goes on from the initial state is read first; of rows in reverse, it ends the row.
 */
bool plan_positions_fit(const Plan *plan, node_call *calls, const crnn_rows *rows) {
    for (size_t i = 0; i < plan->count; i++) {
        const plan_node *node = &plan->nodes[i];
        const int64_t *before = data_of(calls[i].initial.h);
        const size_t first = node->reverse ? CRNN_READ_LAST : CRNN_READ_FIRST;
        if (node->op != CRNN_OP_POSITIONS || node->most == 0) continue;
        for (size_t k = 0; k < rows->places; k++) {
            const bool goes_on = before && (rows->ends[k] & first);
            const size_t read = goes_on ? (size_t)before[rows->order[k]] : 0;
            if (rows->length[k] > node->most - read)
                return refuse_steps(node, read + rows->length[k]);
        }
    }
    return true;
}

/* Reads the state of node i, or the gradient of one. */
static bool state_read(const Plan *plan, size_t i, const crnn_layer *layer, const char *name,
                       size_t batch, PyObject *given, state_arrays *to) {
    const plan_node *node = &plan->nodes[i];
    const bool gradient = name[0] == 'd'; /* dstate, or dstate[i] */
    if (node->op == CRNN_OP_RECURRENT) return state_parse(to, name, layer, batch, given);
    *to = (state_arrays){0};
    if (node->op == CRNN_OP_HEADS) return cache_read(plan, node, name, batch, given, gradient, to);
    if (node->op == CRNN_OP_POSITIONS) return counts_read(node, name, batch, given, gradient, to);
    const dims past = past_dims(plan, node, batch);
    to->h = float_array(name, given, plan->dtype, &past, true);
    return to->h != NULL;
}

/* ---- the state of a plan */

static PyStructSequence_Field pair_state_fields[] = {
    {"forward", "State of forward_layer, after the last valid step of each row."},
    {"backward", "State of backward_layer, after step 0, which it reads last."},
    {0},
};
PyStructSequence_Desc pair_state_desc = {
    "crnn._core.PairState", "Pair (forward, backward) of the states of a Bidirectional.",
    pair_state_fields, 2};

bool plan_check_form(const Plan *plan, PyObject *form) {
    if (form == Py_None) return true;
    if (PyLong_Check(form)) {
        const size_t i = PyLong_AsSize_t(form);
        return !PyErr_Occurred() && i < plan->count && node_has_state(&plan->nodes[i]);
    }
    for (Py_ssize_t k = 0; PyTuple_Check(form) && k < PyTuple_Size(form); k++)
        if (!plan_check_form(plan, PyTuple_GetItem(form, k))) return false;
    return PyTuple_Check(form);
}

static node_call *call_at(node_call *calls, PyObject *form) {
    return &calls[PyLong_AsSize_t(form)];
}

state_arrays *initial_of(node_call *call) { return &call->initial; }
state_arrays *final_of(node_call *call) { return &call->final; }

/* Whether a state has `count` parts; otherwise an exception where the plan is strict. */
static bool has_parts(const Plan *plan, const char *name, Py_ssize_t count, PyObject *state) {
    const bool is_list = PyList_Check(state) || PyTuple_Check(state);
    if (is_list && PySequence_Size(state) == count) return true;
    if (!plan->strict) return false;
    if (is_list)
        PyErr_Format(PyExc_ValueError, "%s: expected None or a list of %zd states, got %zd", name,
                     count, PySequence_Size(state));
    else
        PyErr_Format(PyExc_TypeError, "%s: expected None or a list of %zd states, got %.200R", name,
                     count, state);
    return false;
}

/* Reads states in a form; false where they do not fit, perhaps with an exception. */
static bool read_states(const Plan *plan, PyObject *form, node_call *calls, const char *name,
                        size_t batch, PyObject *state, state_arrays *(*of)(node_call *call)) {
    if (state == Py_None || form == Py_None) return state == Py_None;
    if (PyLong_Check(form)) {
        node_call *call = call_at(calls, form);
        return state_read(plan, PyLong_AsSize_t(form), &call->held.layer, name, batch, state,
                          of(call));
    }
    const Py_ssize_t count = PyTuple_Size(form);
    if (!has_parts(plan, name, count, state)) return false;
    for (Py_ssize_t k = 0; k < count; k++) {
        char place[60];
        PyOS_snprintf(place, sizeof place, "%s[%zd]", name, k);
        PyObject *part = PySequence_GetItem(state, k);
        const bool fine =
            part && read_states(plan, PyTuple_GetItem(form, k), calls, place, batch, part, of);
        drop(part);
        if (!fine) return false;
    }
    return true;
}

bool plan_read_states(const Plan *plan, node_call *calls, const char *name, size_t batch,
                      PyObject *state, state_arrays *(*of)(node_call *call)) {
    return read_states(plan, plan->states, calls, name, batch, state, of);
}

bool plan_read_gradients(const PlanTape *tape, node_call *calls, PyObject *dstate) {
    const Plan *plan = tape->plan;
    const crnn_rows *rows = &tape->call.rows;
    if (!plan_read_states(plan, calls, "dstate", rows->given.batch, dstate, final_of)) return false;
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->nodes[i].op != CRNN_OP_HEADS || !calls[i].final.h) continue;
        const size_t slots = node_final_slots(&plan->nodes[i], rows, &tape->starts[i]);
        if (!memory_gradient_fits(&tape->starts[i], &calls[i].final)) return false;
        if (node_slots(&calls[i].final) == slots) continue;
        PyErr_Format(PyExc_ValueError,
                     "dstate: expected S=%zu steps, as in the state that forward returned, got %zu",
                     slots, node_slots(&calls[i].final));
        return false;
    }
    return true;
}

static PyObject *show_states(const Plan *plan, PyObject *form, node_call *calls,
                             state_arrays *(*of)(node_call *call)) {
    if (form == Py_None) return Py_NewRef(Py_None);
    if (PyLong_Check(form)) {
        const state_arrays *arrays = of(call_at(calls, form));
        return arrays->h ? state_object(arrays)
                         : Py_NewRef(Py_None); /* a layer that did not run back */
    }
    PyTypeObject *pair = plan->module->pair_state;
    const Py_ssize_t count = PyTuple_Size(form);
    const bool is_pair = Py_TYPE(form) == pair;
    PyObject *states = is_pair ? PyStructSequence_New(pair) : PyList_New(count);
    for (Py_ssize_t k = 0; states && k < count; k++) {
        PyObject *part = show_states(plan, PyTuple_GetItem(form, k), calls, of);
        if (!part)
            Py_CLEAR(states);
        else if (is_pair)
            PyStructSequence_SetItem(states, k, part);
        else
            PyList_SetItem(states, k, part);
    }
    return states;
}

PyObject *plan_show_states(const Plan *plan, node_call *calls,
                           state_arrays *(*of)(node_call *call)) {
    return show_states(plan, plan->states, calls, of);
}
