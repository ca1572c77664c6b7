/* The option leak of a layer: a number, or a number for each unit. The flat parameters end with the
 * numbers of a fixed leak, which are no parameters; the object keeps them as they were given. */
#include "binding.h"

#include <float.h>

/* What a leak must be. A smaller one would be 0 in the dtype, or lose digits there. */
typedef struct bounds {
    double low;
    bool below_1; /* not 1 itself */
} bounds;

static bounds bounds_of(const crnn_layer *layer) {
    return (bounds){layer->dtype == CRNN_F64 ? DBL_MIN : FLT_MIN, layer->learns_leak};
}

/* A learned leak is the logistic function of its parameter, and neither 0 nor 1. */
static const char OPEN[] = "0 < leak < 1 with learn_leak=True";

/* False also for NaN. */
static bool in_bounds(const bounds *b, double a) {
    return a >= b->low && (b->below_1 ? a < 1 : a <= 1);
}

static void refuse_number(const bounds *b, double a, const char *where, npy_intp unit) {
    PyObject *number = PyFloat_FromDouble(a); /* printed with all digits: 1 + 1e-15 is not 1 */
    char at[40] = "";
    if (*where) PyOS_snprintf(at, sizeof at, "%s%lld", where, (long long)unit);
    const char *expected = b->below_1 ? OPEN : "0 < leak <= 1";
    if (a > 0 && a < b->low)
        expected = b->low > DBL_MIN ? "at least 1.2e-38, the smallest float32 with all its digits"
                                    : "at least 2.3e-308, the smallest float64 with all its digits";
    if (number) PyErr_Format(PyExc_ValueError, "leak: expected %s, got %R%s", expected, number, at);
    drop(number);
}

/* Real numbers () or (H,), float64, as a new reference. */
static PyArrayObject *leak_numbers(const crnn_layer *layer, PyObject *given) {
    PyArrayObject *from = as_array("leak", given), *numbers = NULL;
    if (!from) return NULL;
    const bool real = PyArray_ISINTEGER(from) || PyArray_ISFLOAT(from);
    const int ndim = PyArray_NDIM(from);
    if (real && (ndim == 0 || (ndim == 1 && (size_t)PyArray_DIM(from, 0) == layer->hidden))) {
        numbers =
            (PyArrayObject *)PyArray_FROM_OTF((PyObject *)from, NPY_FLOAT64, NPY_ARRAY_IN_ARRAY);
    } else {
        char expected[100];
        PyOS_snprintf(expected, sizeof expected, "None, a real number, or real numbers (H=%zu,)",
                      layer->hidden);
        set_array_error(real ? PyExc_ValueError : PyExc_TypeError, "leak", expected, from);
    }
    drop(from);
    return numbers;
}

static PyObject *number_or_tuple(PyArrayObject *numbers) {
    const double *a = PyArray_DATA(numbers);
    if (PyArray_NDIM(numbers) == 0) return PyFloat_FromDouble(*a);
    PyObject *list = PyArray_ToList(numbers);
    PyObject *tuple = list ? PyList_AsTuple(list) : NULL;
    drop(list);
    return tuple;
}

PyObject *leak_read(crnn_layer *layer, PyObject *given) {
    const bounds b = bounds_of(layer);
    layer->leaks = false;
    if (given == Py_None && !layer->learns_leak) return Py_NewRef(Py_None);
    if (given == Py_None) {
        PyErr_Format(PyExc_ValueError, "leak: expected %s, got None", OPEN);
        return NULL;
    }
    PyArrayObject *numbers = leak_numbers(layer, given);
    if (!numbers) return NULL;
    const double *a = PyArray_DATA(numbers);
    const npy_intp count = PyArray_SIZE(numbers);
    npy_intp fine = 0;
    for (; fine < count && in_bounds(&b, a[fine]); fine++)
        layer->leaks = layer->leaks || a[fine] != 1;
    PyObject *leak = NULL;
    if (fine < count)
        refuse_number(&b, a[fine], PyArray_NDIM(numbers) ? " for unit " : "", fine);
    else
        leak = number_or_tuple(numbers);
    drop(numbers);
    return leak;
}

bool leak_same(const crnn_layer *layer, PyObject *a, PyObject *b) {
    if (!layer->leaks || layer->learns_leak || a == b) return true;
    return PyObject_RichCompareBool(a, b, Py_EQ) == 1; /* of floats: it raises nothing */
}

void leak_write(const crnn_layer *layer, const crnn_layout *at, PyObject *leak, void *params) {
    if (at->learned == at->total) return;
    for (size_t unit = 0; unit < layer->hidden; unit++) {
        const size_t to = at->extra[CRNN_LEAK] + unit;
        const double a =
            PyFloat_AsDouble(PyTuple_Check(leak) ? PyTuple_GetItem(leak, (Py_ssize_t)unit) : leak);
        if (layer->dtype == CRNN_F64)
            ((double *)params)[to] = a;
        else
            ((float *)params)[to] = (float)a;
    }
}
