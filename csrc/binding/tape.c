/* The tape: what forward keeps for backward, with gates and states by name for the user. */
#include "binding.h"

Tape *tape_new(module_state *module, const held_layer *held) {
    Tape *tape = object_new(module->tape);
    if (!tape) return NULL;
    tape->layer = held->layer;
    tape->leak = Py_NewRef(held->leak);
    return tape;
}

bool tape_fits(const Tape *tape, const held_layer *held) {
    return crnn_layer_same(&tape->layer, &held->layer) &&
           leak_same(&tape->layer, tape->leak, held->leak);
}

static void tape_dealloc(Tape *self) {
    drop(self->leak);
    call_clear(&self->call);
    free_aligned(self->tape.memory);
    free_aligned(self->trace);
    object_free(self);
}

/* A new array (B, T, features) for the core to fill. */
static PyArrayObject *new_view(const Tape *self, size_t features) {
    const crnn_steps *given = &self->call.rows.given;
    npy_intp shape[3] = {(npy_intp)given->batch, (npy_intp)given->steps, (npy_intp)features};
    return (PyArrayObject *)new_plain_array(3, shape, typenum_of(self->layer.dtype));
}

void *trace_new(const Tape *tape) {
    size_t bytes;
    if (!check_status(crnn_trace_size(&tape->layer, &tape->tape, &tape->call.rows, &bytes), "tape"))
        return NULL;
    return alloc_aligned(bytes);
}

void tape_take_trace(Tape *tape, void **trace) {
    tape->traced = false;
    if (!*trace) return;
    LOCK(tape);
    void *old = tape->trace;
    tape->trace = *trace;
    *trace = old;
    UNLOCK();
}

static PyObject *get_traced(Tape *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(self->traced);
}

static int set_traced(Tape *self, PyObject *value, void *unused) {
    (void)unused;
    const int truth = value ? PyObject_IsTrue(value) : -1;
    if (!value) PyErr_SetString(PyExc_AttributeError, "traced: cannot be deleted");
    if (truth < 0) return -1;
    self->traced = truth;
    return 0;
}

/* <Tape of LSTM: B=2, T=7, H=5, gates i f g o> */
static PyObject *tape_repr(Tape *self) {
    const crnn_steps *steps = &self->call.rows.given;
    char sizes[SIZES_TEXT], gates[2 * 16] = "";
    const char *letters = crnn_cell_describe(self->layer.cell)->gates;
    for (size_t i = 0; letters[i] && 2 * i + 2 < sizeof gates; i++) {
        gates[2 * i] = ' ';
        gates[2 * i + 1] = letters[i];
    }
    print_sizes(&self->layer, sizes);
    return PyUnicode_FromFormat("<Tape of %s: B=%zu, T=%zu, %s, gates%s>",
                                layer_type_name(&self->layer), steps->batch, steps->steps, sizes,
                                gates);
}

/* Ask for it when all memory is there that it is to be copied to: another walk back may replace the
 * trace meanwhile. */
static crnn_traced traced(const Tape *self) {
    return (crnn_traced){&self->layer, &self->call.rows, &self->tape, self->trace};
}

/* False, with AttributeError, where there is no trace to look into. */
static bool has_trace(const Tape *self, const char *name) {
    if (self->trace) return true;
    PyErr_Format(PyExc_AttributeError,
                 "%s: expected a tape after backward(..., trace=True), got one without a trace",
                 name);
    return false;
}

/* dict of letter -> what `show` makes of each gate; NULL from it ends it all. */
static PyObject *by_gate(Tape *self, PyObject *(*show)(const Tape *self, char gate)) {
    PyObject *dict = PyDict_New();
    for (const char *gate = crnn_cell_describe(self->layer.cell)->gates; dict && *gate; gate++) {
        const char name[2] = {*gate, 0};
        PyObject *shown;
        LOCK(self);
        shown = show(self, *gate);
        UNLOCK();
        if (!shown || PyDict_SetItemString(dict, name, shown) < 0) Py_CLEAR(dict);
        drop(shown);
    }
    return dict;
}

static PyObject *show_gate(const Tape *self, char gate) {
    PyArrayObject *array = new_view(self, self->layer.hidden);
    if (array)
        crnn_tape_gate(&self->layer, &self->call.rows, &self->tape, gate, PyArray_DATA(array));
    return (PyObject *)array;
}

static PyObject *get_gates(Tape *self, void *unused) {
    (void)unused;
    return by_gate(self, show_gate);
}

static PyObject *show_sum(const Tape *self, char gate) {
    PyArrayObject *array = new_view(self, self->layer.hidden);
    const crnn_traced t = traced(self);
    if (array) crnn_trace_sum(&t, gate, PyArray_DATA(array));
    return (PyObject *)array;
}

static PyObject *get_dgates(Tape *self, void *unused) {
    (void)unused;
    return has_trace(self, "dgates") ? by_gate(self, show_sum) : NULL;
}

/* (d, h) */
static PyObject *show_terms(const Tape *self, char gate) {
    PyArrayObject *d = new_view(self, self->layer.hidden);
    PyArrayObject *h = d ? new_view(self, crnn_reads(&self->layer)) : NULL;
    PyObject *pair = h ? PyTuple_Pack(2, d, h) : NULL;
    const crnn_traced t = traced(self);
    if (pair) {
        crnn_trace_product(&t, gate, PyArray_DATA(d));
        crnn_trace_read(&t, gate, PyArray_DATA(h));
    }
    drop(d);
    drop(h);
    return pair;
}

