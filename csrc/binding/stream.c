/* A layer one step at a time: the weights packed once, the state kept here. */
#include "binding.h"

typedef struct Stream {
    PyObject_HEAD
    crnn_layer layer;
    const crnn_kernels *kernels; /* those that the weights are packed for */
    size_t batch;
    size_t *words; /* owned: the rows of a step */
    crnn_rows rows;
    void *packed, *workspace; /* owned */
    state_arrays state;       /* owned, never shown: copies are */
    state_arrays start;       /* owned: one row, what a state is after a reset */
} Stream;

static void stream_dealloc(Stream *self) {
    free_aligned(self->words);
    free_aligned(self->packed);
    free_aligned(self->workspace);
    state_clear(&self->state);
    state_clear(&self->start);
    object_free(self);
}

static void copy_part(PyArrayObject *to, PyArrayObject *from) {
    if (to) memcpy(PyArray_DATA(to), PyArray_DATA(from), (size_t)PyArray_NBYTES(to));
}

static void reset_row(PyArrayObject *state, PyArrayObject *start, npy_intp row) {
    if (state)
        memcpy(PyArray_GETPTR1(state, row), PyArray_DATA(start), (size_t)PyArray_NBYTES(start));
}

static void reset_all(Stream *self) {
    for (npy_intp row = 0; row < (npy_intp)self->batch; row++) {
        reset_row(self->state.h, self->start.h, row);
        reset_row(self->state.c, self->start.c, row);
    }
}

/* The state becomes a copy of what the user gave, that of a reset where that is None. */
static bool set_state(Stream *self, PyObject *given) {
    state_arrays initial;
    if (!state_parse(&initial, "state", &self->layer, self->batch, given)) return false;
    LOCK(self);
    if (initial.h) {
        copy_part(self->state.h, initial.h);
        copy_part(self->state.c, initial.c);
    } else {
        reset_all(self);
    }
    UNLOCK();
    state_clear(&initial);
    return true;
}

/* The learned state, or zeros. */
static bool start_init(Stream *self, const held_layer *layer) {
    const char *params = held_params(layer);
    PyArrayObject *parts[2];
    if (!state_new(&self->start, &self->layer, 1)) return false;
    parts[0] = self->start.h;
    parts[1] = self->start.c;
    for (int i = 0; i < 2; i++) {
        const size_t extra = i == 0 ? CRNN_H0 : CRNN_C0;
        if (!parts[i]) continue;
        const size_t bytes = (size_t)PyArray_NBYTES(parts[i]);
        if (layer->at.extra_size[extra])
            memcpy(PyArray_DATA(parts[i]),
                   params + layer->at.extra[extra] * crnn_dtype_size(self->layer.dtype), bytes);
        else
            memset(PyArray_DATA(parts[i]), 0, bytes);
    }
    return true;
}

static crnn_forward_args step_args(const Stream *self, crnn_input in) {
    return (crnn_forward_args){.layer = &self->layer,
                               .kernels = self->kernels,
                               .rows = &self->rows,
                               .packed = self->packed,
                               .in = in,
                               .initial = state_pointers(&self->state),
                               .final = state_pointers(&self->state),
                               .workspace = self->workspace};
}

static bool stream_buffers(Stream *self, const held_layer *layer) {
    size_t words, packed, bytes;
    const crnn_steps step = {.batch = self->batch, .steps = 1, .reverse = self->layer.reverse};
    if (!check_status(crnn_rows_size(&step, &words), "batch_size")) return false;
    self->words = alloc_aligned(words * sizeof(size_t));
    if (!self->words) return false;
    crnn_rows_init(&self->rows, self->words, &step);
    if (!check_status(crnn_packed_size(&self->layer, self->kernels, &packed), "params"))
        return false;
    self->packed = alloc_aligned(packed);
    if (!self->packed) return false;
    crnn_pack(&self->layer, self->kernels, held_params(layer), self->packed);
    const crnn_forward_args args = step_args(self, (crnn_input){0});
    if (!check_status(crnn_forward_workspace(&args, &bytes), "batch_size")) return false;
    self->workspace = alloc_aligned(bytes);
    return self->workspace && state_new(&self->state, &self->layer, self->batch) &&
           start_init(self, layer);
}

static PyObject *stream_new(module_state *module, const held_layer *layer, size_t batch,
                            PyObject *state) {
    Stream *self = object_new(module->stream);
    if (!self) return NULL;
    self->layer = layer->layer;
    self->kernels = crnn_kernels_now(layer->layer.dtype);
    self->batch = batch;
    if (!stream_buffers(self, layer) || !set_state(self, state)) Py_CLEAR(self);
    return (PyObject *)self;
}

PyObject *recurrent_stream(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"batch_size", "state", NULL};
    PyObject *given = NULL, *state = Py_None;
    held_layer held;
    size_t batch = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:stream", names, &given, &state) ||
        (given && !parse_size("batch_size", given, &batch)) || !layer_hold(&held, self))
        return NULL;
    PyObject *stream = stream_new(self->module, &held, batch, state);
    layer_release(&held);
    return stream;
}

/* x of one step, (B, I) floats or (B,) integers, as the core's input. A new reference to what it
 * points into, or NULL. */
