/* The arguments of one call of a recurrent layer: input, lengths, states. */
#include "binding.h"

#define READ_AS_SYMBOLS "integers are read as symbols: give numbers as floats"

void set_input_error(const char *expected, PyArrayObject *x) {
    PyObject *shape = PyObject_GetAttrString((PyObject *)x, "shape");
    if (shape && PyArray_ISINTEGER(x))
        PyErr_Format(PyExc_ValueError, "x: expected %s, got %S of shape %S; " READ_AS_SYMBOLS,
                     expected, PyArray_DESCR(x), shape);
    else if (shape)
        set_array_error(PyArray_ISFLOAT(x) ? PyExc_ValueError : PyExc_TypeError, "x", expected, x);
    drop(shape);
}

bool symbol_within(const crnn_layer *layer, int64_t symbol, size_t row, size_t step) {
    if (symbol >= 0 && (uint64_t)symbol < layer->inputs) return true;
    PyErr_Format(
        PyExc_ValueError,
        "x: expected symbols from 0 to I-1=%zu, got %lld in row %zu at step %zu; " READ_AS_SYMBOLS,
        layer->inputs - 1, (long long)symbol, row, step);
    return false;
}

/* Whether x is (T, I) or (T,): a sequence without the axis of the batch. */
static bool is_one_sequence(PyArrayObject *x, npy_intp inputs) {
    if (PyArray_ISINTEGER(x)) return PyArray_NDIM(x) == 1;
    return PyArray_ISFLOAT(x) && PyArray_NDIM(x) == 2 && PyArray_DIM(x, 1) == inputs;
}

static void set_one_sequence_error(const char *expected, PyArrayObject *x) {
    PyObject *shape = PyObject_GetAttrString((PyObject *)x, "shape");
    if (shape)
        PyErr_Format(PyExc_ValueError,
                     "x: expected %s, got %S of shape %S: a batch of one sequence is x[None]",
                     expected, PyArray_DESCR(x), shape);
    drop(shape);
}

static void refuse_input(npy_intp inputs, bool floats_only, PyArrayObject *x) {
    char expected[120];
    PyOS_snprintf(expected, sizeof expected, "floats of shape (B, T, I=%lld)%s", (long long)inputs,
                  floats_only ? "" : " or integers of shape (B, T)");
    if (PyArray_ISINTEGER(x) && floats_only)
        set_array_error(PyExc_TypeError, "x", expected, x);
    else if (is_one_sequence(x, inputs))
        set_one_sequence_error(expected, x);
    else
        set_input_error(expected, x);
}

/* Sets x, in, and B and T in `shape`; with `keep`, x is as a tape keeps it. */
static bool input_init(call *c, const crnn_layer *layer, module_state *keep,
                       const call_arguments *given, dims *shape) {
    PyArrayObject *x = as_array("x", given->x);
    if (!x) return false;
    const npy_intp inputs = (npy_intp)layer->inputs;
    if (PyArray_ISINTEGER(x) && PyArray_NDIM(x) == 2 && !given->floats_only) {
        *shape = (dims){2, {-1, -1}, {"B", "T"}};
        c->x = integer_array("x", (PyObject *)x, shape);
        for (int i = 0; c->x && i < 2; i++) shape->size[i] = PyArray_DIM(c->x, i);
        if (c->x) c->in = (crnn_input){.symbols = PyArray_DATA(c->x), .table = layer->inputs};
    } else if (PyArray_ISFLOAT(x) && PyArray_NDIM(x) == 3 && PyArray_DIM(x, 2) == inputs) {
        *shape = (dims){3, {-1, -1, inputs}, {"B", "T", "I"}};
        c->x = sequence_array(keep, "x", (PyObject *)x, layer->dtype, shape, &c->in.x);
    } else {
        refuse_input(inputs, given->floats_only, x);
    }
    drop(x);
    return c->x != NULL;
}

/* NULL stands for an argument that was not given; None likewise. */
static bool is_given(PyObject *object) { return object && object != Py_None; }

