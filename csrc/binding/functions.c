/* Functions of the module: dense maps, losses, optimizer steps, random numbers, configuration. The
 * arrays come from crnn's own Python code, which knows their shapes; what a user can give wrongly
 * is checked here all the same, once. */
#include "binding.h"

/* ---- arrays that are changed in place */

PyArrayObject *buffer_array(const char *name, PyObject *object) {
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_Check(object) &&
        (PyArray_TYPE(array) == NPY_FLOAT32 || PyArray_TYPE(array) == NPY_FLOAT64) &&
        PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array) && PyArray_ISWRITEABLE(array) &&
        (PyArray_IS_C_CONTIGUOUS(array) || PyArray_IS_F_CONTIGUOUS(array)))
        return array;
    PyErr_Format(
        PyExc_TypeError,
        "%s: expected a writeable float32 or float64 array without gaps in memory, got %.200R",
        name, object);
    return NULL;
}

double *double_buffer(const char *name, PyObject *object, const dims *shape) {
    PyArrayObject *array = buffer_array(name, object);
    if (!array) return NULL;
    bool fits = PyArray_TYPE(array) == NPY_FLOAT64 && PyArray_IS_C_CONTIGUOUS(array) &&
                PyArray_NDIM(array) == shape->count;
    for (int i = 0; fits && i < shape->count; i++) fits = PyArray_DIM(array, i) == shape->size[i];
    if (fits) return PyArray_DATA(array);
    refuse_misfit(name);
    return NULL;
}

/* Like `first` in type, shape and order of its elements in memory. */
static PyArrayObject *matching_array(const char *name, PyObject *object, PyArrayObject *first) {
    PyArrayObject *array = buffer_array(name, object);
    if (!array) return NULL;
    const int count = PyArray_NDIM(first);
    bool same = PyArray_TYPE(array) == PyArray_TYPE(first) && PyArray_NDIM(array) == count;
    for (int i = 0; same && i < count; i++)
        same = PyArray_DIM(array, i) == PyArray_DIM(first, i) &&
               (PyArray_STRIDE(array, i) == PyArray_STRIDE(first, i) || PyArray_DIM(first, i) <= 1);
    if (same) return array;
    set_array_error(PyExc_ValueError, name, "type, shape and memory order of the parameter", array);
    return NULL;
}

crnn_dtype dtype_of(PyArrayObject *array) {
    return PyArray_TYPE(array) == NPY_FLOAT64 ? CRNN_F64 : CRNN_F32;
}

/* ---- optimizers */

static bool parse_step(crnn_optim_step *s, PyObject *p, PyObject *g) {
    PyArrayObject *params = buffer_array("params", p);
    PyArrayObject *grads = params ? matching_array("grads", g, params) : NULL;
    if (!grads) return false;
    s->dtype = dtype_of(params);
    s->n = (size_t)PyArray_SIZE(params);
    s->p = PyArray_DATA(params);
    s->g = PyArray_DATA(grads);
    return true;
}

static PyObject *sgd(PyObject *module, PyObject *args) {
    (void)module;
    crnn_optim_step s = {0};
    PyObject *p, *g, *velocity;
    double momentum;
    if (!PyArg_ParseTuple(args, "OOOddd:sgd", &p, &g, &velocity, &s.scale, &s.lr, &momentum) ||
        !parse_step(&s, p, g))
        return NULL;
    PyArrayObject *v = NULL;
    if (velocity != Py_None && !(v = matching_array("velocity", velocity, (PyArrayObject *)p)))
        return NULL;
    crnn_sgd(&s, momentum, v ? PyArray_DATA(v) : NULL);
    return Py_NewRef(Py_None);
}

static PyObject *rmsprop(PyObject *module, PyObject *args) {
    (void)module;
    crnn_optim_step s = {0};
    PyObject *p, *g, *square;
    double alpha, eps;
    if (!PyArg_ParseTuple(args, "OOOdddd:rmsprop", &p, &g, &square, &s.scale, &s.lr, &alpha,
                          &eps) ||
        !parse_step(&s, p, g))
        return NULL;
    PyArrayObject *mean = matching_array("square", square, (PyArrayObject *)p);
    if (!mean) return NULL;
    crnn_rmsprop(&s, alpha, eps, PyArray_DATA(mean));
    return Py_NewRef(Py_None);
}

