/* The recurrent layers: one base type that holds the parameters and runs forward and backward, and
 * a type for each cell that reads its own options. */
#include "binding.h"

/* ---- parameters */

/* A view of part of a flat array: rows x columns elements from `begin` on, shown transposed where
 * columns > 0, else a vector of `rows`. */
static PyObject *parameter_view(PyObject *flat, size_t begin, size_t rows, size_t columns) {
    PyArrayObject *base = (PyArrayObject *)flat;
    const npy_intp item = PyArray_ITEMSIZE(base);
    npy_intp shape[2] = {(npy_intp)(columns ? columns : rows), (npy_intp)rows};
    npy_intp strides[2] = {item, item * (npy_intp)columns};
    return array_view(base, columns ? 2 : 1, shape, strides, (npy_intp)begin * item,
                      NPY_ARRAY_WRITEABLE);
}

static bool add_view(PyObject *dict, const char *name, PyObject *flat, size_t begin, size_t rows,
                     size_t columns) {
    PyObject *view = parameter_view(flat, begin, rows, columns);
    const bool added = view && PyDict_SetItemString(dict, name, view) == 0;
    drop(view);
    return added;
}

/* name -> view of `flat`, in the order W_x, W_h, b, b_h<gate>. */
static PyObject *parameter_dict(const Recurrent *self, PyObject *flat) {
    const crnn_layout *at = &self->at;
    const char b_h[] = {'b', '_', 'h', crnn_cell_b_h(self->layer.cell), 0};
    PyObject *dict = PyDict_New();
    if (dict && add_view(dict, "W_x", flat, at->w_x, self->layer.inputs, at->columns) &&
        add_view(dict, "W_h", flat, at->w_h, self->layer.hidden, at->columns) &&
        (!at->b_size || add_view(dict, "b", flat, at->b, at->b_size, 0)) &&
        (!at->b_h_size || add_view(dict, b_h, flat, at->b_h, at->b_h_size, 0)))
        return dict;
    drop(dict);
    return NULL;
}

static int recurrent_clear(Recurrent *self) {
    Py_CLEAR(self->flat_params);
    Py_CLEAR(self->flat_grads);
    Py_CLEAR(self->params);
    Py_CLEAR(self->grads);
    return 0;
}

/* Sizes are checked and arrays made before anything of the object changes. */
static int recurrent_setup(Recurrent *self, const crnn_layer *layer) {
    Recurrent made = {.layer = *layer};
    crnn_rows none;
    size_t words[2], bytes;
    if (!check_status(crnn_layer_layout(layer, &made.at), "input_size, hidden_size")) return -1;
    crnn_rows_init(&none, words, 0, 0, NULL);
    if (!check_status(crnn_forward_workspace(layer, &none, true, &bytes),
                      "input_size, hidden_size"))
        return -1;
    npy_intp total = (npy_intp)made.at.total;
    const int type = typenum_of(layer->dtype);
    made.flat_params = PyArray_ZEROS(1, &total, type, 0);
    made.flat_grads = made.flat_params ? PyArray_ZEROS(1, &total, type, 0) : NULL;
    made.params = made.flat_grads ? parameter_dict(&made, made.flat_params) : NULL;
    made.grads = made.params ? parameter_dict(&made, made.flat_grads) : NULL;
    if (!made.grads) {
        recurrent_clear(&made);
        return -1;
    }
    recurrent_clear(self);
    self->layer = made.layer;
    self->at = made.at;
    self->flat_params = made.flat_params;
    self->flat_grads = made.flat_grads;
    self->params = made.params;
    self->grads = made.grads;
    return 0;
}

bool recurrent_ready(const Recurrent *self) {
    if (self->flat_params) return true;
    PyErr_SetString(PyExc_RuntimeError,
                    "the layer has no parameters yet: its __init__ was not called");
    return false;
}

/* ---- options of each cell */

typedef struct common_options {
    PyObject *input_size, *hidden_size, *dtype;
    int bias, reverse;
} common_options;

static int setup_cell(Recurrent *self, const common_options *given, crnn_cell cell, double beta) {
    crnn_layer layer = {.cell = cell,
                        .bias = given->bias != 0,
                        .reverse = given->reverse != 0,
                        .beta = beta,
                        .dtype = CRNN_F32};
    if (!parse_size("input_size", given->input_size, &layer.inputs) ||
        !parse_size("hidden_size", given->hidden_size, &layer.hidden) ||
        (given->dtype && !parse_dtype(given->dtype, &layer.dtype)))
        return -1;
    return recurrent_setup(self, &layer);
}

