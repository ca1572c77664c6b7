/* Arguments of the public face as arrays of the right type and shape, or an exception that says
 * what was expected and what came. */
#include "binding.h"

void set_array_error(PyObject *type, const char *name, const char *expected, PyArrayObject *got) {
    PyObject *shape = PyObject_GetAttrString((PyObject *)got, "shape");
    PyObject *dtype = shape ? PyObject_GetAttrString((PyObject *)got, "dtype") : NULL;
    if (dtype)
        PyErr_Format(type, "%s: expected %s, got %S of shape %S", name, expected, dtype, shape);
    drop(dtype);
    drop(shape);
}

PyArrayObject *as_array(const char *name, PyObject *object) {
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_O(object);
    if (array) return array;
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) return NULL;
    PyObject *type = NULL, *value = NULL, *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_Format(PyExc_TypeError,
                 "%s: expected an array, got a value that NumPy cannot convert to one (%S)", name,
                 value ? value : Py_None);
    drop(type);
    drop(value);
    drop(trace);
    return NULL;
}

int typenum_of(crnn_dtype dtype) { return dtype == CRNN_F64 ? NPY_FLOAT64 : NPY_FLOAT32; }

bool parse_dtype(PyObject *object, crnn_dtype *dtype) {
    PyArray_Descr *descr = NULL;
    if (object != Py_None && PyArray_DescrConverter(object, &descr) == NPY_SUCCEED) {
        const int type = descr->type_num;
        drop(descr);
        *dtype = type == NPY_FLOAT64 ? CRNN_F64 : CRNN_F32;
        if (type == NPY_FLOAT64 || type == NPY_FLOAT32) return true;
    }
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "dtype: expected 'float32' or 'float64', got %R", object);
    return false;
}

/* ---- shapes */

/* "(B, T, I=3)": what a shape was expected to be. */
static void print_dims(const dims *shape, char *to, size_t room) {
    size_t used = (size_t)PyOS_snprintf(to, room, "(");
    for (int i = 0; i < shape->count && used < room; i++) {
        const char *comma = i + 1 < shape->count ? ", " : shape->count == 1 ? "," : "";
        if (shape->size[i] < 0)
            used += (size_t)PyOS_snprintf(to + used, room - used, "%s%s", shape->letters[i], comma);
        else
            used += (size_t)PyOS_snprintf(to + used, room - used, "%s=%lld%s", shape->letters[i],
                                          (long long)shape->size[i], comma);
    }
    if (used < room) PyOS_snprintf(to + used, room - used, ")");
}

static bool has_dims(PyArrayObject *array, const dims *shape) {
    if (PyArray_NDIM(array) != shape->count) return false;
    for (int i = 0; i < shape->count; i++)
        if (shape->size[i] >= 0 && PyArray_DIM(array, i) != shape->size[i]) return false;
    return true;
}

/* "floats of shape (B, T, I=3)" */
static void print_expected(const char *kind, const dims *shape, char *to, size_t room) {
    const size_t used = (size_t)PyOS_snprintf(to, room, "%s of shape ", kind);
    print_dims(shape, to + used, room - used);
}

enum { EXPECTED = 160 /* bytes that these words need */ };

/* Checks kind and shape: "x: expected floats of shape (B, T, I=3), got ...". */
static bool check_array(const char *name, PyArrayObject *array, bool kind_fits, const char *kind,
                        const dims *shape) {
    if (kind_fits && has_dims(array, shape)) return true;
    char expected[EXPECTED];
    print_expected(kind, shape, expected, sizeof expected);
    set_array_error(kind_fits ? PyExc_ValueError : PyExc_TypeError, name, expected, array);
    return false;
}

/* Whether the core can read an array as it lies. */
static bool lies_well(PyArrayObject *array, int type, bool dense) {
    const npy_intp item = PyArray_ITEMSIZE(array);
    const int last = PyArray_NDIM(array) - 1;
    if (PyArray_TYPE(array) != type || !PyArray_ISALIGNED(array) || !PyArray_ISNOTSWAPPED(array))
        return false;
    if (dense || last < 0) return PyArray_IS_C_CONTIGUOUS(array);
    for (int i = 0; i < last; i++)
        if (PyArray_STRIDE(array, i) % item != 0) return false;
    return PyArray_STRIDE(array, last) == item || PyArray_DIM(array, last) <= 1;
}

/* An operation of NumPy's that needs memory, tried again where memory could be given back. */
PyObject *new_plain_array(int ndim, const npy_intp *shape, int type) {
    PyObject *array;
    do array = PyArray_SimpleNew(ndim, shape, type);
    while (!array && memory_retry());
    return array;
}

