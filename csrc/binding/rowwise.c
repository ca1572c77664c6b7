/* Functions of the module: operations on each step alone, and pooling. Arrays are (B, T, F) or
 * (B, F); the Python side has checked what a user gives. */
#include "binding.h"

/* ---- an operation, as Python gives it: a tuple that begins with its name */

static const char *const kind_names[] = {
    [CRNN_ROWWISE_NORM] = "norm",         [CRNN_ROWWISE_DROP] = "drop",
    [CRNN_ROWWISE_ACTIVATE] = "activate", [CRNN_ROWWISE_SUM] = "sum",
    [CRNN_ROWWISE_MEAN] = "mean",         [CRNN_ROWWISE_MUL] = "mul",
    [CRNN_ROWWISE_CONCAT] = "concat",     [CRNN_ROWWISE_RELU_SUM] = "relu_sum"};
enum { KINDS = sizeof kind_names / sizeof *kind_names };

static const char *const how_names[] = {
    [CRNN_POOL_LAST] = "last", [CRNN_POOL_MEAN] = "mean", [CRNN_POOL_MAX] = "max"};
enum { HOWS = sizeof how_names / sizeof *how_names };

/* The place of a name in a table; `count` and an exception where it is none of them. */
static int place_of(const char *what, const char *name, const char *const *names, int count) {
    int i = 0;
    while (i < count && strcmp(names[i], name) != 0) i++;
    if (i == count) PyErr_Format(PyExc_ValueError, "%s: unknown name '%s'", what, name);
    return i;
}

bool pool_how_parse(crnn_pool_how *how, const char *name) {
    const int place = place_of("how", name, how_names, HOWS);
    *how = (crnn_pool_how)place;
    return place < HOWS;
}

/* ("norm", eps), ("drop", p, variational, (seed, call, first_row, first_step, layer)),
 * ("activate", name), or ("sum",) and the like. */
bool rowwise_parse(crnn_rowwise *o, PyObject *given) {
    const char *kind, *name;
    unsigned long long seed, call, first_row;
    int variational;
    PyObject *rest = PyTuple_GetSlice(given, 1, PY_SSIZE_T_MAX);
    PyObject *first = rest ? PyTuple_GetItem(given, 0) : NULL;
    bool fine = first && (kind = PyUnicode_AsUTF8AndSize(first, NULL));
    if (fine) o->kind = (crnn_rowwise_kind)place_of("operation", kind, kind_names, KINDS);
    fine = fine && (int)o->kind < KINDS;
    o->inputs = fine && o->kind >= CRNN_ROWWISE_SUM ? 2 : 1;
    if (fine && o->kind == CRNN_ROWWISE_NORM) {
        fine = PyArg_ParseTuple(rest, "d", &o->eps);
    } else if (fine && o->kind == CRNN_ROWWISE_DROP) {
        fine = PyArg_ParseTuple(rest, "dp(KKKII)", &o->p, &variational, &seed, &call, &first_row,
                                &o->noise.first_step, &o->noise.layer);
        if (fine) {
            o->variational = variational;
            o->noise.on = true;
            o->noise.seed = seed;
            o->noise.call = call;
            o->noise.first_row = first_row;
        }
    } else if (fine && o->kind == CRNN_ROWWISE_ACTIVATE) {
        fine = PyArg_ParseTuple(rest, "s", &name);
        if (fine)
            o->activation = (crnn_activation)place_of("activation", name, activation_names,
                                                      CRNN_ROWWISE_ACTIVATIONS);
        fine = fine && o->activation < CRNN_ROWWISE_ACTIVATIONS;
    }
    drop(rest);
    return fine;
}

/* ---- the steps that it runs on */

/* Steps (B, T), or (B,) as T = 1, of arrays (..., F). */
typedef struct steps_of {
    int axes; /* 2 or 3 */
    npy_intp shape[3];
    size_t n, steps;      /* all, and T */
    PyArrayObject *valid; /* owned: booleans, dense; NULL: all */
    size_t *list;         /* owned: rows, then times of the valid ones; NULL: all */
} steps_of;

