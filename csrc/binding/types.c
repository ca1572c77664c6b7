/* The types of the recurrent layers: the base, which has the methods and the attributes, and one
 * for each cell, which has its name and the one option that it has besides the common ones. */
#include "binding.h"

/* ---- attributes */

static PyObject *get_gate_order(Recurrent *self, void *unused) {
    (void)unused;
    if (!recurrent_ready(self)) return NULL;
    const char *gates = crnn_cell_describe(self->layer.cell)->gates;
    PyObject *list = PyList_New(0), *tuple = NULL;
    for (; list && *gates; gates++) {
        PyObject *letter = PyUnicode_FromStringAndSize(gates, 1);
        const bool added = letter && PyList_Append(list, letter) == 0;
        drop(letter);
        if (!added) Py_CLEAR(list);
    }
    if (list) tuple = PyList_AsTuple(list);
    drop(list);
    return tuple;
}

/* Getters that all need a layer that is ready; `what` says which. */
enum { INPUT_SIZE, HIDDEN_SIZE, BIAS, REVERSE, DTYPE, PARAMS, GRADS, FLAT_PARAMS, FLAT_GRADS };

static PyObject *get_attribute(Recurrent *self, void *what) {
    if (!recurrent_ready(self)) return NULL;
    switch ((int)(intptr_t)what) {
    case INPUT_SIZE:
        return PyLong_FromSize_t(self->layer.inputs);
    case HIDDEN_SIZE:
        return PyLong_FromSize_t(self->layer.hidden);
    case BIAS:
        return PyBool_FromLong(self->layer.bias);
    case REVERSE:
        return PyBool_FromLong(self->layer.reverse);
    case DTYPE:
        return (PyObject *)PyArray_DescrFromType(typenum_of(self->layer.dtype));
    case PARAMS:
        return PyDict_Copy(self->params);
    case GRADS:
        return PyDict_Copy(self->grads);
    case FLAT_PARAMS:
        return Py_NewRef(self->flat_params);
    default:
        return Py_NewRef(self->flat_grads);
    }
}

#define ATTRIBUTE(name, what, doc) \
    {name, (getter)get_attribute, NULL, PyDoc_STR(doc), (void *)(intptr_t)what}

static PyGetSetDef recurrent_attributes[] = {
    ATTRIBUTE("input_size", INPUT_SIZE, "I, the number of inputs."),
    ATTRIBUTE("hidden_size", HIDDEN_SIZE, "H, the number of hidden units."),
    ATTRIBUTE("bias", BIAS, "Whether the layer has biases."),
    ATTRIBUTE("reverse", REVERSE, "Whether rows are read from their last step to their first."),
    ATTRIBUTE("dtype", DTYPE, "numpy.dtype of parameters, outputs and states."),
    ATTRIBUTE("param_views", PARAMS, "dict of name -> array: views of flat_params."),
    ATTRIBUTE("grad_views", GRADS, "dict of name -> array: views of flat_grads."),
    ATTRIBUTE("flat_params", FLAT_PARAMS, "All parameters as one vector."),
    ATTRIBUTE("flat_grads", FLAT_GRADS, "All gradients as one vector: what backward added up."),
    {"gate_order", (getter)get_gate_order, NULL,
     PyDoc_STR("Letters of the gates, in the order of their row blocks in W_x, W_h and b."), NULL},
    {0},
};

/* ---- the types */

#define KEYWORDS (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef recurrent_methods[] = {
    {"forward", (PyCFunction)(void (*)(void))recurrent_forward, KEYWORDS,
     PyDoc_STR("forward($self, /, x, state=None, *, lengths=None, training=True)\n--\n\n"
               "y, state, tape: run the layer and keep what backward needs.")},
    {"backward", (PyCFunction)(void (*)(void))recurrent_backward, KEYWORDS,
     PyDoc_STR("backward($self, /, tape, dy, dstate=None, *, trace=False)\n--\n\n"
               "dx, dstate: walk a tape back, adding to grads.")},
    {"check_backward", (PyCFunction)recurrent_check, METH_VARARGS,
     PyDoc_STR("check_backward($self, tape, dstate, /)\n--\n\n"
               "Raise what backward would raise for these, and change nothing.")},
    {"stream", (PyCFunction)(void (*)(void))recurrent_stream, KEYWORDS,
     PyDoc_STR("stream($self, /, batch=1, state=None)\n--\n\n"
               "A Stream: the layer one step at a time, with the weights as they are now.")},
    {0},
};

static PyObject *recurrent_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    module_state *module = state_of_type(type);
    Recurrent *self = module ? object_new(type) : NULL;
    if (self) self->module = module;
    return (PyObject *)self;
}

static int recurrent_traverse(Recurrent *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->params);
    Py_VISIT(self->grads);
    return 0;
}

static void recurrent_dealloc(Recurrent *self) {
    PyObject_GC_UnTrack(self);
    recurrent_clear(self);
    object_free(self);
}

/* The base has no cell of its own: it is there to be inherited from. */
static int recurrent_init(Recurrent *self, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    PyErr_Format(PyExc_TypeError, "%R is no cell: use RNN, LSTM, GRU or JANET",
                 Py_TYPE((PyObject *)self));
    return -1;
}

