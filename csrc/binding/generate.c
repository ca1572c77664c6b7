/* Generation of a Seq2Seq: all steps in the core, some at a time so that Ctrl-C is heard. Like
 * decoder.c, it is called by crnn's own Python code. */
#include "binding.h"

typedef struct generation {
    size_t depth, count;
    crnn_generator generator;
    crnn_attention attention;
    crnn_generator_level *level; /* owned [depth], */
    Recurrent **layers;          /* and what it points into */
    state_arrays *states;
    void **packed;
    PyArrayObject *embedding, *keys, *values, *source_lengths, *w_query, *v, *w_out, *b_out, *start;
    crnn_generation *parts; /* owned [count], with their memory */
    Search **searches;      /* owned [count] */
} generation;

static void generation_clear(generation *g) {
    PyArrayObject *const arrays[] = {g->embedding,      g->keys,    g->values,
                                     g->source_lengths, g->w_query, g->v,
                                     g->w_out,          g->b_out,   g->start};
    for (size_t l = 0; l < g->depth; l++) {
        drop(g->layers[l]);
        state_clear(&g->states[l]);
        free_aligned(g->packed[l]);
    }
    for (size_t i = 0; i < g->count; i++) {
        free_aligned(g->parts[i].memory);
        drop(g->searches[i]);
    }
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) drop(arrays[i]);
    free_aligned(g->generator.packed);
    PyMem_Free(g->level);
    PyMem_Free(g->layers);
    PyMem_Free(g->states);
    PyMem_Free(g->packed);
    PyMem_Free(g->parts);
    PyMem_Free(g->searches);
}

/* ---- arguments */

typedef struct generate_arguments {
    PyObject *levels, *embedding, *keys, *values, *source_lengths, *w_query, *v, *w_out, *b_out,
        *start, *searches;
    int feeds;
} generate_arguments;

