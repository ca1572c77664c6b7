/* The decoder of a Seq2Seq with input feeding: recurrent layers and attention, all steps in one
 * call of the core. The arrays come from crnn's own Python code (crnn/seq2seq/), which has looked
 * at what a user can give wrongly; what memory depends on is checked here all the same. */
#include "decoder_tape.h"

/* ---- arguments */

typedef struct decode_arguments {
    PyObject *levels, *x, *symbols, *lengths, *keys, *values, *source_lengths, *w_query, *v;
    int training;
    unsigned long long call, first_row;
} decode_arguments;

/* What is dropped before a level: (p, seed, number of the Dropout in its model, variational), or
 * None. */
static bool dropout_parse(level *to, size_t l, PyObject *given, const decode_arguments *all) {
    unsigned long long seed;
    unsigned int number;
    if (given == Py_None) return true;
    if (!PyTuple_Check(given)) return refuse_misfit("levels");
    if (!PyArg_ParseTuple(given, "dKIp", &to->dropout, &seed, &number, &to->variational))
        return false;
    if (l == 0 || !(to->dropout >= 0 && to->dropout < 1)) return refuse_misfit("levels");
    to->dropout_noise = (crnn_noise){.on = all->training,
                                     .seed = seed,
                                     .call = all->call,
                                     .first_row = all->first_row,
                                     .layer = number};
    return true;
}

/* One entry of levels: (layer, state or None, number of the layer in its model, dropout). */
static bool level_parse(DecoderTape *d, size_t l, const module_state *module, PyObject *entry,
                        const decode_arguments *given) {
    PyObject *layer, *state, *dropout;
    unsigned int number;
    level *to = &d->levels[l];
    if (!PyTuple_Check(entry)) return refuse_misfit("levels");
    if (!PyArg_ParseTuple(entry, "OOIO", &layer, &state, &number, &dropout) ||
        !dropout_parse(to, l, dropout, given))
        return false;
    if (!PyObject_TypeCheck(layer, module->recurrent)) {
        PyErr_Format(PyExc_TypeError, "levels[%zu]: expected a recurrent layer, got %.100R", l,
                     layer);
        return false;
    }
    if (!layer_hold(&to->held, (Recurrent *)layer)) return false;
    to->noise = (crnn_noise){.on = given->training,
                             .seed = to->held.seed,
                             .call = given->call,
                             .first_row = given->first_row,
                             .layer = number};
    const crnn_layer *own = layer_at(d, l);
    if (own->reverse || own->dtype != dtype_of_levels(d) ||
        (l > 0 && own->inputs != width_at(d, l - 1))) {
        PyErr_Format(PyExc_ValueError,
                     "levels[%zu]: expected a layer with reverse=False, the dtype of levels[0] and "
                     "the output_size of the layer below as input_size, got %.200R",
                     l, layer);
        return false;
    }
    return state_parse(&to->initial, "state", own, d->batch, state);
}

static bool levels_parse(DecoderTape *d, const module_state *module,
                         const decode_arguments *given) {
    if (!PyTuple_Check(given->levels) || PyTuple_Size(given->levels) < 1) {
        PyErr_SetString(PyExc_TypeError, "levels: expected a tuple of at least one layer");
        return false;
    }
    const size_t depth = (size_t)PyTuple_Size(given->levels);
    d->levels = PyMem_Calloc(depth, sizeof *d->levels);
    d->facts = PyMem_Calloc(depth, sizeof *d->facts);
    if (!d->levels || !d->facts) return PyErr_NoMemory() != NULL;
    d->depth = depth;
    for (size_t l = 0; l < depth; l++)
        if (!level_parse(d, l, module, PyTuple_GetItem(given->levels, (Py_ssize_t)l), given))
            return false;
    return true;
}

/* An array of the decoder's type, dense; none for None. */
static bool floats_parse(const DecoderTape *d, const char *name, PyObject *given, dims shape,
                         PyArrayObject **to) {
    if (given == Py_None) return true;
    *to = float_array(name, given, dtype_of_levels(d), &shape, true);
    return *to != NULL;
}

