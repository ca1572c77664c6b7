/* Attention as functions of the module: arguments of both directions, checked and converted once.
 */
#include "binding.h"

/* Arrays are owned, or NULL; `a` points into them. */
typedef struct attention_args {
    crnn_attention a;
    PyArrayObject *queries, *keys, *values, *v, *lengths, *query_lengths;
} attention_args;

/* As they were given. */
typedef struct given_args {
    int additive;
    PyObject *queries, *keys, *values, *v, *source_lengths, *target_lengths;
} given_args;

static void args_clear(attention_args *args) {
    drop(args->queries);
    drop(args->keys);
    drop(args->values);
    drop(args->v);
    drop(args->lengths);
    drop(args->query_lengths);
}

/* Queries say which type all others are converted to. */
static bool read_queries(attention_args *args, PyObject *object) {
    const dims any = {3, {-1, -1, -1}, {"B", "T_q", "A"}};
    PyArrayObject *queries = dense_floats("queries", object);
    if (!queries) return false;
    args->a.dtype = dtype_of(queries);
    args->queries = float_array("queries", (PyObject *)queries, args->a.dtype, &any, true);
    drop(queries);
    if (!args->queries) return false;
    args->a.batch = (size_t)PyArray_DIM(args->queries, 0);
    args->a.queries = (size_t)PyArray_DIM(args->queries, 1);
    args->a.key_size = (size_t)PyArray_DIM(args->queries, 2);
    return true;
}

/* Keys and values, of keys [A] elements each; -1: any. */
static bool read_source(crnn_attention *a, module_state *keep, PyObject *keys, PyObject *values,
                        npy_intp key_size, PyArrayObject **to_keys, PyArrayObject **to_values) {
    dims of_keys = {3, {(npy_intp)a->batch, -1, key_size}, {"B", "T_s", "A"}};
    if (keys == Py_None || values == Py_None) return refuse_misfit("keys, values");
    if (!floats_read(keep, "keys", keys, a->dtype, &of_keys, to_keys)) return false;
    dims of_values = {3, {(npy_intp)a->batch, of_keys.size[1], -1}, {"B", "T_s", "C"}};
    if (!floats_read(keep, "values", values, a->dtype, &of_values, to_values)) return false;
    a->steps = (size_t)of_keys.size[1];
    a->key_size = (size_t)of_keys.size[2];
    a->value_size = (size_t)of_values.size[2];
    a->keys = PyArray_DATA(*to_keys);
    a->values = PyArray_DATA(*to_values);
    return true;
}

/* Lengths (B,), each 0 ... most; none for None. */
static bool lengths_read(const char *name, PyObject *object, size_t batch, size_t most,
                         PyArrayObject **array, const int64_t **lengths) {
    const dims per_row = {1, {(npy_intp)batch}, {"B"}};
    if (object == Py_None) return true;
    *array = integer_array(name, object, &per_row);
    if (!*array || !integers_within(name, *array, 0, (npy_int64)most)) return false;
    *lengths = PyArray_DATA(*array);
    return true;
}

bool attention_memory(crnn_attention *a, attention_arrays *to, module_state *keep,
                      PyObject *memory) {
    PyObject *keys, *values, *lengths;
    const size_t value_size = a->value_size;
    if (!PyTuple_Check(memory)) return refuse_misfit("memory");
    return PyArg_ParseTuple(memory, "OOO", &keys, &values, &lengths) &&
           read_source(a, keep, keys, values, (npy_intp)a->key_size, &to->keys, &to->values) &&
           (a->value_size == value_size || refuse_misfit("memory")) &&
           lengths_read("source_lengths", lengths, a->batch, a->steps, &to->lengths, &a->lengths);
}

void attention_clear(attention_arrays *arrays) {
    drop(arrays->keys);
    drop(arrays->values);
    drop(arrays->lengths);
}

/* What additive scores have and others have not. */
static bool is_absent(const char *name, PyObject *object) {
    if (object == Py_None) return true;
    PyErr_Format(PyExc_ValueError,
                 "%s: expected None, because the scores are not additive, got %.200R", name,
                 object);
    return false;
}

static bool read_v(attention_args *args, bool additive, PyObject *v) {
    const dims each = {1, {(npy_intp)args->a.key_size}, {"A"}};
    if (!additive) return is_absent("v", v);
    args->v = float_array("v", v, args->a.dtype, &each, true);
    if (args->v) args->a.v = PyArray_DATA(args->v);
    return args->v != NULL;
}

/* args is to be cleared in either case. */
static bool args_read(attention_args *args, const given_args *given) {
    crnn_attention *a = &args->a;
    return read_queries(args, given->queries) &&
           read_source(a, NULL, given->keys, given->values, (npy_intp)a->key_size, &args->keys,
                       &args->values) &&
           read_v(args, given->additive, given->v) &&
           lengths_read("source_lengths", given->source_lengths, a->batch, a->steps, &args->lengths,
                        &a->lengths) &&
           lengths_read("target_lengths", given->target_lengths, a->batch, a->queries,
                        &args->query_lengths, &a->query_lengths);
}

