/* Vectors that are fed back: a stream that reads its own output. All steps are done in the core,
 * some at a time so that Ctrl-C is noticed. */
#include "plan.h"

/* Some rows of the stream, and the plan for them. */
typedef struct part {
    crnn_node *nodes;         /* owned [count] */
    size_t first;             /* row of the stream */
    running_memory *running;  /* owned [count] of owned: of nodes that are no recurrent layers */
    memory_reader *readers;   /* owned [count] of owned: of nodes with a memory */
    size_t *words;            /* owned */
    void *values, *workspace; /* owned */
    crnn_rows rows;
    crnn_plan plan;
} part;

typedef struct loop {
    Stream *stream;
    size_t outputs, given;    /* O, and E: features of the input that are those of x */
    PyArrayObject *start, *x; /* owned: (B, O); (B, T, E) or NULL */
    PyArrayObject *input;     /* owned (B, F) */
    PyArrayObject *y;         /* owned (B, T, O) */
    node_call *states;        /* owned: copies of those of the stream, which the steps change */
    size_t count;
    part *parts;             /* owned [count] */
    crnn_feedback *feedback; /* owned [count]: the parts, as the core wants them */
} loop;

static void part_clear(part *p, size_t nodes) {
    for (size_t i = 0; p->running && i < nodes; i++) running_clear(&p->running[i]);
    readers_clear(p->readers, nodes);
    PyMem_Free(p->running);
    PyMem_Free(p->nodes);
    free_aligned(p->words);
    free_aligned(p->values);
    free_aligned(p->workspace);
}

static void loop_clear(loop *l) {
    const Plan *plan = l->stream->plan;
    for (size_t i = 0; l->parts && i < l->count; i++) part_clear(&l->parts[i], plan->count);
    plan_release(plan, l->states);
    PyMem_Free(l->parts);
    PyMem_Free(l->feedback);
    drop(l->start);
    drop(l->x);
    drop(l->input);
    drop(l->y);
}

/* ---- a part */

/* Copies of the stream's nodes for rows from `first` on, with memory of their own. */
static bool new_nodes(const loop *l, part *p, size_t first, size_t rows) {
    const Plan *plan = l->stream->plan;
    p->nodes = PyMem_Calloc(plan->count, sizeof *p->nodes);
    p->running = PyMem_Calloc(plan->count, sizeof *p->running);
    p->readers = PyMem_Calloc(plan->count, sizeof *p->readers);
    if (!p->nodes || !p->running || !p->readers) return PyErr_NoMemory() != NULL;
    memcpy(p->nodes, l->stream->nodes, plan->count * sizeof *p->nodes);
    for (size_t i = 0; i < plan->count; i++) {
        const state_arrays *state = &l->states[i].final;
        if (node_has_state(&plan->nodes[i])) node_set_states(&p->nodes[i], state, state, first);
        node_set_rows(&p->nodes[i], &p->rows);
    }
    p->nodes[0].features = plan->nodes[0].features;
    p->nodes[0].symbols = NULL;
    p->nodes[0].value = (crnn_seq){row_of(l->input, first), (ptrdiff_t)plan->nodes[0].features, 0};
    p->values = step_values(plan, p->nodes, rows);
    return p->values && new_sources(plan, l->stream, p->nodes, first, rows, rows, p->readers);
}

/* Memory for the states of nodes that are no recurrent layers. */
static bool new_memories(const loop *l, part *p) {
    const Plan *plan = l->stream->plan;
    for (size_t i = 0; i < plan->count; i++) {
        if (node_runs_on(&plan->nodes[i]) &&
            !running_load(&p->running[i], plan, &p->plan, &p->nodes[i], p->rows.given.batch,
                          &l->states[i].final, p->first))
            return false;
    }
    return true;
}

