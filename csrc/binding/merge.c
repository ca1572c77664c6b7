/* Two outputs as one, and the gradients of both from that of the one. */
#include "pair.h"

const char *const merge_names[MERGES] = {"concat", "sum", "mean", "mul"};

void both_clear(both *p) {
    Py_CLEAR(p->f);
    Py_CLEAR(p->b);
}

/* ---- forward */

/* Both directions must return a y of one shape, but for its features where these are joined. */
static bool check_shapes(merge how, PyArrayObject *y_f, PyArrayObject *y_b) {
    const int axes = how == CONCAT ? 2 : 3;
    if (PyArray_NDIM(y_f) == 3 && PyArray_NDIM(y_b) == 3 &&
        PyArray_CompareLists(PyArray_DIMS(y_f), PyArray_DIMS(y_b), axes))
        return true;
    PyErr_Format(PyExc_ValueError,
                 "y: expected the same shape from both layers for merge '%s', got different shapes",
                 merge_names[how]);
    return false;
}

/* The operation on two dense arrays (B, T, H) of a type: sum, mean or product. */
static crnn_rowwise operation_of(merge how, crnn_dtype dtype, size_t features) {
    return (crnn_rowwise){.kind = how == MUL    ? CRNN_ROWWISE_MUL
                                  : how == MEAN ? CRNN_ROWWISE_MEAN
                                                : CRNN_ROWWISE_SUM,
                          .kernels = crnn_kernels_now(dtype),
                          .inputs = 2,
                          .features = {features, features}};
}

/* All steps of such an array, as rows of one step each. */
static crnn_cells all_steps(PyArrayObject *array) {
    return (crnn_cells){.n = (size_t)(PyArray_DIM(array, 0) * PyArray_DIM(array, 1)), .steps = 1};
}

static crnn_seq dense_rows(PyArrayObject *array) {
    return (crnn_seq){PyArray_DATA(array), PyArray_DIM(array, 2), 0};
}

static PyArrayObject *combined(merge how, crnn_dtype dtype, PyArrayObject *a, PyArrayObject *b) {
    PyArrayObject *y = (PyArrayObject *)new_plain_array(3, PyArray_DIMS(a), typenum_of(dtype));
    if (!y) return NULL;
    const crnn_rowwise o = operation_of(how, dtype, (size_t)PyArray_DIM(a, 2));
    const crnn_cells cells = all_steps(a);
    const crnn_rowwise_call call = {.x = {dense_rows(a), dense_rows(b)}, .y = dense_rows(y)};
    Py_BEGIN_ALLOW_THREADS crnn_rowwise_forward(&o, &cells, &call);
    Py_END_ALLOW_THREADS return y;
}

static PyArrayObject *joined(PyArrayObject *y_f, PyArrayObject *y_b) {
    PyObject *both = PyTuple_Pack(2, y_f, y_b);
    PyObject *y = both ? PyArray_Concatenate(both, 2) : NULL;
    drop(both);
    return (PyArrayObject *)y;
}

/* An output as dense floats. */
static PyArrayObject *floats_of(PyObject *y, crnn_dtype dtype) {
    const int flags = NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY;
    PyArrayObject *array = (PyArrayObject *)y;
    if (PyArray_ISFLOAT(array) || PyArray_ISINTEGER(array) || PyArray_ISBOOL(array))
        return converted(array, typenum_of(dtype), flags);
    set_array_error(PyExc_TypeError, "y", "real numbers from both layers", array);
    return NULL;
}

static bool is_double(PyObject *y) { return PyArray_TYPE((PyArrayObject *)y) == NPY_FLOAT64; }

PyArrayObject *merge_outputs(merge how, crnn_dtype dtype, const both *results) {
    PyObject *one = PyTuple_GetItem(results->f, 0), *two = PyTuple_GetItem(results->b, 0);
    if (is_double(one) || is_double(two)) dtype = CRNN_F64;
    PyArrayObject *y_f = floats_of(one, dtype), *y_b = y_f ? floats_of(two, dtype) : NULL;
    PyArrayObject *y = NULL;
    if (y_b && check_shapes(how, y_f, y_b))
        y = how == CONCAT ? joined(y_f, y_b) : combined(how, dtype, y_f, y_b);
    drop(y_f);
    drop(y_b);
    return y;
}

/* ---- the tape */

/* The tapes may be objects of a subclass, which may refer to anything. */
static int pair_tape_traverse(PairTape *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->forward_tape);
    Py_VISIT(self->backward_tape);
    return 0;
}

static int pair_tape_clear(PairTape *self) {
    Py_CLEAR(self->forward_tape);
    Py_CLEAR(self->backward_tape);
    return 0;
}

static void pair_tape_dealloc(PairTape *self) {
    PyObject_GC_UnTrack(self);
    pair_tape_clear(self);
    drop(self->y_f);
    drop(self->y_b);
    object_free(self);
}

static PyObject *pair_tape_get(PairTape *self, void *second) {
    PyObject *tape = second ? self->backward_tape : self->forward_tape;
    return Py_NewRef(tape ? tape : Py_None); /* none once the collector has cleared it */
}

/* "LSTM" of a tape of the core, else NULL: an overridden forward may return any object. */
static const char *type_name_of(const module_state *module, PyObject *tape) {
    if (!module || !tape || !PyObject_TypeCheck(tape, module->tape)) return NULL;
    return layer_type_name(&((const Tape *)tape)->layer);
}