PyObject *new_zeros(int ndim, const npy_intp *shape, int type) {
    PyObject *array;
    do array = PyArray_ZEROS(ndim, shape, type, 0);
    while (!array && memory_retry());
    return array;
}

/* numpy.errstate(under="ignore"), entered; NULL with an exception. */
static PyObject *ignore_underflow(void) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    PyObject *errstate = numpy ? PyObject_GetAttrString(numpy, "errstate") : NULL;
    PyObject *none = errstate ? PyTuple_New(0) : NULL;
    PyObject *options = none ? Py_BuildValue("{s:s}", "under", "ignore") : NULL;
    PyObject *scope = options ? PyObject_Call(errstate, none, options) : NULL;
    PyObject *entered = scope ? PyObject_CallMethod(scope, "__enter__", NULL) : NULL;
    if (!entered) Py_CLEAR(scope);
    drop(entered);
    drop(options);
    drop(none);
    drop(errstate);
    drop(numpy);
    return scope;
}

/* NumPy's conversion where the one before raised FloatingPointError: once more, without underflow;
 * what is too large for the type raises again. */
static PyObject *converted_again(PyArrayObject *array, int type, int flags) {
    PyErr_Clear();
    PyObject *scope = ignore_underflow(), *error = NULL, *value = NULL, *trace = NULL;
    if (!scope) return NULL;
    PyObject *result = PyArray_FROM_OTF((PyObject *)array, type, flags);
    PyErr_Fetch(&error, &value, &trace);
    PyObject *left = PyObject_CallMethod(scope, "__exit__", "OOO", Py_None, Py_None, Py_None);
    if (!left) Py_CLEAR(result);
    if (error) PyErr_Restore(error, value, trace);
    drop(left);
    drop(scope);
    return result;
}

PyArrayObject *converted(PyArrayObject *array, int type, int flags) {
    PyObject *result;
    do result = PyArray_FROM_OTF((PyObject *)array, type, flags);
    while (!result && memory_retry());
    if (!result && PyErr_ExceptionMatches(PyExc_FloatingPointError))
        result = converted_again(array, type, flags);
    return (PyArrayObject *)result;
}

/* *fresh: whether the array is a new one. */
static PyArrayObject *floats_of(const char *name, PyObject *object, crnn_dtype dtype,
                                const dims *shape, bool dense, bool *fresh) {
    PyArrayObject *array = as_array(name, object);
    *fresh = false;
    if (!array) return NULL;
    if (!check_array(name, array, PyArray_ISFLOAT(array), "floats", shape)) {
        drop(array);
        return NULL;
    }
    if (lies_well(array, typenum_of(dtype), dense)) return array;
    PyArrayObject *cast =
        converted(array, typenum_of(dtype),
                  NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY);
    *fresh = cast && PyArray_DATA(cast) != PyArray_DATA(array);
    drop(array);
    return cast;
}

PyArrayObject *float_array(const char *name, PyObject *object, crnn_dtype dtype, const dims *shape,
                           bool dense) {
    bool fresh;
    return floats_of(name, object, dtype, shape, dense, &fresh);
}

bool optional_floats(const char *name, PyObject *object, crnn_dtype dtype, const dims *shape,
                     PyArrayObject **array) {
    *array = object == Py_None ? NULL : float_array(name, object, dtype, shape, true);
    return *array || object == Py_None;
}

crnn_seq seq_of(PyArrayObject *array) {
    const npy_intp item = PyArray_ITEMSIZE(array);
    return (crnn_seq){PyArray_DATA(array), PyArray_STRIDE(array, 0) / item,
                      PyArray_STRIDE(array, 1) / item};
}

PyArrayObject *sequence_array(module_state *keep, const char *name, PyObject *object,
                              crnn_dtype dtype, dims *shape, crnn_seq *seq) {
    bool fresh;
    PyArrayObject *array = floats_of(name, object, dtype, shape, false, &fresh);
    if (array && keep && !fresh) array = kept_array(keep, array);
    if (!array) return NULL;
    *seq = seq_of(array);
    for (int i = 0; i < 3; i++) shape->size[i] = PyArray_DIM(array, i);
    return array;
}

/* ---- arrays that nothing can write to */

/* Whether the memory of an array can never be written to: neither the array nor any that it is a
 * view of is writeable, and the owner of the memory is bytes or sealed. (An array that owns its
 * memory can be made writeable again, or another view of it may be.) */