/* An option that picks a cell by name. The first choice is the default. */
typedef struct choice {
    const char *word;
    crnn_cell cell;
} choice;

static bool choose(const char *name, PyObject *given, const choice options[2], crnn_cell *cell) {
    *cell = options[0].cell;
    if (!given) return true;
    for (int i = 0; i < 2 && PyUnicode_Check(given); i++) {
        *cell = options[i].cell;
        if (PyUnicode_CompareWithASCIIString(given, options[i].word) == 0) return true;
    }
    PyErr_Format(PyExc_ValueError, "%s: expected '%s' or '%s', got %R", name, options[0].word,
                 options[1].word, given);
    return false;
}

static const choice activations[2] = {{"tanh", CRNN_RNN_TANH}, {"relu", CRNN_RNN_RELU}};
static const choice resets[2] = {{"after", CRNN_GRU_AFTER}, {"before", CRNN_GRU_BEFORE}};

#define COMMON(o) &(o).input_size, &(o).hidden_size
#define COMMON_REST(o) &(o).bias, &(o).reverse, &(o).dtype

static int rnn_init(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"input_size", "hidden_size", "activation", "bias",
                            "reverse",    "dtype",       NULL};
    common_options o = {.bias = 1};
    PyObject *activation = NULL;
    crnn_cell cell;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OppO:RNN", names, COMMON(o), &activation,
                                     COMMON_REST(o)) ||
        !choose("activation", activation, activations, &cell))
        return -1;
    return setup_cell(self, &o, cell, 0);
}

static int lstm_init(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"input_size", "hidden_size", "bias", "reverse", "dtype", NULL};
    common_options o = {.bias = 1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$ppO:LSTM", names, COMMON(o),
                                     COMMON_REST(o)))
        return -1;
    return setup_cell(self, &o, CRNN_LSTM, 0);
}

static int gru_init(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"input_size", "hidden_size", "reset", "bias", "reverse", "dtype", NULL};
    common_options o = {.bias = 1};
    PyObject *reset = NULL;
    crnn_cell cell;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OppO:GRU", names, COMMON(o), &reset,
                                     COMMON_REST(o)) ||
        !choose("reset", reset, resets, &cell))
        return -1;
    return setup_cell(self, &o, cell, 0);
}

static int janet_init(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"input_size", "hidden_size", "beta", "bias", "reverse", "dtype", NULL};
    common_options o = {.bias = 1};
    double beta = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$dppO:JANET", names, COMMON(o), &beta,
                                     COMMON_REST(o)))
        return -1;
    if (!(beta - beta == 0)) {
        PyErr_SetString(PyExc_ValueError, "beta: expected a finite number");
        return -1;
    }
    return setup_cell(self, &o, CRNN_JANET, beta);
}

/* ---- forward */

void *pack_weights(const Recurrent *self) {
    size_t bytes;
    if (!check_status(crnn_packed_size(&self->layer, &bytes), "params")) return NULL;
    void *packed = alloc_aligned(bytes);
    if (packed) crnn_pack(&self->layer, PyArray_DATA((PyArrayObject *)self->flat_params), packed);
    return packed;
}

static PyObject *new_sequence(const call *c, size_t features, crnn_dtype dtype) {
    npy_intp shape[3] = {(npy_intp)c->rows.batch, (npy_intp)c->rows.steps, (npy_intp)features};
    return PyArray_SimpleNew(3, shape, typenum_of(dtype));
}

/* y, and what forward writes besides; the tape is NULL where nothing is kept. */
typedef struct forward_result {
    PyObject *y;
    state_arrays final;
    Tape *tape;
} forward_result;

static void forward_clear(forward_result *out) {
    Py_CLEAR(out->y);
    state_clear(&out->final);
    Py_CLEAR(out->tape);
}

static bool forward_buffers(const Recurrent *self, const call *c, forward_result *out,
                            void **workspace) {
    size_t bytes;
    if (out->tape) {
        if (!check_status(crnn_tape_size(&self->layer, &c->rows, &bytes), "x")) return false;
        out->tape->tape.memory = alloc_aligned(bytes);
        if (!out->tape->tape.memory) return false;
    }
    if (!check_status(crnn_forward_workspace(&self->layer, &c->rows, out->tape != NULL, &bytes),
                      "x"))
        return false;
    *workspace = alloc_aligned(bytes);
    out->y = *workspace ? new_sequence(c, self->layer.hidden, self->layer.dtype) : NULL;
    return out->y && state_new(&out->final, &self->layer, c->rows.batch);
}