static bool lengths_parse(const char *name, PyObject *given, size_t batch, size_t most,
                          PyArrayObject **to) {
    const dims shape = {1, {(npy_intp)batch}, {"B"}};
    if (given == Py_None) return true;
    *to = integer_array(name, given, &shape);
    return *to && integers_within(name, *to, 0, (npy_int64)most);
}

static bool rows_parse(DecoderTape *d, PyObject *lengths) {
    size_t words;
    if (!lengths_parse("target_lengths", lengths, d->batch, d->steps, &d->lengths)) return false;
    const crnn_steps steps = {.batch = d->batch,
                              .steps = d->steps,
                              .lengths = d->lengths ? PyArray_DATA(d->lengths) : NULL};
    if (!check_status(crnn_rows_size(&steps, &words), "target_in")) return false;
    d->words = alloc_aligned(words * sizeof(size_t));
    if (!d->words) return false;
    crnn_rows_init(&d->rows, d->words, &steps);
    return true;
}

/* Symbols beside x, where there are some. */
static bool input_parse(DecoderTape *d, PyObject *symbols) {
    const crnn_layer *lowest = layer_at(d, 0);
    const size_t floats = d->features;
    const dims shape = {2, {(npy_intp)d->batch, (npy_intp)d->steps}, {"B", "T"}};
    d->in.x = seq_of(d->x);
    if (symbols != Py_None) {
        d->symbols = integer_array("target_in", symbols, &shape);
        if (!d->symbols) return false;
        d->in.symbols = PyArray_DATA(d->symbols);
        d->in.table = floats < lowest->inputs ? lowest->inputs - floats : 0;
    }
    if (floats + d->in.table == lowest->inputs)
        return !d->symbols ||
               integers_within("target_in", d->symbols, 0, (npy_intp)d->in.table - 1);
    PyErr_Format(PyExc_ValueError, "x: expected %zu features, got %zu", lowest->inputs, floats);
    return false;
}

/* Keys and values (B, T, features): private, because backward reads them again. */
static bool memory_parse(const DecoderTape *d, module_state *module, const char *name,
                         PyObject *given, dims *shape, PyArrayObject **to) {
    if (given == Py_None) return refuse_misfit("keys, values");
    *to = float_array(name, given, dtype_of_levels(d), shape, true);
    if (*to) *to = kept_array(module, *to);
    for (int i = 0; *to && i < 3; i++) shape->size[i] = PyArray_DIM(*to, i);
    return *to != NULL;
}

static bool attention_parse(DecoderTape *d, module_state *module, const decode_arguments *given) {
    const npy_intp B = (npy_intp)d->batch, P = (npy_intp)width_at(d, d->depth - 1);
    dims keys = {3, {B, -1, -1}, {"B", "T", "A"}};
    if (!memory_parse(d, module, "keys", given->keys, &keys, &d->keys)) return false;
    const npy_intp T = keys.size[1], A = keys.size[2];
    dims values = {3, {B, T, -1}, {"B", "T", "C"}};
    if (!memory_parse(d, module, "values", given->values, &values, &d->values)) return false;
    const npy_intp C = values.size[2];
    if (!floats_parse(d, "W_query", given->w_query, (dims){2, {P, A}, {"P", "A"}}, &d->w_query) ||
        !floats_parse(d, "v", given->v, (dims){1, {A}, {"A"}}, &d->v) ||
        !lengths_parse("source_lengths", given->source_lengths, d->batch, (size_t)T,
                       &d->source_lengths))
        return false;
    if ((!d->w_query && A != P) || A < 1 || C < 1 || (size_t)C > d->features)
        return refuse_misfit("keys, values");
    d->attention =
        (crnn_attention){.dtype = dtype_of_levels(d),
                         .batch = d->batch,
                         .queries = d->steps,
                         .steps = (size_t)T,
                         .key_size = (size_t)A,
                         .value_size = (size_t)C,
                         .lengths = d->source_lengths ? PyArray_DATA(d->source_lengths) : NULL,
                         .query_lengths = d->lengths ? PyArray_DATA(d->lengths) : NULL,
                         .keys = PyArray_DATA(d->keys),
                         .values = PyArray_DATA(d->values),
                         .v = d->v ? PyArray_DATA(d->v) : NULL};
    return true;
}

