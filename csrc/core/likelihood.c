/* Losses of observed numbers: crnn/likelihood.h. Salinas, Flunkert, Gasthaus and Januschowski,
 * "DeepAR: probabilistic forecasting with autoregressive recurrent networks" (2017). */
#include "likelihood.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "special.h"

size_t crnn_likelihood_parameters(crnn_likelihood kind) { return kind == CRNN_STUDENT_T ? 3 : 2; }

static double deviation(double output, double scale) {
    return scale * fmax(core_softplus(output), FLT_EPSILON);
}

/* With an alpha below this, the distribution is Poisson's to the last bit. */
static const double LEAST_ALPHA = 1e-20;

core_parameters core_parameters_of(crnn_likelihood kind, const double *o, double scale) {
    switch (kind) {
    case CRNN_GAUSSIAN:
        return (core_parameters){scale * o[0], deviation(o[1], scale), 0};
    case CRNN_STUDENT_T:
        return (core_parameters){scale * o[0], deviation(o[1], scale), 2 + core_softplus(o[2])};
    default:
        return (core_parameters){scale * core_softplus(o[0]),
                                 fmax(core_softplus(o[1]) / sqrt(scale), LEAST_ALPHA), 0};
    }
}

/* Each of these returns -log p(z) and writes its derivatives by the outputs, d [P]. */
typedef double loss_fn(const double *o, double scale, double z, double *d);

/* The derivative of a deviation by its output, relative to the deviation; 0 where it is held up. */
static double deviation_slope(double output) {
    const double size = core_softplus(output);
    return size < FLT_EPSILON ? 0 : core_logistic(output) / size;
}

static double gaussian_loss(const double *o, double scale, double z, double *d) {
    const core_parameters p = core_parameters_of(CRNN_GAUSSIAN, o, scale);
    const double r = (z - p.mean) / p.spread;
    d[0] = -r * (scale / p.spread);
    d[1] = (1 - r * r) * deviation_slope(o[1]);
    return 0.91893853320467274178 + log(p.spread) + 0.5 * r * r;
}

static double student_t_loss(const double *o, double scale, double z, double *d) {
    const core_parameters p = core_parameters_of(CRNN_STUDENT_T, o, scale);
    const double v = p.freedom, r = (z - p.mean) / p.spread, q = r * r / v;
    const double weight = (v + 1) / v / (1 + q); /* (v + 1) / (v + r^2) */
    /* -log(1 + q) + q / (1 + q), of which the first terms cancel */
    const double tail = -core_log1p_rest(q) - q * (q / (1 + q));
    d[0] = -weight * r * (scale / p.spread);
    d[1] = (1 - weight * r * r) * deviation_slope(o[1]);
    d[2] = -0.5 * (core_half_step_slope(v / 2) + tail + q / (1 + q) / v) * core_logistic(o[2]);
    return 0.57236494292470008707 + 0.5 * log(v) - core_half_step(v / 2) + log(p.spread) +
           0.5 * (v + 1) * log1p(q);
}

static double negative_binomial_loss(const double *o, double scale, double z, double *d) {
    const core_parameters p = core_parameters_of(CRNN_NEGATIVE_BINOMIAL, o, scale);
    const double m = p.mean, alpha = p.spread, r = 1 / alpha;
    /* logistic / softplus, which is 1 where both underflow */
    const double slope = o[0] < -30 ? 1 : core_logistic(o[0]) / core_softplus(o[0]);
    d[0] = (m - z) / (1 + alpha * m) * slope;
    d[1] = r * r * core_rising_slope(r, z, m) * core_logistic(o[1]) / sqrt(scale);
    const double log_mean = log(scale) + core_log_softplus(o[0]);
    const double log_power = z > 0 ? z * log_mean : 0;
    return core_log_gamma(z + 1) - core_rising(r, z) - log_power + (z + r) * log1p(m * alpha);
}

static loss_fn *const losses_of[CRNN_LIKELIHOODS] = {gaussian_loss, student_t_loss,
                                                     negative_binomial_loss};

/* ---- rows */

enum { LOSS_ROWS = 1024 /* at a time */ };

static const double LOSS_WORK = 4000; /* multiply-adds that take as long as a row */

typedef struct loss_job {
    const crnn_observed *observed;
    size_t from, n; /* rows from..from + n - 1 */
    double factor;
    void *doutputs;
    double *losses; /* [n] */
} loss_job;

static double read_at(crnn_dtype dtype, const void *x, size_t i) {
    return dtype == CRNN_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

static void write_at(crnn_dtype dtype, void *x, size_t i, double value) {
    if (dtype == CRNN_F32)
        ((float *)x)[i] = (float)value;
    else
        ((double *)x)[i] = value;
}

static double row_loss(const loss_job *job, size_t i) {
    const crnn_observed *given = job->observed;
    const size_t P = crnn_likelihood_parameters(given->kind);
    const double weight = given->weights ? given->weights[i] : 1;
    double o[CRNN_MOST_PARAMETERS], d[CRNN_MOST_PARAMETERS] = {0}, loss = 0;
    if (weight != 0) {
        for (size_t k = 0; k < P; k++) o[k] = read_at(given->dtype, given->outputs, i * P + k);
        loss = weight * losses_of[given->kind](o, given->scales ? given->scales[i] : 1,
                                               given->targets[i], d);
    }
    for (size_t k = 0; k < P; k++)
        write_at(given->dtype, job->doutputs, i * P + k, d[k] * (weight * job->factor));
    return loss;
}

static void loss_part(void *context, const core_member *me) {
    const loss_job *job = context;
    const core_range own = core_share(job->n, me);
    for (size_t i = own.from; i < own.to; i++) job->losses[i] = row_loss(job, job->from + i);
}

double crnn_negative_log_likelihood(const crnn_observed *observed, double factor, void *doutputs) {
    double losses[LOSS_ROWS], sum = 0;
    for (size_t from = 0; from < observed->n; from += LOSS_ROWS) {
        const size_t left = observed->n - from;
        loss_job job = {observed, from,     left < LOSS_ROWS ? left : LOSS_ROWS,
                        factor,   doutputs, losses};
        core_in_same_mode(LOSS_WORK * (double)job.n, job.n, loss_part, &job);
        for (size_t i = 0; i < job.n; i++) sum += losses[i];
    }
    return sum;
}