/* Makes room for so many more steps. */
static bool reserve(const loop *l, size_t steps) {
    const Plan *plan = l->stream->plan;
    for (size_t k = 0; k < l->count; k++) {
        part *p = &l->parts[k];
        bool grown = false;
        for (size_t i = 0; i < plan->count; i++)
            if (p->running[i].memory &&
                !running_reserve(&p->running[i], plan, &p->plan, &p->nodes[i], steps, &grown))
                return false;
        if (!grown) continue;
        free_aligned(p->workspace);
        if (!(p->workspace = p->plan.workspace = step_workspace(&p->plan))) return false;
    }
    return true;
}

/* The states of nodes that are no recurrent layers, of all parts. */
static bool collect_states(const loop *l) {
    const Plan *plan = l->stream->plan;
    for (size_t i = 0; l->count > 0 && i < plan->count; i++) {
        state_arrays *all = &l->states[i].final;
        if (!node_runs_on(&plan->nodes[i])) continue;
        size_t slots = 0;
        for (size_t k = 0; k < l->count; k++) {
            const size_t own = running_slots(&l->parts[k].running[i], &plan->nodes[i]);
            if (own > slots) slots = own;
        }
        state_clear(all);
        if (!node_state_new(plan, i, NULL, l->stream->batch, slots, false, all)) return false;
        for (size_t k = 0; k < l->count; k++) {
            part *p = &l->parts[k];
            running_save(&p->running[i], &p->plan, &p->nodes[i], all, p->first);
        }
    }
    return true;
}

/* The stream goes on behind the last step. */
static bool store_states(Stream *stream, const loop *l) {
    return collect_states(l) && stream_take_states(stream, l->states, final_of);
}

/* The steps of an array (B, T, features) from row `first` on. */
static crnn_seq rows_of(PyArrayObject *array, size_t first) {
    if (!array) return (crnn_seq){0};
    const npy_intp item = PyArray_ITEMSIZE(array);
    return (crnn_seq){row_of(array, first), PyArray_STRIDE(array, 0) / item,
                      PyArray_STRIDE(array, 1) / item};
}

static bool part_init(const loop *l, size_t i, size_t first, size_t rows) {
    part *p = &l->parts[i];
    if (!(p->words = step_rows(&p->rows, rows)) || !new_nodes(l, p, first, rows)) return false;
    p->plan = l->stream->core;
    p->plan.rows = &p->rows;
    p->plan.node = p->nodes;
    p->first = first;
    if (!new_memories(l, p)) return false;
    p->workspace = p->plan.workspace = step_workspace(&p->plan);
    l->feedback[i] = (crnn_feedback){.plan = &p->plan,
                                     .node = p->nodes,
                                     .given = l->given,
                                     .x = rows_of(l->x, first),
                                     .y = rows_of(l->y, first)};
    return p->workspace != NULL;
}

/* Bytes of all weights: what a step takes. */
static size_t weights_of(const loop *l) {
    size_t bytes;
    return crnn_plan_packed_size(&l->stream->core, &bytes) == CRNN_OK ? bytes : SIZE_MAX;
}

/* A part for each thread. With fewer rows than threads, large weights are shared by all threads at
 * each step instead. */
static size_t count_parts(const loop *l) {
    enum { LARGE = 1 << 20 };
    const size_t rows = l->stream->batch, threads = crnn_threads();
    if (rows >= threads) return threads;
    return weights_of(l) >= LARGE || rows == 0 ? 1 : rows;
}

static bool new_parts(loop *l) {
    const size_t count = count_parts(l), rows = l->stream->batch;
    l->parts = PyMem_Calloc(count, sizeof *l->parts);
    l->feedback = PyMem_Calloc(count, sizeof *l->feedback);
    if (!l->parts || !l->feedback) return PyErr_NoMemory() != NULL;
    l->count = count;
    for (size_t i = 0, first = 0; i < count; i++) {
        const size_t own = rows / count + (i < rows % count);
        if (!part_init(l, i, first, own)) return false;
        first += own;
    }
    return true;
}

/* ---- the run */

