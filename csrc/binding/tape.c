/* What forward keeps for backward, and what a student looks at: gates and states by name. */
#include "binding.h"

Tape *tape_new(module_state *module, const crnn_layer *layer) {
    Tape *tape = object_new(module->tape);
    if (tape) tape->layer = *layer;
    return tape;
}

static void tape_dealloc(Tape *self) {
    call_clear(&self->call);
    free_aligned(self->tape.memory);
    free_aligned(self->dh);
    free_aligned(self->dc);
    object_free(self);
}

/* A new array (B, T, features) for the core to fill. */
static PyArrayObject *new_view(const Tape *self, size_t features) {
    npy_intp shape[3] = {PyArray_DIM(self->call.x, 0), PyArray_DIM(self->call.x, 1),
                         (npy_intp)features};
    return (PyArrayObject *)PyArray_SimpleNew(3, shape, typenum_of(self->layer.dtype));
}

static PyObject *get_gates(Tape *self, void *unused) {
    (void)unused;
    PyObject *dict = PyDict_New();
    for (const char *gate = crnn_cell_describe(self->layer.cell)->gates; dict && *gate; gate++) {
        const char name[2] = {*gate, 0};
        PyArrayObject *array = new_view(self, self->layer.hidden);
        if (array)
            crnn_tape_gate(&self->layer, &self->call.rows, &self->tape, *gate, PyArray_DATA(array));
        if (!array || PyDict_SetItemString(dict, name, (PyObject *)array) < 0) Py_CLEAR(dict);
        drop(array);
    }
    return dict;
}

static bool has_c(const Tape *self, const char *name) {
    const crnn_cell_facts *cell = crnn_cell_describe(self->layer.cell);
    if (cell->states == 2) return true;
    PyErr_Format(PyExc_AttributeError, "the tape of cell %s has no %s: its state is h alone",
                 cell->name, name);
    return false;
}

static size_t width_of(const Tape *self, bool c) {
    return c ? self->layer.hidden : crnn_width(&self->layer);
}

static PyObject *get_state(Tape *self, void *c) {
    if (c && !has_c(self, "c")) return NULL;
    PyArrayObject *array = new_view(self, width_of(self, c != NULL));
    if (array)
        crnn_tape_state(&self->layer, &self->call.rows, &self->tape, c != NULL,
                        PyArray_DATA(array));
    return (PyObject *)array;
}

static PyObject *get_trace(Tape *self, void *c) {
    if (c && !has_c(self, "dc")) return NULL;
    const void *values = c ? self->dc : self->dh;
    if (!values) {
        PyErr_Format(PyExc_AttributeError, "%s: is there after backward(tape, ..., trace=True)",
                     c ? "dc" : "dh");
        return NULL;
    }
    const size_t wide = width_of(self, c != NULL);
    PyArrayObject *array = new_view(self, wide);
    if (array)
        crnn_rows_view(&self->layer, &self->call.rows, &self->tape, wide, values,
                       PyArray_DATA(array));
    return (PyObject *)array;
}

static PyGetSetDef tape_attributes[] = {
    {"gates", (getter)get_gates, NULL,
     PyDoc_STR("dict of letter -> array (B, T, H): each gate after its activation."), NULL},
    {"h", (getter)get_state, NULL, PyDoc_STR("(B, T, P): h after each step."), NULL},
    {"c", (getter)get_state, NULL, PyDoc_STR("(B, T, H): the LSTM's c after each step."), "c"},
    {"dh", (getter)get_trace, NULL, PyDoc_STR("(B, T, H): dL/dh of each step, in all."), NULL},
    {"dc", (getter)get_trace, NULL, PyDoc_STR("(B, T, H): dL/dc of each step, in all."), "c"},
    {0},
};

static PyType_Slot tape_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("What forward kept: gates and states of every step, arranged when asked.")},
    {Py_tp_dealloc, tape_dealloc},
    {Py_tp_getset, tape_attributes},
    {0, NULL},
};
PyType_Spec tape_spec = {"crnn._core.Tape", sizeof(Tape), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, tape_slots};
