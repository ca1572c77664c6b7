/* Parameters of a distribution, for losses and draws. */
#ifndef CRNN_CORE_LIKELIHOOD_H
#define CRNN_CORE_LIKELIHOOD_H

#include "crnn/likelihood.h"

typedef struct core_parameters {
    double mean;
    double spread;  /* deviation, scale, or alpha */
    double freedom; /* of Student's t */
} core_parameters;

/* outputs: in [P]. */
core_parameters core_parameters_of(crnn_likelihood kind, const double *outputs, double scale);

#endif
