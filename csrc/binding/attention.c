/* The memory of a plan with attention. */
#include "plan.h"

void attention_clear(attention_arrays *arrays) {
    drop(arrays->keys);
    drop(arrays->values);
    drop(arrays->lengths);
}

/* Floats of a shape, dense, and in shape the sizes that were -1. With `keep`, as kept_array has
 * them.
 */
static bool read_floats(module_state *keep, const char *name, PyObject *object, crnn_dtype dtype,
                        dims *shape, PyArrayObject **array) {
    *array = float_array(name, object, dtype, shape, true);
    if (*array && keep) *array = kept_array(keep, *array);
    for (int i = 0; *array && i < shape->count; i++) shape->size[i] = PyArray_DIM(*array, i);
    return *array != NULL;
}

/* Lengths (B,), each 0 ... T_s; none for None. */
static bool read_lengths(crnn_attention *a, PyObject *object, PyArrayObject **array) {
    const dims per_row = {1, {(npy_intp)a->batch}, {"B"}};
    if (object == Py_None) return true;
    *array = integer_array("source_lengths", object, &per_row);
    if (!*array || !integers_within("source_lengths", *array, 0, (npy_int64)a->steps)) return false;
    a->lengths = PyArray_DATA(*array);
    return true;
}

bool plan_read_memory(const Plan *plan, size_t batch, PyObject *given, bool keep, crnn_attention *a,
                      attention_arrays *to) {
    module_state *module = keep ? plan->module : NULL;
    const plan_node *node = &plan->nodes[plan->attend];
    PyObject *keys, *values, *lengths;
    if (!plan->attend || !given) return !plan->attend && !given;
    if (!PyTuple_Check(given)) return refuse_misfit("memory");
    if (!PyArg_ParseTuple(given, "OOO", &keys, &values, &lengths)) return false;
    if (keys == Py_None || values == Py_None) return refuse_misfit("memory");
    const size_t A = plan->nodes[node->from[0].node].features;
    dims of_keys = {3, {(npy_intp)batch, -1, (npy_intp)A}, {"B", "T_s", "A"}};
    if (!read_floats(module, "keys", keys, plan->dtype, &of_keys, &to->keys)) return false;
    dims of_values = {
        3, {(npy_intp)batch, of_keys.size[1], (npy_intp)node->features}, {"B", "T_s", "C"}};
    if (!read_floats(module, "values", values, plan->dtype, &of_values, &to->values)) return false;
    *a = (crnn_attention){.dtype = plan->dtype,
                          .batch = batch,
                          .steps = (size_t)of_keys.size[1],
                          .key_size = A,
                          .value_size = node->features,
                          .keys = PyArray_DATA(to->keys),
                          .values = PyArray_DATA(to->values)};
    return read_lengths(a, lengths, &to->lengths);
}