static PyObject *adam(PyObject *module, PyObject *args) {
    (void)module;
    crnn_optim_step s = {0};
    PyObject *p, *g, *m, *v;
    double beta1, beta2, eps;
    unsigned long long step;
    if (!PyArg_ParseTuple(args, "OOOOddddddK:adam", &p, &g, &m, &v, &s.scale, &s.lr,
                          &s.weight_decay, &beta1, &beta2, &eps, &step) ||
        !parse_step(&s, p, g))
        return NULL;
    PyArrayObject *mean = matching_array("m", m, (PyArrayObject *)p);
    PyArrayObject *square = mean ? matching_array("v", v, (PyArrayObject *)p) : NULL;
    if (!square) return NULL;
    crnn_adam(&s, beta1, beta2, eps, step, PyArray_DATA(mean), PyArray_DATA(square));
    return Py_NewRef(Py_None);
}

static PyObject *sum_squares(PyObject *module, PyObject *object) {
    (void)module;
    PyArrayObject *g = buffer_array("grads", object);
    if (!g) return NULL;
    return PyFloat_FromDouble(
        crnn_sum_squares(dtype_of(g), (size_t)PyArray_SIZE(g), PyArray_DATA(g)));
}

/* ---- losses */

PyArrayObject *dense_floats(const char *name, PyObject *object) {
    PyArrayObject *array = as_array(name, object);
    if (!array) return NULL;
    if (!PyArray_ISFLOAT(array)) {
        set_array_error(PyExc_TypeError, name, "floats", array);
        drop(array);
        return NULL;
    }
    const int type = PyArray_TYPE(array) == NPY_FLOAT32 ? NPY_FLOAT32 : NPY_FLOAT64;
    PyArrayObject *dense =
        converted(array, type, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY);
    drop(array);
    return dense;
}

static PyArrayObject *new_like(PyObject *module, PyArrayObject *array) {
    return (PyArrayObject *)new_array(PyModule_GetState(module), PyArray_NDIM(array),
                                      PyArray_DIMS(array), dtype_of(array));
}

/* targets -1 leave a row out: the Python side has put them where lengths end. */
static PyObject *cross_entropy(PyObject *module, PyObject *args) {
    PyObject *given, *wanted, *result = NULL;
    double scale;
    if (!PyArg_ParseTuple(args, "OOd:cross_entropy", &given, &wanted, &scale)) return NULL;
    PyArrayObject *logits = dense_floats("logits", given), *targets = NULL, *d = NULL;
    if (!logits) return NULL;
    const int last = PyArray_NDIM(logits) - 1;
    const npy_intp classes = last < 0 ? 0 : PyArray_DIM(logits, last);
    const dims flat = {1, {classes ? PyArray_SIZE(logits) / classes : 0}, {"rows"}};
    if (classes == 0) {
        set_array_error(PyExc_ValueError, "logits",
                        "floats (..., K) with at least one class, K >= 1", logits);
    } else if ((d = new_like(module, logits)) &&
               (targets = integer_array("targets", wanted, &flat)) &&
               integers_within("targets", targets, -1, classes - 1)) {
        double loss;
        Py_BEGIN_ALLOW_THREADS loss =
            crnn_cross_entropy(dtype_of(logits), (size_t)flat.size[0], (size_t)classes,
                               PyArray_DATA(logits), PyArray_DATA(targets), scale, PyArray_DATA(d));
        Py_END_ALLOW_THREADS result = Py_BuildValue("(dO)", loss, d);
    }
    drop(logits);
    drop(targets);
    drop(d);
    return result;
}