static void steps_clear(steps_of *s) {
    Py_CLEAR(s->valid);
    PyMem_Free(s->list);
}

/* cells: those that are valid, which refer to s. */
static bool steps_init(steps_of *s, PyArrayObject *x, PyObject *valid, crnn_cells *cells) {
    s->axes = PyArray_NDIM(x);
    memcpy(s->shape, PyArray_DIMS(x), (size_t)s->axes * sizeof *s->shape);
    s->steps = s->axes == 3 ? (size_t)s->shape[1] : 1;
    s->n = (size_t)s->shape[0] * s->steps;
    *cells = (crnn_cells){.n = s->n, .steps = s->steps ? s->steps : 1};
    if (valid == Py_None) return true;
    const dims shape = {s->axes - 1, {s->shape[0], s->shape[1]}, {"B", "T"}};
    s->valid = bool_array("valid", valid, &shape);
    if (!s->valid) return false;
    const npy_bool *there = PyArray_DATA(s->valid);
    cells->n = 0;
    for (size_t i = 0; i < s->n; i++) cells->n += there[i] != 0;
    s->list = PyMem_Malloc(2 * cells->n * sizeof *s->list);
    if (!s->list) {
        PyErr_NoMemory();
        return false;
    }
    size_t *row = s->list, *time = row + cells->n;
    cells->row = row;
    cells->time = time;
    for (size_t i = 0; i < s->n; i++) {
        if (!there[i]) continue;
        *row++ = i / s->steps;
        *time++ = i % s->steps;
    }
    return true;
}

static crnn_seq rows_of(PyArrayObject *array) {
    const npy_intp item = PyArray_ITEMSIZE(array);
    return (crnn_seq){PyArray_DATA(array), PyArray_STRIDE(array, 0) / item,
                      PyArray_NDIM(array) == 3 ? PyArray_STRIDE(array, 1) / item : 0};
}

/* Fills the other steps of `to`, which is dense: with those of `from`, or with zeros. */
static void fill_rest(const steps_of *s, PyArrayObject *to, PyArrayObject *from) {
    const size_t item = (size_t)PyArray_ITEMSIZE(to);
    const size_t wide = (size_t)PyArray_DIM(to, s->axes - 1) * item;
    const npy_bool *there = s->valid ? PyArray_DATA(s->valid) : NULL;
    const crnn_seq source = from ? rows_of(from) : (crnn_seq){0};
    char *at = PyArray_DATA(to);
    for (size_t i = 0; there && i < s->n; i++, at += wide) {
        if (there[i]) continue;
        if (from)
            memcpy(at, crnn_seq_at(&source, i / s->steps, i % s->steps, item), wide);
        else
            memset(at, 0, wide);
    }
}

/* A new array (..., features) for the steps. */
static PyArrayObject *new_steps(PyObject *module, const steps_of *s, size_t features,
                                crnn_dtype dtype) {
    npy_intp shape[3];
    memcpy(shape, s->shape, sizeof shape);
    shape[s->axes - 1] = (npy_intp)features;
    return (PyArrayObject *)new_array(PyModule_GetState(module), s->axes, shape, dtype);
}

/* ---- forward and backward */

/* One call: all arrays are owned but params. */
typedef struct rowwise_args {
    crnn_rowwise o;
    crnn_dtype dtype; /* of all arrays in the call */
    crnn_cells cells;
    crnn_rowwise_call call;
    steps_of steps;
    PyArrayObject *params, *x[2], *y, *kept, *dy, *dx[2];
} rowwise_args;

static void rowwise_clear(rowwise_args *a) {
    PyArrayObject *const arrays[] = {a->x[0], a->x[1], a->y, a->kept, a->dy, a->dx[0], a->dx[1]};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) drop(arrays[i]);
    steps_clear(&a->steps);
}

