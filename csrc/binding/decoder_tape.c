/* What a decoder with input feeding kept, and how it is looked at. */
#include "decoder.h"

PyArrayObject *new_steps(module_state *module, const DecoderTape *d, size_t features) {
    npy_intp shape[3] = {PyArray_DIM(d->x, 0), PyArray_DIM(d->x, 1), (npy_intp)features};
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
    drop(l->layer);
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

static PyObject *get_x(DecoderTape *self, void *unused) {
    (void)unused;
    return Py_NewRef((PyObject *)self->x);
}

static PyObject *get_levels(DecoderTape *self, void *unused) {
    (void)unused;
    PyObject *tapes = PyTuple_New((Py_ssize_t)self->depth);
    for (size_t l = 0; tapes && l < self->depth; l++)
        if (PyTuple_SetItem(tapes, (Py_ssize_t)l, Py_NewRef((PyObject *)self->levels[l].tape)) < 0)
            Py_CLEAR(tapes);
    return tapes;
}

static PyGetSetDef decoder_tape_attributes[] = {
    {"levels", (getter)get_levels, NULL, PyDoc_STR("The tapes of the layers, lowest first."), NULL},
    {"weights", (getter)get_weights, NULL, PyDoc_STR("(B, T, T_source): of attention."), NULL},
    {"x", (getter)get_x, NULL, PyDoc_STR("What the lowest layer read, contexts last."), NULL},
    {0},
};

static PyType_Slot decoder_tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What a decoder with input feeding kept.")},
    {Py_tp_dealloc, decoder_tape_dealloc},
    {Py_tp_getset, decoder_tape_attributes},
    {0, NULL},
};
PyType_Spec decoder_tape_spec = {"crnn._core.DecoderTape", sizeof(DecoderTape), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                 decoder_tape_slots};
