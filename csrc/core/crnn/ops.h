/* Dense maps, losses and optimizer steps. */
#ifndef CRNN_OPS_H
#define CRNN_OPS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- dense maps ----------------------------------------------------------------------------- */

/* The map y = x W + b of n rows. */
typedef struct crnn_dense {
    const crnn_kernels *kernels; /* Its type is that of all buffers. */
    size_t n;                    /* Rows. */
    size_t inputs;               /* Columns of x. */
    size_t outputs;              /* Columns of y. */
} crnn_dense;

/* Writes the size of the workspace of the two functions below. */
CRNN_API crnn_status crnn_dense_workspace(const crnn_dense *dense, size_t *bytes);
/* Computes y = x W + b. x: in [n][inputs]. w: in (inputs, outputs). b: in [outputs], or NULL. y:
 * out [n][outputs]. workspace: scratch [crnn_dense_workspace] bytes, aligned to CRNN_ALIGN. */
CRNN_API void crnn_dense_forward(const crnn_dense *dense, const void *x, const void *w,
                                 const void *b, void *y, void *workspace);
/* Computes the gradients. x, w: in, as in forward. dy: in [n][outputs]. dw: (inputs, outputs), the
 * gradient is added to it, or NULL. db: [outputs], likewise. dx: out
 * [n][inputs], or NULL. workspace: scratch, as in forward. */
CRNN_API void crnn_dense_backward(const crnn_dense *dense, const void *x, const void *w,
                                  const void *dy, void *dw, void *db, void *dx, void *workspace);

/* Adds row i of dy to row symbols[i] of dtable, for i from n - 1 to 0. symbols: in [n]. dy: in
 * [n][size]. dtable: in and out (K, size). */
CRNN_API void crnn_embedding_backward(crnn_dtype dtype, size_t n, size_t size,
                                      const int64_t *symbols, const void *dy, void *dtable);

/* ---- losses --------------------------------------------------------------------------------- */

/* Returns the sum of the cross-entropies of n rows, in nats. logits: in [n][classes]. targets: in
 * [n], a class, or -1 for a row that is left out. dlogits: out [n][classes], (softmax - one-hot) *
 * scale, and zeros in rows that are left out. */
CRNN_API double crnn_cross_entropy(crnn_dtype dtype, size_t n, size_t classes, const void *logits,
                                   const int64_t *targets, double scale, void *dlogits);

/* Labels of n rows, each of which is true or false by itself, with a probability between. */
typedef struct crnn_labels {
    crnn_dtype dtype; /* Of logits, targets and positive. */
    size_t n;         /* Rows. */
    size_t labels;    /* Labels of each. */
    const void *logits;
    const void *targets;   /* in [n][labels], 0 to 1, like logits */
    const void *positive;  /* in [labels]: weights of the terms of true labels; NULL: 1 */
    const double *weights; /* in [n]: weights of the rows; rows of weight 0 are not read. NULL: 1 */
} crnn_labels;

/* Returns the sum of the binary cross-entropies in nats. With a label's logit x, target t and
 * positive weight w, p = logistic(x), it is -(w t log p + (1 - t) log(1 - p)), times the weight of
 * its row. dlogits: out [n][labels], the gradient times scale. */
CRNN_API double crnn_binary_cross_entropy(const crnn_labels *labels, double scale, void *dlogits);
/* Returns the sum of the squared differences of n elements. y, target: in [n]. dy: out [n],
 * 2 (y - target) * scale. */
CRNN_API double crnn_squared_error(crnn_dtype dtype, size_t n, const void *y, const void *target,
                                   double scale, void *dy);

/* ---- optimizers ----------------------------------------------------------------------------- */

/* Returns the sum of the squares of g [n], computed in double, always in the same order. */
CRNN_API double crnn_sum_squares(crnn_dtype dtype, size_t n, const void *g);

/* One step of an optimizer over a flat buffer. */
typedef struct crnn_optim_step {
    crnn_dtype dtype;
    size_t n;      /* Elements. */
    double scale;  /* Gradients are multiplied by this when they are read, to clip their norm. */
    void *p;       /* in and out [n]: parameters. */
    const void *g; /* in [n]: gradients. */
    double lr;     /* Learning rate. */
    double weight_decay; /* Decoupled weight decay of AdamW; 0: none. */
} crnn_optim_step;

/* Makes a step of stochastic gradient descent. velocity: in and out [n], zeros at first; NULL if
 * momentum is 0. */
CRNN_API void crnn_sgd(const crnn_optim_step *s, double momentum, void *velocity);
/* Makes a step of RMSprop. square: in and out [n], zeros at first. */
CRNN_API void crnn_rmsprop(const crnn_optim_step *s, double alpha, double eps, void *square);
/* Makes a step of Adam. step: its number, from 1. m, v: in and out [n], zeros at first. */
CRNN_API void crnn_adam(const crnn_optim_step *s, double beta1, double beta2, double eps,
                        uint64_t step, void *m, void *v);

#ifdef __cplusplus
}
#endif

#endif