static PyObject *binary_cross_entropy(PyObject *module, PyObject *args) {
    PyObject *given, *wanted, *of_rows, *of_labels, *result = NULL;
    PyArrayObject *targets = NULL, *weights = NULL, *positive = NULL, *d = NULL;
    double scale;
    if (!PyArg_ParseTuple(args, "OOOOd:binary_cross_entropy", &given, &wanted, &of_rows, &of_labels,
                          &scale))
        return NULL;
    PyArrayObject *logits = dense_floats("logits", given);
    if (!logits) return NULL;
    const int last = PyArray_NDIM(logits) - 1;
    const npy_intp labels = last < 0 ? 0 : PyArray_DIM(logits, last);
    const dims rows = {1, {labels ? PyArray_SIZE(logits) / labels : 0}, {"rows"}};
    const dims columns = {1, {labels}, {"K"}};
    const crnn_dtype dtype = dtype_of(logits);
    targets = dense_floats("targets", wanted);
    if (targets && (labels == 0 || !PyArray_SAMESHAPE(logits, targets) ||
                    PyArray_TYPE(targets) != PyArray_TYPE(logits))) {
        set_array_error(PyExc_ValueError, "targets",
                        "floats (..., K) of the type and shape of logits, with K >= 1", targets);
    } else if (targets && optional_floats("weights", of_rows, CRNN_F64, &rows, &weights) &&
               optional_floats("positive", of_labels, dtype, &columns, &positive) &&
               (d = new_like(module, logits))) {
        const crnn_labels all = {.dtype = dtype,
                                 .n = (size_t)rows.size[0],
                                 .labels = (size_t)labels,
                                 .logits = PyArray_DATA(logits),
                                 .targets = PyArray_DATA(targets),
                                 .positive = data_of(positive),
                                 .weights = data_of(weights)};
        double loss;
        Py_BEGIN_ALLOW_THREADS loss = crnn_binary_cross_entropy(&all, scale, PyArray_DATA(d));
        Py_END_ALLOW_THREADS result = Py_BuildValue("(dO)", loss, d);
    }
    drop(logits);
    drop(targets);
    drop(weights);
    drop(positive);
    drop(d);
    return result;
}

