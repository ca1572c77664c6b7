/* Sample paths: a stream that reads the numbers drawn from its outputs. All steps are done in the
 * core, some at a time so that Ctrl-C is noticed. The paths run in parts of some rows, each of
 * which begins with the states of the series that its rows belong to; as many parts are in memory
 * as there are threads. */
#include "plan.h"

/* Some of the paths, and the plan for them. */
typedef struct part {
    size_t first, rows;                         /* of all paths */
    crnn_node *nodes;                           /* owned [count] */
    state_arrays *states;                       /* owned [count] of owned: of recurrent nodes */
    running_memory *running;                    /* owned [count] of owned: of other nodes */
    size_t *words;                              /* owned */
    void *input, *values, *workspace, *scratch; /* owned */
    crnn_rows set;
    crnn_plan plan;
} part;

typedef struct sampling {
    Stream *stream;
    PyArrayObject *x, *scales, *series, *lags; /* owned: (B, T, F), (B,), (B,), (L,) */
    PyArrayObject *paths;                      /* owned (B, S, T - gap) */
    node_call *states;                         /* owned: copies of those of the stream */
    crnn_paths given;
    size_t rows, each, at_once; /* paths; of a part; parts in memory */
    part *parts;                /* owned [at_once] */
    crnn_forecast *forecasts;   /* owned [at_once]: the parts, as the core wants them */
} sampling;

static void part_clear(part *p, size_t nodes) {
    for (size_t i = 0; i < nodes; i++) {
        if (p->states) state_clear(&p->states[i]);
        if (p->running) running_clear(&p->running[i]);
    }
    PyMem_Free(p->states);
    PyMem_Free(p->running);
    PyMem_Free(p->nodes);
    free_aligned(p->words);
    free_aligned(p->input);
    free_aligned(p->values);
    free_aligned(p->workspace);
    free_aligned(p->scratch);
    *p = (part){0};
}

static void sampling_clear(sampling *s) {
    for (size_t i = 0; s->parts && i < s->at_once; i++)
        part_clear(&s->parts[i], s->stream->plan->count);
    plan_release(s->stream->plan, s->states);
    PyMem_Free(s->parts);
    PyMem_Free(s->forecasts);
    drop(s->x);
    drop(s->scales);
    drop(s->series);
    drop(s->lags);
    drop(s->paths);
}

/* ---- a part */

/* Each row of `to` is that of its series. An array without elements has strides nevertheless. */
static void repeat_rows(PyArrayObject *to, PyArrayObject *from, const part *p, size_t samples) {
    if (!to || PyArray_SIZE(from) == 0) return;
    for (size_t row = 0; row < p->rows; row++)
        memcpy(row_of(to, row), row_of(from, (p->first + row) / samples),
               (size_t)PyArray_STRIDE(from, 0));
}

/* The state of node i, which begins as that of the series. */
static bool new_state(const sampling *s, part *p, size_t i) {
    const Plan *plan = s->stream->plan;
    const state_arrays *from = &s->states[i].final;
    if (!node_has_state(&plan->nodes[i])) return true;
    if (!node_state_new(plan, i, &s->stream->states[i].layer, p->rows, node_slots(from), false,
                        &p->states[i]))
        return false;
    repeat_rows(p->states[i].h, from->h, p, s->given.samples);
    repeat_rows(p->states[i].c, from->c, p, s->given.samples);
    repeat_rows(p->states[i].steps, from->steps, p, s->given.samples);
    node_set_states(&p->nodes[i], &p->states[i], &p->states[i], 0);
    node_set_rows(&p->nodes[i], &p->set);
    return true;
}

/* Copies of the stream's nodes, with memory of their own. */
static bool new_nodes(const sampling *s, part *p) {
    const Plan *plan = s->stream->plan;
    const size_t features = plan->nodes[0].features;
    size_t bytes;
    p->nodes = PyMem_Calloc(plan->count, sizeof *p->nodes);
    p->states = PyMem_Calloc(plan->count, sizeof *p->states);
    p->running = PyMem_Calloc(plan->count, sizeof *p->running);
    if (!p->nodes || !p->states || !p->running ||
        !crnn_size_mul(p->rows * crnn_dtype_size(plan->dtype), features, &bytes))
        return PyErr_NoMemory() != NULL;
    memcpy(p->nodes, s->stream->nodes, plan->count * sizeof *p->nodes);
    for (size_t i = 0; i < plan->count; i++)
        if (!new_state(s, p, i)) return false;
    p->input = alloc_aligned(bytes);
    p->nodes[0].features = features;
    p->nodes[0].symbols = NULL;
    p->nodes[0].value = (crnn_seq){p->input, (ptrdiff_t)features, 0};
    return p->input && (p->values = step_values(plan, p->nodes, p->rows));
}

