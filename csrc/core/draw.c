/* Random numbers of a likelihood, each a function of its key, sample and step. */
#include <math.h>

#include "crnn.h"
#include "likelihood.h"
#include "special.h"

/* Two independent numbers in (0, 1) a turn, as long as tries are rejected. */
typedef struct source {
    const uint32_t *key;
    uint32_t sample, step, turn;
} source;

typedef struct pair {
    double first, second;
} pair;

static double between(uint32_t high, uint32_t low) {
    return ((double)(((uint64_t)high << 32 | low) >> 12) + 0.5) * 0x1p-52;
}

static pair next_pair(source *s) {
    const uint32_t counter[4] = {s->sample, s->step, s->turn++, 0};
    uint32_t words[4];
    crnn_philox(s->key, counter, words);
    return (pair){between(words[0], words[1]), between(words[2], words[3])};
}

void crnn_draw_key(uint64_t seed, uint64_t series, uint32_t key[2]) {
    const crnn_noise of_series = {.seed = seed, .call = series};
    crnn_noise_key(&of_series, CRNN_NOISE_DRAWS, key);
}

/* R. W. Bailey, "Polar generation of random variates with the t-distribution" (1994). */
static double draw_student_t(source *s, double freedom) {
    for (;;) {
        const pair p = next_pair(s);
        const double a = 2 * p.first - 1, b = 2 * p.second - 1, q = a * a + b * b;
        if (q < 1) return a * sqrt(freedom * (expm1(-2 / freedom * log(q)) / q));
    }
}

/* G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables" (2000). */
static double draw_gamma(source *s, double shape) {
    double boost = 1;
    if (shape < 1) boost = pow(next_pair(s).first, 1 / shape++);
    const double d = shape - 1. / 3, c = 1 / (3 * sqrt(d));
    for (;;) {
        const pair p = next_pair(s);
        const double x = core_normal_quantile(p.first), y = c * x;
        const double more = y * (3 + y * (3 + y)); /* (1 + y)^3 - 1 */
        if (y > -1 && log(p.second) < 0.5 * x * x + d * core_log1p_rest(more))
            return d * (1 + more) * boost;
    }
}

/* The first k whose distribution function exceeds a uniform number, for small means. */
static double invert_poisson(source *s, double mean) {
    enum { LAST = 200 };
    const double u = next_pair(s).first;
    double p = exp(-mean), below = p, k = 0;
    while (u > below && k < LAST) {
        p *= mean / ++k;
        below += p;
    }
    return k;
}

/* W. Hörmann, "The transformed rejection method for generating Poisson random variables" (1993):
 * PTRS, for means of at least 10. */
static double reject_poisson(source *s, double mean) {
    const double b = 0.931 + 2.53 * sqrt(mean), a = -0.059 + 0.02483 * b;
    const double inverse = 1.1239 + 1.1328 / (b - 3.4), sure = 0.9277 - 3.6224 / (b - 2);
    for (;;) {
        const pair p = next_pair(s);
        const double u = p.first - 0.5, v = p.second, edge = 0.5 - fabs(u);
        const double k = floor((2 * a / edge + b) * u + mean + 0.43);
        if (edge >= 0.07 && v <= sure) return k;
        if (k < 0 || (edge < 0.013 && v > edge)) continue;
        if (log(v * inverse / (a / (edge * edge) + b)) <= core_log_poisson(k, mean)) return k;
    }
}

static double draw_poisson(source *s, double mean) {
    return mean < 10 ? invert_poisson(s, mean) : reject_poisson(s, mean);
}

/* Poisson with a mean that is gamma-distributed. */
static double draw_negative_binomial(source *s, double mean, double alpha) {
    mean *= draw_gamma(s, 1 / alpha) * alpha;
    return isfinite(mean) ? draw_poisson(s, mean) : NAN;
}

double crnn_draw(crnn_likelihood kind, const double *outputs, double scale, const uint32_t key[2],
                 uint32_t sample, uint32_t step) {
    const core_parameters p = core_parameters_of(kind, outputs, scale);
    source s = {key, sample, step, 0};
    if (!isfinite(p.mean) || !isfinite(p.spread) || !isfinite(p.freedom)) return NAN;
    switch (kind) {
    case CRNN_GAUSSIAN:
        return p.mean + p.spread * core_normal_quantile(next_pair(&s).first);
    case CRNN_STUDENT_T:
        return p.mean + p.spread * draw_student_t(&s, p.freedom);
    default:
        return draw_negative_binomial(&s, p.mean, p.spread);
    }
}
