/* A decoder with input feeding, back through all its steps: the plan of its tape, with gradients.
 */
#include "decoder_tape.h"

typedef struct level_back {
    held_layer held;       /* whose gradients are added to: of the tape, or another like it */
    state_arrays dinitial; /* owned */
    void *trace;           /* owned, or NULL: not wanted */
} level_back;

typedef struct decode_back_arguments {
    PyObject *layers, *vectors, *dy, *dcontext, *dvectors, *dw_query, *dv;
} decode_back_arguments;

typedef struct decode_back {
    level_back *levels;                       /* owned [depth] */
    crnn_node *nodes;                         /* owned [count]: those of the tape, completed */
    PyArrayObject **gradients;                /* owned [count] of owned (B, T, features) */
    PyArrayObject *vectors, *dkeys, *dvalues; /* owned */
} decode_back;

static void back_clear(decode_back *b, const DecoderTape *d) {
    for (size_t l = 0; b->levels && l < d->depth; l++) {
        layer_release(&b->levels[l].held);
        state_clear(&b->levels[l].dinitial);
        free_aligned(b->levels[l].trace);
    }
    for (size_t i = 0; b->gradients && i < d->plan.count; i++) drop(b->gradients[i]);
    drop(b->vectors);
    drop(b->dkeys);
    drop(b->dvalues);
    PyMem_Free(b->levels);
    PyMem_Free(b->nodes);
    PyMem_Free(b->gradients);
}

static bool level_begin(const module_state *module, const DecoderTape *d, size_t l, PyObject *given,
                        decode_back *b) {
    const level *own = &d->levels[l];
    level_back *to = &b->levels[l];
    crnn_recurrent *r = &b->nodes[own->node].as.recurrent;
    if (!PyObject_TypeCheck(given, module->recurrent)) return refuse_misfit("layers");
    if (!layer_hold(&to->held, (Recurrent *)given)) return false;
    if (!crnn_layer_same(&to->held.layer, layer_at(d, l))) return refuse_misfit("layers");
    if (!state_new(&to->dinitial, layer_at(d, l), d->batch) ||
        (own->tape->traced && !(to->trace = trace_new(own->tape))))
        return false;
    r->params = held_params(&to->held);
    r->grads = held_grads(&to->held);
    r->dinitial = state_pointers(&to->dinitial);
    r->trace = to->trace;
    return true;
}

static bool levels_begin(const module_state *module, const DecoderTape *d, PyObject *given,
                         decode_back *b) {
    if (!PyTuple_Check(given) || (size_t)PyTuple_Size(given) != d->depth)
        return refuse_misfit("layers");
    for (size_t l = 0; l < d->depth; l++)
        if (!level_begin(module, d, l, PyTuple_GetItem(given, (Py_ssize_t)l), b)) return false;
    return true;
}

/* A gradient that is added to, of as many elements as its parameter; NULL for None, where there is
 * no such parameter. */
static bool added_to(const DecoderTape *d, const char *name, PyObject *given, bool wanted,
                     size_t elements, void **to) {
    PyArrayObject *array = (PyArrayObject *)given;
    *to = NULL;
    if (!wanted && given == Py_None) return true;
    if (wanted && PyArray_Check(given) && PyArray_TYPE(array) == typenum_of(dtype_of_levels(d)) &&
        (size_t)PyArray_SIZE(array) == elements && PyArray_ISCARRAY(array)) {
        *to = PyArray_DATA(array);
        return true;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s: expected an array of the dtype and size of its parameter, got %.200R", name,
                 given);
    return false;
}

static bool parameters_begin(const DecoderTape *d, const decode_back_arguments *given,
                             decode_back *b) {
    const size_t K = d->symbols, E = d->features, A = attention_of(d)->key_size;
    const size_t P = d->nodes[d->plan.count - 1].features;
    const dims table = {2, {(npy_intp)K, (npy_intp)E}, {"K", "E"}};
    crnn_recurrent *lowest = &b->nodes[d->levels[0].node].as.recurrent;
    void *dw_query;
    if (!added_to(d, "dvectors", given->dvectors, K > 0, K * E, &lowest->dvectors) ||
        !added_to(d, "dW_query", given->dw_query, d->arrays.w_query, P * A, &dw_query) ||
        !added_to(d, "dv", given->dv, d->arrays.v, A, &b->nodes[d->context].as.attend.dv))
        return false;
    if (d->arrays.w_query) b->nodes[d->context - 1].as.sum.dw = dw_query;
    if (K == 0) return true;
    b->vectors = float_array("vectors", given->vectors, dtype_of_levels(d), &table, true);
    lowest->vectors = data_of(b->vectors);
    return b->vectors != NULL;
}