static bool check_tuple(const char *name, PyObject *given, size_t *count) {
    if (PyTuple_Check(given) && PyTuple_Size(given) > 0) {
        *count = (size_t)PyTuple_Size(given);
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s: expected a tuple of at least one", name);
    return false;
}

static crnn_dtype dtype_of_levels(const generation *g) { return g->layers[0]->layer.dtype; }

/* One entry of levels: (layer, state). */
static bool level_parse(generation *g, size_t l, const module_state *module, PyObject *entry) {
    const npy_intp batch = PyArray_DIM(g->start, 0);
    PyObject *layer, *state;
    size_t bytes;
    if (!PyTuple_Check(entry) || !PyArg_ParseTuple(entry, "OO", &layer, &state)) return false;
    if (!PyObject_TypeCheck(layer, module->recurrent) || state == Py_None)
        return refuse_misfit("levels");
    g->layers[l] = (Recurrent *)Py_NewRef(layer);
    if (!recurrent_ready(g->layers[l])) return false;
    const crnn_layer *own = &g->layers[l]->layer;
    if (own->reverse || own->dtype != dtype_of_levels(g) ||
        (l > 0 && own->inputs != crnn_width(&g->layers[l - 1]->layer)))
        return refuse_misfit("levels");
    if (!state_parse(&g->states[l], "state", own, (size_t)batch, state)) return false;
    if (!check_status(crnn_packed_size(own, g->generator.kernels, &bytes), "levels") ||
        !(g->packed[l] = alloc_aligned(bytes)))
        return false;
    crnn_pack(own, g->generator.kernels, PyArray_DATA((PyArrayObject *)g->layers[l]->flat_params),
              g->packed[l]);
    g->level[l] = (crnn_generator_level){own, g->packed[l], state_pointers(&g->states[l])};
    return true;
}

static bool levels_parse(generation *g, const module_state *module, PyObject *given) {
    size_t depth;
    if (!check_tuple("levels", given, &depth)) return false;
    g->level = PyMem_Calloc(depth, sizeof *g->level);
    g->layers = PyMem_Calloc(depth, sizeof *g->layers);
    g->states = PyMem_Calloc(depth, sizeof *g->states);
    g->packed = PyMem_Calloc(depth, sizeof *g->packed);
    if (!g->level || !g->layers || !g->states || !g->packed) return PyErr_NoMemory() != NULL;
    g->depth = g->generator.depth = depth;
    g->generator.level = g->level;
    PyObject *first = PyTuple_GetItem(PyTuple_GetItem(given, 0), 0);
    if (!first || !PyObject_TypeCheck(first, module->recurrent)) return refuse_misfit("levels");
    g->generator.kernels = crnn_kernels_now(((Recurrent *)first)->layer.dtype);
    for (size_t l = 0; l < depth; l++)
        if (!level_parse(g, l, module, PyTuple_GetItem(given, (Py_ssize_t)l))) return false;
    return true;
}

/* Floats of the decoder's type, dense, and where they lie; nothing for None. */
static bool floats_parse(const generation *g, const char *name, PyObject *given, dims shape,
                         PyArrayObject **array, const void **data) {
    *data = NULL;
    if (given == Py_None) return true;
    *array = float_array(name, given, dtype_of_levels(g), &shape, true);
    if (*array) *data = PyArray_DATA(*array);
    return *array != NULL;
}

static bool attention_parse(generation *g, const generate_arguments *given) {
    const npy_intp B = PyArray_DIM(g->start, 0);
    const npy_intp P = (npy_intp)crnn_width(&g->layers[g->depth - 1]->layer);
    crnn_attention *a = &g->attention;
    if (given->keys == Py_None) return !given->feeds || refuse_misfit("keys");
    if (!floats_parse(g, "keys", given->keys, (dims){3, {B, -1, -1}, {"B", "T", "A"}}, &g->keys,
                      &a->keys))
        return false;
    const npy_intp T = PyArray_DIM(g->keys, 1), A = PyArray_DIM(g->keys, 2);
    const dims per_row = {1, {B}, {"B"}};
    if (given->values == Py_None ||
        !floats_parse(g, "values", given->values, (dims){3, {B, T, -1}, {"B", "T", "C"}},
                      &g->values, &a->values) ||
        !floats_parse(g, "W_query", given->w_query, (dims){2, {P, A}, {"P", "A"}}, &g->w_query,
                      &g->generator.w_query) ||
        !floats_parse(g, "v", given->v, (dims){1, {A}, {"A"}}, &g->v, &a->v))
        return PyErr_Occurred() ? false : refuse_misfit("values");
    if (given->source_lengths != Py_None &&
        (!(g->source_lengths = integer_array("source_lengths", given->source_lengths, &per_row)) ||
         !integers_within("source_lengths", g->source_lengths, 0, T)))
        return false;
    a->dtype = dtype_of_levels(g);
    a->batch = (size_t)B;
    a->queries = 1;
    a->steps = (size_t)T;
    a->key_size = (size_t)A;
    a->value_size = (size_t)PyArray_DIM(g->values, 2);
    a->lengths = g->source_lengths ? PyArray_DATA(g->source_lengths) : NULL;
    g->generator.attention = a;
    return (g->w_query || A == P) && A > 0 && a->value_size > 0 ? true : refuse_misfit("keys");
}

/* Embedding and output layer. */
static bool ends_parse(generation *g, const generate_arguments *given) {
    crnn_generator *to = &g->generator;
    const size_t context = to->attention ? to->attention->value_size : 0;
    const npy_intp joined = (npy_intp)(crnn_width(&g->layers[g->depth - 1]->layer) + context);
    const void *w_out;
    if (given->w_out == Py_None ||
        !floats_parse(g, "W_out", given->w_out, (dims){2, {joined, -1}, {"P + C", "K"}}, &g->w_out,
                      &w_out))
        return PyErr_Occurred() ? false : refuse_misfit("W_out");
    const npy_intp K = PyArray_DIM(g->w_out, 1);
    to->w_out = w_out;
    to->symbols = (size_t)K;
    to->feeds = given->feeds;
    if (!floats_parse(g, "b_out", given->b_out, (dims){1, {K}, {"K"}}, &g->b_out, &to->b_out) ||
        !floats_parse(g, "embedding", given->embedding, (dims){2, {K, -1}, {"K", "E"}},
                      &g->embedding, &to->embedding))
        return false;
    to->embedded = g->embedding ? (size_t)PyArray_DIM(g->embedding, 1) : 0;
    const size_t floats = to->embedded + (to->feeds ? context : 0);
    const size_t table = g->embedding ? 0 : (size_t)K;
    if (g->layers[0]->layer.inputs != floats + table || K < 1 || (g->embedding && !to->embedded))
        return refuse_misfit("levels[0]");
    to->start = PyArray_DATA(g->start);
    return integers_within("start", g->start, 0, K - 1);
}

/* Some source rows each, which follow one another. */
static bool searches_parse(generation *g, const module_state *module, PyObject *given) {
    size_t count, next = 0, bytes;
    if (!check_tuple("searches", given, &count)) return false;
    g->parts = PyMem_Calloc(count, sizeof *g->parts);
    g->searches = PyMem_Calloc(count, sizeof *g->searches);
    if (!g->parts || !g->searches) return PyErr_NoMemory() != NULL;
    g->count = count;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(given, (Py_ssize_t)i);
        if (!PyObject_TypeCheck(item, module->search)) return refuse_misfit("searches");
        Search *own = g->searches[i] = (Search *)Py_NewRef(item);
        const crnn_search_options *o = &own->search.options;
        if (own->search.steps != 0 || o->first_group != next || o->symbols != g->generator.symbols)
            return refuse_misfit("searches");
        next += o->groups;
        g->parts[i].search = &own->search;
        if (!check_status(crnn_generation_size(&g->generator, &own->search, &bytes), "beam") ||
            !(g->parts[i].memory = alloc_aligned(bytes)))
            return false;
    }
    return next == (size_t)PyArray_DIM(g->start, 0) ? true : refuse_misfit("searches");
}