/* x (B, T, features), a copy: contexts are written into it, and backward reads it. */
static bool x_parse(DecoderTape *d, module_state *module, PyObject *given) {
    PyArrayObject *x = as_array("x", given), *copy;
    if (!x) return false;
    const int type = PyArray_TYPE(x);
    if (PyArray_NDIM(x) != 3 || (type != NPY_FLOAT32 && type != NPY_FLOAT64)) {
        set_array_error(PyExc_ValueError, "x", "floats of shape (B, T, I)", x);
        drop(x);
        return false;
    }
    copy = array_copy(module, x);
    drop(x);
    if (!copy) return false;
    d->x = copy;
    d->batch = (size_t)PyArray_DIM(copy, 0);
    d->steps = (size_t)PyArray_DIM(copy, 1);
    d->features = (size_t)PyArray_DIM(copy, 2);
    return true;
}

static bool decode_parse(DecoderTape *d, module_state *module, const decode_arguments *given) {
    if (!x_parse(d, module, given->x) || !levels_parse(d, module, given)) return false;
    if (PyArray_TYPE(d->x) != typenum_of(dtype_of_levels(d))) {
        set_array_error(PyExc_TypeError, "x", "floats of the decoder's dtype", d->x);
        return false;
    }
    return rows_parse(d, given->lengths) && input_parse(d, given->symbols) &&
           attention_parse(d, module, given);
}

/* ---- forward */

/* The tape of a layer, as its own forward would make it. */
static Tape *level_tape(module_state *module, const DecoderTape *d, size_t l,
                        const crnn_kernels *kernels) {
    const crnn_layer *layer = layer_at(d, l);
    Tape *tape = tape_new(module, layer);
    size_t bytes;
    if (!tape) return NULL;
    call *c = &tape->call;
    c->x = l == 0 ? d->x : d->levels[l].dropped ? d->levels[l].dropped : d->levels[l - 1].y;
    Py_INCREF((PyObject *)c->x);
    c->lengths = (PyArrayObject *)Py_XNewRef((PyObject *)d->lengths);
    if (l == 0) c->symbols = (PyArrayObject *)Py_XNewRef((PyObject *)d->symbols);
    c->in = l ? (crnn_input){.x = seq_of(c->x)} : d->in;
    c->noise = d->levels[l].noise;
    c->from_learned = layer->learns_state && !d->levels[l].initial.h;
    if (!call_rows(c, &d->rows.given) ||
        !check_status(crnn_tape_size(layer, kernels, &c->rows, &bytes), "target_in") ||
        !(tape->tape.memory = alloc_aligned(bytes)))
        Py_CLEAR(tape);
    return tape;
}

static bool level_buffers(module_state *module, DecoderTape *d, size_t l,
                          const crnn_kernels *kernels) {
    level *own = &d->levels[l];
    const crnn_layer *layer = layer_at(d, l);
    const bool drops = own->dropout > 0 && own->dropout_noise.on;
    if (drops && !(own->dropped = new_steps(module, d, layer->inputs))) return false;
    if (!(own->y = new_steps(module, d, crnn_width(layer))) ||
        !(own->tape = level_tape(module, d, l, kernels)) ||
        !state_new(&own->final, layer, d->rows.given.batch))
        return false;
    d->facts[l] = (crnn_decoder_level){.layer = layer,
                                       .params = held_params(&own->held),
                                       .noise = own->noise,
                                       .initial = state_pointers(&own->initial),
                                       .final = state_pointers(&own->final),
                                       .y = seq_of(own->y),
                                       .tape = &own->tape->tape,
                                       .dropped = drops ? seq_of(own->dropped) : (crnn_seq){0},
                                       .dropout = own->dropout,
                                       .variational = own->variational,
                                       .dropout_noise = own->dropout_noise};
    return true;
}

