/* Functions that libm does not have, or not without shared state: its lgamma writes the global
 * signgam. */
#ifndef CRNN_CORE_SPECIAL_H
#define CRNN_CORE_SPECIAL_H

/* log(1 + exp(x)), its logarithm, and its derivative. */
double core_softplus(double x);
double core_log_softplus(double x);
double core_logistic(double x);

/* log(1 + x) - x for x > -1. */
double core_log1p_rest(double x);

/* log gamma(x) for x > 0. */
double core_log_gamma(double x);
/* log(gamma(x + 1/2) / gamma(x)) for x > 0, and its derivative less 1 / (2 x). */
double core_half_step(double x);
double core_half_step_slope(double x);
/* log(gamma(r + n) / (gamma(r) r^n)) for r > 0 and n >= 0. */
double core_rising(double r, double n);
/* With m >= 0, the derivative by r of core_rising(r, n) - (r + n) log(1 + m / r). */
double core_rising_slope(double r, double n, double m);
/* log of the probability of k with the mean m of a Poisson distribution. */
double core_log_poisson(double k, double m);

/* The x below which a standard normal number is with probability p, 0 < p < 1. */
double core_normal_quantile(double p);

#endif