/* With a tape, the call is the tape's own. */
static bool forward_call(const Recurrent *self, call *c, const state_arrays *initial,
                         forward_result *out) {
    void *workspace = NULL, *packed = NULL;
    const bool ready = forward_buffers(self, c, out, &workspace) && (packed = pack_weights(self));
    if (ready) {
        const crnn_forward_args args = {.layer = &self->layer,
                                        .rows = &c->rows,
                                        .packed = packed,
                                        .in = c->in,
                                        .initial = state_pointers(initial),
                                        .y = seq_of((PyArrayObject *)out->y),
                                        .final = state_pointers(&out->final),
                                        .tape = out->tape ? &out->tape->tape : NULL,
                                        .workspace = workspace};
        Py_BEGIN_ALLOW_THREADS crnn_forward(&args);
        Py_END_ALLOW_THREADS
    }
    free_aligned(packed);
    free_aligned(workspace);
    return ready;
}

/* (y, state) or (y, state, tape). */
static PyObject *forward_tuple(const forward_result *out) {
    PyObject *state = state_object(&out->final), *tuple = NULL;
    if (state && out->tape)
        tuple = PyTuple_Pack(3, out->y, state, out->tape);
    else if (state)
        tuple = PyTuple_Pack(2, out->y, state);
    drop(state);
    return tuple;
}

static PyObject *run_forward(Recurrent *self, PyObject *x, PyObject *state, PyObject *lengths,
                             bool keep) {
    forward_result out = {0};
    state_arrays initial = {0};
    call own = {0}, *c = &own;
    PyObject *result = NULL;
    if (!recurrent_ready(self)) return NULL;
    if (keep) {
        out.tape = tape_new(self->module, &self->layer);
        if (!out.tape) return NULL;
        c = &out.tape->call;
    }
    if (call_init(c, &self->layer, x, lengths) &&
        state_parse(&initial, "state", &self->layer, c->rows.batch, state) &&
        forward_call(self, c, &initial, &out))
        result = forward_tuple(&out);
    state_clear(&initial);
    forward_clear(&out);
    call_clear(&own);
    return result;
}

static PyObject *recurrent_call(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "state", "lengths", NULL};
    PyObject *x, *state = Py_None, *lengths = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$O:__call__", names, &x, &state, &lengths))
        return NULL;
    return run_forward(self, x, state, lengths, false);
}

/* `training` belongs to the protocol of all layers; nothing here depends on it. */
static PyObject *recurrent_forward(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "state", "lengths", "training", NULL};
    PyObject *x, *state = Py_None, *lengths = Py_None;
    int training;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$Op:forward", names, &x, &state, &lengths,
                                     &training))
        return NULL;
    return run_forward(self, x, state, lengths, true);
}

/* ---- backward */

static bool same_layer(const crnn_layer *a, const crnn_layer *b) {
    return a->cell == b->cell && a->dtype == b->dtype && a->inputs == b->inputs &&
           a->hidden == b->hidden && a->bias == b->bias && a->reverse == b->reverse &&
           a->beta == b->beta;
}

static Tape *check_tape(const Recurrent *self, PyObject *object) {
    if (!PyObject_TypeCheck(object, self->module->tape)) {
        PyErr_Format(PyExc_TypeError, "tape: expected the Tape that forward returned, got %.200R",
                     object);
        return NULL;
    }
    Tape *tape = (Tape *)object;
    if (same_layer(&tape->layer, &self->layer)) return tape;
    PyErr_Format(
        PyExc_ValueError,
        "tape: expected one of a layer like this (cell %s, I=%zu, H=%zu), got one of another "
        "(cell %s, I=%zu, H=%zu) or with other options",
        crnn_cell_describe(self->layer.cell)->name, self->layer.inputs, self->layer.hidden,
        crnn_cell_describe(tape->layer.cell)->name, tape->layer.inputs, tape->layer.hidden);
    return NULL;
}

