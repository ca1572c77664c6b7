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

bool node_state_new(const Plan *plan, size_t i, const crnn_layer *layer, size_t batch,
                    state_arrays *to) {
    const plan_node *node = &plan->nodes[i];
    if (node->op == CRNN_OP_RECURRENT) return state_new(to, layer, batch);
    const dims past = past_dims(plan, node, batch);
    *to = (state_arrays){0};
    to->h = (PyArrayObject *)new_array(plan->module, past.count, past.size, plan->dtype);
    return to->h != NULL;
}

static void own_part(PyArrayObject *to, PyArrayObject *from) {
    if (to && from)
        memcpy(PyArray_DATA(to), PyArray_DATA(from), (size_t)PyArray_NBYTES(to));
    else if (to)
        memset(PyArray_DATA(to), 0, (size_t)PyArray_NBYTES(to));
}

bool node_state_own(const Plan *plan, size_t i, const crnn_layer *layer, size_t batch,
                    state_arrays *s) {
    state_arrays own;
    if (!node_state_new(plan, i, layer, batch, &own)) return false;
    own_part(own.h, s->h);
    own_part(own.c, s->c);
    state_clear(s);
    *s = own;
    return true;
}

void state_copy(const state_arrays *to, const state_arrays *from) {
    if (to->h) own_part(to->h, from->h);
    if (to->c) own_part(to->c, from->c);
}

static void *row_of(PyArrayObject *array, size_t row) {
    return array ? PyArray_BYTES(array) + (npy_intp)row * PyArray_STRIDE(array, 0) : NULL;
}

void node_set_states(crnn_node *node, const state_arrays *initial, const state_arrays *final,
                     size_t row) {
    if (node->op == CRNN_OP_RECURRENT) {
        node->as.recurrent.initial = (crnn_state){row_of(initial->h, row), row_of(initial->c, row)};
        node->as.recurrent.final = (crnn_state){row_of(final->h, row), row_of(final->c, row)};
    } else if (node->op == CRNN_OP_CONV) {
        node->as.conv.initial = row_of(initial->h, row);
        node->as.conv.final = row_of(final->h, row);
    }
}

void node_set_rows(crnn_node *node, const crnn_rows *rows) {
    if (node->op == CRNN_OP_RECURRENT)
        node->as.recurrent.rows = rows;
    else if (node->op == CRNN_OP_CONV)
        node->as.conv.rows = rows;
}

void node_set_gradients(crnn_node *node, const state_arrays *dinitial, const state_arrays *dfinal) {
    if (node->op == CRNN_OP_RECURRENT) {
        node->as.recurrent.dinitial = state_pointers(dinitial);
        node->as.recurrent.dfinal = state_pointers(dfinal);
    } else if (node->op == CRNN_OP_CONV) {
        node->as.conv.dinitial = state_pointers(dinitial).h;
        node->as.conv.dfinal = state_pointers(dfinal).h;
    }
}

/* Reads the state of node i. */
static bool state_read(const Plan *plan, size_t i, const crnn_layer *layer, const char *name,
                       size_t batch, PyObject *given, state_arrays *to) {
    const plan_node *node = &plan->nodes[i];
    if (node->op == CRNN_OP_RECURRENT) return state_parse(to, name, layer, batch, given);
    const dims past = past_dims(plan, node, batch);
    *to = (state_arrays){.h = float_array(name, given, plan->dtype, &past, true)};
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
    if ((!PyList_Check(state) && !PyTuple_Check(state)) || PySequence_Size(state) != count)
        return false;
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *part = PySequence_GetItem(state, k);
        const bool fine =
            part && read_states(plan, PyTuple_GetItem(form, k), calls, name, batch, part, of);
        drop(part);
        if (!fine) return false;
    }
    return true;
}

bool plan_read_states(const Plan *plan, node_call *calls, const char *name, size_t batch,
                      PyObject *state, state_arrays *(*of)(node_call *call)) {
    return read_states(plan, plan->states, calls, name, batch, state, of);
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
