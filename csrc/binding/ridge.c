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

static bool rls_parse(crnn_rls *rls, size_t *elements, size_t *workspace, npy_intp n) {
    if (n < 1) return refuse_misfit("n");
    rls->kernels = crnn_kernels_now(CRNN_F64);
    rls->features = (size_t)n;
    return check_status(crnn_rls_sizes(rls, elements, workspace), "input_size");
}

PyObject *rls_begin(PyObject *module, PyObject *args) {
    Py_ssize_t n;
    crnn_rls rls;
    double alpha;
    size_t elements, bytes;
    if (!PyArg_ParseTuple(args, "nd:rls_begin", &n, &alpha) ||
        !rls_parse(&rls, &elements, &bytes, n))
        return NULL;
    const npy_intp shape[1] = {(npy_intp)elements};
    PyObject *factor = new_array(PyModule_GetState(module), 1, shape, CRNN_F64);
    if (factor) crnn_rls_begin(&rls, alpha, PyArray_DATA((PyArrayObject *)factor));
    return factor;
}

PyObject *rls_gains(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *z, *factor, *extent, *gains;
    crnn_rls rls;
    size_t elements, bytes;
    void *workspace;
    if (!PyArg_ParseTuple(args, "dOOO:rls_gains", &rls.forgetting, &z, &factor, &extent))
        return NULL;
    PyArrayObject *rows = buffer_array("z", z);
    if (!rows) return NULL;
    if (PyArray_NDIM(rows) != 2 || PyArray_DIM(rows, 0) < 1) {
        refuse_misfit("z");
        return NULL;
    }
    const npy_intp *shape = PyArray_DIMS(rows);
    if (!rls_parse(&rls, &elements, &bytes, shape[1])) return NULL;
    const dims of_z = {2, {shape[0], shape[1]}, {"steps", "n"}}, of_extent = {1, {2}, {"2"}};
    const dims of_factor = {1, {(npy_intp)elements}, {"elements"}};
    const double *from = double_buffer("z", z, &of_z);
    double *f = from ? double_buffer("factor", factor, &of_factor) : NULL;
    double *after = f ? double_buffer("extent", extent, &of_extent) : NULL;
    if (!after || !(gains = new_plain_array(2, shape, NPY_FLOAT64))) return NULL;
    if (!(workspace = alloc_aligned(bytes))) {
        drop(gains);
        return NULL;
    }
    double *to = PyArray_DATA((PyArrayObject *)gains);
    crnn_rls_extent got;
    Py_BEGIN_ALLOW_THREADS got = crnn_rls_gains(&rls, (size_t)shape[0], from, f, to, workspace);
    Py_END_ALLOW_THREADS free_aligned(workspace);
    after[0] = got.trace;
    after[1] = got.least;
    return gains;
}