/* lengths (B,), mask (B, T) and resets (B, T) */
static bool steps_init(call *c, const call_arguments *given, npy_intp B, npy_intp T) {
    const dims per_row = {1, {B}, {"B"}}, per_step = {2, {B, T}, {"B", "T"}};
    if (is_given(given->lengths)) {
        c->lengths = integer_array("lengths", given->lengths, &per_row);
        if (!c->lengths || !integers_within("lengths", c->lengths, 0, T)) return false;
    }
    if (is_given(given->mask) && !(c->mask = bool_array("mask", given->mask, &per_step)))
        return false;
    return !is_given(given->resets) || (c->resets = bool_array("resets", given->resets, &per_step));
}

bool call_rows(call *c, const crnn_steps *steps) {
    size_t words;
    if (!check_status(crnn_rows_size(steps, &words), "x")) return false;
    c->words = alloc_aligned(words * sizeof(size_t));
    if (!c->words) return false;
    crnn_rows_init(&c->rows, c->words, steps);
    return true;
}

static bool rows_init(call *c, const crnn_layer *layer, const call_arguments *given, npy_intp B,
                      npy_intp T) {
    if (!steps_init(c, given, B, T)) return false;
    const crnn_steps steps = {.batch = (size_t)B,
                              .steps = (size_t)T,
                              .lengths = data_of(c->lengths),
                              .mask = data_of(c->mask),
                              .resets = data_of(c->resets),
                              .reverse = layer->reverse,
                              .stride = crnn_stride(layer)};
    return call_rows(c, &steps);
}

/* Symbols at steps that are not read are not looked at, whatever stands there. */
static bool symbols_within(const call *c, const crnn_layer *layer) {
    const crnn_rows *rows = &c->rows;
    for (size_t i = 0; c->in.symbols && i < rows->places; i++) {
        for (size_t n = 0; n < rows->length[i]; n++) {
            const size_t t = crnn_rows_time(rows, i, n);
            const int64_t symbol = c->in.symbols[rows->order[i] * rows->given.steps + t];
            if (!symbol_within(layer, symbol, rows->order[i], t)) return false;
        }
    }
    return true;
}

/* An integer of 32 bits, 0 where none is given. */
static bool parse_short(const char *name, PyObject *object, uint32_t *count) {
    uint64_t value = 0;
    if (object && !parse_count(name, object, &value)) return false;
    *count = (uint32_t)value;
    if (value <= UINT32_MAX) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected an integer from 0 to 2**32 - 1, got %R", name,
                 object);
    return false;
}

static bool noise_init(call *c, uint64_t seed, const call_arguments *given) {
    const int training = given->training ? PyObject_IsTrue(given->training) : 0;
    c->noise = (crnn_noise){.on = training > 0, .seed = seed};
    return training >= 0 && (!given->call || parse_count("call", given->call, &c->noise.call)) &&
           (!given->first_row || parse_count("first_row", given->first_row, &c->noise.first_row)) &&
           parse_short("first_step", given->first_step, &c->noise.first_step) &&
           parse_short("layer", given->layer, &c->noise.layer);
}

bool call_parse(call_arguments *given, PyObject *args, PyObject *kwargs, bool forward) {
    static char *names[] = {"x",    "state",     "lengths",    "mask",  "resets", "training",
                            "call", "first_row", "first_step", "layer", NULL};
    static char *fewer[] = {"x", "state", "lengths", "mask", "resets", NULL};
    *given = (call_arguments){.training = forward ? Py_True : NULL};
    if (!forward)
        return PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OOO:__call__", fewer, &given->x,
                                           &given->state, &given->lengths, &given->mask,
                                           &given->resets);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OOOOOOOO:forward", names, &given->x,
                                     &given->state, &given->lengths, &given->mask, &given->resets,
                                     &given->training, &given->call, &given->first_row,
                                     &given->first_step, &given->layer))
        return false;
    if (given->call == Py_None) given->call = NULL;
    return true;
}