static PyType_Slot recurrent_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Base of the recurrent layers.")},
    {Py_tp_new, recurrent_new},
    {Py_tp_init, recurrent_init},
    {Py_tp_dealloc, recurrent_dealloc},
    {Py_tp_traverse, recurrent_traverse},
    {Py_tp_clear, recurrent_clear},
    {Py_tp_call, recurrent_call},
    {Py_tp_methods, recurrent_methods},
    {Py_tp_getset, recurrent_attributes},
    {0, NULL},
};
PyType_Spec recurrent_spec = {"crnn._core.Recurrent", sizeof(Recurrent), 0,
                              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                              recurrent_slots};

/* ---- the cells */

/* An option that picks the cell by a word, or is a number (JANET's beta) where there are no words.
 * The first word is the default. */
typedef struct cell_type {
    const char *format; /* of the arguments, in the order of `names` below */
    const char *option; /* NULL: none */
    const char *words[2];
    crnn_cell cells[2];
} cell_type;

static const cell_type rnn = {
    "OO|$ppOO:RNN", "activation", {"tanh", "relu"}, {CRNN_RNN_TANH, CRNN_RNN_RELU}};
static const cell_type lstm = {"OO|$ppO:LSTM", NULL, {NULL}, {CRNN_LSTM}};
static const cell_type gru = {
    "OO|$ppOO:GRU", "reset", {"after", "before"}, {CRNN_GRU_AFTER, CRNN_GRU_BEFORE}};
static const cell_type janet = {"OO|$ppOO:JANET", "beta", {NULL}, {CRNN_JANET}};

static bool parse_word(const cell_type *type, PyObject *given, crnn_cell *cell) {
    for (int i = 0; i < 2 && PyUnicode_Check(given); i++) {
        *cell = type->cells[i];
        if (PyUnicode_CompareWithASCIIString(given, type->words[i]) == 0) return true;
    }
    PyErr_Format(PyExc_ValueError, "%s: expected '%s' or '%s', got %R", type->option,
                 type->words[0], type->words[1], given);
    return false;
}

static bool parse_number(const cell_type *type, PyObject *given, double *number) {
    *number = PyFloat_AsDouble(given);
    if (!PyErr_Occurred() && *number - *number == 0) return true; /* neither infinite nor NaN */
    const bool wrong_type = PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_TypeError);
    PyErr_Clear();
    PyErr_Format(wrong_type ? PyExc_TypeError : PyExc_ValueError,
                 "%s: expected a finite number, got %R", type->option, given);
    return false;
}

static int cell_init(Recurrent *self, PyObject *args, PyObject *kwargs, const cell_type *type) {
    char *names[] = {"input_size", "hidden_size",        "bias", "reverse",
                     "dtype",      (char *)type->option, NULL};
    PyObject *input_size, *hidden_size, *dtype = NULL, *option = NULL;
    int bias = 1, reverse = 0;
    crnn_layer layer = {.cell = type->cells[0], .dtype = CRNN_F32, .beta = type == &janet ? 1 : 0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, type->format, names, &input_size, &hidden_size,
                                     &bias, &reverse, &dtype, &option) ||
        !parse_size("input_size", input_size, &layer.inputs) ||
        !parse_size("hidden_size", hidden_size, &layer.hidden) ||
        (dtype && !parse_dtype(dtype, &layer.dtype)))
        return -1;
    if (option && !(type->words[0] ? parse_word(type, option, &layer.cell)
                                   : parse_number(type, option, &layer.beta)))
        return -1;
    layer.bias = bias;
    layer.reverse = reverse;
    return recurrent_setup(self, &layer);
}

static PyObject *get_word(Recurrent *self, void *type_) {
    const cell_type *type = type_;
    if (!recurrent_ready(self)) return NULL;
    return PyUnicode_FromString(type->words[self->layer.cell == type->cells[1]]);
}

static PyObject *get_beta(Recurrent *self, void *unused) {
    (void)unused;
    return recurrent_ready(self) ? PyFloat_FromDouble(self->layer.beta) : NULL;
}

static PyGetSetDef rnn_options[] = {
    {"activation", (getter)get_word, NULL, PyDoc_STR("'tanh' or 'relu'."), (void *)&rnn}, {0}};
static PyGetSetDef lstm_options[] = {{0}};
static PyGetSetDef gru_options[] = {
    {"reset", (getter)get_word, NULL, PyDoc_STR("'after' or 'before'."), (void *)&gru}, {0}};
static PyGetSetDef janet_options[] = {
    {"beta", (getter)get_beta, NULL, PyDoc_STR("What the input's complement is shifted by."), NULL},
    {0}};

/* The type _core.<NAME>, whose part in garbage collection is its base's. */
#define CELL_TYPE(name, NAME, signature) \
    static int name##_init(Recurrent *self, PyObject *args, PyObject *kwargs) { \
        return cell_init(self, args, kwargs, &name); \
    } \
    static PyType_Slot name##_slots[] = { \
        {Py_tp_doc, \
         (void *)PyDoc_STR(#NAME "(input_size, hidden_size, *, " signature \
                                 "bias=True, reverse=False, dtype='float32')\n--\n\n" \
                                 "The cell " #NAME " of the core; its weights are zero.")}, \
        {Py_tp_init, name##_init}, \
        {Py_tp_getset, name##_options}, \
        {0, NULL}, \
    }; \
    PyType_Spec name##_spec = {"crnn._core." #NAME, sizeof(Recurrent), 0, \
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, name##_slots};

CELL_TYPE(rnn, RNN, "activation='tanh', ")
CELL_TYPE(lstm, LSTM, "")
CELL_TYPE(gru, GRU, "reset='after', ")
CELL_TYPE(janet, JANET, "beta=1.0, ")