static bool decode_run(module_state *module, DecoderTape *d) {
    const crnn_kernels *kernels = crnn_kernels_now(dtype_of_levels(d));
    size_t bytes;
    if (!(d->queries = new_steps(module, d, d->attention.key_size)) ||
        !(d->weights = new_steps(module, d, d->attention.steps)))
        return false;
    for (size_t l = 0; l < d->depth; l++)
        if (!level_buffers(module, d, l, kernels)) return false;
    crnn_decoder decoder = decoder_of(d, kernels);
    if (!check_status(crnn_decoder_workspace(&decoder, &bytes), "target_in")) return false;
    decoder.workspace = alloc_aligned(bytes);
    if (!decoder.workspace) return false;
    Py_BEGIN_ALLOW_THREADS crnn_decoder_forward(&decoder);
    Py_END_ALLOW_THREADS free_aligned(decoder.workspace);
    return true;
}

static PyObject *states_of(const DecoderTape *d) {
    PyObject *states = PyList_New((Py_ssize_t)d->depth);
    for (size_t l = 0; states && l < d->depth; l++) {
        PyObject *state = state_object(&d->levels[l].final);
        if (!state || PyList_SetItem(states, (Py_ssize_t)l, state) < 0) Py_CLEAR(states);
    }
    return states;
}

static PyObject *seq2seq_decode(PyObject *self, PyObject *args) {
    decode_arguments given;
    module_state *state = state_of_type(Py_TYPE(self));
    PyObject *states = NULL, *result = NULL;
    if (!state ||
        !PyArg_ParseTuple(args, "OOOOOOOOOpKK:_decode", &given.levels, &given.x, &given.symbols,
                          &given.lengths, &given.keys, &given.values, &given.source_lengths,
                          &given.w_query, &given.v, &given.training, &given.call, &given.first_row))
        return NULL;
    DecoderTape *tape = object_new(state->decoder_tape);
    if (!tape) return NULL;
    if (decode_parse(tape, state, &given) && decode_run(state, tape) && (states = states_of(tape)))
        result = PyTuple_Pack(3, tape->levels[tape->depth - 1].y, states, tape);
    for (size_t l = 0; l < tape->depth; l++) layer_release(&tape->levels[l].held);
    drop(states);
    drop(tape);
    return result;
}

/* ---- the type */

static PyMethodDef seq2seq_methods[] = {
    {"_decode", seq2seq_decode, METH_VARARGS,
     PyDoc_STR("_decode($self, levels, x, symbols, target_lengths, keys, values, source_lengths, "
               "W_query_t, v, training, call, first_row, /)\n--\n\n"
               "Return (y, states, tape) of a decoder with input feeding.\n\n"
               "`levels` has a tuple (layer, state, number of the layer, dropout) for each layer. "
               "The last C features of x (B, T, I) are replaced by the contexts. y (B, T, P) is "
               "the output of the top layer, `states` the list of the last states.")},
    {"_decode_back", seq2seq_decode_back, METH_VARARGS,
     PyDoc_STR("_decode_back($self, tape, layers, dy, dcontext, dW_query_t, dv, /)\n--\n\n"
               "Return (dx, dkeys, dvalues, dstates) of a decoder with input feeding.\n\n"
               "Adds to dW_query_t, to dv and to the gradients of `layers`: the layers that made "
               "the tape, or layers with the same options.")},
    {"_generate", seq2seq_generate, METH_VARARGS,
     PyDoc_STR("_generate($self, levels, embedding, feeds, keys, values, source_lengths, "
               "W_query_t, v, W_out_t, b_out, start, searches, /)\n--\n\n"
               "Run every search to its end.\n\n"
               "`levels` has a pair (layer, state) for each layer. Each search reads the source "
               "rows that follow those of the search before it.")},
    {0},
};

static PyType_Slot seq2seq_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Base class of sequence-to-sequence models: runs their decoder.")},
    {Py_tp_methods, seq2seq_methods},
    {0, NULL},
};
PyType_Spec seq2seq_spec = {"crnn._core.Seq2Seq", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                            seq2seq_slots};