/* Sets the arguments of a call from a vector: `count` values by place, then one for each of
 * `names`. False, without an exception, where they do not fit. */
static bool read_vector(call_arguments *given, PyObject *const *values, Py_ssize_t count,
                        PyObject *names) {
    static const char *const known[] = {"x", "state", "lengths", "mask", "resets"};
    PyObject **const to[] = {&given->x, &given->state, &given->lengths, &given->mask,
                             &given->resets};
    enum { BY_PLACE = 2, KNOWN = sizeof known / sizeof *known };
    const Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    *given = (call_arguments){0};
    if (count > BY_PLACE) return false;
    for (Py_ssize_t i = 0; i < count; i++) *to[i] = values[i];
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *name = PyTuple_GetItem(names, k);
        size_t i = 0;
        while (i < KNOWN && PyUnicode_CompareWithASCIIString(name, known[i]) != 0) i++;
        if (i == KNOWN || *to[i]) return false;
        *to[i] = values[count + k];
    }
    return given->x != NULL;
}

/* The same arguments as the tuple and the dict that call_parse reads; false: an exception. */
static bool unpack_vector(PyObject *const *values, Py_ssize_t count, PyObject *names,
                          PyObject **args, PyObject **kwargs) {
    const Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    *args = PyTuple_New(count);
    *kwargs = *args ? PyDict_New() : NULL;
    bool fine = *kwargs != NULL;
    for (Py_ssize_t i = 0; fine && i < count; i++)
        fine = PyTuple_SetItem(*args, i, Py_NewRef(values[i])) == 0;
    for (Py_ssize_t k = 0; fine && k < named; k++)
        fine = PyDict_SetItem(*kwargs, PyTuple_GetItem(names, k), values[count + k]) == 0;
    return fine;
}

bool call_parse_vector(call_arguments *given, PyObject *const *values, Py_ssize_t count,
                       PyObject *names) {
    PyObject *args, *kwargs;
    if (read_vector(given, values, count, names)) return true;
    const bool fine = unpack_vector(values, count, names, &args, &kwargs) &&
                      call_parse(given, args, kwargs, false); /* which says what is wrong */
    drop(args);
    drop(kwargs);
    return fine;
}

PyObject *next_call(PyObject *layer) {
    PyObject *method = PyObject_GetAttrString(layer, "next_call");
    if (!method && PyErr_ExceptionMatches(PyExc_AttributeError)) { /* a type of the core */
        PyErr_Clear();
        return PyLong_FromLong(0);
    }
    PyObject *number = method ? PyObject_CallNoArgs(method) : NULL;
    drop(method);
    return number;
}

bool call_init(call *c, module_state *module, const held_layer *held, const call_arguments *given,
               bool keep) {
    const crnn_layer *layer = &held->layer;
    dims shape;
    *c = (call){.from_learned = layer->learns_state && !is_given(given->state)};
    if (input_init(c, layer, keep ? module : NULL, given, &shape) &&
        rows_init(c, layer, given, shape.size[0], shape.size[1]) && symbols_within(c, layer) &&
        noise_init(c, held->seed, given))
        return true;
    call_clear(c);
    return false;
}

void call_clear(call *c) {
    Py_CLEAR(c->x);
    Py_CLEAR(c->lengths);
    Py_CLEAR(c->mask);
    Py_CLEAR(c->resets);
    free_aligned(c->words);
    c->words = NULL;
}

/* ---- states */

size_t state_count(const crnn_layer *layer) { return crnn_cell_describe(layer->cell)->states; }

/* (B, wide), or (B, D, wide) where a layer has states of several steps. */
static dims state_dims(const crnn_layer *layer, bool of_c, size_t batch) {
    const bool projected = layer->projected && !of_c;
    const npy_intp wide = (npy_intp)(projected ? layer->projected : layer->hidden);
    const npy_intp states = (npy_intp)crnn_longest_delay(layer), rows = (npy_intp)batch;
    const char *letter = projected ? "P" : "H";
    if (states == 1) return (dims){2, {rows, wide}, {"B", letter}};
    return (dims){3, {rows, states, wide}, {"B", "D", letter}};
}