static PyArrayObject *step_input(const Stream *self, PyObject *object, crnn_input *in) {
    const npy_intp rows = (npy_intp)self->batch, inputs = (npy_intp)self->layer.inputs;
    PyArrayObject *given = as_array("x", object), *x = NULL;
    if (!given) return NULL;
    if (PyArray_ISINTEGER(given) && PyArray_NDIM(given) == 1 && PyArray_DIM(given, 0) == rows) {
        const dims symbols = {1, {rows}, {"B"}};
        x = integer_array("x", (PyObject *)given, &symbols);
        const int64_t *symbol = x ? PyArray_DATA(x) : NULL;
        for (npy_intp row = 0; x && row < rows; row++)
            if (!symbol_within(&self->layer, symbol[row], (size_t)row, 0)) Py_CLEAR(x);
        if (x) *in = (crnn_input){.symbols = PyArray_DATA(x), .table = self->layer.inputs};
    } else if (PyArray_ISINTEGER(given)) {
        char expected[60];
        PyOS_snprintf(expected, sizeof expected, "integers of shape (B=%lld,)", (long long)rows);
        set_input_error(expected, given);
    } else {
        const dims floats = {2, {rows, inputs}, {"B", "I"}};
        x = float_array("x", (PyObject *)given, self->layer.dtype, &floats, false);
        if (x) in->x = (crnn_seq){PyArray_DATA(x), PyArray_STRIDE(x, 0) / PyArray_ITEMSIZE(x), 0};
    }
    drop(given);
    return x;
}

static PyObject *stream_step(Stream *self, PyObject *object) {
    npy_intp shape[2] = {(npy_intp)self->batch, (npy_intp)crnn_width(&self->layer)};
    crnn_input in = {0};
    PyArrayObject *x = step_input(self, object, &in);
    PyArrayObject *y =
        x ? (PyArrayObject *)new_plain_array(2, shape, typenum_of(self->layer.dtype)) : NULL;
    if (y) {
        crnn_forward_args args = step_args(self, in);
        args.y = (crnn_seq){PyArray_DATA(y), (ptrdiff_t)shape[1], 0};
        LOCK(self); /* and with the GIL: a step is short, and the state is written in place */
        crnn_forward(&args);
        UNLOCK();
    }
    drop(x);
    return (PyObject *)y;
}

static PyObject *stream_get_state(Stream *self, void *unused) {
    (void)unused;
    state_arrays copy;
    if (!state_new(&copy, &self->layer, self->batch)) return NULL;
    LOCK(self);
    copy_part(copy.h, self->state.h);
    copy_part(copy.c, self->state.c);
    UNLOCK();
    PyObject *result = state_object(&copy);
    state_clear(&copy);
    return result;
}

static int stream_set_state(Stream *self, PyObject *value, void *unused) {
    (void)unused;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "state: cannot be deleted; assign None to reset it");
        return -1;
    }
    return set_state(self, value) ? 0 : -1;
}

static PyObject *stream_reset(Stream *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", NULL};
    PyObject *given = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:reset", names, &given)) return NULL;
    if (given == Py_None) {
        LOCK(self);
        reset_all(self);
        UNLOCK();
        return Py_NewRef(Py_None);
    }
    const dims any = {1, {-1}, {"rows"}};
    PyArrayObject *rows = integer_array("rows", given, &any);
    if (!rows) return NULL;
    const bool within = integers_within("rows", rows, 0, (npy_int64)self->batch - 1);
    LOCK(self);
    for (npy_intp i = 0; within && i < PyArray_SIZE(rows); i++) {
        const npy_int64 row = ((const npy_int64 *)PyArray_DATA(rows))[i];
        reset_row(self->state.h, self->start.h, row);
        reset_row(self->state.c, self->start.c, row);
    }
    UNLOCK();
    drop(rows);
    return within ? Py_NewRef(Py_None) : NULL;
}

/* <Stream of GRU: B=1, H=4> */
static PyObject *stream_repr(Stream *self) {
    char sizes[SIZES_TEXT];
    print_sizes(&self->layer, sizes);
    return PyUnicode_FromFormat("<Stream of %s: B=%zu, %s>", layer_type_name(&self->layer),
                                self->batch, sizes);
}

static PyMethodDef stream_methods[] = {
    {"step", (PyCFunction)stream_step, METH_O,
     PyDoc_STR("step($self, x, /)\n--\n\n"
               "Return the output of one step, and update the state.\n\n"
               "Parameters\n"
               "----------\n"
               "x : floats (B, I), or integers (B,)\n"
               "    Input of the step. Integers are symbols from 0 to I - 1.\n\n"
               "Returns\n"
               "-------\n"
               "y : array (B, P)\n"
               "    Output h.\n")},
    {"reset", (PyCFunction)(void (*)(void))stream_reset, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("reset($self, /, rows=None)\n--\n\n"
               "Set the state of some rows to zeros, or to h0 and c0 with learn_state=True.\n\n"
               "Parameters\n"
               "----------\n"
               "rows : integers (N,), optional\n"
               "    Numbers of the rows, from 0 to B - 1. None: all rows.\n")},
    {0},
};

static PyGetSetDef stream_attributes[] = {
    {"state", (getter)stream_get_state, (setter)stream_set_state,
     PyDoc_STR("Copy of the state: array (B, P), or the pair (h, c) of (B, P) and (B, H).\n\n"
               "May be assigned; None sets it as `reset()` does."),
     NULL},
    {0},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("A recurrent layer that runs one step at a time.\n\n"
                       "It has its own copy of the parameters, and a state that `step` updates.")},
    {Py_tp_repr, stream_repr},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_attributes},
    {0, NULL},
};
PyType_Spec stream_spec = {"crnn._core.Stream", sizeof(Stream), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, stream_slots};