static bool generation_parse(generation *g, const module_state *module,
                             const generate_arguments *given) {
    const dims rows = {1, {-1}, {"B"}};
    size_t bytes;
    g->start = integer_array("start", given->start, &rows);
    if (!g->start || !levels_parse(g, module, given->levels) || !attention_parse(g, given) ||
        !ends_parse(g, given) || !searches_parse(g, module, given->searches) ||
        !check_status(crnn_generator_size(&g->generator, &bytes), "W_out"))
        return false;
    g->generator.packed = alloc_aligned(bytes);
    return g->generator.packed != NULL;
}

/* ---- the run */

/* Steps that all searches have room for, 0 once all have ended; false: an exception. */
static bool next_steps(const generation *g, size_t *steps) {
    *steps = 0;
    for (size_t i = 0; i < g->count; i++) {
        if (!g->parts[i].finite) {
            search_refuse_nan(g->searches[i]);
            return false;
        }
        if (search_is_done(g->searches[i])) continue;
        const size_t room = search_room(g->searches[i]);
        if (room == 0) return false;
        if (*steps == 0 || room < *steps) *steps = room;
    }
    return true;
}

static bool generation_run(generation *g) {
    enum { STEPS = 64 /* at a time: then Ctrl-C is looked for */ };
    size_t steps;
    Py_BEGIN_ALLOW_THREADS crnn_generator_pack(&g->generator);
    for (size_t i = 0; i < g->count; i++) crnn_generation_begin(&g->generator, &g->parts[i]);
    Py_END_ALLOW_THREADS while (next_steps(g, &steps)) {
        if (steps == 0) return true;
        Py_BEGIN_ALLOW_THREADS crnn_generate(&g->generator, g->parts, g->count,
                                             steps < STEPS ? steps : STEPS);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) return false;
    }
    return false;
}

PyObject *seq2seq_generate(PyObject *self, PyObject *args) {
    generate_arguments given;
    generation g = {0};
    PyObject *result = NULL;
    module_state *module = state_of_type(Py_TYPE(self));
    if (!module || !PyArg_ParseTuple(args, "OOpOOOOOOOOO:_generate", &given.levels,
                                     &given.embedding, &given.feeds, &given.keys, &given.values,
                                     &given.source_lengths, &given.w_query, &given.v, &given.w_out,
                                     &given.b_out, &given.start, &given.searches))
        return NULL;
    if (generation_parse(&g, module, &given) && generation_run(&g)) result = Py_NewRef(Py_None);
    generation_clear(&g);
    return result;
}
