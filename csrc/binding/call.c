/* The arguments of one call of a recurrent layer: input, lengths, states. */
#include "binding.h"

static bool input_init(call *c, const crnn_layer *layer, PyObject *object) {
    PyArrayObject *x = as_array("x", object);
    if (!x) return false;
    const npy_intp inputs = (npy_intp)layer->inputs;
    if (PyArray_ISINTEGER(x) && PyArray_NDIM(x) == 2) {
        const dims symbols = {2, {-1, -1}, {"B", "T"}};
        c->x = integer_array("x", (PyObject *)x, &symbols);
        if (c->x) c->in.symbols = PyArray_DATA(c->x);
    } else if (PyArray_ISFLOAT(x) && PyArray_NDIM(x) == 3 && PyArray_DIM(x, 2) == inputs) {
        const dims floats = {3, {-1, -1, inputs}, {"B", "T", "I"}};
        c->x = float_array("x", (PyObject *)x, layer->dtype, &floats, false);
        if (c->x) c->in.x = seq_of(c->x);
    } else {
        char expected[120];
        PyOS_snprintf(expected, sizeof expected,
                      "floats of shape (B, T, I=%lld) or integers of shape (B, T)",
                      (long long)inputs);
        const bool right_kind = PyArray_ISFLOAT(x) || PyArray_ISINTEGER(x);
        set_array_error(right_kind ? PyExc_ValueError : PyExc_TypeError, "x", expected, x);
    }
    drop(x);
    return c->x != NULL;
}

static bool rows_init(call *c, PyObject *object) {
    const size_t B = (size_t)PyArray_DIM(c->x, 0), T = (size_t)PyArray_DIM(c->x, 1);
    const dims per_row = {1, {(npy_intp)B}, {"B"}};
    PyArrayObject *lengths = NULL;
    size_t words;
    if (object != Py_None) {
        lengths = integer_array("lengths", object, &per_row);
        if (!lengths) return false;
        if (!integers_within("lengths", lengths, 0, (npy_int64)T)) goto fail;
    }
    if (!check_status(crnn_rows_size(B, T, &words), "x")) goto fail;
    c->words = alloc_aligned(words * sizeof(size_t));
    if (!c->words) goto fail;
    crnn_rows_init(&c->rows, c->words, B, T, lengths ? PyArray_DATA(lengths) : NULL);
    drop(lengths);
    return true;
fail:
    drop(lengths);
    return false;
}

/* Symbols past a row's end are not looked at, whatever stands there. */
static bool symbols_within(const call *c, const crnn_layer *layer) {
    for (size_t i = 0; c->in.symbols && i < c->rows.batch; i++) {
        const int64_t *row = c->in.symbols + c->rows.order[i] * c->rows.steps;
        for (size_t t = 0; t < c->rows.length[i]; t++) {
            if (row[t] >= 0 && (uint64_t)row[t] < layer->inputs) continue;
            PyErr_Format(PyExc_ValueError,
                         "x: expected symbols from 0 to I-1=%zu, got %lld in row %zu at step %zu",
                         layer->inputs - 1, (long long)row[t], c->rows.order[i], t);
            return false;
        }
    }
    return true;
}

bool call_init(call *c, const crnn_layer *layer, PyObject *x, PyObject *lengths) {
    *c = (call){0};
    if (input_init(c, layer, x) && rows_init(c, lengths) && symbols_within(c, layer)) return true;
    call_clear(c);
    return false;
}

void call_clear(call *c) {
    Py_CLEAR(c->x);
    free_aligned(c->words);
    c->words = NULL;
}

/* ---- states */

static size_t state_count(const crnn_layer *layer) {
    return crnn_cell_describe(layer->cell)->states;
}

static PyArrayObject *state_part(const char *name, const crnn_layer *layer, size_t batch,
                                 PyObject *object) {
    const dims shape = {2, {(npy_intp)batch, (npy_intp)layer->hidden}, {"B", "H"}};
    return float_array(name, object, layer->dtype, &shape, true);
}

/* (h, c): a tuple or a list of two. */
static bool pair_parse(state_arrays *s, const char *name, const crnn_layer *layer, size_t batch,
                       PyObject *object) {
    const bool is_pair =
        (PyTuple_Check(object) || PyList_Check(object)) && PySequence_Size(object) == 2;
    if (!is_pair) {
        PyErr_Format(PyExc_TypeError,
                     "%s: expected None or the pair (h, c) of arrays (B=%zu, H=%zu), got %.200R",
                     name, batch, layer->hidden, object);
        return false;
    }
    PyObject *h = PySequence_GetItem(object, 0), *c = PySequence_GetItem(object, 1);
    if (h && c) s->h = state_part(name, layer, batch, h);
    if (s->h) s->c = state_part(name, layer, batch, c);
    drop(h);
    drop(c);
    if (s->c) return true;
    state_clear(s);
    return false;
}

bool state_parse(state_arrays *s, const char *name, const crnn_layer *layer, size_t batch,
                 PyObject *object) {
    *s = (state_arrays){0};
    if (object == Py_None) return true;
    if (state_count(layer) == 2) return pair_parse(s, name, layer, batch, object);
    s->h = state_part(name, layer, batch, object);
    return s->h != NULL;
}

bool state_new(state_arrays *s, const crnn_layer *layer, size_t batch) {
    npy_intp shape[2] = {(npy_intp)batch, (npy_intp)layer->hidden};
    *s = (state_arrays){0};
    s->h = (PyArrayObject *)PyArray_SimpleNew(2, shape, typenum_of(layer->dtype));
    if (state_count(layer) == 2 && s->h)
        s->c = (PyArrayObject *)PyArray_SimpleNew(2, shape, typenum_of(layer->dtype));
    if (s->h && (s->c || state_count(layer) == 1)) return true;
    state_clear(s);
    return false;
}

crnn_state state_pointers(const state_arrays *s) {
    return (crnn_state){s->h ? PyArray_DATA(s->h) : NULL, s->c ? PyArray_DATA(s->c) : NULL};
}

PyObject *state_object(const state_arrays *s) {
    if (s->c) return PyTuple_Pack(2, s->h, s->c);
    return Py_NewRef((PyObject *)s->h);
}

void state_clear(state_arrays *s) {
    Py_CLEAR(s->h);
    Py_CLEAR(s->c);
}