/* The type in which floats are computed: the wider one of both. */
static bool computed_dtype(PyObject *const *inputs, size_t count, crnn_dtype *dtype) {
    *dtype = CRNN_F32;
    for (size_t i = 0; i < count; i++) {
        PyArrayObject *array = (PyArrayObject *)inputs[i];
        if (!PyArray_Check(inputs[i]) || !PyArray_ISFLOAT(array)) return refuse_misfit("inputs");
        if (PyArray_ITEMSIZE(array) > (npy_intp)sizeof(float)) *dtype = CRNN_F64;
    }
    return true;
}

/* An array (B, T, F) or (B, F) of the steps; F of -1 is any. */
static PyArrayObject *steps_array(const char *name, PyObject *object, const rowwise_args *a,
                                  npy_intp features) {
    dims shape = {a->steps.axes, {a->steps.shape[0], features}, {"B", "F"}};
    if (a->steps.axes == 3)
        shape = (dims){3, {a->steps.shape[0], a->steps.shape[1], features}, {"B", "T", "F"}};
    return float_array(name, object, a->dtype, &shape, false);
}

/* The inputs, a tuple of arrays, and the steps; None stands for an input that is not read, whose
 * shape is that of `like`. */
static bool inputs_parse(rowwise_args *a, PyObject *operation, PyObject *params, PyObject *tuple,
                         PyObject *like, PyObject *valid) {
    PyObject *given[2] = {NULL, NULL};
    if (!rowwise_parse(&a->o, operation)) return false;
    if (a->o.kind == CRNN_ROWWISE_NORM && !(a->params = buffer_array("params", params)))
        return false;
    if ((size_t)PyTuple_Size(tuple) != a->o.inputs) return refuse_misfit("inputs");
    for (size_t i = 0; i < a->o.inputs; i++) given[i] = PyTuple_GetItem(tuple, (Py_ssize_t)i);
    const bool there = given[0] != Py_None, any = a->o.kind == CRNN_ROWWISE_CONCAT;
    if (!there && (any || crnn_rowwise_reads_x(&a->o))) return refuse_misfit("inputs");
    PyObject *const *typed = there ? given : &like;
    if (!computed_dtype(typed, there ? a->o.inputs : 1, &a->dtype)) return false;
    PyArrayObject *first = (PyArrayObject *)typed[0];
    if (a->params) a->dtype = dtype_of(a->params);
    a->o.kernels = crnn_kernels_now(a->dtype);
    if (PyArray_NDIM(first) < 2 || PyArray_NDIM(first) > 3) return refuse_misfit("inputs");
    if (!steps_init(&a->steps, first, valid, &a->cells)) return false;
    for (size_t i = 0; i < a->o.inputs; i++) {
        const npy_intp features = any ? -1 : a->steps.shape[a->steps.axes - 1];
        a->o.features[i] = (size_t)features;
        if (!there) continue;
        if (!(a->x[i] = steps_array("inputs", given[i], a, features))) return false;
        a->o.features[i] = (size_t)PyArray_DIM(a->x[i], a->steps.axes - 1);
        a->call.x[i] = rows_of(a->x[i]);
    }
    if (!a->params) return true;
    a->o.params = PyArray_DATA(a->params);
    return (size_t)PyArray_SIZE(a->params) == 2 * a->o.features[0] || refuse_misfit("params");
}

PyObject *rowwise_forward(PyObject *module, PyObject *args) {
    PyObject *operation, *params, *inputs, *valid, *result = NULL;
    rowwise_args a = {0};
    int keep, rest;
    if (!PyArg_ParseTuple(args, "O!OO!Opp:rowwise_forward", &PyTuple_Type, &operation, &params,
                          &PyTuple_Type, &inputs, &valid, &keep, &rest))
        return NULL;
    bool fine = inputs_parse(&a, operation, params, inputs, Py_None, valid) && a.x[0];
    const size_t features = crnn_rowwise_features(&a.o);
    fine = fine && (a.y = new_steps(module, &a.steps, features, a.dtype));
    if (fine && keep && crnn_rowwise_kept(&a.o)) {
        npy_intp shape[2] = {(npy_intp)a.cells.n, (npy_intp)crnn_rowwise_kept(&a.o)};
        a.kept = (PyArrayObject *)new_array(PyModule_GetState(module), 2, shape, a.dtype);
        fine = a.kept != NULL;
    }
    if (fine) {
        a.call.y = rows_of(a.y);
        a.call.kept = a.kept ? PyArray_DATA(a.kept) : NULL;
        Py_BEGIN_ALLOW_THREADS fill_rest(&a.steps, a.y, rest ? a.x[0] : NULL);
        crnn_rowwise_forward(&a.o, &a.cells, &a.call);
        Py_END_ALLOW_THREADS result =
            Py_BuildValue("(OO)", a.y, a.kept ? (PyObject *)a.kept : Py_None);
    }
    rowwise_clear(&a);
    return result;
}

