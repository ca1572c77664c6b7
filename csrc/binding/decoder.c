/* The decoder of a Seq2Seq with input feeding: recurrent layers and attention, all steps in one
 * call of the core. The arrays come from crnn's own Python code (crnn/seq2seq/), which has looked
 * at what a user can give wrongly; what memory depends on is checked here all the same. */
#include "binding.h"

/* ---- the tape: everything that the core was told, and what it kept */

typedef struct level {
    Recurrent *layer;            /* owned */
    crnn_layer kind;             /* what it was then: it may be made anew under the same object */
    state_arrays initial, final; /* owned */
    PyArrayObject *y;            /* owned (B, T, P) */
    PyArrayObject *dropped; /* owned (B, T, I): what it reads in place of the y below; or NULL */
    double dropout;
    int variational;
    crnn_noise dropout_noise;
    crnn_noise noise;
    Tape *tape; /* owned: that of the layer */
} level;

typedef struct DecoderTape {
    PyObject_HEAD
    size_t depth;
    level *levels;                        /* owned [depth] */
    crnn_decoder_level *facts;            /* owned [depth]: the same as the core wants it */
    PyArrayObject *x, *symbols, *lengths; /* owned */
    PyArrayObject *keys, *values, *source_lengths, *w_query, *v; /* owned, or NULL */
    PyArrayObject *queries, *weights;                            /* owned */
    size_t *words;                                               /* owned */
    crnn_rows rows;
    crnn_input in;
    crnn_attention attention;
} DecoderTape;

static void level_clear(level *l) {
    drop(l->layer);
    state_clear(&l->initial);
    state_clear(&l->final);
    drop(l->y);
    drop(l->dropped);
    drop(l->tape);
}

static void decoder_tape_dealloc(DecoderTape *self) {
    PyArrayObject *const arrays[] = {self->x,       self->symbols,        self->lengths, self->keys,
                                     self->values,  self->source_lengths, self->w_query, self->v,
                                     self->queries, self->weights};
    for (size_t l = 0; self->levels && l < self->depth; l++) level_clear(&self->levels[l]);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) drop(arrays[i]);
    PyMem_Free(self->levels);
    PyMem_Free(self->facts);
    free_aligned(self->words);
    object_free(self);
}

static PyObject *get_weights(DecoderTape *self, void *unused) {
    (void)unused;
    return PyArray_NewCopy(self->weights, NPY_CORDER); /* backward needs them as they are */
}

static PyObject *get_x(DecoderTape *self, void *unused) {
    (void)unused;
    return Py_NewRef((PyObject *)self->x);
}

static PyObject *get_levels(DecoderTape *self, void *unused) {
    (void)unused;
    PyObject *tapes = PyTuple_New((Py_ssize_t)self->depth);
    for (size_t l = 0; tapes && l < self->depth; l++)
        if (PyTuple_SetItem(tapes, (Py_ssize_t)l, Py_NewRef((PyObject *)self->levels[l].tape)) < 0)
            Py_CLEAR(tapes);
    return tapes;
}

static PyGetSetDef decoder_tape_attributes[] = {
    {"levels", (getter)get_levels, NULL, PyDoc_STR("The tapes of the layers, lowest first."), NULL},
    {"weights", (getter)get_weights, NULL, PyDoc_STR("(B, T, T_source): of attention."), NULL},
    {"x", (getter)get_x, NULL, PyDoc_STR("What the lowest layer read, contexts last."), NULL},
    {0},
};

static PyType_Slot decoder_tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What a decoder with input feeding kept.")},
    {Py_tp_dealloc, decoder_tape_dealloc},
    {Py_tp_getset, decoder_tape_attributes},
    {0, NULL},
};
PyType_Spec decoder_tape_spec = {"crnn._core.DecoderTape", sizeof(DecoderTape), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                 decoder_tape_slots};

/* ---- arguments */

typedef struct decode_arguments {
    PyObject *levels, *x, *symbols, *lengths, *keys, *values, *source_lengths, *w_query, *v;
    int training;
    unsigned long long call, first_row;
} decode_arguments;

static crnn_dtype dtype_of_levels(const DecoderTape *d) { return d->levels[0].kind.dtype; }

