/* The tape of a decoder with input feeding, with its arrays for the user. */
#include "decoder_tape.h"

PyArrayObject *new_steps(module_state *module, const DecoderTape *d, size_t features) {
    npy_intp shape[3] = {(npy_intp)d->batch, (npy_intp)d->steps, (npy_intp)features};
    return (PyArrayObject *)new_array(module, 3, shape, dtype_of_levels(d));
}

crnn_decoder decoder_of(const DecoderTape *d, const crnn_kernels *kernels) {
    return (crnn_decoder){.kernels = kernels,
                          .rows = &d->rows,
                          .depth = d->depth,
                          .level = d->facts,
                          .in = d->in,
                          .attention = &d->attention,
                          .w_query = d->w_query ? PyArray_DATA(d->w_query) : NULL,
                          .queries = PyArray_DATA(d->queries),
                          .weights = PyArray_DATA(d->weights)};
}

static void level_clear(level *l) {
    layer_release(&l->held);
    state_clear(&l->initial);
    state_clear(&l->final);
    drop(l->y);
    drop(l->dropped);
    drop(l->tape);
}

static void decoder_tape_dealloc(DecoderTape *self) {
    PyArrayObject *const arrays[] = {self->x,       self->symbols,        self->lengths, self->keys,
                                     self->values,  self->source_lengths, self->w_query, self->v,
                                     self->queries, self->weights};
    for (size_t l = 0; self->levels && l < self->depth; l++) level_clear(&self->levels[l]);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) drop(arrays[i]);
    PyMem_Free(self->levels);
    PyMem_Free(self->facts);
    free_aligned(self->words);
    object_free(self);
}

static PyObject *get_weights(DecoderTape *self, void *unused) {
    (void)unused;
    return PyArray_NewCopy(self->weights, NPY_CORDER); /* backward needs them as they are */
}

/* The last C features of x. */
static PyObject *get_contexts(DecoderTape *self, void *unused) {
    (void)unused;
    const npy_intp item = PyArray_ITEMSIZE(self->x), C = (npy_intp)self->attention.value_size;
    const npy_intp width = (npy_intp)self->features;
    npy_intp shape[3] = {(npy_intp)self->batch, (npy_intp)self->steps, C};
    npy_intp strides[3] = {item * width * shape[1], item * width, item};
    PyObject *view = array_view(self->x, 3, shape, strides, item * (width - C), 0);
    PyObject *copy = view ? PyArray_NewCopy((PyArrayObject *)view, NPY_CORDER) : NULL;
    drop(view);
    return copy;
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
    for (size_t l = 0; names && self->levels && l < self->depth; l++) {
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
                                    self->batch, self->steps, self->attention.steps);
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
