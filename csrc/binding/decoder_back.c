/* A decoder with input feeding, back through all its steps in one call of the core. */
#include "decoder_tape.h"

typedef struct decode_back_result {
    held_layer *layers;        /* owned [depth] */
    crnn_decoder_level *facts; /* owned [depth]: with their params */
    PyArrayObject *dx, *dcontext, *dqueries, *dkeys, *dvalues; /* owned */
    PyArrayObject **dy, **ddropped;                            /* owned [depth] of owned */
    state_arrays *dinitial;                                    /* owned [depth] of owned */
    crnn_decoder_level_grads *level; /* owned [depth], with the traces in it */
} decode_back_result;

static void back_clear(decode_back_result *out, size_t depth) {
    drop(out->dx);
    drop(out->dcontext);
    drop(out->dqueries);
    drop(out->dkeys);
    drop(out->dvalues);
    for (size_t l = 0; out->layers && l < depth; l++) layer_release(&out->layers[l]);
    for (size_t l = 0; out->dy && l < depth; l++) drop(out->dy[l]);
    for (size_t l = 0; out->ddropped && l < depth; l++) drop(out->ddropped[l]);
    for (size_t l = 0; out->dinitial && l < depth; l++) state_clear(&out->dinitial[l]);
    for (size_t l = 0; out->level && l < depth; l++) free_aligned(out->level[l].trace);
    PyMem_Free(out->layers);
    PyMem_Free(out->facts);
    PyMem_Free(out->dy);
    PyMem_Free(out->ddropped);
    PyMem_Free(out->dinitial);
    PyMem_Free(out->level);
}

