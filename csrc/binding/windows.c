/* Functions of the module: windows of many series in one store, and sums over ranges of it. The
 * arrays come from crnn's own Python code; their types, shapes and contents are checked all the
 * same, because they say where memory is read. */
#include "binding.h"

/* Bound of begins, lags and steps: their sums fit. */
static const int64_t FARTHEST = (int64_t)1 << 52;

/* The rows of `places` (5, B). */
enum { FIRST, LENGTH, BEGIN, KNOWN_FIRST, KNOWN_LENGTH, PLACES };

/* Arguments as arrays: new references, NULL for None. */
typedef struct window_arrays {
    PyArrayObject *store, *places, *scales, *known, *constants, *lags;
} window_arrays;

static void drop_arrays(window_arrays *a) {
    drop(a->store);
    drop(a->places);
    drop(a->scales);
    drop(a->known);
    drop(a->constants);
    drop(a->lags);
}

/* Floats with any sizes. */
static PyArrayObject *some_doubles(const char *name, PyObject *object, int axes) {
    const dims shape = {axes, {-1, -1}, {"N", "F"}};
    return float_array(name, object, CRNN_F64, &shape, true);
}

/* Whether `count` elements from `first` on lie among `size` ones. */
static bool lies_within(int64_t first, int64_t count, npy_intp size) {
    return first >= 0 && count >= 0 && first <= (int64_t)size && count <= (int64_t)size - first;
}

static bool check_row(const window_arrays *a, const crnn_windows *w, size_t b) {
    const int64_t *place = (const int64_t *)PyArray_DATA(a->places) + b;
    const size_t B = w->batch;
    const int64_t begin = place[BEGIN * B];
    if (!lies_within(place[FIRST * B], place[LENGTH * B], PyArray_SIZE(a->store)))
        return refuse_misfit("places: firsts and lengths");
    if (begin < -FARTHEST || begin > FARTHEST) return refuse_misfit("places: begins");
    const int64_t end = begin + (int64_t)w->steps;
    if (w->known &&
        (!lies_within(place[KNOWN_FIRST * B], place[KNOWN_LENGTH * B], PyArray_DIM(a->known, 0)) ||
         (end > 0 && end > place[KNOWN_LENGTH * B])))
        return refuse_misfit("places: steps with known numbers");
    const double scale = w->scales[b];
    return (scale > 0 && scale - scale == 0) || refuse_misfit("scales");
}

/* Fills in what the arrays hold, and checks it. */
static bool check_windows(const window_arrays *a, crnn_windows *w) {
    const int64_t *places = PyArray_DATA(a->places);
    const size_t B = w->batch = (size_t)PyArray_DIM(a->places, 1);
    w->store = PyArray_DATA(a->store);
    w->firsts = places + FIRST * B;
    w->lengths = places + LENGTH * B;
    w->begins = places + BEGIN * B;
    w->known_firsts = places + KNOWN_FIRST * B;
    w->scales = PyArray_DATA(a->scales);
    w->known_count = a->known ? (size_t)PyArray_DIM(a->known, 1) : 0;
    w->known = w->known_count ? PyArray_DATA(a->known) : NULL;
    w->constants_count = a->constants ? (size_t)PyArray_DIM(a->constants, 1) : 0;
    w->constants = data_of(a->constants);
    w->lags_count = (size_t)PyArray_SIZE(a->lags);
    w->lags = PyArray_DATA(a->lags);
    if (!integers_within("lags", a->lags, 1, FARTHEST)) return false;
    for (size_t b = 0; b < B; b++)
        if (!check_row(a, w, b)) return false;
    return true;
}

/* The arrays of the result, and the call; NULL with an exception. */
static PyObject *gathered(PyObject *module, const crnn_windows *w) {
    const npy_intp shape[3] = {(npy_intp)w->batch, (npy_intp)w->steps, 0};
    size_t inputs, numbers, bytes;
    if (!check_status(crnn_windows_inputs(w, &inputs), "windows")) return NULL;
    if (!crnn_size_mul(w->batch, w->steps, &numbers) ||
        !crnn_size_mul(numbers, inputs + 1, &numbers) ||
        !crnn_size_mul(numbers, sizeof(double), &bytes)) {
        check_status(CRNN_OVERFLOW, "windows");
        return NULL;
    }
    const npy_intp of_inputs[3] = {shape[0], shape[1], (npy_intp)inputs};
    PyObject *x = new_array(PyModule_GetState(module), 3, of_inputs, w->dtype), *result = NULL;
    PyObject *targets = x ? new_plain_array(2, shape, NPY_FLOAT64) : NULL;
    PyObject *weights = targets ? new_plain_array(2, shape, NPY_FLOAT64) : NULL;
    PyObject *lengths = weights ? new_plain_array(1, shape, NPY_INT64) : NULL;
    if (lengths) {
        void *to[4] = {PyArray_DATA((PyArrayObject *)x), PyArray_DATA((PyArrayObject *)targets),
                       PyArray_DATA((PyArrayObject *)weights),
                       PyArray_DATA((PyArrayObject *)lengths)};
        Py_BEGIN_ALLOW_THREADS crnn_windows_gather(w, to[0], to[1], to[2], to[3]);
        Py_END_ALLOW_THREADS result = PyTuple_Pack(4, x, targets, weights, lengths);
    }
    drop(x);
    drop(targets);
    drop(weights);
    drop(lengths);
    return result;
}

