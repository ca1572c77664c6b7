/* The tape of a decoder with input feeding, with its arrays for the user. */
#include "decoder_tape.h"

PyArrayObject *new_steps(module_state *module, const DecoderTape *d, size_t features) {
    npy_intp shape[3] = {(npy_intp)d->batch, (npy_intp)d->steps, (npy_intp)features};
    return (PyArrayObject *)new_array(module, 3, shape, dtype_of_levels(d));
}

PyObject *states_of_levels(const DecoderTape *d, const state_arrays *state, size_t each) {
    PyObject *states = PyList_New((Py_ssize_t)d->depth);
    for (size_t l = 0; states && l < d->depth; l++) {
        PyObject *object = state_object((const state_arrays *)((const char *)state + l * each));
        if (!object || PyList_SetItem(states, (Py_ssize_t)l, object) < 0) Py_CLEAR(states);
    }
    return states;
}

static void level_clear(level *l) {
    layer_release(&l->held);
    state_clear(&l->initial);
    state_clear(&l->final);
    drop(l->tape);
}

static void decoder_tape_dealloc(DecoderTape *self) {
    for (size_t l = 0; l < self->depth; l++) level_clear(&self->levels[l]);
    for (size_t i = 0; i < self->plan.count; i++) drop(self->memory[i].value);
    attention_clear(&self->arrays);
    drop(self->target);
    drop(self->vectors);
    drop(self->lengths);
    drop(self->weights);
    PyMem_Free(self->levels);
    PyMem_Free(self->nodes);
    PyMem_Free(self->memory);
    object_free(self);
}

static PyObject *get_weights(DecoderTape *self, void *unused) {
    (void)unused;
    return PyArray_NewCopy(self->weights, NPY_CORDER); /* backward needs them as they are */
}

static PyObject *get_contexts(DecoderTape *self, void *unused) {
    (void)unused;
    return PyArray_NewCopy(self->memory[self->context].value, NPY_CORDER);
}

static PyObject *get_levels(DecoderTape *self, void *unused) {
    (void)unused;
    PyObject *tapes = PyTuple_New((Py_ssize_t)self->depth);
    for (size_t l = 0; tapes && l < self->depth; l++)
        if (PyTuple_SetItem(tapes, (Py_ssize_t)l, Py_NewRef((PyObject *)self->levels[l].tape)) < 0)
            Py_CLEAR(tapes);
    return tapes;
}

/* "LSTM, LSTM": the types of the layers, from the lowest to the highest. A new reference, or NULL.
 */
static PyObject *names_of_levels(const DecoderTape *self) {
    PyObject *names = PyUnicode_FromString("");
    for (size_t l = 0; names && l < self->depth; l++) {
        PyObject *more = PyUnicode_FromFormat("%U%s%s", names, l ? ", " : "",
                                              layer_type_name(layer_at(self, l)));
        drop(names);
        names = more;
    }
    return names;
}

/* <DecoderTape of LSTM, LSTM: B=2, T=7, T_source=5> */
static PyObject *decoder_tape_repr(DecoderTape *self) {
    PyObject *names = names_of_levels(self), *text = NULL;
    if (names)
        text = PyUnicode_FromFormat("<DecoderTape of %U: B=%zu, T=%zu, T_source=%zu>", names,
                                    self->batch, self->steps, attention_of(self)->steps);
    drop(names);
    return text;
}

static PyGetSetDef decoder_tape_attributes[] = {
    {"levels", (getter)get_levels, NULL,
     PyDoc_STR("Tuple of the tapes of the layers, from the lowest to the highest."), NULL},
    {"weights", (getter)get_weights, NULL,
     PyDoc_STR("Array (B, T, T_source): attention weights of each step."), NULL},
    {"contexts", (getter)get_contexts, NULL,
     PyDoc_STR("Array (B, T, C): context vectors that the lowest layer read at each step."), NULL},
    {0},
};

static PyType_Slot decoder_tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR(
                    "Gates, states and attention of every step of a decoder with input feeding.")},
    {Py_tp_repr, decoder_tape_repr},
    {Py_tp_dealloc, decoder_tape_dealloc},
    {Py_tp_getset, decoder_tape_attributes},
    {0, NULL},
};
PyType_Spec decoder_tape_spec = {"crnn._core.DecoderTape", sizeof(DecoderTape), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                 decoder_tape_slots};
