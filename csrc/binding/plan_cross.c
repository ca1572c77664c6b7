/* Memories: the steps of other sequences that nodes of CRNN_OP_CROSS attend to. They are part of
 * the state of the self-attention before such a node, its owner. */
#include "plan.h"

static dims memory_dims(const Plan *plan, const plan_node *owner, size_t batch, npy_intp steps) {
    const npy_intp size = PyArray_DIM(plan->nodes[owner->cross].w, 0);
    return (dims){3, {(npy_intp)batch, steps, size}, {"B", "T_s", "C"}};
}

/* ---- as parts of a state */

/* Lengths (B,), all T_s where none are given. */
static PyArrayObject *full_lengths(size_t batch, npy_intp steps) {
    const npy_intp rows = (npy_intp)batch;
    PyArrayObject *lengths = (PyArrayObject *)new_plain_array(1, &rows, NPY_INT64);
    for (npy_intp b = 0; lengths && b < rows; b++)
        ((int64_t *)PyArray_DATA(lengths))[b] = (int64_t)steps;
    return lengths;
}

bool memory_read(const Plan *plan, const plan_node *owner, const char *name, size_t batch,
                 PyObject *memory, PyObject *lengths, state_arrays *to) {
    const dims rows = {1, {(npy_intp)batch}, {"B"}}, shape = memory_dims(plan, owner, batch, -1);
    char place[80];
    PyOS_snprintf(place, sizeof place, "%.60s[%d]", name, lengths ? 3 : 2);
    to->memory = float_array(place, memory, plan->dtype, &shape, true);
    if (!to->memory || !lengths) return to->memory != NULL;
    PyOS_snprintf(place, sizeof place, "%.60s[4]", name);
    const npy_intp steps = PyArray_DIM(to->memory, 1);
    to->lengths =
        lengths == Py_None ? full_lengths(batch, steps) : integer_array(place, lengths, &rows);
    return to->lengths && integers_within(place, to->lengths, 0, (npy_int64)steps);
}

bool memories_are_given(const Plan *plan, const node_call *calls) {
    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->nodes[i].cross || calls[i].initial.memory) continue;
        PyErr_Format(PyExc_ValueError,
                     "state: expected (k, v, steps, memory, lengths) for a layer with "
                     "memory_size=%zd, got None",
                     (Py_ssize_t)PyArray_DIM(plan->nodes[plan->nodes[i].cross].w, 0));
        return false;
    }
    return true;
}

bool memory_gradient_fits(const state_arrays *start, const state_arrays *gradient) {
    if (!gradient->memory || !start->memory) return true;
    const npy_intp steps = PyArray_DIM(start->memory, 1), got = PyArray_DIM(gradient->memory, 1);
    if (got != steps)
        PyErr_Format(PyExc_ValueError,
                     "dstate: expected T_s=%zd steps of the memory, as in the state, got %zd",
                     (Py_ssize_t)steps, (Py_ssize_t)got);
    return got == steps;
}

static PyArrayObject *new_reference(PyArrayObject *array) {
    return (PyArrayObject *)Py_XNewRef((PyObject *)array);
}

void memory_share(const state_arrays *from, state_arrays *to) {
    to->memory = new_reference(from->memory);
    to->lengths = new_reference(from->lengths);
}

/* One array is often the memory of several nodes: they share the copy. */
bool memories_keep(const Plan *plan, node_call *calls) {
    for (size_t i = 0; i < plan->count; i++) {
        PyArrayObject *given = calls[i].initial.memory;
        if (!given) continue;
        PyArrayObject *kept = kept_array(plan->module, new_reference(given));
        if (!kept) return false;
        for (size_t k = i; k < plan->count; k++) {
            if (calls[k].initial.memory != given) continue;
            calls[k].initial.memory = new_reference(kept);
            drop(given);
        }
        drop(kept);
    }
    return true;
}

/* ---- nodes of the core */

crnn_cross cross_of(const PlanTape *tape, const plan_node *node) {
    crnn_noise noise = tape->call.noise;
    noise.seed = node->seed;
    noise.layer = node->number;
    return (crnn_cross){.heads = node->heads,
                        .size = (size_t)PyArray_DIM(node->w, 0),
                        .w = data_of(node->w),
                        .b = data_of(node->b),
                        .dw = data_of(node->dw),
                        .db = data_of(node->db),
                        .p = node->p,
                        .noise = noise};
}