static bool is_immutable(const module_state *module, PyArrayObject *array) {
    PyObject *owner = (PyObject *)array;
    while (owner && PyArray_Check(owner)) {
        if (PyArray_ISWRITEABLE((PyArrayObject *)owner)) return false;
        owner = PyArray_BASE((PyArrayObject *)owner);
    }
    return owner && (PyBytes_CheckExact(owner) || buffer_is_sealed(module, owner));
}

PyArrayObject *array_copy(module_state *module, PyArrayObject *array) {
    const int type = PyArray_TYPE(array);
    if (type != NPY_FLOAT32 && type != NPY_FLOAT64)
        return converted(array, type,
                         NPY_ARRAY_CARRAY | NPY_ARRAY_ENSURECOPY | NPY_ARRAY_ENSUREARRAY);
    PyArrayObject *copy = (PyArrayObject *)new_array(module, PyArray_NDIM(array),
                                                     PyArray_DIMS(array), dtype_of(array));
    if (!copy) return NULL;
    enum { SMALL = 1 << 14 /* bytes, below which NumPy's way round takes longer than the copy */ };
    if (PyArray_NBYTES(copy) < SMALL && PyArray_ISCARRAY_RO(array))
        memcpy(PyArray_DATA(copy), PyArray_DATA(array), (size_t)PyArray_NBYTES(copy));
    else if (PyArray_CopyInto(copy, array) < 0)
        Py_CLEAR(copy);
    return copy;
}

PyArrayObject *kept_array(module_state *module, PyArrayObject *array) {
    if (PyArray_CheckExact(array) && is_immutable(module, array)) return array;
    PyArrayObject *copy = array_copy(module, array);
    drop(array);
    if (copy) seal(module, copy);
    return copy;
}

/* ---- integers and booleans */

/* An array of integers, or of booleans where `type` is NPY_BOOL, as a dense copy of `type`. The
 * copy is made even where the array has this type: its values say where memory is read, so no other
 * code may edit them after they were checked. */
static PyArrayObject *dense_copy(PyArrayObject *array, int type) {
    return converted(array, type,
                     NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY |
                         NPY_ARRAY_ENSURECOPY);
}

/* NumPy makes an array of floats of an empty list, which may stand for integers or booleans. */
static bool is_empty_list(PyObject *object, PyArrayObject *array) {
    return PyArray_SIZE(array) == 0 && !PyArray_Check(object);
}

/* uint64 beyond int64 turns negative, and is refused as such by integers_within. */
PyArrayObject *integer_array(const char *name, PyObject *object, const dims *shape) {
    PyArrayObject *array = as_array(name, object), *copy = NULL;
    if (!array) return NULL;
    const bool fits = PyArray_ISINTEGER(array) || is_empty_list(object, array);
    if (check_array(name, array, fits, "integers", shape)) copy = dense_copy(array, NPY_INT64);
    drop(array);
    return copy;
}

#define TRUTHS "booleans, or integers 0 and 1,"

/* Sets the error for element i of integers (B, T): "mask: expected ..., got 2 in row 0 at step 1".
 */
static void set_truth_error(const char *name, PyArrayObject *integers, npy_intp i,
                            const dims *shape) {
    const npy_intp steps = PyArray_DIM(integers, 1);
    char expected[EXPECTED];
    PyObject *value =
        PyArray_GETITEM(integers, (char *)PyArray_GETPTR2(integers, i / steps, i % steps));
    if (!value) return;
    print_expected(TRUTHS, shape, expected, sizeof expected);
    PyErr_Format(PyExc_ValueError, "%s: expected %s, got %S in row %zd at step %zd", name, expected,
                 value, (Py_ssize_t)(i / steps), (Py_ssize_t)(i % steps));
    drop(value);
}

/* Dense integers of 64 bits as booleans; NULL with an exception where one is neither 0 nor 1. */
static PyArrayObject *truths_of_integers(const char *name, PyArrayObject *integers,
                                         const dims *shape) {
    const npy_uint64 *value = PyArray_DATA(integers); /* negative numbers are large ones here */
    const npy_intp count = PyArray_SIZE(integers);
    for (npy_intp i = 0; i < count; i++) {
        if (value[i] <= 1) continue;
        set_truth_error(name, integers, i, shape);
        return NULL;
    }
    return dense_copy(integers, NPY_BOOL);
}

/* A byte of an array of booleans may have any value, such as in a view of an array of uint8: all
 * but 0 are true. */