/* What forward kept, and the gradients of parameters: false, with an exception, for a misfit. */
static bool back_parse(rowwise_args *a, PyObject *y, PyObject *kept, PyObject *grads) {
    const npy_intp features = (npy_intp)crnn_rowwise_features(&a->o);
    if (crnn_rowwise_reads_y(&a->o)) {
        if (!(a->y = steps_array("y", y, a, features))) return false;
        a->call.y = rows_of(a->y);
    }
    if (crnn_rowwise_kept(&a->o)) {
        const dims shape = {
            2, {(npy_intp)a->cells.n, (npy_intp)crnn_rowwise_kept(&a->o)}, {"n", "kept"}};
        a->kept = float_array("kept", kept, a->dtype, &shape, true);
        if (!a->kept) return false;
        a->call.kept = PyArray_DATA(a->kept);
    }
    if (!a->params || grads == Py_None) return true;
    PyArrayObject *sums = buffer_array("grads", grads);
    if (!sums) return false;
    if (dtype_of(sums) != a->dtype || PyArray_SIZE(sums) != PyArray_SIZE(a->params))
        return refuse_misfit("grads");
    a->call.grads = PyArray_DATA(sums);
    return true;
}

/* The arrays of dx as a tuple. */
static PyObject *gradients(const rowwise_args *a) {
    return a->o.inputs == 2 ? PyTuple_Pack(2, a->dx[0], a->dx[1]) : PyTuple_Pack(1, a->dx[0]);
}

PyObject *rowwise_backward(PyObject *module, PyObject *args) {
    PyObject *operation, *params, *inputs, *y, *kept, *valid, *dy, *grads, *result = NULL;
    rowwise_args a = {0};
    if (!PyArg_ParseTuple(args, "O!OO!OOOOO:rowwise_backward", &PyTuple_Type, &operation, &params,
                          &PyTuple_Type, &inputs, &y, &kept, &valid, &dy, &grads))
        return NULL;
    bool fine =
        inputs_parse(&a, operation, params, inputs, dy, valid) && back_parse(&a, y, kept, grads);
    fine = fine && (a.dy = steps_array("dy", dy, &a, (npy_intp)crnn_rowwise_features(&a.o)));
    for (size_t i = 0; fine && i < a.o.inputs; i++) {
        a.dx[i] = new_steps(module, &a.steps, a.o.features[i], a.dtype);
        fine = a.dx[i] != NULL;
        if (fine) a.call.dx[i] = rows_of(a.dx[i]);
    }
    if (fine) {
        a.call.dy = rows_of(a.dy);
        Py_BEGIN_ALLOW_THREADS for (size_t i = 0; i < a.o.inputs; i++)
            fill_rest(&a.steps, a.dx[i], NULL);
        crnn_rowwise_backward(&a.o, &a.cells, &a.call);
        Py_END_ALLOW_THREADS result = gradients(&a);
    }
    rowwise_clear(&a);
    return result;
}

/* ---- pooling */