/* The layers whose gradients are added to: those of the tape, or others like them. */
static bool back_layers(const module_state *module, const DecoderTape *d, PyObject *given,
                        decode_back_result *out) {
    out->layers = PyMem_Calloc(d->depth, sizeof *out->layers);
    out->facts = PyMem_Calloc(d->depth, sizeof *out->facts);
    if (!out->layers || !out->facts) return PyErr_NoMemory() != NULL;
    if (!PyTuple_Check(given) || (size_t)PyTuple_Size(given) != d->depth)
        return refuse_misfit("layers");
    for (size_t l = 0; l < d->depth; l++) {
        PyObject *layer = PyTuple_GetItem(given, (Py_ssize_t)l);
        if (!PyObject_TypeCheck(layer, module->recurrent)) return refuse_misfit("layers");
        held_layer *own = &out->layers[l];
        if (!layer_hold(own, (Recurrent *)layer)) return false;
        if (!crnn_layer_same(&own->layer, layer_at(d, l))) return refuse_misfit("layers");
        out->facts[l] = d->facts[l];
        out->facts[l].params = held_params(own);
    }
    return true;
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

static bool level_back_buffers(module_state *module, const DecoderTape *d, size_t l,
                               decode_back_result *out) {
    const level *own = &d->levels[l];
    if (!out->dy[l]) out->dy[l] = new_steps(module, d, width_at(d, l));
    if (own->dropped && !(out->ddropped[l] = new_steps(module, d, layer_at(d, l)->inputs)))
        return false;
    if (!out->dy[l] || !state_new(&out->dinitial[l], layer_at(d, l), d->rows.given.batch))
        return false;
    out->level[l] = (crnn_decoder_level_grads){.dy = seq_of(out->dy[l]),
                                               .ddropped = own->dropped ? seq_of(out->ddropped[l])
                                                                        : (crnn_seq){0},
                                               .from_learned = own->tape->call.from_learned,
                                               .dinitial = state_pointers(&out->dinitial[l]),
                                               .grads = held_grads(&out->layers[l])};
    return !own->tape->traced || (out->level[l].trace = trace_new(own->tape));
}

/* (B, T_source, features) */
static PyArrayObject *new_memory(module_state *module, const crnn_attention *a, size_t features) {
    npy_intp shape[3] = {(npy_intp)a->batch, (npy_intp)a->steps, (npy_intp)features};
    return (PyArrayObject *)new_array(module, 3, shape, a->dtype);
}

static bool back_buffers(module_state *module, const DecoderTape *d, PyObject *dy,
                         PyObject *dcontext, decode_back_result *out) {
    const size_t top = d->depth - 1;
    out->dy = PyMem_Calloc(d->depth, sizeof *out->dy);
    out->ddropped = PyMem_Calloc(d->depth, sizeof *out->ddropped);
    out->dinitial = PyMem_Calloc(d->depth, sizeof *out->dinitial);
    out->level = PyMem_Calloc(d->depth, sizeof *out->level);
    if (!out->dy || !out->ddropped || !out->dinitial || !out->level)
        return PyErr_NoMemory() != NULL;
    if (!(out->dy[top] = copied_steps(d, "dy", dy, width_at(d, top))) ||
        !(out->dcontext = copied_steps(d, "dcontext", dcontext, d->attention.value_size)))
        return false;
    for (size_t l = 0; l < d->depth; l++)
        if (!level_back_buffers(module, d, l, out)) return false;
    const crnn_attention *a = &d->attention;
    return (out->dx = new_steps(module, d, d->features)) &&
           (out->dqueries = new_steps(module, d, a->key_size)) &&
           (out->dkeys = new_memory(module, a, a->key_size)) &&
           (out->dvalues = new_memory(module, a, a->value_size));
}

/* A gradient that is added to, of as many elements as what it is of; NULL for None. */
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

static bool back_run(const DecoderTape *d, const decode_back_result *out, crnn_decoder_grads *g) {
    crnn_decoder decoder = decoder_of(d, d->levels[0].tape->tape.kernels);
    size_t bytes;
    decoder.level = out->facts;
    if (!check_status(crnn_decoder_grads_workspace(&decoder, g, &bytes), "tape")) return false;
    g->workspace = alloc_aligned(bytes);
    if (!g->workspace) return false;
    Py_BEGIN_ALLOW_THREADS crnn_decoder_backward(&decoder, g);
    Py_END_ALLOW_THREADS free_aligned(g->workspace);
    return true;
}

/* The tapes of the layers keep the traces; `out` gets what an earlier walk left there. */
static void hand_over_traces(const DecoderTape *d, decode_back_result *out) {
    for (size_t l = 0; l < d->depth; l++) tape_take_trace(d->levels[l].tape, &out->level[l].trace);
}

/* (dx, dkeys, dvalues, [dstate of each layer]) */
static PyObject *back_tuple(const DecoderTape *d, const decode_back_result *out) {
    PyObject *states = PyList_New((Py_ssize_t)d->depth);
    for (size_t l = 0; states && l < d->depth; l++) {
        PyObject *state = state_object(&out->dinitial[l]);
        if (!state || PyList_SetItem(states, (Py_ssize_t)l, state) < 0) Py_CLEAR(states);
    }
    PyObject *result = states ? PyTuple_Pack(4, out->dx, out->dkeys, out->dvalues, states) : NULL;
    drop(states);
    return result;
}

PyObject *seq2seq_decode_back(PyObject *self, PyObject *args) {
    PyObject *object, *layers, *dy, *dcontext, *dw_query, *dv, *result = NULL;
    module_state *state = state_of_type(Py_TYPE(self));
    if (!state || !PyArg_ParseTuple(args, "OOOOOO:_decode_back", &object, &layers, &dy, &dcontext,
                                    &dw_query, &dv))
        return NULL;
    if (!PyObject_TypeCheck(object, state->decoder_tape)) {
        PyErr_Format(PyExc_TypeError,
                     "tape: expected the DecoderTape that _decode returned, got %.200R", object);
        return NULL;
    }
    const DecoderTape *d = (DecoderTape *)object;
    const size_t A = d->attention.key_size;
    decode_back_result out = {0};
    crnn_decoder_grads g = {0};
    if (added_to(d, "dW_query", dw_query, d->w_query, width_at(d, d->depth - 1) * A, &g.dw_query) &&
        added_to(d, "dv", dv, d->v, A, &g.dv) && back_layers(state, d, layers, &out) &&
        back_buffers(state, d, dy, dcontext, &out)) {
        g.level = out.level;
        g.dx = seq_of(out.dx);
        g.dcontext = PyArray_DATA(out.dcontext);
        g.dqueries = PyArray_DATA(out.dqueries);
        g.dkeys = PyArray_DATA(out.dkeys);
        g.dvalues = PyArray_DATA(out.dvalues);
        result = back_tuple(d, &out);
        if (result && back_run(d, &out, &g))
            hand_over_traces(d, &out);
        else
            Py_CLEAR(result);
    }
    back_clear(&out, d->depth);
    return result;
}