static PyObject *squared_error(PyObject *module, PyObject *args) {
    PyObject *given, *wanted, *result = NULL;
    double scale;
    if (!PyArg_ParseTuple(args, "OOd:squared_error", &given, &wanted, &scale)) return NULL;
    PyArrayObject *y = dense_floats("y", given), *d = NULL;
    if (!y) return NULL;
    PyArrayObject *plain = as_array("target", wanted), *target = NULL;
    if (plain)
        target = converted(plain, PyArray_TYPE(y), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    if (target && !PyArray_SAMESHAPE(y, target)) {
        set_array_error(PyExc_ValueError, "target", "the shape of y", target);
    } else if (target && (d = new_like(module, y))) {
        const double loss =
            crnn_squared_error(dtype_of(d), (size_t)PyArray_SIZE(d), PyArray_DATA(y),
                               PyArray_DATA(target), scale, PyArray_DATA(d));
        result = Py_BuildValue("(dO)", loss, d);
    }
    drop(plain);
    drop(y);
    drop(target);
    drop(d);
    return result;
}

/* ---- dense maps */

/* w_t is W as it lies in memory: (inputs, outputs), C order. */
typedef struct dense_args {
    crnn_dtype dtype;
    crnn_dense dense;
    PyArrayObject *x; /* owned: (n, inputs) */
    PyArrayObject *w_t;
    void *workspace; /* owned */
} dense_args;

static void dense_clear(dense_args *a) {
    Py_CLEAR(a->x);
    free_aligned(a->workspace);
}

static bool dense_parse(dense_args *a, PyObject *x, PyObject *w_t) {
    crnn_dense *dense = &a->dense;
    size_t bytes;
    a->w_t = buffer_array("W", w_t);
    if (!a->w_t) return false;
    if (PyArray_NDIM(a->w_t) != 2 || !PyArray_IS_C_CONTIGUOUS(a->w_t)) {
        set_array_error(PyExc_ValueError, "W", "shape (inputs, outputs) in C order", a->w_t);
        return false;
    }
    a->dtype = dtype_of(a->w_t);
    dense->kernels = crnn_kernels_now(a->dtype);
    dense->inputs = (size_t)PyArray_DIM(a->w_t, 0);
    dense->outputs = (size_t)PyArray_DIM(a->w_t, 1);
    const dims rows = {2, {-1, (npy_intp)dense->inputs}, {"rows", "I"}};
    a->x = float_array("x", x, a->dtype, &rows, true);
    if (!a->x) return false;
    dense->n = (size_t)PyArray_DIM(a->x, 0);
    return check_status(crnn_dense_workspace(&a->dense, &bytes), "W") &&
           (a->workspace = alloc_aligned(bytes));
}

/* A vector of `size` elements of the map's type, or NULL for None; false: an exception. */
static bool dense_bias(const dense_args *a, const char *name, PyObject *object, void **bias) {
    *bias = NULL;
    if (object == Py_None) return true;
    PyArrayObject *b = buffer_array(name, object);
    if (!b) return false;
    if (PyArray_TYPE(b) == typenum_of(a->dtype) && PyArray_NDIM(b) == 1 &&
        (size_t)PyArray_DIM(b, 0) == a->dense.outputs) {
        *bias = PyArray_DATA(b);
        return true;
    }
    set_array_error(PyExc_ValueError, name, "one element for each output, of the type of W", b);
    return false;
}

static PyObject *new_rows(PyObject *module, const dense_args *a, size_t columns) {
    npy_intp shape[2] = {(npy_intp)a->dense.n, (npy_intp)columns};
    return new_array(PyModule_GetState(module), 2, shape, a->dtype);
}

/* x (..., I) as rows (n, I): a new reference, or NULL with an exception. */
static PyObject *as_rows(PyObject *x) {
    if (!PyArray_Check(x) || PyArray_NDIM((PyArrayObject *)x) < 3) return Py_NewRef(x);
    PyArrayObject *steps = (PyArrayObject *)x;
    const int last = PyArray_NDIM(steps) - 1;
    npy_intp shape[2] = {PyArray_MultiplyList(PyArray_DIMS(steps), last), PyArray_DIM(steps, last)};
    PyArray_Dims rows = {shape, 2};
    return PyArray_Newshape(steps, &rows, NPY_CORDER);
}

/* Uninitialised y (..., outputs) for x (..., I), which has a.dense.n rows. */
static PyObject *new_outputs(PyObject *module, const dense_args *a, PyObject *x) {
    npy_intp shape[NPY_MAXDIMS];
    const int axes = PyArray_Check(x) ? PyArray_NDIM((PyArrayObject *)x) : 2;
    if (axes < 3) return new_rows(module, a, a->dense.outputs);
    memcpy(shape, PyArray_DIMS((PyArrayObject *)x), (size_t)axes * sizeof *shape);
    shape[axes - 1] = (npy_intp)a->dense.outputs;
    if ((size_t)PyArray_MultiplyList(shape, axes - 1) == a->dense.n)
        return new_array(PyModule_GetState(module), axes, shape, a->dtype);
    PyErr_SetString(PyExc_ValueError,
                    "x: expected a shape that does not change during the call, got another one");
    return NULL;
}

static PyObject *dense_forward(PyObject *module, PyObject *args) {
    PyObject *x, *w_t, *b, *rows, *y = NULL;
    dense_args a = {0};
    void *bias;
    if (!PyArg_ParseTuple(args, "OOO:dense_forward", &x, &w_t, &b) || !(rows = as_rows(x)))
        return NULL;
    if (dense_parse(&a, rows, w_t) && dense_bias(&a, "b", b, &bias) &&
        (y = new_outputs(module, &a, x))) {
        Py_BEGIN_ALLOW_THREADS crnn_dense_forward(&a.dense, PyArray_DATA(a.x), PyArray_DATA(a.w_t),
                                                  bias, PyArray_DATA((PyArrayObject *)y),
                                                  a.workspace);
        Py_END_ALLOW_THREADS
    }
    drop(rows);
    dense_clear(&a);
    return y;
}

static PyObject *dense_backward(PyObject *module, PyObject *args) {
    PyObject *x, *w_t, *dy_object, *dw_object, *db_object, *dx = NULL;
    PyArrayObject *dy = NULL, *dw = NULL;
    dense_args a = {0};
    void *db;
    if (!PyArg_ParseTuple(args, "OOOOO:dense_backward", &x, &w_t, &dy_object, &dw_object,
                          &db_object))
        return NULL;
    if (dense_parse(&a, x, w_t) &&
        (dw_object == Py_None || (dw = matching_array("dW", dw_object, a.w_t))) &&
        dense_bias(&a, "db", db_object, &db)) {
        const dims rows = {
            2, {(npy_intp)a.dense.n, (npy_intp)a.dense.outputs}, {"rows", "outputs"}};
        dy = float_array("dy", dy_object, a.dtype, &rows, true);
        if (dy && (dx = new_rows(module, &a, a.dense.inputs))) {
            Py_BEGIN_ALLOW_THREADS crnn_dense_backward(
                &a.dense, PyArray_DATA(a.x), PyArray_DATA(a.w_t), PyArray_DATA(dy), data_of(dw), db,
                PyArray_DATA((PyArrayObject *)dx), a.workspace);
            Py_END_ALLOW_THREADS
        }
    }
    drop(dy);
    dense_clear(&a);
    return dx;
}

/* dtable (K, size) += dy (rows, size) at symbols (rows,). */
static PyObject *embedding_backward(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *symbols_object, *dy_object, *table_object, *result = NULL;
    if (!PyArg_ParseTuple(args, "OOO:embedding_backward", &symbols_object, &dy_object,
                          &table_object))
        return NULL;
    PyArrayObject *table = buffer_array("dW", table_object), *symbols = NULL, *dy = NULL;
    if (!table) return NULL;
    if (PyArray_NDIM(table) != 2 || !PyArray_IS_C_CONTIGUOUS(table)) {
        set_array_error(PyExc_ValueError, "dW", "shape (K, size) in C order", table);
        return NULL;
    }
    const npy_intp K = PyArray_DIM(table, 0), size = PyArray_DIM(table, 1);
    const dims any = {1, {-1}, {"rows"}};
    symbols = integer_array("symbols", symbols_object, &any);
    if (symbols && integers_within("symbols", symbols, 0, K - 1)) {
        const dims rows = {2, {PyArray_DIM(symbols, 0), size}, {"rows", "size"}};
        dy = float_array("dy", dy_object, dtype_of(table), &rows, true);
    }
    if (dy) {
        crnn_embedding_backward(dtype_of(table), (size_t)PyArray_DIM(symbols, 0), (size_t)size,
                                PyArray_DATA(symbols), PyArray_DATA(dy), PyArray_DATA(table));
        result = Py_NewRef(Py_None);
    }
    drop(symbols);
    drop(dy);
    return result;
}

/* ---- memory */

static PyObject *kept(PyObject *module, PyObject *object) {
    PyArrayObject *array = as_array("x", object);
    return array ? (PyObject *)kept_array(PyModule_GetState(module), array) : NULL;
}

static PyObject *release_memory(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    return PyLong_FromSize_t(memory_release());
}

/* ---- random numbers, instruction sets, threads */

static PyObject *random_uniform(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long seed, stream, first;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "KKKn:random_uniform", &seed, &stream, &first, &n)) return NULL;
    if (n < 0) {
        PyErr_Format(PyExc_ValueError, "n: expected an integer of at least 0, got %zd", n);
        return NULL;
    }
    npy_intp shape = n;
    PyObject *out = new_plain_array(1, &shape, NPY_FLOAT64);
    if (out)
        crnn_random_uniform(seed, stream, first, (size_t)n, PyArray_DATA((PyArrayObject *)out));
    return out;
}