PyObject *gather_windows(PyObject *module, PyObject *args) {
    PyObject *store, *places, *scales, *known, *constants, *lags, *dtype, *result = NULL;
    int age, log_scale, indicators;
    Py_ssize_t steps;
    crnn_windows w = {0};
    window_arrays a = {0};
    if (!PyArg_ParseTuple(args, "OOOOOOnpppO:gather_windows", &store, &places, &scales, &known,
                          &constants, &lags, &steps, &age, &log_scale, &indicators, &dtype) ||
        !parse_dtype(dtype, &w.dtype))
        return NULL;
    if (steps < 0 || (int64_t)steps > FARTHEST) {
        refuse_misfit("steps");
        return NULL;
    }
    w.steps = (size_t)steps;
    w.age = age != 0;
    w.log_scale = log_scale != 0;
    w.indicators = indicators != 0;
    const dims of_places = {2, {PLACES, -1}, {"places", "B"}}, of_lags = {1, {-1}, {"L"}};
    if ((a.places = integer_array("places", places, &of_places)) &&
        (a.lags = integer_array("lags", lags, &of_lags)) &&
        (a.store = some_doubles("store", store, 1)) &&
        (known == Py_None || (a.known = some_doubles("known", known, 2)))) {
        const npy_intp B = PyArray_DIM(a.places, 1);
        const dims of_rows = {1, {B}, {"B"}}, of_constants = {2, {B, -1}, {"B", "S"}};
        if ((a.scales = float_array("scales", scales, CRNN_F64, &of_rows, true)) &&
            optional_floats("constants", constants, CRNN_F64, &of_constants, &a.constants) &&
            check_windows(&a, &w))
            result = gathered(module, &w);
    }
    drop_arrays(&a);
    return result;
}

static bool check_ranges(PyArrayObject *store, PyArrayObject *ranges) {
    const int64_t *from = PyArray_DATA(ranges);
    const npy_intp n = PyArray_DIM(ranges, 1);
    for (npy_intp i = 0; i < n; i++)
        if (from[i] < 0 || from[i] > from[n + i] || from[n + i] > (int64_t)PyArray_SIZE(store))
            return refuse_misfit("ranges");
    return true;
}

PyObject *sum_ranges(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *of_store, *of_ranges, *sums = NULL, *counts = NULL, *result = NULL;
    PyArrayObject *store = NULL, *ranges = NULL;
    int magnitudes;
    const dims shape = {2, {2, -1}, {"from, to", "N"}};
    if (!PyArg_ParseTuple(args, "OOp:sum_ranges", &of_store, &of_ranges, &magnitudes)) return NULL;
    if ((ranges = integer_array("ranges", of_ranges, &shape)) &&
        (store = some_doubles("store", of_store, 1)) && check_ranges(store, ranges)) {
        const npy_intp n = PyArray_DIM(ranges, 1);
        const int64_t *from = PyArray_DATA(ranges);
        sums = new_plain_array(1, &n, NPY_FLOAT64);
        counts = sums ? new_plain_array(1, &n, NPY_INT64) : NULL;
        if (counts) {
            double *to_sums = PyArray_DATA((PyArrayObject *)sums);
            int64_t *to_counts = PyArray_DATA((PyArrayObject *)counts);
            const double *numbers = PyArray_DATA(store);
            Py_BEGIN_ALLOW_THREADS crnn_windows_sums(numbers, (size_t)n, from, from + n,
                                                     magnitudes != 0, to_sums, to_counts);
            Py_END_ALLOW_THREADS result = PyTuple_Pack(2, sums, counts);
        }
    }
    drop(store);
    drop(ranges);
    drop(sums);
    drop(counts);
    return result;
}