/* The states of nodes that are no recurrent layers move to memory of theirs. */
static bool new_memories(const sampling *s, part *p) {
    const Plan *plan = s->stream->plan;
    for (size_t i = 0; i < plan->count; i++) {
        if (!node_runs_on(&plan->nodes[i])) continue;
        if (!running_load(&p->running[i], plan, &p->plan, &p->nodes[i], p->rows, &p->states[i], 0))
            return false;
        state_clear(&p->states[i]);
    }
    return true;
}

static bool part_init(const sampling *s, part *p, crnn_forecast *forecast) {
    size_t bytes;
    if (!(p->words = step_rows(&p->set, p->rows)) || !new_nodes(s, p)) return false;
    p->plan = s->stream->core;
    p->plan.rows = &p->set;
    p->plan.node = p->nodes;
    if (!new_memories(s, p)) return false;
    *forecast = (crnn_forecast){
        .paths = &s->given, .first = p->first, .plan = &p->plan, .node = p->nodes, .finite = true};
    if (!check_status(crnn_forecast_scratch(forecast, &bytes), "samples")) return false;
    forecast->scratch = p->scratch = alloc_aligned(bytes);
    p->workspace = p->plan.workspace = p->scratch ? step_workspace(&p->plan) : NULL;
    return p->workspace != NULL;
}

/* Parts that begin with path `first`; returns how many, 0 with an exception. */
static size_t new_parts(sampling *s, size_t first) {
    size_t count = 0;
    for (; count < s->at_once && first < s->rows; count++) {
        part *p = &s->parts[count];
        p->first = first;
        p->rows = s->rows - first < s->each ? s->rows - first : s->each;
        first += p->rows;
        if (!part_init(s, p, &s->forecasts[count])) return 0;
    }
    return count;
}

/* ---- the run */

/* Bytes of all weights: what a step takes. */
static size_t weights_of(const sampling *s) {
    size_t bytes;
    return crnn_plan_packed_size(&s->stream->core, &bytes) == CRNN_OK ? bytes : SIZE_MAX;
}

/* Paths of a part: so many that weights are read from a near cache by many of them, and so few that
 * their states stay there. With few paths, large weights are shared by all threads at each step
 * instead. */
static void share_paths(sampling *s) {
    enum { LARGE = 1 << 20, MOST = 256, LEAST = 16 };
    const size_t threads = crnn_threads(), each = (s->rows + threads - 1) / threads;
    s->each = each > MOST ? MOST : each < LEAST ? LEAST : each;
    s->at_once = threads;
    if (each < LEAST && weights_of(s) >= LARGE) {
        s->each = s->rows;
        s->at_once = 1;
    }
}

/* Steps between two looks for Ctrl-C. */
static size_t steps_at_once(const sampling *s) {
    const double bytes = (double)weights_of(s) * (double)s->each;
    const double steps = (double)(1 << 28) / (bytes + 1);
    return steps >= (double)s->given.steps ? s->given.steps : steps <= 1 ? 1 : (size_t)steps;
}

/* Whether there are positions for all steps, then room for `steps` more. */
static bool reserve(const sampling *s, size_t count, size_t all, size_t steps) {
    const Plan *plan = s->stream->plan;
    for (size_t k = 0; k < count; k++) {
        part *p = &s->parts[k];
        bool grown = false;
        for (size_t i = 0; i < plan->count; i++)
            if (p->running[i].memory &&
                (!running_may_read(&p->running[i], plan, &p->plan, &p->nodes[i], all) ||
                 !running_reserve(&p->running[i], plan, &p->plan, &p->nodes[i], steps, &grown)))
                return false;
        if (!grown) continue;
        free_aligned(p->workspace);
        if (!(p->workspace = p->plan.workspace = step_workspace(&p->plan))) return false;
    }
    return true;
}

/* All steps of some parts. False: an exception. */
static bool run_parts(const sampling *s, size_t count) {
    const size_t most = steps_at_once(s), steps = s->given.steps;
    for (size_t done = 0, now; done < steps; done += now) {
        now = steps - done < most ? steps - done : most;
        if (!reserve(s, count, steps - done, now)) return false;
        Py_BEGIN_ALLOW_THREADS crnn_sample_paths(s->forecasts, count, now);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) return false;
    }
    return true;
}

/* The first part with a number that is not finite, or NULL. */
static const crnn_forecast *find_bad(const sampling *s, size_t count) {
    for (size_t k = 0; k < count; k++)
        if (!s->forecasts[k].finite) return &s->forecasts[k];
    return NULL;
}

/* All paths, up to a part with a number that is not finite: `bad`. False: an exception. */
static bool run_all(sampling *s, const crnn_forecast **bad) {
    const size_t nodes = s->stream->plan->count;
    *bad = NULL;
    for (size_t first = 0; first < s->rows && !*bad;) {
        const size_t count = new_parts(s, first);
        if (count == 0 || !run_parts(s, count)) return false;
        *bad = find_bad(s, count);
        first = s->parts[count - 1].first + s->parts[count - 1].rows;
        for (size_t k = 0; k < count; k++) part_clear(&s->parts[k], nodes);
    }
    return true;
}

