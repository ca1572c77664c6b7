/* Generation: a stream whose plan has a choice at its end and reads what it chose. All steps are
 * done in the core, some at a time so that Ctrl-C is noticed. */
#include "plan.h"

/* One search: its rows, and the plan for them. */
typedef struct part {
    Search *search;                /* owned, claimed */
    state_arrays *initial, *final; /* owned [count] of owned: of recurrent nodes */
    running_memory *running;       /* owned [count] of owned: of other nodes */
    memory_reader *readers;        /* owned [count] of owned: of nodes with a memory */
    crnn_node *nodes;              /* owned [count + 1]: the last one chooses */
    crnn_edge logits;              /* its edge */
    size_t most;                   /* rows that there may be */
    int64_t *symbols;              /* owned [rows] */
    size_t *source;                /* owned [rows], of attention; else NULL */
    size_t *words;                 /* owned */
    void *values, *workspace;      /* owned */
    crnn_rows rows;
    crnn_plan plan;
} part;

typedef struct generation {
    Stream *stream;
    node_call *states; /* owned: those of the stream */
    size_t count;
    part *parts;            /* owned [count] */
    crnn_generation *given; /* owned [count]: these parts, as the core wants them */
} generation;

static void part_clear(part *p, size_t nodes) {
    for (size_t i = 0; i < nodes; i++) {
        if (p->initial) state_clear(&p->initial[i]);
        if (p->final) state_clear(&p->final[i]);
        if (p->running) running_clear(&p->running[i]);
    }
    readers_clear(p->readers, nodes);
    PyMem_Free(p->running);
    PyMem_Free(p->initial);
    PyMem_Free(p->final);
    PyMem_Free(p->nodes);
    free_aligned(p->symbols);
    free_aligned(p->source);
    free_aligned(p->words);
    free_aligned(p->values);
    free_aligned(p->workspace);
    if (p->search) p->search->busy = false;
    drop(p->search);
}

static void generation_clear(generation *g) {
    for (size_t i = 0; g->parts && i < g->count; i++)
        part_clear(&g->parts[i], g->stream->plan->count);
    plan_release(g->stream->plan, g->states);
    PyMem_Free(g->parts);
    PyMem_Free(g->given);
}

/* ---- a part */

/* The first rows of `to` are those of a stream's state from row `first` on. An array without
 * elements has strides nevertheless. */
static void copy_first(PyArrayObject *to, PyArrayObject *from, size_t first, size_t rows) {
    if (!to || PyArray_SIZE(from) == 0) return;
    const size_t bytes = (size_t)PyArray_STRIDE(from, 0);
    memcpy(PyArray_DATA(to), PyArray_BYTES(from) + first * bytes, rows * bytes);
}

/* The states of node i, which begin as the stream's. */
static bool new_state(const generation *g, part *p, size_t i, size_t rows) {
    const Plan *plan = g->stream->plan;
    const crnn_layer *layer = &g->stream->states[i].layer;
    const crnn_search_options *o = &p->search->search.options;
    const state_arrays *from = &g->states[i].final;
    const size_t slots = node_slots(from);
    if (!node_state_new(plan, i, layer, rows, slots, false, &p->initial[i]) ||
        (plan->nodes[i].layer && !node_state_new(plan, i, layer, rows, 0, false, &p->final[i])))
        return false;
    /* rows that live later have read nothing yet */
    state_part_copy(plan->nodes[i].op == CRNN_OP_POSITIONS ? p->initial[i].h : p->initial[i].steps,
                    NULL);
    copy_first(p->initial[i].h, from->h, o->first_group, o->groups);
    copy_first(p->initial[i].c, from->c, o->first_group, o->groups);
    copy_first(p->initial[i].steps, from->steps, o->first_group, o->groups);
    node_set_states(&p->nodes[i], &p->initial[i], &p->final[i], 0);
    node_set_rows(&p->nodes[i], &p->rows);
    return true;
}

/* A new workspace for all rows that there may be; frees the one before. */
static void *part_workspace(part *p) {
    const crnn_steps step = {.batch = p->most, .steps = 1};
    crnn_rows_init(&p->rows, p->words, &step); /* crnn_generate sets the rows that live */
    free_aligned(p->workspace);
    return step_workspace(&p->plan);
}

