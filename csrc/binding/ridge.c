/* Functions of the module: least squares over rows in blocks, and recursive least squares. The
 * arrays come from crnn's own Python code; their types and shapes are checked all the same. */
#include "binding.h"

static bool ridge_parse(crnn_ridge *ridge, size_t *pitch, Py_ssize_t features, Py_ssize_t outputs) {
    if (features < 1 || outputs < 1) return refuse_misfit("features, outputs");
    *ridge = (crnn_ridge){.kernels = crnn_kernels_now(CRNN_F64),
                          .features = (size_t)features,
                          .outputs = (size_t)outputs};
    return check_status(crnn_ridge_pitch(ridge, pitch), "features, outputs");
}

PyObject *ridge_sizes(PyObject *module, PyObject *args) {
    (void)module;
    Py_ssize_t features, outputs;
    crnn_ridge ridge;
    size_t pitch;
    if (!PyArg_ParseTuple(args, "nn:ridge_sizes", &features, &outputs) ||
        !ridge_parse(&ridge, &pitch, features, outputs))
        return NULL;
    return Py_BuildValue("(in)", CRNN_RIDGE_ROWS, (Py_ssize_t)pitch);
}

PyObject *ridge_add(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *factor, *rest, *block;
    Py_ssize_t features, outputs, n, first;
    crnn_ridge ridge;
    size_t pitch, bytes;
    void *workspace;
    if (!PyArg_ParseTuple(args, "nnOOOnn:ridge_add", &features, &outputs, &factor, &rest, &block,
                          &n, &first) ||
        !ridge_parse(&ridge, &pitch, features, outputs))
        return NULL;
    if (n < 0 || n > CRNN_RIDGE_ROWS || first < 0 || first > features) {
        refuse_misfit("n, first");
        return NULL;
    }
    const dims of_factor = {2, {features, (npy_intp)pitch}, {"F", "pitch"}};
    const dims of_rest = {1, {outputs}, {"O"}};
    const dims of_block = {2, {CRNN_RIDGE_ROWS, (npy_intp)pitch}, {"rows", "pitch"}};
    double *f = double_buffer("factor", factor, &of_factor);
    double *r = f ? double_buffer("rest", rest, &of_rest) : NULL;
    double *b = r ? double_buffer("block", block, &of_block) : NULL;
    if (!b || !check_status(crnn_ridge_workspace(&ridge, &bytes), "features, outputs") ||
        !(workspace = alloc_aligned(bytes)))
        return NULL;
    Py_BEGIN_ALLOW_THREADS crnn_ridge_add(&ridge, (size_t)n, (size_t)first, b, f, r, workspace);
    Py_END_ALLOW_THREADS free_aligned(workspace);
    return Py_NewRef(Py_None);
}

PyObject *ridge_solve(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *factor, *w;
    Py_ssize_t features, outputs;
    crnn_ridge ridge;
    size_t pitch;
    if (!PyArg_ParseTuple(args, "nnO:ridge_solve", &features, &outputs, &factor) ||
        !ridge_parse(&ridge, &pitch, features, outputs))
        return NULL;
    const dims of_factor = {2, {features, (npy_intp)pitch}, {"F", "pitch"}};
    const npy_intp shape[2] = {features, outputs};
    double *f = double_buffer("factor", factor, &of_factor);
    if (!f || !(w = new_plain_array(2, shape, NPY_FLOAT64))) return NULL;
    double *to = PyArray_DATA((PyArrayObject *)w);
    Py_BEGIN_ALLOW_THREADS crnn_ridge_solve(&ridge, f, to);
    Py_END_ALLOW_THREADS return w;
}

PyObject *rls_step(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *z, *error, *s, *trace, *w;
    crnn_rls rls = {.kernels = crnn_kernels_now(CRNN_F64)};
    if (!PyArg_ParseTuple(args, "dOOOOO:rls_step", &rls.forgetting, &z, &error, &s, &trace, &w))
        return NULL;
    PyArrayObject *features = buffer_array("z", z);
    PyArrayObject *outputs = features ? buffer_array("error", error) : NULL;
    if (!outputs) return NULL;
    const npy_intp n = PyArray_SIZE(features), K = PyArray_SIZE(outputs);
    const dims of_z = {1, {n}, {"n"}}, of_error = {1, {K}, {"K"}};
    const dims of_s = {1, {n * (n + 1) / 2}, {"n (n + 1) / 2"}};
    const dims of_trace = {1, {1}, {"1"}}, of_w = {1, {n * K}, {"n K"}};
    const double *from = double_buffer("z", z, &of_z);
    const double *step = from ? double_buffer("error", error, &of_error) : NULL;
    double *root = step ? double_buffer("s", s, &of_s) : NULL;
    double *sum = root ? double_buffer("trace", trace, &of_trace) : NULL;
    double *weights = sum ? double_buffer("w", w, &of_w) : NULL, *gain;
    rls.features = (size_t)n;
    rls.outputs = (size_t)K;
    if (!weights || !(gain = alloc_aligned((size_t)n * sizeof *gain))) return NULL;
    Py_BEGIN_ALLOW_THREADS *sum = crnn_rls_step(&rls, from, step, root, weights, gain);
    Py_END_ALLOW_THREADS free_aligned(gain);
    return Py_NewRef(Py_None);
}
