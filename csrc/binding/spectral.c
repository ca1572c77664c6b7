/* Functions of the module: sums and eigenvalues with the same bits on every machine. The arrays
 * come from crnn's own Python code; their types and shapes are checked all the same. */
#include "binding.h"

/* An array of a type and number of axes, the last without gaps; NULL with an exception. */
static PyArrayObject *plain(const char *name, PyObject *object, int type, int axes) {
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_Check(object) && PyArray_TYPE(array) == type && PyArray_NDIM(array) == axes &&
        PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array) &&
        (PyArray_DIM(array, axes - 1) < 2 ||
         PyArray_STRIDE(array, axes - 1) == PyArray_ITEMSIZE(array)))
        return array;
    refuse_misfit(name);
    return NULL;
}

/* The lists of entries that are not 0. */
static bool parse_lists(crnn_ordered_rows *rows, PyObject *values, PyObject *starts,
                        PyObject *places) {
    PyArrayObject *each = plain("rows", values, NPY_FLOAT64, 1);
    PyArrayObject *begin = each ? plain("starts", starts, NPY_INT64, 1) : NULL;
    PyArrayObject *place = begin ? plain("places", places, NPY_INT64, 1) : NULL;
    if (!place) return false;
    const npy_intp entries = PyArray_SIZE(each);
    rows->values = PyArray_DATA(each);
    rows->starts = PyArray_DATA(begin);
    rows->places = PyArray_DATA(place);
    bool fits = (size_t)PyArray_SIZE(begin) == rows->count + 1 && PyArray_SIZE(place) == entries;
    fits = fits && rows->starts[0] == 0 && rows->starts[rows->count] == entries;
    for (size_t k = 0; fits && k < rows->count; k++) fits = rows->starts[k] <= rows->starts[k + 1];
    for (npy_intp e = 0; fits && e < entries; e++)
        fits = rows->places[e] >= 0 && (size_t)rows->places[e] < rows->n;
    return fits ? true : refuse_misfit("starts, places");
}

static bool parse_rows(crnn_ordered_rows *rows, PyObject *values) {
    PyArrayObject *array = plain("rows", values, NPY_FLOAT64, 2);
    if (!array) return false;
    const npy_intp step = PyArray_STRIDE(array, 0), item = sizeof(double);
    rows->values = PyArray_DATA(array);
    rows->pitch = (size_t)(step / item);
    const bool fits = (size_t)PyArray_DIM(array, 0) == rows->count &&
                      (size_t)PyArray_DIM(array, 1) == rows->n &&
                      (rows->count < 2 || (step % item == 0 && step >= (npy_intp)rows->n * item));
    return fits ? true : refuse_misfit("rows");
}

PyObject *ordered_sum(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *values, *factors, *starts, *places, *result;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "OOnOO:ordered_sum", &values, &factors, &n, &starts, &places))
        return NULL;
    PyArrayObject *each = plain("factors", factors, NPY_FLOAT64, 1);
    if (!each) return NULL;
    const npy_intp shape[1] = {n};
    crnn_ordered_rows rows = {.count = (size_t)PyArray_SIZE(each), .n = (size_t)n};
    if (n < 0) {
        refuse_misfit("n");
        return NULL;
    }
    if (!(starts == Py_None ? parse_rows(&rows, values)
                            : parse_lists(&rows, values, starts, places)) ||
        !(result = new_plain_array(1, shape, NPY_FLOAT64)))
        return NULL;
    const double *factor = PyArray_DATA(each);
    double *total = PyArray_DATA((PyArrayObject *)result);
    Py_BEGIN_ALLOW_THREADS crnn_ordered_sum(&rows, factor, total);
    Py_END_ALLOW_THREADS return result;
}

PyObject *hessenberg_radius(PyObject *module, PyObject *a) {
    (void)module;
    PyArrayObject *array = plain("a", a, NPY_FLOAT64, 2);
    if (!array) return NULL;
    const npy_intp n = PyArray_DIM(array, 0);
    const dims shape = {2, {n, n}, {"n", "n"}};
    double *data = n > 0 ? double_buffer("a", a, &shape) : NULL, radius;
    if (!data) {
        if (n == 0) refuse_misfit("a");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS radius = crnn_hessenberg_radius((size_t)n, data);
    Py_END_ALLOW_THREADS return PyFloat_FromDouble(radius);
}