/* Memory for nodes that are no recurrent layers, from their initial states. */
static bool new_memories(const Plan *plan, part *p) {
    for (size_t i = 0; i < plan->count; i++) {
        if (node_runs_on(&plan->nodes[i]) &&
            !running_load(&p->running[i], plan, &p->plan, &p->nodes[i], p->rows.given.batch,
                          &p->initial[i], 0))
            return false;
    }
    return true;
}

/* Makes room for so many more steps. */
static bool reserve(const generation *g, size_t steps) {
    const Plan *plan = g->stream->plan;
    for (size_t k = 0; k < g->count; k++) {
        part *p = &g->parts[k];
        bool grown = false;
        for (size_t i = 0; !search_is_done(p->search) && i < plan->count; i++)
            if (p->running[i].memory &&
                !running_reserve(&p->running[i], plan, &p->plan, &p->nodes[i], steps, &grown))
                return false;
        if (grown && !(p->workspace = p->plan.workspace = part_workspace(p))) return false;
    }
    return true;
}

/* Row i of attention reads its own group of the memory. */
static bool new_source(part *p, crnn_attend *attend, size_t rows) {
    const crnn_search_options *o = &p->search->search.options;
    p->source = attend->source = alloc_aligned(rows * sizeof *p->source);
    for (size_t i = 0; p->source && i < o->groups; i++) p->source[i] = o->first_group + i;
    return p->source != NULL;
}

/* Copies of the stream's nodes, with memory of their own, and the choice. */
static bool new_nodes(const generation *g, part *p, size_t rows) {
    Stream *stream = g->stream;
    const Plan *plan = stream->plan;
    p->initial = PyMem_Calloc(plan->count, sizeof *p->initial);
    p->final = PyMem_Calloc(plan->count, sizeof *p->final);
    p->nodes = PyMem_Calloc(plan->count + 1, sizeof *p->nodes);
    p->running = PyMem_Calloc(plan->count, sizeof *p->running);
    p->readers = PyMem_Calloc(plan->count, sizeof *p->readers);
    if (!p->initial || !p->final || !p->nodes || !p->running || !p->readers)
        return PyErr_NoMemory() != NULL;
    memcpy(p->nodes, stream->nodes, plan->count * sizeof *p->nodes);
    for (size_t i = 0; i < plan->count; i++)
        if (node_has_state(&plan->nodes[i]) && !new_state(g, p, i, rows)) return false;
    if (plan->attend && !new_source(p, &p->nodes[plan->attend].as.attend, rows)) return false;
    const crnn_search_options *o = &p->search->search.options;
    if (!new_sources(plan, stream, p->nodes, o->first_group, o->groups, rows, p->readers))
        return false;
    p->logits = (crnn_edge){plan->count - 1, 0};
    p->nodes[0].features = 0;
    p->nodes[0].symbols = p->symbols;
    p->nodes[plan->count] =
        (crnn_node){.op = CRNN_OP_CHOOSE, .edges = 1, .from = &p->logits, .symbols = p->symbols};
    p->nodes[plan->count].as.choose.search = &p->search->search;
    return (p->values = step_values(plan, p->nodes, rows)) != NULL;
}

/* A search of the rows from `first` on, which read the symbols `start`. */
static bool part_init(const generation *g, part *p, PyObject *search, size_t first,
                      const int64_t *start) {
    const Stream *stream = g->stream;
    size_t rows, bytes;
    if (!PyObject_TypeCheck(search, stream->module->search)) return refuse_misfit("searches");
    if (!search_claim((Search *)search)) return false;
    p->search = (Search *)Py_NewRef(search);
    const crnn_search_options *o = &p->search->search.options;
    if (p->search->search.steps != 0 || o->first_group != first ||
        o->groups > stream->batch - first || o->symbols != stream->plan->nodes[0].symbols)
        return refuse_misfit("searches");
    if (!crnn_size_mul(o->groups, o->width, &rows) ||
        !crnn_size_mul(rows, sizeof *p->symbols, &bytes))
        return PyErr_NoMemory() != NULL;
    p->most = rows;
    p->symbols = alloc_aligned(bytes);
    p->words = p->symbols ? step_rows(&p->rows, rows) : NULL;
    if (!p->words || !new_nodes(g, p, rows)) return false;
    memcpy(p->symbols, start + first, o->groups * sizeof *start);
    p->plan = stream->core;
    p->plan.rows = &p->rows;
    p->plan.count++;
    p->plan.node = p->nodes;
    if (!new_memories(stream->plan, p)) return false;
    p->workspace = p->plan.workspace = part_workspace(p);
    return p->workspace != NULL;
}