static PyObject *isa(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    return PyUnicode_FromString(crnn_isa_name());
}

static PyObject *isa_available(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    PyObject *list = PyList_New(0), *tuple = NULL;
    const char *name;
    for (size_t i = 0; list && (name = crnn_isa_available(i)); i++) {
        PyObject *word = PyUnicode_FromString(name);
        if (!word || PyList_Append(list, word) < 0) Py_CLEAR(list);
        drop(word);
    }
    if (list) tuple = PyList_AsTuple(list);
    drop(list);
    return tuple;
}

static PyObject *select_isa(PyObject *module, PyObject *name) {
    (void)module;
    Py_ssize_t length;
    const char *word = PyUnicode_AsUTF8AndSize(name, &length);
    if (!word) return NULL;
    if (crnn_isa_select(word)) return Py_NewRef(Py_None);
    PyObject *available = isa_available(NULL, NULL);
    if (available)
        PyErr_Format(PyExc_ValueError,
                     "isa: expected one of %R, which this machine can run, got %R", available,
                     name);
    drop(available);
    return NULL;
}

static PyObject *num_threads(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    return PyLong_FromSize_t(crnn_threads());
}

static PyObject *set_num_threads(PyObject *module, PyObject *object) {
    (void)module;
    size_t count;
    if (!parse_size("n", object, &count)) return NULL;
    crnn_set_threads(count);
    return Py_NewRef(Py_None);
}