/* (B, steps, size) */
static PyArrayObject *new_rows(PyObject *module, const crnn_attention *a, size_t steps,
                               size_t size) {
    npy_intp shape[3] = {(npy_intp)a->batch, (npy_intp)steps, (npy_intp)size};
    return (PyArrayObject *)new_array(PyModule_GetState(module), 3, shape, a->dtype);
}

PyObject *attention_forward(PyObject *module, PyObject *args) {
    given_args given;
    attention_args read = {0};
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "pOOOOOO:attention_forward", &given.additive, &given.queries,
                          &given.keys, &given.values, &given.v, &given.source_lengths,
                          &given.target_lengths))
        return NULL;
    if (args_read(&read, &given)) {
        const crnn_attention *a = &read.a;
        PyArrayObject *context = new_rows(module, a, a->queries, a->value_size);
        PyArrayObject *weights = context ? new_rows(module, a, a->queries, a->steps) : NULL;
        if (weights) {
            Py_BEGIN_ALLOW_THREADS crnn_attention_forward(
                a, PyArray_DATA(read.queries), PyArray_DATA(weights), PyArray_DATA(context));
            Py_END_ALLOW_THREADS result = PyTuple_Pack(2, context, weights);
        }
        drop(context);
        drop(weights);
    }
    args_clear(&read);
    return result;
}

/* What backward has beside the arguments of forward; arrays are owned, but for dv's. */
typedef struct backward_args {
    PyArrayObject *weights, *dcontext;
    PyArrayObject *dqueries, *dkeys, *dvalues; /* new */
    void *dv, *workspace;
} backward_args;

static void backward_clear(backward_args *b) {
    drop(b->weights);
    drop(b->dcontext);
    drop(b->dqueries);
    drop(b->dkeys);
    drop(b->dvalues);
    free_aligned(b->workspace);
}

static bool read_dv(backward_args *b, const crnn_attention *a, PyObject *object) {
    if (!a->v) return is_absent("dv", object);
    PyArrayObject *dv = buffer_array("dv", object);
    if (!dv) return false;
    b->dv = PyArray_DATA(dv);
    if (PyArray_TYPE(dv) == typenum_of(a->dtype) && PyArray_NDIM(dv) == 1 &&
        (size_t)PyArray_DIM(dv, 0) == a->key_size)
        return true;
    set_array_error(PyExc_ValueError, "dv", "the shape of v and the type of queries", dv);
    return false;
}

static bool read_gradients(backward_args *b, const crnn_attention *a, PyObject *weights,
                           PyObject *dcontext) {
    const npy_intp B = (npy_intp)a->batch, Q = (npy_intp)a->queries, T = (npy_intp)a->steps;
    const dims of_weights = {3, {B, Q, T}, {"B", "T_q", "T_s"}};
    const dims of_context = {3, {B, Q, (npy_intp)a->value_size}, {"B", "T_q", "C"}};
    b->weights = float_array("weights", weights, a->dtype, &of_weights, true);
    if (b->weights) b->dcontext = float_array("dcontext", dcontext, a->dtype, &of_context, true);
    return b->dcontext != NULL;
}

static bool make_room(backward_args *b, PyObject *module, const crnn_attention *a) {
    size_t bytes;
    return check_status(crnn_attention_workspace(a, &bytes), "queries") &&
           (b->workspace = alloc_aligned(bytes)) &&
           (b->dqueries = new_rows(module, a, a->queries, a->key_size)) &&
           (b->dkeys = new_rows(module, a, a->steps, a->key_size)) &&
           (b->dvalues = new_rows(module, a, a->steps, a->value_size));
}

static PyObject *run_backward(const attention_args *read, const backward_args *b) {
    const crnn_attention_grads grads = {.weights = PyArray_DATA(b->weights),
                                        .dcontext = PyArray_DATA(b->dcontext),
                                        .dqueries = PyArray_DATA(b->dqueries),
                                        .dkeys = PyArray_DATA(b->dkeys),
                                        .dvalues = PyArray_DATA(b->dvalues),
                                        .dv = b->dv,
                                        .workspace = b->workspace};
    PyObject *result = PyTuple_Pack(3, b->dqueries, b->dkeys, b->dvalues);
    if (!result) return NULL;
    Py_BEGIN_ALLOW_THREADS crnn_attention_backward(&read->a, PyArray_DATA(read->queries), &grads);
    Py_END_ALLOW_THREADS return result;
}

PyObject *attention_backward(PyObject *module, PyObject *args) {
    given_args given;
    attention_args read = {0};
    backward_args b = {0};
    PyObject *weights, *dcontext, *dv, *result = NULL;
    if (!PyArg_ParseTuple(args, "pOOOOOOOOO:attention_backward", &given.additive, &given.queries,
                          &given.keys, &given.values, &given.v, &given.source_lengths,
                          &given.target_lengths, &weights, &dcontext, &dv))
        return NULL;
    if (args_read(&read, &given) && read_gradients(&b, &read.a, weights, dcontext) &&
        read_dv(&b, &read.a, dv) && make_room(&b, module, &read.a))
        result = run_backward(&read, &b);
    backward_clear(&b);
    args_clear(&read);
    return result;
}