void cross_set_memory(crnn_cross *cross, const state_arrays *state) {
    cross->memory = data_of(state->memory);
    cross->lengths = data_of(state->lengths);
    cross->steps = state->memory ? (size_t)PyArray_DIM(state->memory, 1) : 0;
}

bool cross_open_back(const PlanTape *tape, size_t i, node_call *calls, crnn_cross *cross) {
    const size_t owner = tape->plan->nodes[i].owner;
    const state_arrays *start = &tape->starts[owner];
    node_call *call = &calls[owner];
    if (call->initial.h) { /* the owner runs back, whose gradient the caller gets */
        call->initial.memory = (PyArrayObject *)new_array(
            tape->plan->module, 3, PyArray_DIMS(start->memory), tape->plan->dtype);
        if (!call->initial.memory) return false;
    }
    cross->dmemory = data_of(call->initial.memory);
    cross->dfinal = data_of(call->final.memory);
    return true;
}

/* ---- streams: keys and values are computed when the memory is set */

static void capsule_free(PyObject *capsule) { free_aligned(PyCapsule_GetPointer(capsule, NULL)); }

/* The memory of node i, computed from that of its owner. */
static PyObject *new_running(Stream *self, size_t i) {
    size_t bytes;
    if (!check_status(crnn_node_running(&self->core, i, &bytes), "state")) return NULL;
    void *memory = alloc_aligned(bytes);
    PyObject *capsule = memory ? PyCapsule_New(memory, NULL, capsule_free) : NULL;
    if (!capsule) {
        free_aligned(memory);
        return NULL;
    }
    self->nodes[i].running = memory;
    crnn_node_load(&self->core, i);
    return capsule;
}

bool stream_make_memories(Stream *self, node_call *calls, stream_memories *made) {
    const Plan *plan = self->plan;
    made->running = PyMem_Calloc(plan->count, sizeof *made->running);
    made->before = PyMem_Calloc(plan->count, sizeof *made->before);
    if (!made->running || !made->before) return PyErr_NoMemory() != NULL;
    memcpy(made->before, self->nodes, plan->count * sizeof *made->before);
    if (!memories_keep(plan, calls)) return false;
    for (size_t i = 0; i < plan->count; i++) {
        const state_arrays *given = &calls[plan_owner(plan, i)].initial;
        if (plan->nodes[i].op != CRNN_OP_CROSS || !given->memory) continue;
        cross_set_memory(&self->nodes[i].as.cross, given);
        if (!(made->running[i] = new_running(self, i))) return false;
    }
    return true;
}

/* Takes over what was made for node i. */
static void take_memory(Stream *self, node_call *calls, size_t i, PyObject *running) {
    const size_t owner = self->plan->nodes[i].owner;
    drop(self->states[i].projected);
    self->states[i].projected = running;
    state_clear(&self->states[owner].state);
    memory_share(&calls[owner].initial, &self->states[owner].state);
    stream_drop_workspace(self);
}

void stream_take_memories(Stream *self, node_call *calls, stream_memories *made, bool fine) {
    for (size_t i = 0; made->running && i < self->plan->count; i++) {
        if (fine && made->running[i])
            take_memory(self, calls, i, made->running[i]);
        else if (made->running[i])
            drop(made->running[i]);
        if (!fine && made->before && self->plan->nodes[i].op == CRNN_OP_CROSS)
            self->nodes[i] = made->before[i];
    }
    PyMem_Free(made->running);
    PyMem_Free(made->before);
}

bool new_sources(const Plan *plan, Stream *stream, crnn_node *nodes, size_t first, size_t given,
                 size_t rows, memory_reader *readers) {
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->nodes[i].op != CRNN_OP_CROSS) continue;
        size_t *source = readers[i].source = alloc_aligned(rows * sizeof *source);
        if (!source) return false;
        for (size_t row = 0; row < rows; row++) source[row] = row < given ? first + row : 0;
        LOCK(stream); /* whose memory may be set meanwhile */
        readers[i].projected = Py_NewRef(stream->states[i].projected);
        nodes[i].running = stream->nodes[i].running;
        nodes[i].as.cross = stream->nodes[i].as.cross;
        UNLOCK();
        nodes[i].as.cross.source = source;
    }
    return true;
}

void readers_clear(memory_reader *readers, size_t count) {
    for (size_t i = 0; readers && i < count; i++) {
        free_aligned(readers[i].source);
        drop(readers[i].projected);
    }
    PyMem_Free(readers);
}
