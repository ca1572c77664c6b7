/* The recurrent layers: one base type that holds the parameters and runs forward and backward, and
 * a type for each cell that reads its own options. */
#include "binding.h"

/* ---- parameters */

/* A view of part of a flat array: rows x columns elements from `begin` on, shown transposed where
 * columns > 0, else a vector of `rows`. */
static PyObject *parameter_view(PyObject *flat, size_t begin, size_t rows, size_t columns) {
    PyArrayObject *base = (PyArrayObject *)flat;
    const npy_intp item = PyArray_ITEMSIZE(base);
    npy_intp shape[2] = {(npy_intp)(columns ? columns : rows), (npy_intp)rows};
    npy_intp strides[2] = {item, item * (npy_intp)columns};
    return array_view(base, columns ? 2 : 1, shape, strides, (npy_intp)begin * item,
                      NPY_ARRAY_WRITEABLE);
}

/* The same as (rows, columns), as they lie. */
static PyObject *rows_view(PyObject *flat, size_t begin, size_t rows, size_t columns) {
    PyArrayObject *base = (PyArrayObject *)flat;
    const npy_intp item = PyArray_ITEMSIZE(base);
    npy_intp shape[2] = {(npy_intp)rows, (npy_intp)columns};
    npy_intp strides[2] = {item * (npy_intp)columns, item};
    return array_view(base, 2, shape, strides, (npy_intp)begin * item, NPY_ARRAY_WRITEABLE);
}

/* The learned initial h or c: (wide,), or (D, wide) where there are states of several steps. */
static bool add_states(const Recurrent *self, PyObject *dict, const char *name, PyObject *flat,
                       crnn_extra extra) {
    const size_t states = crnn_longest_delay(&self->layer), begin = self->at.extra[extra];
    const size_t size = self->at.extra_size[extra];
    PyObject *view = states == 1 ? parameter_view(flat, begin, size, 0)
                                 : rows_view(flat, begin, states, size / states);
    const bool added = view && PyDict_SetItemString(dict, name, view) == 0;
    drop(view);
    return added;
}

static bool add_view(PyObject *dict, const char *name, PyObject *flat, size_t begin, size_t rows,
                     size_t columns) {
    PyObject *view = parameter_view(flat, begin, rows, columns);
    const bool added = view && PyDict_SetItemString(dict, name, view) == 0;
    drop(view);
    return added;
}

/* Parameters that options have, and the bias of a recurrent sum that is kept apart. */
static bool add_extras(const Recurrent *self, PyObject *dict, PyObject *flat) {
    const char b_h[] = {'b', '_', 'h', crnn_cell_b_h(self->layer.cell), 0};
    const char *const names[CRNN_EXTRAS] = {
        [CRNN_B_H] = b_h,         [CRNN_P_I] = "p_i",       [CRNN_P_F] = "p_f",
        [CRNN_P_O] = "p_o",       [CRNN_GAIN_X] = "gain_x", [CRNN_GAIN_H] = "gain_h",
        [CRNN_GAIN_C] = "gain_c", [CRNN_B_C] = "b_c",       [CRNN_W_P] = "W_p",
        [CRNN_H0] = "h0",         [CRNN_C0] = "c0",         [CRNN_LEAK] = "leak"};
    const crnn_layout *at = &self->at;
    for (int e = 0; e < CRNN_EXTRAS && at->extra[e] < at->learned; e++) {
        const size_t size = at->extra_size[e], columns = e == CRNN_W_P ? self->layer.projected : 0;
        const bool is_state = e == CRNN_H0 || e == CRNN_C0;
        if (size && is_state && !add_states(self, dict, names[e], flat, (crnn_extra)e))
            return false;
        if (size && !is_state &&
            !add_view(dict, names[e], flat, at->extra[e], columns ? size / columns : size, columns))
            return false;
    }
    return true;
}

/* name -> view of `flat`, in the order W_x, W_h (if there is one), b, and what options add. */
static PyObject *parameter_dict(const Recurrent *self, PyObject *flat) {
    const crnn_layout *at = &self->at;
    const size_t reads = crnn_reads(&self->layer);
    PyObject *dict = PyDict_New();
    if (dict && add_view(dict, "W_x", flat, at->w_x, self->layer.inputs, at->columns) &&
        (!reads || add_view(dict, "W_h", flat, at->w_h, reads, at->columns)) &&
        (!at->b_size || add_view(dict, "b", flat, at->b, at->b_size, 0)) &&
        add_extras(self, dict, flat))
        return dict;
    drop(dict);
    return NULL;
}

