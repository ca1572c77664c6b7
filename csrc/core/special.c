/* Special functions in double. Gamma functions are computed from their asymptotic series, which is
 * exact to the last bits from SERIES_FROM on; smaller arguments are raised to there step by step.
 */
#include "special.h"

#include <math.h>
#include <stddef.h>

static const double SERIES_FROM = 10, HALF_LOG_2_PI = 0.91893853320467274178;

/* c[0] + c[1] x + c[2] x^2 + ... */
static double polynomial(const double *c, size_t count, double x) {
    double sum = 0;
    for (size_t k = count; k-- > 0;) sum = sum * x + c[k];
    return sum;
}
#define POLYNOMIAL(c, x) polynomial((c), sizeof(c) / sizeof *(c), (x))

double core_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

/* Below -30 softplus(x) is exp(x) to the last bit. */
double core_log_softplus(double x) { return x < -30 ? x : log(core_softplus(x)); }

double core_logistic(double x) {
    const double e = exp(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

double core_log1p_rest(double x) {
    static const double terms[] = {-1. / 2, 1. / 3,  -1. / 4, 1. / 5,   -1. / 6,
                                   1. / 7,  -1. / 8, 1. / 9,  -1. / 10, 1. / 11};
    return fabs(x) < 0.02 ? x * x * POLYNOMIAL(terms, x) : log1p(x) - x;
}

/* What log gamma(x) has beyond (x - 1/2) log x - x + log(2 pi) / 2: Stirling's series, for x >=
 * SERIES_FROM. */
static double stirling(double x) {
    static const double terms[] = {1. / 12,    -1. / 360, 1. / 1260,
                                   -1. / 1680, 1. / 1188, -691. / 360360};
    return POLYNOMIAL(terms, 1 / (x * x)) / x;
}

/* Its derivative. */
static double stirling_slope(double x) {
    static const double terms[] = {-1. / 12,  3. / 360,   -5. / 1260,
                                   7. / 1680, -9. / 1188, 11 * 691. / 360360};
    return POLYNOMIAL(terms, 1 / (x * x)) / (x * x);
}

double core_log_gamma(double x) {
    double product = 1;
    for (; x < SERIES_FROM; x++) product *= x;
    return (x - 0.5) * log(x) - x + HALF_LOG_2_PI + stirling(x) - log(product);
}

/* The series is that of log gamma at x + 1/2 less that at x. */
double core_half_step(double x) {
    static const double terms[] = {-1. / 8,     1. / 192,     -1. / 640,
                                   17. / 14336, -31. / 18432, 691. / 180224};
    double product = 1;
    for (; x < SERIES_FROM; x++) product *= x / (x + 0.5);
    return 0.5 * log(x) + POLYNOMIAL(terms, 1 / (x * x)) / x + log(product);
}

double core_half_step_slope(double x) {
    static const double terms[] = {1. / 8,        -3. / 192,    5. / 640,
                                   -119. / 14336, 279. / 18432, -7601. / 180224};
    const double first = x;
    double sum = 0;
    for (; x < SERIES_FROM; x++) sum += 0.5 / (x * (x + 0.5));
    const double large = POLYNOMIAL(terms, 1 / (x * x)) / (x * x);
    return x == first ? large : large + sum + 0.5 / x - 0.5 / first;
}

double core_rising(double r, double n) {
    const double first = r;
    double logs = 0;
    for (; r < SERIES_FROM; r++) logs += log(r / (r + n));
    if (r > first) logs += n * log(r / first);
    return (r + n - 0.5) * log1p(n / r) - n + (stirling(r + n) - stirling(r)) + logs;
}

/* psi(r + n) - psi(r) - log(1 + n / r), for r >= SERIES_FROM. */
static double digamma_rest(double r, double n) {
    return n / (2 * r * (r + n)) + (stirling_slope(r + n) - stirling_slope(r));
}

/* It is psi(r + n) - psi(r) - log(1 + m / r) + (m - n) / (r + m). For large r, logarithms less
 * their first terms take the place of logarithms: what is left is of the order 1 / r^2. */
double core_rising_slope(double r, double n, double m) {
    const double first = r;
    double sum = 0;
    for (; r < SERIES_FROM; r++) sum += n / (r * (r + n));
    const double rest = digamma_rest(r, n);
    if (r == first)
        return core_log1p_rest(n / r) - core_log1p_rest(m / r) + m / r * ((n - m) / (r + m)) + rest;
    return sum + log1p(n / r) + rest - log1p(m / first) + (m - n) / (first + m);
}

double core_log_poisson(double k, double m) {
    if (k < SERIES_FROM) return k * log(m) - m - core_log_gamma(k + 1);
    return k * core_log1p_rest((m - k) / k) - 0.5 * log(k) - HALF_LOG_2_PI - stirling(k);
}

/* M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution" (1988). */
double core_normal_quantile(double p) {
    static const double a[] = {3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427,
                               13731.693765509461125, 45921.953931549871457, 67265.770927008700853,
                               33430.575583588128105, 2509.0809287301226727};
    static const double b[] = {1,
                               42.313330701600911252,
                               687.18700749205790830,
                               5394.1960214247511077,
                               21213.794301586595867,
                               39307.895800092710610,
                               28729.085735721942674,
                               5226.4952788528545610};
    static const double c[] = {1.42343711074968357734,  4.63033784615654529590,
                               5.76949722146069140550,  3.64784832476320460504,
                               1.27045825245236838258,  .241780725177450611770,
                               .0227238449892691845833, 7.74545014278341407640e-4};
    static const double d[] = {1,
                               2.05319162663775882187,
                               1.67638483018380384940,
                               .689767334985100004550,
                               .148103976427480074590,
                               .0151986665636164571966,
                               5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
    static const double e[] = {6.65790464350110377720,    5.46378491116411436990,
                               1.78482653991729133580,    .296560571828504891230,
                               .0265321895265761230930,   1.24266094738807843860e-3,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[] = {1,
                               .599832206555887937690,
                               .136929880922735805310,
                               .0148753612908506148525,
                               7.86869131145613259100e-4,
                               1.84631831751005468180e-5,
                               1.42151175831644588870e-7,
                               2.04426310338993978564e-15};
    const double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        const double r = 0.180625 - q * q;
        return q * POLYNOMIAL(a, r) / POLYNOMIAL(b, r);
    }
    const double r = sqrt(-log(q < 0 ? p : 1 - p));
    const double x = r <= 5 ? POLYNOMIAL(c, r - 1.6) / POLYNOMIAL(d, r - 1.6)
                            : POLYNOMIAL(e, r - 5) / POLYNOMIAL(f, r - 5);
    return q < 0 ? -x : x;
}
