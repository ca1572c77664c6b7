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
                 "y: expected both layers to return the same shape for merge '%s', got other ones",
                 merge_names[how]);
    return false;
}

/* a * b by `multiply`, where numbers too small become 0. Takes both references. */
static PyObject *product(binaryfunc multiply, PyObject *a, PyObject *b) {
    PyObject *scope = a && b ? ignore_underflow() : NULL;
    PyObject *result = scope ? end_ignoring(scope, multiply(a, b)) : NULL;
    drop(a);
    drop(b);
    return result;
}

static PyObject *merged(merge how, PyObject *y_f, PyObject *y_b) {
    switch (how) {
    case CONCAT: {
        PyObject *both = PyTuple_Pack(2, y_f, y_b);
        PyObject *y = both ? PyArray_Concatenate(both, 2) : NULL;
        drop(both);
        return y;
    }
    case MUL:
        return product(PyNumber_Multiply, Py_NewRef(y_f), Py_NewRef(y_b));
    case MEAN:
        return product(PyNumber_InPlaceMultiply, PyNumber_Add(y_f, y_b), PyFloat_FromDouble(0.5));
    default:
        return PyNumber_Add(y_f, y_b);
    }
}

/* An output as floats. */
static PyArrayObject *floats_of(PyObject *y, crnn_dtype dtype) {
    PyArrayObject *array = (PyArrayObject *)y;
    if (PyArray_ISFLOAT(array)) return (PyArrayObject *)Py_NewRef(y);
    if (PyArray_ISINTEGER(array) || PyArray_ISBOOL(array))
        return converted(array, typenum_of(dtype), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    set_array_error(PyExc_TypeError, "y", "real numbers from both layers", array);
    return NULL;
}

PyArrayObject *merge_outputs(merge how, crnn_dtype dtype, const both *results) {
    PyArrayObject *y_f = floats_of(PyTuple_GetItem(results->f, 0), dtype), *y_b = NULL;
    PyObject *y = NULL;
    if (y_f) y_b = floats_of(PyTuple_GetItem(results->b, 0), dtype);
    if (y_b && check_shapes(how, y_f, y_b)) y = merged(how, (PyObject *)y_f, (PyObject *)y_b);
    drop(y_f);
    drop(y_b);
    if (!y || (PyArray_Check(y) && PyArray_NDIM((PyArrayObject *)y) == 3))
        return (PyArrayObject *)y;
    PyErr_Format(PyExc_TypeError, "y: expected an array (B, T, H) from merging, got %.200R", y);
    drop(y);
    return NULL;
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

static PyGetSetDef pair_tape_attributes[] = {
    {"forward", (getter)pair_tape_get, NULL, PyDoc_STR("The tape of forward_layer."), NULL},
    {"backward", (getter)pair_tape_get, NULL, PyDoc_STR("The tape of backward_layer."), "second"},
    {0},
};

static PyType_Slot pair_tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The tapes of both directions.")},
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

/* dy o y, both dense and of the tape's type and shape. Past a row's end dy may be infinite, and y
 * is 0 there: NumPy would warn of a product that is not read. */
static PyObject *times(const PairTape *tape, PyArrayObject *dy, PyArrayObject *y) {
    const npy_intp count = PyArray_MultiplyList(tape->shape, 3);
    PyObject *result = new_plain_array(3, tape->shape, typenum_of(tape->dtype));
    void *to = result ? PyArray_DATA((PyArrayObject *)result) : NULL;
    const void *a = PyArray_DATA(dy), *b = PyArray_DATA(y);
    for (npy_intp i = 0; result && i < count; i++) {
        if (tape->dtype == CRNN_F64)
            ((double *)to)[i] = ((const double *)a)[i] * ((const double *)b)[i];
        else
            ((float *)to)[i] = ((const float *)a)[i] * ((const float *)b)[i];
    }
    return result;
}

/* The gradients of both outputs from that of the merged one. */
bool split_dy(const PairTape *tape, PyObject *given, both *out) {
    if (given == Py_None) {
        out->f = Py_NewRef(Py_None);
        out->b = Py_NewRef(Py_None);
        return true;
    }
    const dims shape = {3, {tape->shape[0], tape->shape[1], tape->shape[2]}, {"B", "T", "H"}};
    PyArrayObject *dy = float_array("dy", given, tape->dtype, &shape, tape->merge == MUL);
    if (!dy) return false;
    switch (tape->merge) {
    case CONCAT:
        out->f = columns_of(dy, 0, tape->split);
        out->b = out->f ? columns_of(dy, tape->split, tape->shape[2]) : NULL;
        break;
    case MUL:
        out->f = times(tape, dy, tape->y_b);
        out->b = out->f ? times(tape, dy, tape->y_f) : NULL;
        break;
    case MEAN:
        out->f = product(PyNumber_Multiply, Py_NewRef((PyObject *)dy), PyFloat_FromDouble(0.5));
        out->b = Py_XNewRef(out->f);
        break;
    default:
        out->f = Py_NewRef((PyObject *)dy);
        out->b = Py_NewRef((PyObject *)dy);
    }
    drop(dy);
    return out->f && out->b;
}