static PyObject *get_terms(Tape *self, void *unused) {
    (void)unused;
    if (!has_trace(self, "W_h_terms")) return NULL;
    return crnn_reads(&self->layer) ? by_gate(self, show_terms) : PyDict_New();
}

/* Factors (G*H, K*P) of the elements of W_h, or None where none were dropped. */
static PyObject *get_kept(Tape *self, void *unused) {
    (void)unused;
    const crnn_traced t = traced(self);
    const size_t gates = strlen(crnn_cell_describe(self->layer.cell)->gates);
    npy_intp shape[2] = {(npy_intp)crnn_reads(&self->layer),
                         (npy_intp)(gates * self->layer.hidden)};
    const int type = typenum_of(self->layer.dtype);
    PyArrayObject *ones = (PyArrayObject *)new_plain_array(2, shape, type);
    PyArrayObject *kept = ones ? (PyArrayObject *)new_plain_array(2, shape, type) : NULL;
    PyObject *one = kept ? PyFloat_FromDouble(1) : NULL, *shown = NULL;
    if (one && PyArray_FillWithScalar(ones, one) == 0)
        shown = crnn_trace_dropped(&t, &self->call.noise, PyArray_DATA(ones), PyArray_DATA(kept))
                    ? PyArray_Transpose(kept, NULL)
                    : Py_NewRef(Py_None);
    drop(one);
    drop(ones);
    drop(kept);
    return shown;
}

static PyObject *get_read(Tape *self, void *unused) {
    (void)unused;
    const crnn_rows *rows = &self->call.rows;
    npy_intp shape[2] = {(npy_intp)rows->given.batch, (npy_intp)rows->given.steps};
    PyArrayObject *array = (PyArrayObject *)new_zeros(2, shape, NPY_BOOL);
    npy_bool *read = array ? PyArray_DATA(array) : NULL;
    for (size_t t = 0; array && t < rows->given.steps; t++)
        for (size_t i = 0; i < rows->active[t]; i++)
            read[rows->order[i] * rows->given.steps + crnn_rows_time(rows, i, t)] = 1;
    return (PyObject *)array;
}

static bool has_c(const Tape *self, const char *name) {
    const crnn_cell_facts *cell = crnn_cell_describe(self->layer.cell);
    if (cell->states == 2) return true;
    PyErr_Format(PyExc_AttributeError,
                 "%s: expected the tape of a cell with the state (h, c), got one of the cell %s",
                 name, cell->name);
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
    if (!has_trace(self, c ? "dc" : "dh")) return NULL;
    PyArrayObject *array = new_view(self, width_of(self, c != NULL));
    LOCK(self);
    const crnn_traced t = traced(self);
    if (array) crnn_trace_state(&t, c != NULL, PyArray_DATA(array));
    UNLOCK();
    return (PyObject *)array;
}

static PyGetSetDef tape_attributes[] = {
    {"gates", (getter)get_gates, NULL,
     PyDoc_STR("dict of letter -> array (B, T, H): values of each gate, after its activation."),
     NULL},
    {"read", (getter)get_read, NULL,
     PyDoc_STR(
         "Booleans (B, T): True at the steps that were read, which are valid and not masked."),
     NULL},
    {"h", (getter)get_state, NULL, PyDoc_STR("Array (B, T, P): h after each step."), NULL},
    {"c", (getter)get_state, NULL,
     PyDoc_STR("Array (B, T, H): c after each step; AttributeError for a cell without c."), "c"},
    {"dh", (getter)get_trace, NULL,
     PyDoc_STR("Array (B, T, P): gradient of the loss with respect to h of each step.\n\n"
               "It includes the way through all later steps. With backward(..., trace=True)."),
     NULL},
    {"dc", (getter)get_trace, NULL,
     PyDoc_STR("Array (B, T, H): gradient of the loss with respect to c of each step.\n\n"
               "With backward(..., trace=True)."),
     "c"},
    {"traced", (getter)get_traced, (setter)set_traced,
     PyDoc_STR("Whether the next `backward` keeps a trace, as backward(..., trace=True) does.\n\n"
               "May be assigned; False after that `backward`."),
     NULL},
    {"dgates", (getter)get_dgates, NULL,
     PyDoc_STR("dict of letter -> array (B, T, H): gradient of each gate before its activation.\n\n"
               "With backward(..., trace=True)."),
     NULL},
    {"W_h_terms", (getter)get_terms, NULL,
     PyDoc_STR("dict of letter -> pair (d, h) of (B, T, H) and (B, T, K*P): terms of dL/dW_h.\n\n"
               "The gradient of a gate's rows of W_h is the sum over rows and steps of the outer "
               "products of d and h, times `W_h_kept`. Empty if the layer has no W_h. With "
               "backward(..., trace=True)."),
     NULL},
    {"W_h_kept", (getter)get_kept, NULL,
     PyDoc_STR("Array (G*H, K*P) of the factors of weight drop, 0 or 1 / (1 - p); or None.\n\n"
               "One for each element of W_h; None where no element was dropped."),
     NULL},
    {0},
};

static PyType_Slot tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Gates and states of every step of a recurrent layer, which "
                                  "`forward` returns for `backward`.")},
    {Py_tp_repr, tape_repr},
    {Py_tp_dealloc, tape_dealloc},
    {Py_tp_getset, tape_attributes},
    {0, NULL},
};
PyType_Spec tape_spec = {"crnn._core.Tape", sizeof(Tape), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, tape_slots};