/* ---- methods of Stream */

/* The lags as the core wants them, whose columns the input has; false: an exception. */
static bool lags_fit(const sampling *s, size_t features) {
    const int64_t *lag = PyArray_DATA(s->lags);
    const size_t L = s->given.lags;
    bool fits = L <= features / (s->given.indicators ? 2 : 1);
    for (size_t k = 0; k < L; k++) fits &= lag[k] >= 1 && (k == 0 || lag[k] < lag[k - 1]);
    return fits || refuse_misfit("lags");
}

static bool read_arrays(sampling *s, PyObject *x, PyObject *scales, PyObject *series,
                        PyObject *lags) {
    const Plan *plan = s->stream->plan;
    const npy_intp rows = (npy_intp)s->stream->batch;
    const dims inputs = {3, {rows, -1, (npy_intp)plan->nodes[0].features}, {"B", "T", "F"}};
    const dims each = {1, {rows}, {"B"}}, some = {1, {-1}, {"L"}};
    return (s->x = float_array("x", x, plan->dtype, &inputs, true)) &&
           (s->scales = float_array("scales", scales, CRNN_F64, &each, true)) &&
           (s->series = integer_array("series", series, &each)) &&
           (s->lags = integer_array("lags", lags, &some));
}

/* Whether the plan is one whose outputs are the parameters of the likelihood. */
static bool plan_fits(const Stream *stream, int likelihood) {
    const Plan *plan = stream->plan;
    bool fits =
        likelihood >= 0 && likelihood < CRNN_LIKELIHOODS && !plan->attend && plan->count > 1;
    for (size_t i = 0; i < plan->count; i++) fits &= plan->nodes[i].cross == 0;
    fits = fits && plan->nodes[plan->count - 1].features ==
                       crnn_likelihood_parameters((crnn_likelihood)likelihood);
    return fits || refuse_misfit("stream");
}

static bool sampling_init(sampling *s, PyObject *samples) {
    const size_t T = (size_t)PyArray_DIM(s->x, 1), F = (size_t)PyArray_DIM(s->x, 2);
    const npy_intp B = (npy_intp)s->stream->batch;
    if (!parse_size("samples", samples, &s->given.samples)) return false;
    if (s->given.gap >= T) return refuse_misfit("gap");
    s->given.lags = (size_t)PyArray_DIM(s->lags, 0);
    if (!lags_fit(s, F)) return false;
    if (!crnn_size_mul((size_t)B, s->given.samples, &s->rows)) return PyErr_NoMemory() != NULL;
    const npy_intp shape[3] = {B, (npy_intp)s->given.samples, (npy_intp)(T - s->given.gap)};
    if (!(s->paths = (PyArrayObject *)new_plain_array(3, shape, NPY_FLOAT32))) return false;
    s->given.steps = T;
    s->given.lag = PyArray_DATA(s->lags); /* all are positive */
    s->given.x = (crnn_seq){PyArray_DATA(s->x), (ptrdiff_t)(T * F), (ptrdiff_t)F};
    s->given.scales = PyArray_DATA(s->scales);
    s->given.series = PyArray_DATA(s->series);
    s->given.paths = PyArray_DATA(s->paths);
    share_paths(s);
    s->parts = PyMem_Calloc(s->at_once, sizeof *s->parts);
    s->forecasts = PyMem_Calloc(s->at_once, sizeof *s->forecasts);
    if (!s->parts || !s->forecasts) return PyErr_NoMemory() != NULL;
    return (s->states = stream_states(s->stream)) != NULL;
}

static PyObject *outcome(const sampling *s, const crnn_forecast *bad) {
    if (!bad) return Py_BuildValue("(OO)", s->paths, Py_None);
    return Py_BuildValue("(O(nn))", s->paths, (Py_ssize_t)(bad->bad / s->given.samples),
                         (Py_ssize_t)bad->when);
}

PyObject *stream_sample_paths(Stream *self, PyObject *args) {
    sampling s = {.stream = self};
    PyObject *x, *scales, *series, *lags, *samples, *result = NULL;
    int likelihood, indicators;
    Py_ssize_t gap;
    unsigned long long seed;
    const crnn_forecast *bad;
    if (!PyArg_ParseTuple(args, "iOOOOpOnK:_sample_paths", &likelihood, &x, &scales, &series, &lags,
                          &indicators, &samples, &gap, &seed) ||
        !plan_fits(self, likelihood))
        return NULL;
    s.given = (crnn_paths){.likelihood = (crnn_likelihood)likelihood,
                           .gap = (size_t)gap,
                           .indicators = indicators,
                           .seed = seed};
    if (read_arrays(&s, x, scales, series, lags) && sampling_init(&s, samples) && run_all(&s, &bad))
        result = outcome(&s, bad);
    sampling_clear(&s);
    return result;
}