static PyArrayObject *truths_of_booleans(PyArrayObject *array) {
    PyArrayObject *copy = dense_copy(array, NPY_BOOL);
    uint8_t *byte = copy ? PyArray_DATA(copy) : NULL;
    const npy_intp count = copy ? PyArray_SIZE(copy) : 0;
    for (npy_intp i = 0; i < count; i++) byte[i] = byte[i] != 0;
    return copy;
}

PyArrayObject *bool_array(const char *name, PyObject *object, const dims *shape) {
    PyArrayObject *array = as_array(name, object), *result = NULL;
    if (!array) return NULL;
    const bool integers = PyArray_ISINTEGER(array);
    const bool fits = integers || PyArray_ISBOOL(array) || is_empty_list(object, array);
    if (!check_array(name, array, fits, TRUTHS, shape)) {
        drop(array);
        return NULL;
    }
    if (!integers) {
        result = truths_of_booleans(array);
    } else {
        PyArrayObject *copy = dense_copy(array, PyArray_ISUNSIGNED(array) ? NPY_UINT64 : NPY_INT64);
        if (copy) result = truths_of_integers(name, copy, shape);
        drop(copy);
    }
    drop(array);
    return result;
}

bool integers_within(const char *name, PyArrayObject *array, npy_int64 low, npy_int64 high) {
    const npy_int64 *value = PyArray_DATA(array);
    const npy_intp count = PyArray_SIZE(array);
    for (npy_intp i = 0; i < count; i++) {
        if (value[i] >= low && value[i] <= high) continue;
        PyErr_Format(PyExc_ValueError, "%s: expected integers from %lld to %lld, got %lld", name,
                     (long long)low, (long long)high, (long long)value[i]);
        return false;
    }
    return true;
}

PyObject *array_view(PyArrayObject *base, int ndim, npy_intp *shape, npy_intp *strides,
                     npy_intp offset, int flags) {
    PyObject *descr = Py_NewRef((PyObject *)PyArray_DESCR(base));
    PyObject *view = PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)descr, ndim, shape,
                                          strides, PyArray_BYTES(base) + offset, flags, NULL);
    if (view && PyArray_SetBaseObject((PyArrayObject *)view, Py_NewRef((PyObject *)base)) < 0)
        Py_CLEAR(view);
    return view;
}

bool parse_size(const char *name, PyObject *object, size_t *size) {
    PyObject *index = PyNumber_Index(object);
    const Py_ssize_t value = index ? PyLong_AsSsize_t(index) : -1;
    drop(index);
    if (!PyErr_Occurred() && value >= 1) {
        *size = (size_t)value;
        return true;
    }
    const bool wrong_type = PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError);
    PyErr_Clear();
    PyErr_Format(wrong_type ? PyExc_TypeError : PyExc_ValueError,
                 "%s: expected an integer of at least 1 that memory can hold, got %R", name,
                 object);
    return false;
}

bool parse_count(const char *name, PyObject *object, uint64_t *count) {
    PyObject *index = PyNumber_Index(object);
    const unsigned long long value = index ? PyLong_AsUnsignedLongLong(index) : 0;
    drop(index);
    if (!PyErr_Occurred()) {
        *count = value;
        return true;
    }
    const bool wrong_type = !PyErr_ExceptionMatches(PyExc_OverflowError);
    PyErr_Clear();
    PyErr_Format(wrong_type ? PyExc_TypeError : PyExc_ValueError,
                 "%s: expected an integer from 0 to 2**64 - 1, got %R", name, object);
    return false;
}

bool parse_number(const char *name, const char *expected, PyObject *object, double low,
                  double below, double *number) {
    *number = PyFloat_AsDouble(object);
    if (!PyErr_Occurred() && *number - *number == 0 && *number >= low && *number < below)
        return true;
    const bool wrong_type = PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_TypeError);
    PyErr_Clear();
    PyErr_Format(wrong_type ? PyExc_TypeError : PyExc_ValueError, "%s: expected %s, got %R", name,
                 expected, object);
    return false;
}

bool check_status(crnn_status status, const char *what) {
    if (status == CRNN_OK) return true;
    PyErr_Format(PyExc_ValueError,
                 "%s: expected sizes that memory can hold, got sizes that are too large: their "
                 "product overflows",
                 what);
    return false;
}

bool refuse_misfit(const char *name) {
    if (!PyErr_Occurred()) /* else it says more, such as that there is no memory */
        PyErr_Format(PyExc_ValueError,
                     "%s: expected sizes and types that fit the other arguments, got others", name);
    return false;
}