/* The first step reads `start` in place of an output. */
static bool new_input(loop *l) {
    const size_t features = l->stream->plan->nodes[0].features;
    const npy_intp shape[2] = {(npy_intp)l->stream->batch, (npy_intp)features};
    l->input = (PyArrayObject *)new_zeros(2, shape, typenum_of(l->stream->plan->dtype));
    for (size_t row = 0; l->input && row < l->stream->batch; row++) {
        const size_t item = (size_t)PyArray_ITEMSIZE(l->input);
        char *to = row_of(l->input, row);
        for (size_t i = l->given; i < features; i += l->outputs)
            memcpy(to + i * item, row_of(l->start, row), l->outputs * item);
    }
    return l->input != NULL;
}

/* Steps between two looks for Ctrl-C. */
static size_t steps_at_once(const loop *l) {
    enum { MOST = 1024 };
    const double bytes = (double)weights_of(l) * (double)l->stream->batch;
    const double steps = (double)(1 << 28) / (bytes + 1);
    return steps >= MOST ? MOST : steps <= 1 ? 1 : (size_t)steps;
}

/* Whether there are positions for all steps. */
static bool positions_fit(const loop *l, size_t steps) {
    const Plan *plan = l->stream->plan;
    for (size_t k = 0; k < l->count; k++) {
        part *p = &l->parts[k];
        for (size_t i = 0; i < plan->count; i++)
            if (p->running[i].memory &&
                !running_may_read(&p->running[i], plan, &p->plan, &p->nodes[i], steps))
                return false;
    }
    return true;
}

static bool loop_run(loop *l, size_t steps) {
    const size_t most = steps_at_once(l);
    if (!positions_fit(l, steps)) return false;
    for (size_t done = 0, now; done < steps; done += now) {
        now = steps - done < most ? steps - done : most;
        if (!reserve(l, now)) return false;
        Py_BEGIN_ALLOW_THREADS crnn_feed_back(l->feedback, l->count, now);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) return false;
    }
    return true;
}

/* ---- methods of Stream */

/* Reads the arguments of one call, and allocates its output. */
static bool loop_read(loop *l, size_t steps, PyObject *start, PyObject *x) {
    const Plan *plan = l->stream->plan;
    const npy_intp rows = (npy_intp)l->stream->batch;
    const size_t features = plan->nodes[0].features;
    l->outputs = plan->nodes[plan->count - 1].features;
    const dims first = {2, {rows, (npy_intp)l->outputs}, {"B", "O"}};
    const dims given = {3, {rows, (npy_intp)steps, -1}, {"B", "T", "E"}};
    const npy_intp shape[3] = {rows, (npy_intp)steps, (npy_intp)l->outputs};
    if (plan->attend) return refuse_misfit("stream");
    if (x != Py_None && !(l->x = float_array("x", x, plan->dtype, &given, false))) return false;
    l->given = l->x ? (size_t)PyArray_DIM(l->x, 2) : 0;
    if (l->given >= features || (features - l->given) % l->outputs != 0) return refuse_misfit("x");
    l->start = float_array("start", start, plan->dtype, &first, false);
    l->y = l->start ? (PyArrayObject *)new_plain_array(3, shape, typenum_of(plan->dtype)) : NULL;
    return l->y && new_input(l);
}

PyObject *stream_feed(Stream *self, PyObject *args) {
    loop l = {.stream = self};
    PyObject *start, *given, *x, *result = NULL;
    size_t steps;
    if (!PyArg_ParseTuple(args, "OOO:_feed", &start, &given, &x) ||
        !parse_size("steps", given, &steps))
        return NULL;
    if (loop_read(&l, steps, start, x) && (l.states = stream_states(self)) && new_parts(&l) &&
        loop_run(&l, steps)) {
        bool fine;
        LOCK(self);
        fine = store_states(self, &l);
        UNLOCK();
        if (fine) result = Py_NewRef((PyObject *)l.y);
    }
    loop_clear(&l);
    return result;
}