static const crnn_layer *layer_at(const DecoderTape *d, size_t l) { return &d->levels[l].kind; }

static size_t width_at(const DecoderTape *d, size_t l) { return crnn_width(layer_at(d, l)); }

static bool refuse(const char *what) {
    PyErr_Format(PyExc_ValueError, "%s: expected what fits the other arguments", what);
    return false;
}

/* What is dropped before a level: (p, seed, number of the Dropout in its model, variational), or
 * None. */
static bool dropout_parse(level *to, size_t l, PyObject *given, const decode_arguments *all) {
    unsigned long long seed;
    unsigned int number;
    if (given == Py_None) return true;
    if (!PyTuple_Check(given)) return refuse("levels");
    if (!PyArg_ParseTuple(given, "dKIp", &to->dropout, &seed, &number, &to->variational))
        return false;
    if (l == 0 || !(to->dropout >= 0 && to->dropout < 1)) return refuse("levels");
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
    if (!PyTuple_Check(entry)) return refuse("levels");
    if (!PyArg_ParseTuple(entry, "OOIO", &layer, &state, &number, &dropout) ||
        !dropout_parse(to, l, dropout, given))
        return false;
    if (!PyObject_TypeCheck(layer, module->recurrent)) {
        PyErr_Format(PyExc_TypeError, "levels[%zu]: expected a recurrent layer, got %.100R", l,
                     layer);
        return false;
    }
    to->layer = (Recurrent *)Py_NewRef(layer);
    if (!recurrent_ready(to->layer)) return false;
    to->kind = to->layer->layer;
    to->noise = (crnn_noise){.on = given->training,
                             .seed = to->layer->seed,
                             .call = given->call,
                             .first_row = given->first_row,
                             .layer = number};
    const crnn_layer *own = layer_at(d, l);
    if (own->reverse || own->dtype != dtype_of_levels(d) ||
        (l > 0 && own->inputs != width_at(d, l - 1))) {
        PyErr_Format(PyExc_ValueError,
                     "levels[%zu]: expected a layer that reads forwards what the one below gives",
                     l);
        return false;
    }
    return state_parse(&to->initial, "state", own, (size_t)PyArray_DIM(d->x, 0), state);
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

static bool lengths_parse(const char *name, PyObject *given, npy_intp B, npy_intp T,
                          PyArrayObject **to) {
    const dims shape = {1, {B}, {"B"}};
    if (given == Py_None) return true;
    *to = integer_array(name, given, &shape);
    return *to && integers_within(name, *to, 0, T);
}

static bool rows_parse(DecoderTape *d, PyObject *lengths) {
    const npy_intp B = PyArray_DIM(d->x, 0), T = PyArray_DIM(d->x, 1);
    size_t words;
    if (!lengths_parse("target_lengths", lengths, B, T, &d->lengths)) return false;
    const crnn_steps steps = {.batch = (size_t)B,
                              .steps = (size_t)T,
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
    const size_t floats = (size_t)PyArray_DIM(d->x, 2);
    const dims shape = {2, {PyArray_DIM(d->x, 0), PyArray_DIM(d->x, 1)}, {"B", "T"}};
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

static bool attention_parse(DecoderTape *d, const decode_arguments *given) {
    const npy_intp B = PyArray_DIM(d->x, 0), P = (npy_intp)width_at(d, d->depth - 1);
    if (given->keys == Py_None || given->values == Py_None) return refuse("keys, values");
    if (!floats_parse(d, "keys", given->keys, (dims){3, {B, -1, -1}, {"B", "T", "A"}}, &d->keys))
        return false;
    const npy_intp T = PyArray_DIM(d->keys, 1), A = PyArray_DIM(d->keys, 2);
    if (!floats_parse(d, "values", given->values, (dims){3, {B, T, -1}, {"B", "T", "C"}},
                      &d->values) ||
        !floats_parse(d, "W_query", given->w_query, (dims){2, {P, A}, {"P", "A"}}, &d->w_query) ||
        !floats_parse(d, "v", given->v, (dims){1, {A}, {"A"}}, &d->v) ||
        !lengths_parse("source_lengths", given->source_lengths, B, T, &d->source_lengths))
        return false;
    const npy_intp C = PyArray_DIM(d->values, 2);
    if ((!d->w_query && A != P) || A < 1 || C < 1 || C > PyArray_DIM(d->x, 2))
        return refuse("keys, values");
    d->attention =
        (crnn_attention){.dtype = dtype_of_levels(d),
                         .batch = (size_t)B,
                         .queries = (size_t)PyArray_DIM(d->x, 1),
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

static bool decode_parse(DecoderTape *d, const module_state *module,
                         const decode_arguments *given) {
    PyArrayObject *x = as_array("x", given->x);
    if (!x) return false;
    d->x = x;
    if (PyArray_NDIM(x) != 3 || !PyArray_ISCARRAY(x) || !levels_parse(d, module, given)) {
        if (!PyErr_Occurred()) set_array_error(PyExc_ValueError, "x", "shape (B, T, I), dense", x);
        return false;
    }
    if (PyArray_TYPE(x) != typenum_of(dtype_of_levels(d))) {
        set_array_error(PyExc_TypeError, "x", "floats of the decoder's type", x);
        return false;
    }
    return rows_parse(d, given->lengths) && input_parse(d, given->symbols) &&
           attention_parse(d, given);
}

/* ---- forward */

static PyArrayObject *new_steps(module_state *module, const DecoderTape *d, size_t features) {
    npy_intp shape[3] = {PyArray_DIM(d->x, 0), PyArray_DIM(d->x, 1), (npy_intp)features};
    return (PyArrayObject *)new_array(module, 3, shape, dtype_of_levels(d));
}

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
    d->facts[l] =
        (crnn_decoder_level){.layer = layer,
                             .params = PyArray_DATA((PyArrayObject *)own->layer->flat_params),
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

static crnn_decoder decoder_of(const DecoderTape *d, const crnn_kernels *kernels) {
    return (crnn_decoder){.kernels = kernels,
                          .rows = &d->rows,
                          .depth = d->depth,
                          .level = d->facts,
                          .in = d->in,
                          .attention = &d->attention,
                          .w_query = d->w_query ? PyArray_DATA(d->w_query) : NULL,
                          .queries = PyArray_DATA(d->queries),
                          .weights = PyArray_DATA(d->weights)};
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
    drop(states);
    drop(tape);
    return result;
}

/* ---- backward */

typedef struct decode_back_result {
    Recurrent **layers;        /* owned [depth] of the caller's */
    crnn_decoder_level *facts; /* owned [depth]: with their params */
    PyArrayObject *dx, *dcontext, *dqueries, *dkeys, *dvalues; /* owned */
    PyArrayObject **dy, **ddropped;                            /* owned [depth] of owned */
    state_arrays *dinitial;                                    /* owned [depth] of owned */
    crnn_decoder_level_grads *level;                           /* owned [depth] */
} decode_back_result;

static void back_clear(decode_back_result *out, size_t depth) {
    drop(out->dx);
    drop(out->dcontext);
    drop(out->dqueries);
    drop(out->dkeys);
    drop(out->dvalues);
    for (size_t l = 0; out->dy && l < depth; l++) drop(out->dy[l]);
    for (size_t l = 0; out->ddropped && l < depth; l++) drop(out->ddropped[l]);
    for (size_t l = 0; out->dinitial && l < depth; l++) state_clear(&out->dinitial[l]);
    PyMem_Free(out->layers);
    PyMem_Free(out->facts);
    PyMem_Free(out->dy);
    PyMem_Free(out->ddropped);
    PyMem_Free(out->dinitial);
    PyMem_Free(out->level);
}

/* The layers whose gradients are added to: those of the tape, or others like them. */
static bool back_layers(const module_state *module, const DecoderTape *d, PyObject *given,
                        decode_back_result *out) {
    out->layers = PyMem_Calloc(d->depth, sizeof *out->layers);
    out->facts = PyMem_Calloc(d->depth, sizeof *out->facts);
    if (!out->layers || !out->facts) return PyErr_NoMemory() != NULL;
    if (!PyTuple_Check(given) || (size_t)PyTuple_Size(given) != d->depth) return refuse("layers");
    for (size_t l = 0; l < d->depth; l++) {
        PyObject *layer = PyTuple_GetItem(given, (Py_ssize_t)l);
        if (!PyObject_TypeCheck(layer, module->recurrent)) return refuse("layers");
        Recurrent *own = out->layers[l] = (Recurrent *)layer;
        if (!recurrent_ready(own)) return false;
        if (!options_same(&own->layer, layer_at(d, l))) return refuse("layers");
        out->facts[l] = d->facts[l];
        out->facts[l].params = PyArray_DATA((PyArrayObject *)own->flat_params);
    }
    return true;
}

/* A copy of floats (B, T, features): it is going to be changed. */
static PyArrayObject *copied_steps(const DecoderTape *d, const char *name, PyObject *given,
                                   size_t features) {
    const dims shape = {3,
                        {PyArray_DIM(d->x, 0), PyArray_DIM(d->x, 1), (npy_intp)features},
                        {"B", "T", "features"}};
    PyArrayObject *array = float_array(name, given, dtype_of_levels(d), &shape, true);
    PyObject *copy = array ? PyArray_NewCopy(array, NPY_CORDER) : NULL;
    drop(array);
    return (PyArrayObject *)copy;
}

static bool level_back_buffers(module_state *module, const DecoderTape *d, size_t l,
                               decode_back_result *out) {
    const level *own = &d->levels[l];
    if (!out->dy[l]) out->dy[l] = new_steps(module, d, width_at(d, l));
    if (own->dropped && !(out->ddropped[l] = new_steps(module, d, layer_at(d, l)->inputs)))
        return false;
    if (!out->dy[l] || !state_new(&out->dinitial[l], layer_at(d, l), d->rows.given.batch))
        return false;
    out->level[l] = (crnn_decoder_level_grads){
        .dy = seq_of(out->dy[l]),
        .ddropped = own->dropped ? seq_of(out->ddropped[l]) : (crnn_seq){0},
        .from_learned = own->tape->call.from_learned,
        .dinitial = state_pointers(&out->dinitial[l]),
        .grads = PyArray_DATA((PyArrayObject *)out->layers[l]->flat_grads)};
    return true;
}

static bool back_buffers(module_state *module, const DecoderTape *d, PyObject *dy,
                         PyObject *dcontext, decode_back_result *out) {
    const size_t top = d->depth - 1;
    out->dy = PyMem_Calloc(d->depth, sizeof *out->dy);
    out->ddropped = PyMem_Calloc(d->depth, sizeof *out->ddropped);
    out->dinitial = PyMem_Calloc(d->depth, sizeof *out->dinitial);
    out->level = PyMem_Calloc(d->depth, sizeof *out->level);
    if (!out->dy || !out->ddropped || !out->dinitial || !out->level)
        return PyErr_NoMemory() != NULL;
    if (!(out->dy[top] = copied_steps(d, "dy", dy, width_at(d, top))) ||
        !(out->dcontext = copied_steps(d, "dcontext", dcontext, d->attention.value_size)))
        return false;
    for (size_t l = 0; l < d->depth; l++)
        if (!level_back_buffers(module, d, l, out)) return false;
    out->dx = new_steps(module, d, (size_t)PyArray_DIM(d->x, 2));
    out->dqueries = new_steps(module, d, d->attention.key_size);
    out->dkeys = (PyArrayObject *)new_array(module, 3, PyArray_DIMS(d->keys), dtype_of_levels(d));
    out->dvalues =
        (PyArrayObject *)new_array(module, 3, PyArray_DIMS(d->values), dtype_of_levels(d));
    return out->dx && out->dqueries && out->dkeys && out->dvalues;
}

/* A gradient that is added to, of the shape of what it is of; NULL for None. */
static bool added_to(const char *name, PyObject *given, PyArrayObject *like, void **to) {
    PyArrayObject *array = (PyArrayObject *)given;
    *to = NULL;
    if (!like && given == Py_None) return true;
    if (like && PyArray_Check(given) && PyArray_TYPE(array) == PyArray_TYPE(like) &&
        PyArray_SAMESHAPE(array, like) && PyArray_ISCARRAY(array)) {
        *to = PyArray_DATA(array);
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s: expected a gradient to add to, got %.200R", name, given);
    return false;
}

static bool back_run(const DecoderTape *d, const decode_back_result *out, crnn_decoder_grads *g) {
    crnn_decoder decoder = decoder_of(d, d->levels[0].tape->tape.kernels);
    size_t bytes;
    decoder.level = out->facts;
    if (!check_status(crnn_decoder_grads_workspace(&decoder, g, &bytes), "tape")) return false;
    g->workspace = alloc_aligned(bytes);
    if (!g->workspace) return false;
    Py_BEGIN_ALLOW_THREADS crnn_decoder_backward(&decoder, g);
    Py_END_ALLOW_THREADS free_aligned(g->workspace);
    return true;
}

/* (dx, dkeys, dvalues, [dstate of each layer]) */
static PyObject *back_tuple(const DecoderTape *d, const decode_back_result *out) {
    PyObject *states = PyList_New((Py_ssize_t)d->depth);
    for (size_t l = 0; states && l < d->depth; l++) {
        PyObject *state = state_object(&out->dinitial[l]);
        if (!state || PyList_SetItem(states, (Py_ssize_t)l, state) < 0) Py_CLEAR(states);
    }
    PyObject *result = states ? PyTuple_Pack(4, out->dx, out->dkeys, out->dvalues, states) : NULL;
    drop(states);
    return result;
}

static PyObject *seq2seq_decode_back(PyObject *self, PyObject *args) {
    PyObject *object, *layers, *dy, *dcontext, *dw_query, *dv, *result = NULL;
    module_state *state = state_of_type(Py_TYPE(self));
    if (!state || !PyArg_ParseTuple(args, "OOOOOO:_decode_back", &object, &layers, &dy, &dcontext,
                                    &dw_query, &dv))
        return NULL;
    if (!PyObject_TypeCheck(object, state->decoder_tape)) {
        PyErr_Format(PyExc_TypeError, "tape: expected the one that decode returned, got %.200R",
                     object);
        return NULL;
    }
    const DecoderTape *d = (DecoderTape *)object;
    decode_back_result out = {0};
    crnn_decoder_grads g = {0};
    if (added_to("dW_query", dw_query, d->w_query, &g.dw_query) &&
        added_to("dv", dv, d->v, &g.dv) && back_layers(state, d, layers, &out) &&
        back_buffers(state, d, dy, dcontext, &out)) {
        g.level = out.level;
        g.dx = seq_of(out.dx);
        g.dcontext = PyArray_DATA(out.dcontext);
        g.dqueries = PyArray_DATA(out.dqueries);
        g.dkeys = PyArray_DATA(out.dkeys);
        g.dvalues = PyArray_DATA(out.dvalues);
        if (back_run(d, &out, &g)) result = back_tuple(d, &out);
    }
    back_clear(&out, d->depth);
    return result;
}

/* ---- the type */

static PyMethodDef seq2seq_methods[] = {
    {"_decode", seq2seq_decode, METH_VARARGS,
     PyDoc_STR("_decode($self, levels, x, symbols, target_lengths, keys, values, source_lengths, "
               "W_query_t, v, training, call, first_row, /)\n--\n\n"
               "y (B, T, P) of the top layer, states, tape. levels: (layer, state, number, "
               "dropout) each; "
               "contexts are written into the last features of x.")},
    {"_decode_back", seq2seq_decode_back, METH_VARARGS,
     PyDoc_STR("_decode_back($self, tape, layers, dy, dcontext, dW_query_t, dv, /)\n--\n\n"
               "dx, dkeys, dvalues, dstates; adds to dW_query_t, dv and the layers' gradients. "
               "layers: those that the tape was made with, or others like them.")},
    {"_generate", seq2seq_generate, METH_VARARGS,
     PyDoc_STR("_generate($self, levels, embedding, feeds, keys, values, source_lengths, "
               "W_query_t, v, W_out_t, b_out, start, searches, /)\n--\n\n"
               "Runs every search to its end. levels: (layer, state) each; searches: some source "
               "rows each, one behind the other.")},
    {0},
};

static PyType_Slot seq2seq_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Runs the decoder of a sequence-to-sequence model.")},
    {Py_tp_methods, seq2seq_methods},
    {0, NULL},
};
PyType_Spec seq2seq_spec = {"crnn._core.Seq2Seq", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                            seq2seq_slots};
