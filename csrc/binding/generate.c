/* Generation of a Seq2Seq: all steps in the core, some at a time so that Ctrl-C is heard. It is
 * called by crnn's own Python code. */
#include "binding.h"

typedef struct generation {
    size_t batch, depth, count;
    crnn_generator generator;
    crnn_attention attention;
    crnn_generator_level *level; /* owned [depth], */
    held_layer *layers;          /* and what it points into */
    state_arrays *states;
    void **packed;
    attention_arrays arrays;
    PyArrayObject *embedding, *w_out, *b_out, *start;
    crnn_generation *parts; /* owned [count], with their memory */
    Search **searches;      /* owned [count] */
} generation;

static void generation_clear(generation *g) {
    for (size_t l = 0; l < g->depth; l++) {
        layer_release(&g->layers[l]);
        state_clear(&g->states[l]);
        free_aligned(g->packed[l]);
    }
    for (size_t i = 0; i < g->count; i++) {
        free_aligned(g->parts[i].memory);
        if (g->searches[i]) g->searches[i]->busy = false;
        drop(g->searches[i]);
    }
    attention_clear(&g->arrays);
    drop(g->embedding);
    drop(g->w_out);
    drop(g->b_out);
    drop(g->start);
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
    PyObject *levels, *embedding, *w_out, *b_out, *start, *searches;
    attention_given attention;
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

static crnn_dtype dtype_of_levels(const generation *g) { return g->layers[0].layer.dtype; }

static size_t width_at(const generation *g, size_t l) { return crnn_width(&g->layers[l].layer); }

/* One entry of levels: (layer, state). */
static bool level_hold(generation *g, size_t l, const module_state *module, PyObject *entry) {
    if (!PyTuple_Check(entry) || PyTuple_Size(entry) != 2 ||
        !PyObject_TypeCheck(PyTuple_GetItem(entry, 0), module->recurrent) ||
        PyTuple_GetItem(entry, 1) == Py_None)
        return refuse_misfit("levels");
    if (!layer_hold(&g->layers[l], (Recurrent *)PyTuple_GetItem(entry, 0))) return false;
    const crnn_layer *own = &g->layers[l].layer;
    return (!own->reverse && own->dtype == dtype_of_levels(g) &&
            (l == 0 || own->inputs == width_at(g, l - 1))) ||
           refuse_misfit("levels");
}

static bool level_parse(generation *g, size_t l, PyObject *state) {
    const held_layer *held = &g->layers[l];
    size_t bytes;
    if (!state_parse(&g->states[l], "state", &held->layer, g->batch, state) ||
        !check_status(crnn_packed_size(&held->layer, g->generator.kernels, &bytes), "levels") ||
        !(g->packed[l] = alloc_aligned(bytes)))
        return false;
    crnn_pack(&held->layer, g->generator.kernels, held_params(held), g->packed[l]);
    g->level[l] = (crnn_generator_level){&held->layer, g->packed[l], state_pointers(&g->states[l])};
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
    for (size_t l = 0; l < depth; l++)
        if (!level_hold(g, l, module, PyTuple_GetItem(given, (Py_ssize_t)l))) return false;
    g->generator.kernels = crnn_kernels_now(dtype_of_levels(g));
    for (size_t l = 0; l < depth; l++)
        if (!level_parse(g, l, PyTuple_GetItem(PyTuple_GetItem(given, (Py_ssize_t)l), 1)))
            return false;
    return true;
}

static bool attention_parse(generation *g, const generate_arguments *given) {
    crnn_attention *a = &g->attention;
    if (given->attention.keys == Py_None) return !given->feeds || refuse_misfit("keys");
    *a = (crnn_attention){.dtype = dtype_of_levels(g), .batch = g->batch, .queries = 1};
    g->generator.attention = a;
    if (!attention_read(a, &g->arrays, NULL, &given->attention, width_at(g, g->depth - 1)))
        return false;
    g->generator.w_query = data_of(g->arrays.w_query);
    return true;
}

/* Embedding and output layer. */
static bool ends_parse(generation *g, const generate_arguments *given) {
    crnn_generator *to = &g->generator;
    const crnn_dtype dtype = dtype_of_levels(g);
    const size_t context = to->attention ? to->attention->value_size : 0;
    const npy_intp joined = (npy_intp)(width_at(g, g->depth - 1) + context);
    dims out = {2, {joined, -1}, {"P + C", "K"}};
    if (given->w_out == Py_None) return refuse_misfit("W_out");
    if (!floats_read(NULL, "W_out", given->w_out, dtype, &out, &g->w_out)) return false;
    const npy_intp K = out.size[1];
    dims bias = {1, {K}, {"K"}}, embedding = {2, {K, -1}, {"K", "E"}};
    to->symbols = (size_t)K;
    to->feeds = given->feeds;
    if (!floats_read(NULL, "b_out", given->b_out, dtype, &bias, &g->b_out) ||
        !floats_read(NULL, "embedding", given->embedding, dtype, &embedding, &g->embedding))
        return false;
    to->w_out = data_of(g->w_out);
    to->b_out = data_of(g->b_out);
    to->embedding = data_of(g->embedding);
    to->embedded = g->embedding ? (size_t)embedding.size[1] : 0;
    const size_t floats = to->embedded + (to->feeds ? context : 0);
    const size_t table = g->embedding ? 0 : (size_t)K;
    if (g->layers[0].layer.inputs != floats + table || K < 1 || (g->embedding && !to->embedded))
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
        Search *own = (Search *)item;
        const crnn_search_options *o = &own->search.options;
        if (!search_claim(own)) return false;
        g->searches[i] = (Search *)Py_NewRef(item);
        if (own->search.steps != 0 || o->first_group != next || o->symbols != g->generator.symbols)
            return refuse_misfit("searches");
        next += o->groups;
        g->parts[i].search = &own->search;
        if (!check_status(crnn_generation_size(&g->generator, &own->search, &bytes), "beam") ||
            !(g->parts[i].memory = alloc_aligned(bytes)))
            return false;
    }
    return next == g->batch || refuse_misfit("searches");
}

static bool generation_parse(generation *g, const module_state *module,
                             const generate_arguments *given) {
    const dims rows = {1, {-1}, {"B"}};
    size_t bytes;
    g->start = integer_array("start", given->start, &rows);
    if (g->start) g->batch = (size_t)PyArray_DIM(g->start, 0);
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
    module_state *module = PyModule_GetState(self);
    if (!PyArg_ParseTuple(args, "OOpOOOOOOOOO:seq2seq_generate", &given.levels, &given.embedding,
                          &given.feeds, &given.attention.keys, &given.attention.values,
                          &given.attention.lengths, &given.attention.w_query, &given.attention.v,
                          &given.w_out, &given.b_out, &given.start, &given.searches))
        return NULL;
    if (generation_parse(&g, module, &given) && generation_run(&g)) result = Py_NewRef(Py_None);
    generation_clear(&g);
    return result;
}