static bool generation_init(generation *g, PyObject *searches, const int64_t *start) {
    size_t next = 0;
    g->count = (size_t)PyTuple_Size(searches);
    g->parts = PyMem_Calloc(g->count ? g->count : 1, sizeof *g->parts);
    g->given = PyMem_Calloc(g->count ? g->count : 1, sizeof *g->given);
    if (!g->parts || !g->given) return PyErr_NoMemory() != NULL;
    for (size_t i = 0; i < g->count; i++) {
        part *p = &g->parts[i];
        if (!part_init(g, p, PyTuple_GetItem(searches, (Py_ssize_t)i), next, start)) return false;
        next += p->search->search.options.groups;
        g->given[i] = (crnn_generation){&p->plan, &p->rows, p->words, true};
    }
    return next == g->stream->batch || refuse_misfit("searches");
}

/* ---- the run */

/* Steps that all searches have room for, 0 once all have ended; false: an exception. */
static bool next_steps(const generation *g, size_t *steps) {
    *steps = 0;
    for (size_t i = 0; i < g->count; i++) {
        Search *search = g->parts[i].search;
        if (!g->given[i].finite) {
            search_refuse_nan(search);
            return false;
        }
        if (search_is_done(search)) continue;
        const size_t room = search_room(search);
        if (room == 0) return false;
        if (*steps == 0 || room < *steps) *steps = room;
    }
    return true;
}

/* How many of these steps the rows that live have positions for, at least 1: if there are none, the
 * next step is refused. False: an exception. */
static bool find_left(const generation *g, size_t *steps) {
    const Plan *plan = g->stream->plan;
    for (size_t k = 0; k < g->count; k++) {
        part *p = &g->parts[k];
        if (search_is_done(p->search)) continue;
        for (size_t i = 0; i < plan->count; i++)
            if (p->running[i].memory &&
                !running_left(&p->running[i], plan, &p->plan, &p->nodes[i], *steps, steps))
                return false;
    }
    if (*steps == 0) *steps = 1;
    return true;
}

static bool generation_run(generation *g) {
    enum { STEPS = 64 /* between two looks for Ctrl-C */ };
    size_t steps;
    while (next_steps(g, &steps)) {
        if (steps == 0) return true;
        if (steps > STEPS) steps = STEPS;
        if (!find_left(g, &steps) || !reserve(g, steps)) return false;
        Py_BEGIN_ALLOW_THREADS crnn_generate(g->given, g->count, steps);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) return false;
    }
    return false;
}

/* ---- methods of Stream */

PyObject *stream_get_symbols(Stream *self, void *unused) {
    const plan_node *nodes = self->plan->nodes;
    const bool fits = nodes[self->plan->count - 1].features == nodes[0].symbols;
    (void)unused;
    return PyLong_FromSize_t(fits ? nodes[0].symbols : 0);
}

/* (B,) integers, all of which the plan reads; a new reference, or NULL. */
static PyArrayObject *start_array(const Stream *self, PyObject *object) {
    const dims shape = {1, {(npy_intp)self->batch}, {"B"}};
    const size_t K = self->plan->nodes[0].symbols;
    PyArrayObject *start = integer_array("start", object, &shape);
    const int64_t *symbol = start ? PyArray_DATA(start) : NULL;
    for (size_t row = 0; start && row < self->batch; row++) {
        if (symbol[row] >= 0 && (uint64_t)symbol[row] < K) continue;
        PyErr_Format(PyExc_ValueError,
                     "start: expected integers from 0 to K-1=%zu, got %lld in row %zu", K - 1,
                     (long long)symbol[row], row);
        Py_CLEAR(start);
    }
    return start;
}

PyObject *stream_generate(Stream *self, PyObject *args) {
    generation g = {.stream = self};
    PyObject *given, *searches, *result = NULL;
    const plan_node *nodes = self->plan->nodes;
    if (!PyArg_ParseTuple(args, "OO!:_generate", &given, &PyTuple_Type, &searches)) return NULL;
    if (nodes[0].symbols == 0 || nodes[self->plan->count - 1].features != nodes[0].symbols)
        return refused("searches");
    PyArrayObject *start = start_array(self, given);
    if (!start) return NULL;
    const bool ready =
        (g.states = stream_states(self)) && generation_init(&g, searches, PyArray_DATA(start));
    if (ready && generation_run(&g)) result = Py_NewRef(Py_None);
    generation_clear(&g);
    drop(start);
    return result;
}
