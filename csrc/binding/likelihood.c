/* Functions of the module: losses of observed numbers, and numbers drawn from a likelihood. The
 * arrays come from crnn's own Python code; their types and shapes are checked all the same. */
#include "binding.h"

/* The rows of outputs (..., P): a new reference to floats without gaps; NULL with an exception. */
static PyArrayObject *parse_outputs(int kind, PyObject *given, dims *rows) {
    if (kind < 0 || kind >= CRNN_LIKELIHOODS) {
        refuse_misfit("kind");
        return NULL;
    }
    PyArrayObject *outputs = dense_floats("outputs", given);
    if (!outputs) return NULL;
    const npy_intp P = (npy_intp)crnn_likelihood_parameters((crnn_likelihood)kind);
    const int last = PyArray_NDIM(outputs) - 1;
    if (last < 0 || PyArray_DIM(outputs, last) != P) {
        refuse_misfit("outputs");
        drop(outputs);
        return NULL;
    }
    *rows = (dims){1, {PyArray_SIZE(outputs) / P}, {"rows"}};
    return outputs;
}

PyObject *negative_log_likelihood(PyObject *module, PyObject *args) {
    PyObject *given, *wanted, *sizes, *shares, *result = NULL;
    PyArrayObject *targets = NULL, *scales = NULL, *weights = NULL, *d = NULL;
    int kind;
    double factor;
    dims rows;
    if (!PyArg_ParseTuple(args, "iOOOOd:negative_log_likelihood", &kind, &given, &wanted, &sizes,
                          &shares, &factor))
        return NULL;
    PyArrayObject *outputs = parse_outputs(kind, given, &rows);
    if (outputs && (targets = float_array("targets", wanted, CRNN_F64, &rows, true)) &&
        optional_floats("scales", sizes, CRNN_F64, &rows, &scales) &&
        optional_floats("weights", shares, CRNN_F64, &rows, &weights) &&
        (d = (PyArrayObject *)new_array(PyModule_GetState(module), PyArray_NDIM(outputs),
                                        PyArray_DIMS(outputs), dtype_of(outputs)))) {
        const crnn_observed all = {.kind = (crnn_likelihood)kind,
                                   .dtype = dtype_of(outputs),
                                   .n = (size_t)rows.size[0],
                                   .outputs = PyArray_DATA(outputs),
                                   .targets = PyArray_DATA(targets),
                                   .scales = data_of(scales),
                                   .weights = data_of(weights)};
        double loss;
        Py_BEGIN_ALLOW_THREADS loss = crnn_negative_log_likelihood(&all, factor, PyArray_DATA(d));
        Py_END_ALLOW_THREADS result = Py_BuildValue("(dO)", loss, d);
    }
    drop(outputs);
    drop(targets);
    drop(scales);
    drop(weights);
    drop(d);
    return result;
}

/* outputs: in [n][P] of either type. */
static void draw_rows(crnn_likelihood kind, PyArrayObject *outputs, const double *scales,
                      uint64_t seed, const int64_t *series, const int64_t *samples,
                      const int64_t *steps, size_t n, double *drawn) {
    const size_t P = crnn_likelihood_parameters(kind);
    const bool narrow = dtype_of(outputs) == CRNN_F32;
    const void *data = PyArray_DATA(outputs);
    for (size_t i = 0; i < n; i++) {
        double o[CRNN_MOST_PARAMETERS];
        uint32_t key[2];
        for (size_t k = 0; k < P; k++)
            o[k] = narrow ? (double)((const float *)data)[i * P + k]
                          : ((const double *)data)[i * P + k];
        crnn_draw_key(seed, (uint64_t)series[i], key);
        drawn[i] = crnn_draw(kind, o, scales ? scales[i] : 1, key, (uint32_t)samples[i],
                             (uint32_t)steps[i]);
    }
}

PyObject *draw_observed(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given, *sizes, *of_series, *of_sample, *of_step, *result = NULL;
    PyArrayObject *scales = NULL, *series = NULL, *samples = NULL, *steps = NULL;
    int kind;
    unsigned long long seed;
    dims rows;
    if (!PyArg_ParseTuple(args, "iOOKOOO:draw_observed", &kind, &given, &sizes, &seed, &of_series,
                          &of_sample, &of_step))
        return NULL;
    PyArrayObject *outputs = parse_outputs(kind, given, &rows);
    if (outputs && optional_floats("scales", sizes, CRNN_F64, &rows, &scales) &&
        (series = integer_array("series", of_series, &rows)) &&
        (samples = integer_array("samples", of_sample, &rows)) &&
        (steps = integer_array("steps", of_step, &rows)) &&
        (result = new_plain_array(1, rows.size, NPY_FLOAT64))) {
        double *drawn = PyArray_DATA((PyArrayObject *)result);
        const int64_t *numbers[3] = {PyArray_DATA(series), PyArray_DATA(samples),
                                     PyArray_DATA(steps)};
        Py_BEGIN_ALLOW_THREADS draw_rows((crnn_likelihood)kind, outputs, data_of(scales), seed,
                                         numbers[0], numbers[1], numbers[2], (size_t)rows.size[0],
                                         drawn);
        Py_END_ALLOW_THREADS
    }
    drop(outputs);
    drop(scales);
    drop(series);
    drop(samples);
    drop(steps);
    return result;
}