#define FUNCTION(name, how, signature, doc) \
    {#name, (PyCFunction)name, how, PyDoc_STR(#name signature "\n--\n\n" doc)}

PyMethodDef module_functions[] = {
    FUNCTION(unchanged, METH_VARARGS, "(layers, witness, /)",
             "Return whether layers are what they were when a witness of them was made.\n\n"
             "`witness` has a tuple (layer, type, __call__ of the type, names of attributes, their "
             "values) for each layer."),
    FUNCTION(sgd, METH_VARARGS, "(params, grads, velocity, scale, lr, momentum, /)",
             "Apply one step of SGD to params and velocity, in place.\n\n"
             "The gradients are grads * scale. All arrays have one shape; velocity is None without "
             "momentum."),
    FUNCTION(rmsprop, METH_VARARGS, "(params, grads, square, scale, lr, alpha, eps, /)",
             "Apply one step of RMSprop to params and square, in place.\n\n"
             "The gradients are grads * scale. All arrays have one shape."),
    FUNCTION(adam, METH_VARARGS,
             "(params, grads, m, v, scale, lr, weight_decay, beta1, beta2, eps, step, /)",
             "Apply one step of AdamW to params, m and v, in place.\n\n"
             "The gradients are grads * scale. All arrays have one shape; step counts from 1."),
    FUNCTION(sum_squares, METH_O, "(grads, /)",
             "Return the sum of squares, in float64, added in a fixed order."),
    FUNCTION(cross_entropy, METH_VARARGS, "(logits, targets, scale, /)",
             "Return the sum of the losses in nats, and its gradient (..., K) times scale.\n\n"
             "logits are (..., K) of N rows, targets (N,); a row with target -1 is left out."),
    FUNCTION(binary_cross_entropy, METH_VARARGS, "(logits, targets, weights, positive, scale, /)",
             "Return the sum of the losses in nats, and its gradient (..., K) times scale.\n\n"
             "logits and targets are (..., K) of N rows and of one type; weights (N,) are float64, "
             "positive (K,) are the weights of true labels, each of them or None."),
    FUNCTION(squared_error, METH_VARARGS, "(y, target, scale, /)",
             "Return the sum of the squared errors, and its gradient times scale.\n\n"
             "All arrays have one shape."),
    FUNCTION(negative_log_likelihood, METH_VARARGS,
             "(kind, outputs, targets, scales, weights, factor, /)",
             "Return the weighted sum of the losses in nats, and its gradient times factor.\n\n"
             "outputs are (..., P) of N rows; targets, and scales and weights or None, are (N,) "
             "float64. kind is 0 for Gaussian, 1 for Student's t, 2 for negative binomial."),
    FUNCTION(draw_observed, METH_VARARGS,
             "(kind, outputs, scales, seed, series, samples, steps, /)",
             "Return a number (N,) drawn for each row of outputs (..., P), float64.\n\n"
             "It is a function of seed and of the row's own series, sample and step, (N,) each."),
    FUNCTION(gather_windows, METH_VARARGS,
             "(store, places, scales, known, constants, lags, steps, age, log_scale, indicators, "
             "dtype, /)",
             "Return inputs (B, T, I) of dtype, targets, weights (B, T) and lengths (B,).\n\n"
             "store (N,) has the numbers of all series. places (5, B) has, of each row, the place "
             "of its series in store, its length, the step with which the window begins, the place "
             "of the series in known (M, F) or None, and how many steps are known. scales are "
             "(B,), constants (B, S) or None, lags (L,)."),
    FUNCTION(sum_ranges, METH_VARARGS, "(store, ranges, magnitudes, /)",
             "Return sums and counts (N,) of the numbers of store that are there.\n\n"
             "ranges (2, N) has the first place and the place after the last of each range."),
    FUNCTION(dense_forward, METH_VARARGS, "(x, W_t, b, /)",
             "Return x W_t + b (..., O) for x (..., I), W_t (I, O) and b (O,) or None."),
    FUNCTION(dense_backward, METH_VARARGS, "(x, W_t, dy, dW_t, db, /)",
             "Return dx (N, I); add to dW_t (I, O) and to db (O,), each of which may be None.\n\n"
             "x is (N, I), W_t (I, O), dy (N, O)."),
    FUNCTION(rowwise_forward, METH_VARARGS,
             "(operation, flat_params, inputs, valid, keep, rest, /)",
             "Return y (..., F) of an operation on each step, and the numbers kept, or None.\n\n"
             "These are needed by backward. "
             "operation is (\"norm\", eps), (\"drop\", p, variational, (seed, call, first_row, "
             "first_step, layer)), (\"activate\", name), (\"sum\",), (\"mean\",), (\"mul\",) or "
             "(\"concat\",). inputs is a tuple of one or two arrays (B, T, F) or (B, F). valid "
             "(B, T) or (B,), or None, has the steps that are computed; at others, y is 0, or with "
             "`rest` the first input."),
    FUNCTION(rowwise_backward, METH_VARARGS,
             "(operation, flat_params, inputs, y, kept, valid, dy, flat_grads, /)",
             "Return the gradients of the inputs as a tuple; add to flat_grads, or None.\n\n"
             "y, kept and all inputs are None if the operation does not need them."),
    FUNCTION(
        pool_forward, METH_VARARGS, "(how, x, valid, /)",
        "Return y (B, F) for x (B, T, F), and the steps (B, F) that it is taken from.\n\n"
        "how is \"last\", \"max\" or \"mean\"; for the latter, the steps are None. valid (B, T) "
        "has the steps that are read."),
    FUNCTION(pool_backward, METH_VARARGS, "(how, shape, valid, taken, dy, /)",
             "Return dx (B, T, F), whose shape is given."),
    FUNCTION(embedding_backward, METH_VARARGS, "(symbols, dy, dW, /)",
             "Add row n of dy (N, F) to row symbols[n] of dW (K, F), for all n in order."),
    FUNCTION(ridge_sizes, METH_VARARGS, "(features, outputs, /)",
             "Return the number of rows of a block, and the pitch of factors and blocks."),
    FUNCTION(ridge_add, METH_VARARGS, "(features, outputs, factor, rest, block, n, first, /)",
             "Add the first n rows of a block to a factor of least squares, in place.\n\n"
             "factor is (F, pitch), rest (O,), block (rows, pitch), which is overwritten, all "
             "float64. Columns before `first` are zeros in the block."),
    FUNCTION(ridge_solve, METH_VARARGS, "(features, outputs, factor, /)",
             "Return the weights (F, O) with the least squared error.\n\n"
             "No diagonal element of factor (F, pitch) is 0."),
    FUNCTION(rls_begin, METH_VARARGS, "(n, alpha, /)",
             "Return the factor of P = I / alpha (n, n): its D and U in one float64 array."),
    FUNCTION(rls_gains, METH_VARARGS, "(forgetting, z, factor, extent, /)",
             "Return the gains (steps, n) of steps of recursive least squares.\n\n"
             "z is (steps, n), factor is that of P, and extent (2,) the trace of P and the least "
             "element of D, all float64. factor and extent are written."),
    FUNCTION(
        ordered_sum, METH_VARARGS, "(rows, factors, n, starts, places, /)",
        "Return the sum (n,) of factors[k] times row k, with the same bits on every machine.\n\n"
        "rows is (K, n), factors (K,), both float64, starts and places None. Or rows is (E,), "
        "starts (K + 1,), places (E,): entries starts[k] to starts[k + 1] - 1 are those of row "
        "k at these places, the others are 0."),
    FUNCTION(
        hessenberg_radius, METH_O, "(a, /)",
        "Return the largest modulus of the eigenvalues of a Hessenberg matrix; overwrite it.\n\n"
        "a is (n, n) float64. The result is -1 if the QR algorithm does not converge."),
    FUNCTION(
        kept, METH_O, "(x, /)",
        "Return the array itself if no code can write to its memory, else a read-only copy.\n\n"
        "Tapes keep their input in this form."),
    FUNCTION(release_memory, METH_NOARGS, "()",
             "Return memory that is kept for later calls to the operating system; return the "
             "number of bytes."),
    FUNCTION(writers_after_fork, METH_NOARGS, "()",
             "Forget the backward calls of threads that do not exist in a forked process."),
    FUNCTION(random_uniform, METH_VARARGS, "(seed, stream, first, n, /)",
             "Return n float64 numbers in [0, 1) of the sequence (seed, stream), from number "
             "`first` on."),
    FUNCTION(isa, METH_NOARGS, "()", "Return the name of the instruction set in use."),
    FUNCTION(isa_available, METH_NOARGS, "()",
             "Return the names of the instruction sets that this machine can run, best first."),
    FUNCTION(select_isa, METH_O, "(name, /)", "Use another instruction set from now on."),
    FUNCTION(num_threads, METH_NOARGS, "()", "Return the largest number of threads of a call."),
    FUNCTION(set_num_threads, METH_O, "(n, /)", "Use at most n threads in each call from now on."),
    {0},
};
