/* Likelihoods: how probable an observed number is, given the outputs of a model, and numbers drawn
 * with that probability. All of it is computed in double. */
#ifndef CRNN_LIKELIHOOD_H
#define CRNN_LIKELIHOOD_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A distribution of a number z and its parameters, from outputs o of a model and a scale nu > 0.
 * sp(o) = log(1 + exp(o)); e is the epsilon of float, 2^-23. */
typedef enum crnn_likelihood {
    /* Mean nu o[0], deviation nu max(sp(o[1]), e). */
    CRNN_GAUSSIAN = 0,
    /* Location nu o[0], scale nu max(sp(o[1]), e), degrees of freedom 2 + sp(o[2]). */
    CRNN_STUDENT_T = 1,
    /* z = 0, 1, 2, ...; mean m = nu sp(o[0]), variance m + a m^2, a = sp(o[1]) / sqrt(nu). */
    CRNN_NEGATIVE_BINOMIAL = 2,
    CRNN_LIKELIHOODS = 3 /* How many there are. */
} crnn_likelihood;

enum { CRNN_MOST_PARAMETERS = 3 };

/* Returns P, the number of parameters, which is that of outputs. */
CRNN_API size_t crnn_likelihood_parameters(crnn_likelihood kind);

/* Observed numbers, and outputs for each of them. The caller owns all buffers. */
typedef struct crnn_observed {
    crnn_likelihood kind;
    crnn_dtype dtype;      /* Of outputs. */
    size_t n;              /* Rows. */
    const void *outputs;   /* in [n][P]. */
    const double *targets; /* in [n]: z. */
    const double *scales;  /* in [n]: nu. NULL: 1. */
    const double *weights; /* in [n]: of the losses of rows; rows of weight 0 are not read.
                              NULL: 1. */
} crnn_observed;

/* Returns the weighted sum of -log p(z), in nats, the losses of rows added in their order.
 * doutputs: out [n][P], of the type of outputs: the gradient times `factor`. */
CRNN_API double crnn_negative_log_likelihood(const crnn_observed *observed, double factor,
                                             void *doutputs);

/* Writes the key of the numbers that are drawn for a series. */
CRNN_API void crnn_draw_key(uint64_t seed, uint64_t series, uint32_t key[2]);
/* Returns a number that is distributed as `kind` says. It depends on nothing but the arguments:
 * equal key, sample and step stand for the same random numbers, with other outputs too. NaN if the
 * parameters are not finite. outputs: in [P]. */
CRNN_API double crnn_draw(crnn_likelihood kind, const double *outputs, double scale,
                          const uint32_t key[2], uint32_t sample, uint32_t step);

#ifdef __cplusplus
}
#endif

#endif