/* A pool over steps (B, T) of which some are valid: false, with an exception, for a misfit. */
static bool pool_parse(crnn_pool *pool, crnn_steps *steps, const char *how, const npy_intp *shape,
                       PyArrayObject *valid, crnn_dtype dtype) {
    *steps = (crnn_steps){.batch = (size_t)shape[0],
                          .steps = (size_t)shape[1],
                          .mask = valid ? PyArray_DATA(valid) : NULL};
    *pool = (crnn_pool){
        .kernels = crnn_kernels_now(dtype), .steps = steps, .features = (size_t)shape[2]};
    return valid && pool_how_parse(&pool->how, how);
}

static PyArrayObject *valid_array(PyObject *object, const npy_intp *shape) {
    const dims steps = {2, {shape[0], shape[1]}, {"B", "T"}};
    return bool_array("valid", object, &steps);
}

PyObject *pool_forward(PyObject *module, PyObject *args) {
    const char *how;
    PyObject *x_object, *valid_object, *result = NULL;
    PyArrayObject *x = NULL, *valid = NULL, *y = NULL, *taken = NULL;
    crnn_pool pool;
    crnn_steps steps;
    crnn_dtype dtype;
    crnn_seq seq;
    if (!PyArg_ParseTuple(args, "sOO:pool_forward", &how, &x_object, &valid_object) ||
        !computed_dtype(&x_object, 1, &dtype))
        return NULL;
    dims shape = {3, {-1, -1, -1}, {"B", "T", "F"}};
    x = sequence_array(NULL, "x", x_object, dtype, &shape, &seq);
    if (x) valid = valid_array(valid_object, shape.size);
    if (valid && pool_parse(&pool, &steps, how, shape.size, valid, dtype)) {
        npy_intp out[2] = {shape.size[0], shape.size[2]};
        y = (PyArrayObject *)new_array(PyModule_GetState(module), 2, out, dtype);
        if (y && pool.how != CRNN_POOL_MEAN)
            taken = (PyArrayObject *)new_plain_array(2, out, NPY_INT64);
        if (y && (taken || pool.how == CRNN_POOL_MEAN)) {
            Py_BEGIN_ALLOW_THREADS crnn_pool_forward(&pool, &seq, PyArray_DATA(y),
                                                     taken ? PyArray_DATA(taken) : NULL);
            Py_END_ALLOW_THREADS result =
                Py_BuildValue("(OO)", y, taken ? (PyObject *)taken : Py_None);
        }
    }
    drop(x);
    drop(valid);
    drop(y);
    drop(taken);
    return result;
}

PyObject *pool_backward(PyObject *module, PyObject *args) {
    const char *how;
    PyObject *valid_object, *taken_object, *dy_object;
    PyArrayObject *valid = NULL, *taken = NULL, *dy = NULL, *dx = NULL;
    npy_intp shape[3];
    crnn_pool pool;
    crnn_steps steps;
    crnn_dtype dtype;
    if (!PyArg_ParseTuple(args, "s(nnn)OOO:pool_backward", &how, &shape[0], &shape[1], &shape[2],
                          &valid_object, &taken_object, &dy_object) ||
        !computed_dtype(&dy_object, 1, &dtype))
        return NULL;
    const dims rows = {2, {shape[0], shape[2]}, {"B", "F"}};
    bool fine = (valid = valid_array(valid_object, shape)) &&
                pool_parse(&pool, &steps, how, shape, valid, dtype) &&
                (dy = float_array("dy", dy_object, dtype, &rows, true));
    if (fine && pool.how != CRNN_POOL_MEAN)
        fine = (taken = integer_array("taken", taken_object, &rows)) &&
               integers_within("taken", taken, 0, shape[1] > 0 ? shape[1] - 1 : 0);
    if (fine) dx = (PyArrayObject *)new_array(PyModule_GetState(module), 3, shape, dtype);
    if (dx) {
        const crnn_seq seq = seq_of(dx);
        Py_BEGIN_ALLOW_THREADS crnn_pool_backward(&pool, PyArray_DATA(dy),
                                                  taken ? PyArray_DATA(taken) : NULL, &seq, false);
        Py_END_ALLOW_THREADS
    }
    drop(valid);
    drop(taken);
    drop(dy);
    return (PyObject *)dx;
}