/* A copy of floats (B, T, features): it is going to be changed. */
static PyArrayObject *copied_steps(const DecoderTape *d, const char *name, PyObject *given,
                                   size_t features) {
    const dims shape = {
        3, {(npy_intp)d->batch, (npy_intp)d->steps, (npy_intp)features}, {"B", "T", "features"}};
    PyArrayObject *array = float_array(name, given, dtype_of_levels(d), &shape, true);
    PyArrayObject *copy =
        array ? converted(array, PyArray_TYPE(array), NPY_ARRAY_CARRAY | NPY_ARRAY_ENSURECOPY)
              : NULL;
    drop(array);
    return copy;
}

/* (B, T_source, features) */
static PyArrayObject *new_memory(module_state *module, const crnn_attention *a, size_t features) {
    npy_intp shape[3] = {(npy_intp)a->batch, (npy_intp)a->steps, (npy_intp)features};
    return (PyArrayObject *)new_array(module, 3, shape, a->dtype);
}

static bool gradients_begin(module_state *module, const DecoderTape *d,
                            const decode_back_arguments *given, decode_back *b) {
    const crnn_attention *a = attention_of(d);
    crnn_attend *attend = &b->nodes[d->context].as.attend;
    for (size_t i = 0; i < d->plan.count; i++) {
        const bool is_context = i == d->context, is_top = i + 1 == d->plan.count;
        crnn_node *node = &b->nodes[i];
        if (node->features == 0) continue;
        b->gradients[i] = is_context ? copied_steps(d, "dcontext", given->dcontext, node->features)
                          : is_top   ? copied_steps(d, "dy", given->dy, node->features)
                                     : new_steps(module, d, node->features);
        if (!b->gradients[i]) return false;
        node->gradient = seq_of(b->gradients[i]);
        node->given = is_context || is_top;
    }
    if (!(b->dkeys = new_memory(module, a, a->key_size)) ||
        !(b->dvalues = new_memory(module, a, a->value_size)))
        return false;
    attend->dkeys = PyArray_DATA(b->dkeys);
    attend->dvalues = PyArray_DATA(b->dvalues);
    return true;
}

static bool back_begin(module_state *module, const DecoderTape *d,
                       const decode_back_arguments *given, decode_back *b) {
    const size_t count = d->plan.count;
    b->levels = PyMem_Calloc(d->depth, sizeof *b->levels);
    b->nodes = PyMem_Calloc(count, sizeof *b->nodes);
    b->gradients = PyMem_Calloc(count, sizeof *b->gradients);
    if (!b->levels || !b->nodes || !b->gradients) return PyErr_NoMemory() != NULL;
    memcpy(b->nodes, d->nodes, count * sizeof *b->nodes);
    return levels_begin(module, d, given->layers, b) && parameters_begin(d, given, b) &&
           gradients_begin(module, d, given, b);
}

static bool plan_backward(const DecoderTape *d, const decode_back *b) {
    crnn_plan plan = d->plan;
    size_t bytes;
    plan.node = b->nodes;
    if (!check_status(crnn_plan_backward_workspace(&plan, &bytes), "tape")) return false;
    plan.workspace = alloc_aligned(bytes);
    if (!plan.workspace) return false;
    Py_BEGIN_ALLOW_THREADS crnn_plan_backward(&plan);
    Py_END_ALLOW_THREADS free_aligned(plan.workspace);
    return true;
}

/* (dx, dkeys, dvalues, [dstate of each layer]) */
static PyObject *back_tuple(const DecoderTape *d, const decode_back *b) {
    PyObject *dx = b->gradients[0] ? (PyObject *)b->gradients[0] : Py_None;
    PyObject *states = states_of_levels(d, &b->levels[0].dinitial, sizeof(level_back));
    PyObject *result = states ? PyTuple_Pack(4, dx, b->dkeys, b->dvalues, states) : NULL;
    drop(states);
    return result;
}

PyObject *seq2seq_decode_back(PyObject *self, PyObject *args) {
    decode_back_arguments given;
    decode_back b = {0};
    PyObject *object, *result = NULL;
    module_state *module = state_of_type(Py_TYPE(self));
    if (!module ||
        !PyArg_ParseTuple(args, "OOOOOOOO:_decode_back", &object, &given.layers, &given.vectors,
                          &given.dy, &given.dcontext, &given.dvectors, &given.dw_query, &given.dv))
        return NULL;
    if (!PyObject_TypeCheck(object, module->decoder_tape)) {
        PyErr_Format(PyExc_TypeError,
                     "tape: expected the DecoderTape that _decode returned, got %.200R", object);
        return NULL;
    }
    const DecoderTape *d = (DecoderTape *)object;
    if (back_begin(module, d, &given, &b) && (result = back_tuple(d, &b)) && !plan_backward(d, &b))
        Py_CLEAR(result);
    for (size_t l = 0; result && l < d->depth; l++) /* the tapes of the layers keep the traces */
        tape_take_trace(d->levels[l].tape, &b.levels[l].trace);
    back_clear(&b, d);
    return result;
}
