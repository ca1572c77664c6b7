/* Sample paths: a plan of one step that reads the numbers drawn from its outputs. The inputs that
 * all paths of a series share are multiplied by their weights once, where node 1 is a recurrent
 * layer that lets its sums be begun. */
#include <math.h>
#include <string.h>

#include "fpmode.h"
#include "plan.h"

/* The scratch of a part. */
typedef struct scratch {
    size_t slots;  /* of the ring: steps back to which lags read numbers that were drawn */
    double *ring;  /* [rows][slots] numbers of the last steps: that of step t in slot t % slots */
    size_t series; /* how many series the paths are of */
    uint32_t (*key)[2];  /* [series] of the draws */
    const void **x;      /* [series] the inputs of a step */
    const void **begun;  /* [rows] the sums of its series */
    char *sums;          /* [series][wide] begun sums; NULL: no sum is begun */
    size_t wide, shared; /* features that all paths of a series share, at all steps */
    size_t drawn_lag;    /* the first lag that leads to a number that is drawn, at some step */
} scratch;

static size_t lag_of(const crnn_paths *paths, size_t k) { return (size_t)paths->lag[k]; }
static size_t rows_of(const crnn_forecast *part) { return part->plan->rows->given.batch; }
static size_t item_of(const crnn_forecast *part) {
    return crnn_dtype_size(part->plan->kernels->dtype);
}

static size_t series_of(const crnn_forecast *part, size_t row) {
    return (part->first + row) / part->paths->samples;
}

/* Features before the first lag, or its indicator, that leads to a number that is drawn. */
static size_t shared_features(const crnn_forecast *part, size_t drawn_lag) {
    const crnn_paths *paths = part->paths;
    return part->node[0].features - paths->lags * (paths->indicators ? 2 : 1) + drawn_lag;
}

static scratch lay(const crnn_forecast *part, core_arena *a) {
    const crnn_paths *paths = part->paths;
    const size_t rows = rows_of(part), longest = paths->lags ? lag_of(paths, 0) : 0;
    scratch s = {.slots = longest < paths->steps ? longest : paths->steps};
    s.series = rows ? series_of(part, rows - 1) - series_of(part, 0) + 1 : 0;
    while (s.drawn_lag < paths->lags && lag_of(paths, s.drawn_lag) >= paths->steps) s.drawn_lag++;
    s.shared = shared_features(part, s.drawn_lag);
    s.ring = core_take(a, rows, s.slots, sizeof *s.ring);
    s.key = core_take(a, s.series, 1, sizeof *s.key);
    if (part->plan->count > 1) s.wide = core_begun_wide(part->plan, 1);
    if (s.wide == 0) return s;
    s.x = core_take(a, s.series, 1, sizeof *s.x);
    s.begun = core_take(a, rows, 1, sizeof *s.begun);
    s.sums = core_take(a, s.series, s.wide, item_of(part));
    return s;
}

crnn_status crnn_forecast_scratch(const crnn_forecast *part, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    lay(part, &a);
    return core_arena_size(&a, bytes);
}

/* Tells node 1 where its sums are begun. */
static void open(crnn_forecast *part, const scratch *s) {
    const size_t item = item_of(part), first = series_of(part, 0);
    for (size_t i = 0; i < s->series; i++)
        crnn_draw_key(part->paths->seed, part->paths->series[first + i], s->key[i]);
    if (!s->sums) return;
    for (size_t r = 0; r < rows_of(part); r++)
        s->begun[r] = core_row_of(s->sums, series_of(part, r) - first, s->wide, item);
    core_go_on(&part->node[1], s->begun, s->shared);
}

static void begin_sums(const crnn_forecast *part, const scratch *s) {
    const size_t item = item_of(part), first = series_of(part, 0);
    if (!s->sums) return;
    for (size_t i = 0; i < s->series; i++)
        s->x[i] = crnn_seq_at(&part->paths->x, first + i, part->step, item);
    core_begin_sums(part->plan, 1, s->x, s->series, s->shared, s->sums);
}

static void write_number(void *row, size_t at, double number, crnn_dtype dtype) {
    if (dtype == CRNN_F32)
        ((float *)row)[at] = (float)number;
    else
        ((double *)row)[at] = number;
}

/* The inputs of a path: those of its series, and the numbers that it has drawn. */
static void read_inputs(const crnn_forecast *part, const scratch *s, size_t row) {
    const crnn_paths *paths = part->paths;
    const size_t item = item_of(part), i = series_of(part, row), L = paths->lags;
    const size_t F = part->node[0].features;
    void *x = crnn_seq_at(&part->node[0].value, row, 0, item);
    memcpy(x, crnn_seq_at(&paths->x, i, part->step, item), F * item);
    for (size_t k = s->drawn_lag; k < L; k++) {
        const size_t lag = lag_of(paths, k);
        if (lag > part->step) continue;
        const double z = s->ring[row * s->slots + (part->step - lag) % s->slots];
        write_number(x, F - L + k, z / paths->scales[i], part->plan->kernels->dtype);
        if (paths->indicators) write_number(x, F - 2 * L + k, 1, part->plan->kernels->dtype);
    }
}

static double draw(const crnn_forecast *part, const scratch *s, size_t row) {
    const crnn_paths *paths = part->paths;
    const crnn_node *last = &part->node[part->plan->count - 1];
    const size_t i = series_of(part, row), P = crnn_likelihood_parameters(paths->likelihood);
    const void *y = crnn_seq_at(&last->value, row, 0, item_of(part));
    double outputs[CRNN_MOST_PARAMETERS];
    for (size_t k = 0; k < P; k++)
        outputs[k] = part->plan->kernels->dtype == CRNN_F32 ? (double)((const float *)y)[k]
                                                            : ((const double *)y)[k];
    return crnn_draw(paths->likelihood, outputs, paths->scales[i], s->key[i - series_of(part, 0)],
                     (uint32_t)((part->first + row) % paths->samples), (uint32_t)part->step);
}

/* Draws the next number of a path. */
static void go_on(crnn_forecast *part, const scratch *s, size_t row) {
    const crnn_paths *paths = part->paths;
    const size_t path = part->first + row, kept = paths->steps - paths->gap;
    const double z = draw(part, s, row);
    if (s->slots > 0) s->ring[row * s->slots + part->step % s->slots] = z;
    if (part->step >= paths->gap) paths->paths[path * kept + part->step - paths->gap] = (float)z;
    if (isfinite(z) || (!part->finite && path >= part->bad)) return;
    part->finite = false;
    part->bad = path;
    part->when = part->step;
}

static void run_part(void *of_part, size_t steps) {
    crnn_forecast *part = of_part;
    core_arena a = core_arena_at(part->scratch);
    const scratch s = lay(part, &a);
    const size_t rows = rows_of(part), end = part->step + steps;
    open(part, &s);
    crnn_plan_lay(part->plan);
    for (; part->step < end; part->step++) {
        for (size_t row = 0; row < rows; row++) read_inputs(part, &s, row);
        begin_sums(part, &s);
        crnn_plan_run(part->plan);
        const core_fpmode before = core_fpmode_enter(CORE_EXACT);
        for (size_t row = 0; row < rows; row++) go_on(part, &s, row);
        core_fpmode_set(before);
    }
}

void crnn_sample_paths(crnn_forecast *parts, size_t count, size_t steps) {
    double work = 0;
    for (size_t i = 0; i < count; i++)
        work += (double)rows_of(&parts[i]) * core_work_of_step(parts[i].plan);
    core_run_parts(parts, sizeof *parts, count, steps, work, run_part);
}