/* What backward reads and writes besides the tape. */
typedef struct backward_result {
    PyArrayObject *dy; /* NULL: None */
    PyObject *dx;      /* NULL where x was symbols */
    state_arrays dfinal, dinitial;
    void *dh, *dc, *workspace; /* dh, dc: with trace */
} backward_result;

static void backward_clear(backward_result *out) {
    Py_CLEAR(out->dy);
    Py_CLEAR(out->dx);
    state_clear(&out->dfinal);
    state_clear(&out->dinitial);
    free_aligned(out->dh);
    free_aligned(out->dc);
    free_aligned(out->workspace);
}

static bool trace_buffers(const Tape *tape, backward_result *out) {
    const size_t bytes = tape->call.rows.total * crnn_padded_hidden(&tape->layer, &tape->tape) *
                         crnn_dtype_size(tape->layer.dtype); /* fits: the tape holds as much */
    const bool has_c = crnn_cell_describe(tape->layer.cell)->states == 2;
    out->dh = alloc_aligned(bytes);
    out->dc = out->dh && has_c ? alloc_aligned(bytes) : NULL;
    return out->dh && (out->dc || !has_c);
}

static bool backward_parse(const Tape *tape, PyObject *dy, PyObject *dstate, backward_result *out) {
    const crnn_layer *layer = &tape->layer;
    const crnn_rows *rows = &tape->call.rows;
    const dims shape = {3,
                        {(npy_intp)rows->batch, (npy_intp)rows->steps, (npy_intp)layer->hidden},
                        {"B", "T", "H"}};
    if (dy != Py_None && !(out->dy = float_array("dy", dy, layer->dtype, &shape, false)))
        return false;
    return state_parse(&out->dfinal, "dstate", layer, rows->batch, dstate);
}

static bool backward_buffers(const Tape *tape, bool trace, backward_result *out) {
    const crnn_layer *layer = &tape->layer;
    const call *c = &tape->call;
    const bool wants_dx = c->in.symbols == NULL;
    size_t bytes;
    if (!check_status(crnn_backward_workspace(layer, &c->rows, &tape->tape, wants_dx, &bytes),
                      "tape"))
        return false;
    out->workspace = alloc_aligned(bytes);
    if (!out->workspace || !state_new(&out->dinitial, layer, c->rows.batch)) return false;
    if (wants_dx && !(out->dx = new_sequence(c, layer->inputs, layer->dtype))) return false;
    return !trace || trace_buffers(tape, out);
}

static void backward_run(const Recurrent *self, Tape *tape, backward_result *out) {
    const crnn_backward_args args = {
        .layer = &self->layer,
        .rows = &tape->call.rows,
        .tape = &tape->tape,
        .params = PyArray_DATA((PyArrayObject *)self->flat_params),
        .in = tape->call.in,
        .dy = out->dy ? seq_of(out->dy) : (crnn_seq){0},
        .dfinal = state_pointers(&out->dfinal),
        .dinitial = state_pointers(&out->dinitial),
        .grads = PyArray_DATA((PyArrayObject *)self->flat_grads),
        .dx = out->dx ? seq_of((PyArrayObject *)out->dx) : (crnn_seq){0},
        .dh = out->dh,
        .dc = out->dc,
        .workspace = out->workspace,
    };
    Py_BEGIN_ALLOW_THREADS crnn_backward(&args);
    Py_END_ALLOW_THREADS if (!out->dh) return;
    void *old_dh = tape->dh, *old_dc = tape->dc; /* what an earlier walk left */
    tape->dh = out->dh;
    tape->dc = out->dc;
    out->dh = old_dh;
    out->dc = old_dc;
}

static PyObject *backward_tuple(const backward_result *out) {
    PyObject *dstate = state_object(&out->dinitial);
    PyObject *tuple = dstate ? PyTuple_Pack(2, out->dx ? out->dx : Py_None, dstate) : NULL;
    drop(dstate);
    return tuple;
}

bool recurrent_check_backward(const Recurrent *self, PyObject *tape_object, PyObject *dstate) {
    const Tape *tape = recurrent_ready(self) ? check_tape(self, tape_object) : NULL;
    state_arrays parsed = {0};
    if (!tape || !state_parse(&parsed, "dstate", &self->layer, tape->call.rows.batch, dstate))
        return false;
    state_clear(&parsed);
    return true;
}

/* For compositions: whether backward would take these, before any part of them has added to its
 * grads. */
