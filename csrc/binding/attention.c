/* Attention: the memory that it reads. */
#include "binding.h"

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

bool lengths_read(const char *name, PyObject *object, size_t batch, size_t most,
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

bool attention_read(crnn_attention *a, attention_arrays *to, module_state *keep,
                    const attention_given *given, size_t width) {
    if (!read_source(a, keep, given->keys, given->values, -1, &to->keys, &to->values) ||
        !lengths_read("source_lengths", given->lengths, a->batch, a->steps, &to->lengths,
                      &a->lengths))
        return false;
    dims query = {2, {(npy_intp)width, (npy_intp)a->key_size}, {"P", "A"}};
    dims each = {1, {(npy_intp)a->key_size}, {"A"}};
    if (!floats_read(NULL, "W_query", given->w_query, a->dtype, &query, &to->w_query) ||
        !floats_read(NULL, "v", given->v, a->dtype, &each, &to->v))
        return false;
    a->v = data_of(to->v);
    return (to->w_query || a->key_size == width) && a->key_size > 0 && a->value_size > 0
               ? true
               : refuse_misfit("keys, values");
}

void attention_clear(attention_arrays *arrays) {
    drop(arrays->keys);
    drop(arrays->values);
    drop(arrays->lengths);
    drop(arrays->w_query);
    drop(arrays->v);
}
