/* Windows of many series: crnn/windows.h. Members of a team take rows of their own. */
#include <math.h>

#include "crnn/windows.h"
#include "kernels.h"

crnn_status crnn_windows_inputs(const crnn_windows *w, size_t *inputs) {
    size_t lags, sum;
    if (!crnn_size_mul(w->lags_count, w->indicators ? 2 : 1, &lags) ||
        !crnn_size_add(w->known_count, w->constants_count, &sum) ||
        !crnn_size_add(sum, lags, &sum) || !crnn_size_add(sum, w->age + w->log_scale, inputs))
        return CRNN_OVERFLOW;
    return CRNN_OK;
}

typedef struct gather_job {
    const crnn_windows *windows;
    size_t width; /* I */
    void *inputs;
    double *targets, *weights;
    int64_t *row_lengths;
} gather_job;

/* A place in the inputs, which moves on. */
typedef struct cursor {
    crnn_dtype dtype;
    void *to;
    size_t at;
} cursor;

static inline void put(cursor *c, double value) {
    if (c->dtype == CRNN_F32)
        ((float *)c->to)[c->at++] = (float)value;
    else
        ((double *)c->to)[c->at++] = value;
}

/* Step t of a series. NaN where no number is there. */
static inline double number_at(const double *series, int64_t length, int64_t t) {
    return t >= 0 && t < length ? series[t] : NAN;
}

static void put_lags(const crnn_windows *w, size_t b, const double *series, int64_t t, cursor *c) {
    const int64_t length = w->lengths[b];
    const double scale = w->scales[b];
    if (w->indicators)
        for (size_t k = 0; k < w->lags_count; k++)
            put(c, isnan(number_at(series, length, t - w->lags[k])) ? 0 : 1);
    for (size_t k = 0; k < w->lags_count; k++) {
        const double z = number_at(series, length, t - w->lags[k]);
        put(c, isnan(z) ? 0 : z / scale);
    }
}

static void put_step(const crnn_windows *w, size_t b, const double *series, int64_t t, cursor *c) {
    if (w->known_count) {
        const double *known = w->known + (size_t)(w->known_firsts[b] + t) * w->known_count;
        for (size_t k = 0; k < w->known_count; k++) put(c, known[k]);
    }
    for (size_t k = 0; k < w->constants_count; k++)
        put(c, w->constants[b * w->constants_count + k]);
    if (w->age) put(c, log10(2 + (double)t));
    if (w->log_scale) put(c, log(w->scales[b]));
    put_lags(w, b, series, t, c);
}

static void gather_row(const gather_job *job, size_t b) {
    const crnn_windows *w = job->windows;
    const int64_t T = (int64_t)w->steps, begin = w->begins[b], first = begin > 0 ? begin : 0;
    const int64_t steps = begin >= 0 ? T : begin > -T ? T + begin : 0;
    const double *series = w->store + w->firsts[b];
    cursor c = {w->dtype, job->inputs, b * w->steps * job->width};
    for (int64_t i = 0; i < T; i++) {
        const double z = i < steps ? number_at(series, w->lengths[b], first + i) : NAN;
        job->targets[b * w->steps + (size_t)i] = isnan(z) ? 0 : z;
        job->weights[b * w->steps + (size_t)i] = isnan(z) ? 0 : 1;
        if (i < steps)
            put_step(w, b, series, first + i, &c);
        else
            for (size_t k = 0; k < job->width; k++) put(&c, 0);
    }
    job->row_lengths[b] = steps;
}

static void gather_part(void *context, const core_member *me) {
    const gather_job *job = context;
    const core_range own = core_share(job->windows->batch, me);
    for (size_t b = own.from; b < own.to; b++) gather_row(job, b);
}

/* Multiply-adds of a product that take as long as an input, and as a number of a sum. */
enum { GATHER_WORK = 16, SUM_WORK = 8 };

void crnn_windows_gather(const crnn_windows *w, void *inputs, double *targets, double *weights,
                         int64_t *row_lengths) {
    gather_job job = {w, 0, inputs, targets, weights, row_lengths};
    if (crnn_windows_inputs(w, &job.width) != CRNN_OK) return; /* the caller has no such buffer */
    const double numbers = (double)w->batch * (double)w->steps * ((double)job.width + 2);
    core_in_team(GATHER_WORK * numbers, w->batch, gather_part, &job);
}

typedef struct sums_job {
    const double *store;
    size_t n;
    const int64_t *from, *to;
    bool magnitudes;
    double *sums;
    int64_t *counts;
} sums_job;

static void sums_part(void *context, const core_member *me) {
    const sums_job *job = context;
    const core_range own = core_share(job->n, me);
    for (size_t i = own.from; i < own.to; i++) {
        double sum = 0;
        int64_t count = 0;
        for (int64_t at = job->from[i]; at < job->to[i]; at++) {
            const double z = job->store[at];
            if (isnan(z)) continue;
            sum += job->magnitudes ? fabs(z) : z;
            count++;
        }
        job->sums[i] = sum;
        job->counts[i] = count;
    }
}

void crnn_windows_sums(const double *store, size_t n, const int64_t *from, const int64_t *to,
                       bool magnitudes, double *sums, int64_t *counts) {
    sums_job job = {store, n, from, to, magnitudes, sums, counts};
    double numbers = 0;
    for (size_t i = 0; i < n; i++) numbers += (double)(to[i] - from[i]);
    core_in_team(SUM_WORK * numbers, n, sums_part, &job);
}