static PyObject *recurrent_check(Recurrent *self, PyObject *args) {
    PyObject *tape, *dstate;
    if (!PyArg_ParseTuple(args, "OO:check_backward", &tape, &dstate)) return NULL;
    return recurrent_check_backward(self, tape, dstate) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *recurrent_backward(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"tape", "dy", "dstate", "trace", NULL};
    PyObject *tape_object, *dy, *dstate = Py_None, *result = NULL;
    int trace = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$p:backward", names, &tape_object, &dy,
                                     &dstate, &trace) ||
        !recurrent_ready(self))
        return NULL;
    Tape *tape = check_tape(self, tape_object);
    if (!tape) return NULL;
    backward_result out = {0};
    if (backward_parse(tape, dy, dstate, &out) && backward_buffers(tape, trace, &out)) {
        backward_run(self, tape, &out);
        result = backward_tuple(&out);
    }
    backward_clear(&out);
    return result;
}

static PyObject *recurrent_stream(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"batch", "state", NULL};
    PyObject *batch = NULL, *state = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:stream", names, &batch, &state) ||
        !recurrent_ready(self))
        return NULL;
    return stream_new(self, batch, state);
}

/* ---- attributes */

static PyObject *get_gate_order(Recurrent *self, void *unused) {
    (void)unused;
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
enum {
    INPUT_SIZE,
    HIDDEN_SIZE,
    BIAS,
    REVERSE,
    DTYPE,
    BETA,
    PARAMS,
    GRADS,
    FLAT_PARAMS,
    FLAT_GRADS
};

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
    case BETA:
        return PyFloat_FromDouble(self->layer.beta);
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

static PyObject *get_choice(Recurrent *self, void *options_) {
    const choice *options = options_;
    if (!recurrent_ready(self)) return NULL;
    return PyUnicode_FromString(options[self->layer.cell == options[1].cell].word);
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

static PyGetSetDef rnn_attributes[] = {
    {"activation", (getter)get_choice, NULL, PyDoc_STR("'tanh' or 'relu'."), (void *)activations},
    {0},
};
static PyGetSetDef gru_attributes[] = {
    {"reset", (getter)get_choice, NULL, PyDoc_STR("'after' or 'before'."), (void *)resets},
    {0},
};
static PyGetSetDef janet_attributes[] = {
    ATTRIBUTE("beta", BETA, "What the input's complement is shifted by."),
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

/* The cells inherit the base's part in garbage collection with its flag. */
enum { CELL_FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE };

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
                              CELL_FLAGS | Py_TPFLAGS_HAVE_GC, recurrent_slots};

static PyType_Slot rnn_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("RNN(input_size, hidden_size, *, activation='tanh', bias=True, "
                                  "reverse=False, dtype='float32')\n--\n\n"
                                  "The simple recurrent layer, weights zero.")},
    {Py_tp_init, rnn_init},
    {Py_tp_getset, rnn_attributes},
    {0, NULL},
};
PyType_Spec rnn_spec = {"crnn._core.RNN", sizeof(Recurrent), 0, CELL_FLAGS, rnn_slots};

static PyType_Slot lstm_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("LSTM(input_size, hidden_size, *, bias=True, reverse=False, "
                                  "dtype='float32')\n--\n\n"
                                  "Long short-term memory, weights zero.")},
    {Py_tp_init, lstm_init},
    {0, NULL},
};
PyType_Spec lstm_spec = {"crnn._core.LSTM", sizeof(Recurrent), 0, CELL_FLAGS, lstm_slots};

static PyType_Slot gru_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("GRU(input_size, hidden_size, *, reset='after', bias=True, "
                                  "reverse=False, dtype='float32')\n--\n\n"
                                  "Gated recurrent unit, weights zero.")},
    {Py_tp_init, gru_init},
    {Py_tp_getset, gru_attributes},
    {0, NULL},
};
PyType_Spec gru_spec = {"crnn._core.GRU", sizeof(Recurrent), 0, CELL_FLAGS, gru_slots};

static PyType_Slot janet_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("JANET(input_size, hidden_size, *, beta=1.0, bias=True, "
                                  "reverse=False, dtype='float32')\n--\n\n"
                                  "Just another network: the forget gate alone, weights zero.")},
    {Py_tp_init, janet_init},
    {Py_tp_getset, janet_attributes},
    {0, NULL},
};
PyType_Spec janet_spec = {"crnn._core.JANET", sizeof(Recurrent), 0, CELL_FLAGS, janet_slots};