/* <PairTape of LSTM and LSTM: B=2, T=7, F=10, merge 'concat'>, F features of the merged output */
static PyObject *pair_tape_repr(PairTape *self) {
    const module_state *module = state_of_type(Py_TYPE((PyObject *)self));
    const char *f = type_name_of(module, self->forward_tape);
    const char *b = type_name_of(module, self->backward_tape);
    const Py_ssize_t B = self->shape[0], T = self->shape[1], F = self->shape[2];
    const char *how = merge_names[self->merge];
    if (!module) PyErr_Clear(); /* then the names alone are missing */
    if (!f || !b)
        return PyUnicode_FromFormat("<PairTape: B=%zd, T=%zd, F=%zd, merge '%s'>", B, T, F, how);
    return PyUnicode_FromFormat("<PairTape of %s and %s: B=%zd, T=%zd, F=%zd, merge '%s'>", f, b, B,
                                T, F, how);
}

static PyGetSetDef pair_tape_attributes[] = {
    {"forward", (getter)pair_tape_get, NULL, PyDoc_STR("Tape of forward_layer."), NULL},
    {"backward", (getter)pair_tape_get, NULL, PyDoc_STR("Tape of backward_layer."), "second"},
    {0},
};

static PyType_Slot pair_tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Tapes of both layers of a Bidirectional, which `forward` "
                                  "returns for `backward`.")},
    {Py_tp_repr, pair_tape_repr},
    {Py_tp_dealloc, pair_tape_dealloc},
    {Py_tp_traverse, pair_tape_traverse},
    {Py_tp_clear, pair_tape_clear},
    {Py_tp_getset, pair_tape_attributes},
    {0, NULL},
};
PyType_Spec pair_tape_spec = {
    "crnn._core.PairTape", sizeof(PairTape), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, pair_tape_slots};

/* For "mul": y itself is the caller's to edit; these copies are not shown to anyone. */
static bool keep_outputs(PairTape *tape, PyArrayObject *y_f, PyArrayObject *y_b) {
    const int flags =
        NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY | NPY_ARRAY_ENSURECOPY;
    tape->y_f = converted(y_f, typenum_of(tape->dtype), flags);
    tape->y_b = tape->y_f ? converted(y_b, typenum_of(tape->dtype), flags) : NULL;
    return tape->y_b && check_shapes(MUL, tape->y_f, tape->y_b);
}

PairTape *pair_tape_new(module_state *module, merge how, const both *results, PyArrayObject *y) {
    PairTape *tape = object_new(module->pair_tape);
    if (!tape) return NULL;
    PyArrayObject *y_f = (PyArrayObject *)PyTuple_GetItem(results->f, 0);
    PyArrayObject *y_b = (PyArrayObject *)PyTuple_GetItem(results->b, 0);
    tape->forward_tape = Py_NewRef(PyTuple_GetItem(results->f, 2));
    tape->backward_tape = Py_NewRef(PyTuple_GetItem(results->b, 2));
    tape->merge = how;
    tape->dtype = PyArray_TYPE(y) == NPY_FLOAT64 ? CRNN_F64 : CRNN_F32;
    memcpy(tape->shape, PyArray_DIMS(y), sizeof tape->shape);
    tape->split = PyArray_DIM(y_f, 2);
    if (how == MUL && !keep_outputs(tape, y_f, y_b)) Py_CLEAR(tape);
    return tape;
}

/* ---- backward */

/* dy[..., from:to], a view. */
static PyObject *columns_of(PyArrayObject *dy, npy_intp from, npy_intp to) {
    npy_intp shape[3] = {PyArray_DIM(dy, 0), PyArray_DIM(dy, 1), to - from};
    return array_view(dy, 3, shape, PyArray_STRIDES(dy), from * PyArray_STRIDE(dy, 2), 0);
}

/* The same for a mean or a product. The gradients of a mean are one array. */
static void divided(const PairTape *tape, PyArrayObject *dy, both *out) {
    const bool mul = tape->merge == MUL;
    const int type = typenum_of(tape->dtype);
    if (!(out->f = new_plain_array(3, tape->shape, type))) return;
    out->b = mul ? new_plain_array(3, tape->shape, type) : Py_NewRef(out->f);
    if (!out->b) return;
    const crnn_rowwise o = operation_of(tape->merge, tape->dtype, (size_t)tape->shape[2]);
    const crnn_cells cells = all_steps(dy);
    crnn_rowwise_call call = {.dy = dense_rows(dy), .dx = {dense_rows((PyArrayObject *)out->f)}};
    if (mul) {
        call.x[0] = dense_rows(tape->y_f);
        call.x[1] = dense_rows(tape->y_b);
        call.dx[1] = dense_rows((PyArrayObject *)out->b);
    }
    Py_BEGIN_ALLOW_THREADS crnn_rowwise_backward(&o, &cells, &call);
    Py_END_ALLOW_THREADS
}

/* The gradients of both outputs from that of the merged one. */
bool split_dy(const PairTape *tape, PyObject *given, both *out) {
    if (given == Py_None) {
        out->f = Py_NewRef(Py_None);
        out->b = Py_NewRef(Py_None);
        return true;
    }
    const dims shape = {3, {tape->shape[0], tape->shape[1], tape->shape[2]}, {"B", "T", "H"}};
    PyArrayObject *dy = float_array("dy", given, tape->dtype, &shape, tape->merge != CONCAT);
    if (!dy) return false;
    switch (tape->merge) {
    case CONCAT:
        out->f = columns_of(dy, 0, tape->split);
        out->b = out->f ? columns_of(dy, tape->split, tape->shape[2]) : NULL;
        break;
    case MEAN:
    case MUL:
        divided(tape, dy, out);
        break;
    default:
        out->f = Py_NewRef((PyObject *)dy);
        out->b = Py_NewRef((PyObject *)dy);
    }
    drop(dy);
    return out->f && out->b;
}