static PyArrayObject *state_part(const char *name, const crnn_layer *layer, bool of_c, size_t batch,
                                 PyObject *object) {
    const dims shape = state_dims(layer, of_c, batch);
    return float_array(name, object, layer->dtype, &shape, true);
}

/* (h, c): a tuple or a list of two. */
static bool pair_parse(state_arrays *s, const char *name, const crnn_layer *layer, size_t batch,
                       PyObject *object) {
    const bool is_pair =
        (PyTuple_Check(object) || PyList_Check(object)) && PySequence_Size(object) == 2;
    if (!is_pair) {
        char states[40] = "";
        const size_t D = crnn_longest_delay(layer);
        if (D > 1) PyOS_snprintf(states, sizeof states, "D=%zu, ", D);
        PyErr_Format(PyExc_TypeError,
                     "%s: expected None or the pair (h, c) of arrays (B=%zu, %sH=%zu), got %.200R",
                     name, batch, states, layer->hidden, object);
        return false;
    }
    PyObject *h = PySequence_GetItem(object, 0), *c = PySequence_GetItem(object, 1);
    if (h && c) s->h = state_part(name, layer, false, batch, h);
    if (s->h) s->c = state_part(name, layer, true, batch, c);
    drop(h);
    drop(c);
    if (s->c) return true;
    state_clear(s);
    return false;
}

bool state_parse(state_arrays *s, const char *name, const crnn_layer *layer, size_t batch,
                 PyObject *object) {
    *s = (state_arrays){0};
    if (!is_given(object)) return true;
    if (state_count(layer) == 2) return pair_parse(s, name, layer, batch, object);
    s->h = state_part(name, layer, false, batch, object);
    return s->h != NULL;
}

bool state_new(state_arrays *s, const crnn_layer *layer, size_t batch) {
    dims h = state_dims(layer, false, batch), c = state_dims(layer, true, batch);
    *s = (state_arrays){0};
    s->h = (PyArrayObject *)new_plain_array(h.count, h.size, typenum_of(layer->dtype));
    if (state_count(layer) == 2 && s->h)
        s->c = (PyArrayObject *)new_plain_array(c.count, c.size, typenum_of(layer->dtype));
    if (s->h && (s->c || state_count(layer) == 1)) return true;
    state_clear(s);
    return false;
}

void state_part_copy(PyArrayObject *to, PyArrayObject *from) {
    if (to && from)
        memcpy(PyArray_DATA(to), PyArray_DATA(from), (size_t)PyArray_NBYTES(to));
    else if (to)
        memset(PyArray_DATA(to), 0, (size_t)PyArray_NBYTES(to));
}

bool state_own(state_arrays *s, const crnn_layer *layer, size_t batch) {
    state_arrays own;
    if (!state_new(&own, layer, batch)) return false;
    state_part_copy(own.h, s->h);
    state_part_copy(own.c, s->c);
    state_clear(s);
    *s = own;
    return true;
}

crnn_state state_pointers(const state_arrays *s) {
    return (crnn_state){s->h ? PyArray_DATA(s->h) : NULL, s->c ? PyArray_DATA(s->c) : NULL};
}

PyObject *state_object(const state_arrays *s) {
    if (s->steps && s->memory) return PyTuple_Pack(5, s->h, s->c, s->steps, s->memory, s->lengths);
    if (s->steps) return PyTuple_Pack(3, s->h, s->c, s->steps);
    if (s->memory) return PyTuple_Pack(3, s->h, s->c, s->memory); /* a gradient */
    if (s->c) return PyTuple_Pack(2, s->h, s->c);
    return Py_NewRef((PyObject *)s->h);
}

void state_clear(state_arrays *s) {
    Py_CLEAR(s->h);
    Py_CLEAR(s->c);
    Py_CLEAR(s->steps);
    Py_CLEAR(s->memory);
    Py_CLEAR(s->lengths);
}
