/* Operations on each step alone: layer normalisation, dropout, activation, sum, mean and product of
 * two inputs, inputs side by side; and pooling, which makes one vector of the steps of a row. */
#ifndef CRNN_ROWWISE_H
#define CRNN_ROWWISE_H

#include "recurrent.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The steps that an operation runs on, in any order: the i-th is step time[i] of row row[i]. If row
 * and time are NULL, it is step i % steps of row i / steps. */
typedef struct crnn_cells {
    size_t n;          /* How many. */
    const size_t *row; /* in [n], or NULL. */
    const size_t *time;
    size_t steps; /* At least 1; not read where row is given. */
} crnn_cells;

typedef enum crnn_rowwise_kind {
    CRNN_ROWWISE_NORM = 0,     /* gain o (x - mean) / sqrt(variance + eps) + bias. */
    CRNN_ROWWISE_DROP = 1,     /* x, 0 with probability p, else divided by 1 - p. */
    CRNN_ROWWISE_ACTIVATE = 2, /* A function of each element. */
    CRNN_ROWWISE_SUM = 3,      /* a + b. */
    CRNN_ROWWISE_MEAN = 4,     /* (a + b) / 2. */
    CRNN_ROWWISE_MUL = 5,      /* a o b. */
    CRNN_ROWWISE_CONCAT = 6,   /* a, and b behind it. */
    CRNN_ROWWISE_RELU_SUM = 7  /* max(a + b, 0). */
} crnn_rowwise_kind;

typedef struct crnn_rowwise {
    crnn_rowwise_kind kind;
    const crnn_kernels *kernels; /* Of the type of all buffers. */
    size_t inputs;               /* 1 for the first three kinds, 2 for the others. */
    size_t features[2];          /* Of the inputs; equal except for CONCAT. */
    crnn_activation activation;  /* Of ACTIVATE. */
    const void *params;          /* in [2][features] of NORM: gain, bias. */
    double eps;                  /* Of NORM, positive. */
    double p;                    /* Of DROP, 0 <= p < 1. */
    crnn_noise noise;            /* Of DROP; off: y is x. A cell has the numbers of row
                                    first_row + row and step first_step + time, */
    bool variational;            /* or of step 0: one mask for all steps of a row. */
} crnn_rowwise;

/* Returns the features of y. */
static inline size_t crnn_rowwise_features(const crnn_rowwise *o) {
    return o->kind == CRNN_ROWWISE_CONCAT ? o->features[0] + o->features[1] : o->features[0];
}

/* Returns about how many multiply-adds take as long as one element. */
CRNN_API double crnn_rowwise_work(const crnn_rowwise *o);

/* Returns how many elements forward keeps of a cell: the mean and 1 / sqrt(variance + eps) of NORM.
 */
static inline size_t crnn_rowwise_kept(const crnn_rowwise *o) {
    return o->kind == CRNN_ROWWISE_NORM ? 2 : 0;
}

/* Return whether backward reads x, and whether it reads y. */
static inline bool crnn_rowwise_reads_x(const crnn_rowwise *o) {
    return o->kind == CRNN_ROWWISE_NORM || o->kind == CRNN_ROWWISE_MUL ||
           (o->kind == CRNN_ROWWISE_ACTIVATE && o->activation >= CRNN_ACTIVATIONS);
}
static inline bool crnn_rowwise_reads_y(const crnn_rowwise *o) {
    return o->kind == CRNN_ROWWISE_RELU_SUM ||
           (o->kind == CRNN_ROWWISE_ACTIVATE && !crnn_rowwise_reads_x(o));
}

/* The buffers of one call. Sequences may be longer than the cells: other steps are neither read nor
 * written. The caller owns all of them. */
typedef struct crnn_rowwise_call {
    crnn_seq x[2]; /* in (B, T, features), of each input. */
    crnn_seq y;    /* out (B, T, crnn_rowwise_features); may be x[0], except for CONCAT. In backward
                      in. */
    void *kept;    /* [n][crnn_rowwise_kept], out, or NULL: not wanted; in backward in. */
    /* The others are those of backward. */
    crnn_seq dy;    /* in (B, T, crnn_rowwise_features). */
    crnn_seq dx[2]; /* out, as x; data NULL: not wanted. May be dy where nothing is normalised or
                       concatenated. */
    bool add[2];    /* Whether to add to dx instead of writing it. */
    void *grads;    /* [2][features] of NORM: dgain, dbias, added to from the last cell to the
                       first; NULL: not wanted. */
} crnn_rowwise_call;

CRNN_API void crnn_rowwise_forward(const crnn_rowwise *o, const crnn_cells *cells,
                                   const crnn_rowwise_call *call);
CRNN_API void crnn_rowwise_backward(const crnn_rowwise *o, const crnn_cells *cells,
                                    const crnn_rowwise_call *call);

typedef enum crnn_pool_how {
    CRNN_POOL_LAST = 0, /* The last step. */
    CRNN_POOL_MEAN = 1, /* The mean of all steps, added in time. */
    CRNN_POOL_MAX = 2   /* The largest number of each feature; a NaN is larger than any number. */
} crnn_pool_how;

typedef struct crnn_pool {
    crnn_pool_how how;
    const crnn_kernels *kernels; /* Of the type of all buffers. */
    const crnn_steps *steps; /* Which steps of x there are; resets and reverse have no effect. */
    size_t features;         /* F. */
} crnn_pool;

/* x: in (B, T, F). y: out [B][F], zeros for a row without steps. taken: out [B][F] the step that
 * each element of y comes from, the first one with that number; not written for MEAN, and of no
 * meaning for a row without steps. */
CRNN_API void crnn_pool_forward(const crnn_pool *pool, const crnn_seq *x, void *y, int64_t *taken);
/* dy: in [B][F]. taken: in, as forward wrote it. dx: out (B, T, F), zeros at steps that are not
 * there; with `add`, added to. */
CRNN_API void crnn_pool_backward(const crnn_pool *pool, const void *dy, const int64_t *taken,
                                 const crnn_seq *dx, bool add);

#ifdef __cplusplus
}
#endif

#endif