int recurrent_clear(Recurrent *self) {
    Py_CLEAR(self->flat_params);
    Py_CLEAR(self->flat_grads);
    Py_CLEAR(self->params);
    Py_CLEAR(self->grads);
    Py_CLEAR(self->leak);
    return 0;
}

/* Zeros for a whole buffer, shown as far as there are parameters. */
static PyObject *new_flat(const crnn_layout *at, crnn_dtype dtype) {
    npy_intp total = (npy_intp)at->total;
    PyObject *whole = new_zeros(1, &total, typenum_of(dtype));
    if (!whole || at->learned == at->total) return whole;
    PyObject *flat = parameter_view(whole, 0, at->learned, 0);
    drop(whole);
    return flat;
}

/* Sizes are checked and arrays made before anything of the object changes. */
int recurrent_setup(Recurrent *self, const crnn_layer *layer, PyObject *leak) {
    Recurrent made = {.layer = *layer};
    crnn_rows none;
    size_t words[1], bytes;
    const char *sizes = size_names(layer);
    if (!check_status(crnn_layer_layout(layer, &made.at), sizes)) return -1;
    crnn_rows_init(&none, words, &(crnn_steps){0});
    if (!check_status(crnn_tape_size(layer, crnn_kernels_now(layer->dtype), &none, &bytes), sizes))
        return -1;
    made.flat_params = new_flat(&made.at, layer->dtype);
    made.params = made.flat_params ? parameter_dict(&made, made.flat_params) : NULL;
    if (!made.params) {
        recurrent_clear(&made);
        return -1;
    }
    leak_write(layer, &made.at, leak, PyArray_DATA((PyArrayObject *)made.flat_params));
    made.leak = Py_NewRef(leak);
    Recurrent old;
    LOCK(self);
    old = *self;
    self->layer = made.layer;
    self->at = made.at;
    self->flat_params = made.flat_params;
    self->flat_grads = NULL;
    self->params = made.params;
    self->grads = NULL;
    self->leak = made.leak;
    UNLOCK();
    recurrent_clear(&old); /* last: what ends may run code that looks at the layer */
    return 0;
}

bool recurrent_own_grads(Recurrent *self) {
    if (self->grads) return true;
    PyObject *flat = new_flat(&self->at, self->layer.dtype);
    PyObject *views = flat ? parameter_dict(self, flat) : NULL;
    if (views && !self->grads) { /* another thread may have made them meanwhile */
        self->flat_grads = Py_NewRef(flat);
        self->grads = Py_NewRef(views);
    }
    drop(flat);
    drop(views);
    return self->grads != NULL;
}

bool recurrent_is_frozen(Recurrent *self) {
    bool frozen;
    LOCK(self);
    frozen = self->frozen;
    UNLOCK();
    return frozen;
}

bool layer_hold(held_layer *held, Recurrent *self, bool grads) {
    *held = (held_layer){0};
    LOCK(self);
    if (recurrent_ready(self) && (!grads || recurrent_own_grads(self)))
        *held = (held_layer){.layer = self->layer,
                             .at = self->at,
                             .seed = self->seed,
                             .flat_params = Py_NewRef(self->flat_params),
                             .flat_grads = grads ? Py_NewRef(self->flat_grads) : NULL,
                             .leak = Py_NewRef(self->leak)};
    UNLOCK();
    return held->flat_params != NULL;
}

void layer_release(held_layer *held) {
    Py_CLEAR(held->flat_params);
    Py_CLEAR(held->flat_grads);
    Py_CLEAR(held->leak);
}

void *held_params(const held_layer *held) {
    return PyArray_DATA((PyArrayObject *)held->flat_params);
}

void *held_grads(const held_layer *held) { return data_of((PyArrayObject *)held->flat_grads); }

bool recurrent_ready(const Recurrent *self) {
    if (self->flat_params) return true;
    PyErr_SetString(PyExc_RuntimeError, "the layer has no parameters: its __init__ was not called");
    return false;
}

bool layer_draws(const crnn_layer *layer) {
    return layer->recurrent_dropout != 0 || layer->weight_drop != 0 || layer->zoneout_h != 0 ||
           layer->zoneout_c != 0 || layer->noise != 0;
}
