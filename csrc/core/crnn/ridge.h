/* Linear least squares over rows that arrive in blocks: ridge regression from a triangular factor,
 * and recursive least squares. */
#ifndef CRNN_RIDGE_H
#define CRNN_RIDGE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- ridge regression ----------------------------------------------------------------------- */

/* The regression of O outputs on F features. A row has its features, then its targets. Rows are
 * reduced to a triangular factor by Householder reflections, in blocks (Schreiber and Van Loan, "A
 * storage-efficient WY representation for products of Householder transformations", 1989). All
 * numbers are double.
 *
 * A factor has two buffers, zeros at first: `factor` [F][pitch] has the upper triangular R of the
 * features in its first F columns and the rotated targets in the next O; `rest` [O] has, for each
 * output, the part of the sum of squares of the targets that no weights can explain. For any
 * weights W (F, O), the sum of the squared errors of output k over all rows is rest[k] plus the
 * squared norm of column k of targets - R W. */
typedef struct crnn_ridge {
    const crnn_kernels *kernels; /* The table of CRNN_F64. */
    size_t features;             /* F, at least 1. */
    size_t outputs;              /* O, at least 1. */
} crnn_ridge;

/* The most rows of a block. */
enum { CRNN_RIDGE_ROWS = 256 };

/* Writes the pitch: elements from one row of a factor, or of a block, to the next. */
CRNN_API crnn_status crnn_ridge_pitch(const crnn_ridge *ridge, size_t *pitch);
/* Writes the size of the workspace of crnn_ridge_add. */
CRNN_API crnn_status crnn_ridge_workspace(const crnn_ridge *ridge, size_t *bytes);
/* Adds n <= CRNN_RIDGE_ROWS rows to a factor. The result depends on the rows and on how they are
 * divided into blocks, and not on the number of threads. Another factor is added by adding its rows
 * as blocks, and its rest to `rest`. first <= F: columns 0 ... first - 1 of the block are zeros,
 * and are not read. block: in [n][pitch], overwritten. factor: in and out [F][pitch]. rest: in and
 * out [O]. workspace: scratch [crnn_ridge_workspace] bytes, aligned to CRNN_ALIGN. */
CRNN_API void crnn_ridge_add(const crnn_ridge *ridge, size_t n, size_t first, double *block,
                             double *factor, double *rest, void *workspace);
/* Computes the weights with the least squared error, R W = targets. No diagonal element of R is 0.
 * factor: in [F][pitch]. w: out [F][O]. */
CRNN_API void crnn_ridge_solve(const crnn_ridge *ridge, const double *factor, double *w);

/* ---- recursive least squares ---------------------------------------------------------------- */

/* Recursive least squares of some outputs on n features. A step has the gain k = P z / (forgetting
 * + z^T P z), and P <- (P - k z^T P) / forgetting. P = U^T D U is kept as a unit lower triangular U
 * and a positive diagonal D, which are updated as in Bierman, "Factorization methods for discrete
 * sequential estimation" (1977), chapter V: P remains symmetric and positive definite, whatever the
 * rounding errors. The caller then updates the weights W [n][O]: W <- W + k error^T, where the
 * error is the target minus z^T W. */
typedef struct crnn_rls {
    const crnn_kernels *kernels; /* The table of CRNN_F64. */
    size_t features;             /* n, at least 1. */
    double forgetting;           /* Above 0, at most 1. */
} crnn_rls;

/* The size of the numbers in a factor. */
typedef struct crnn_rls_extent {
    double trace; /* Of P. */
    double least; /* The least element of D. */
} crnn_rls_extent;

/* Writes the number of elements of a factor, and the bytes of a workspace. */
CRNN_API crnn_status crnn_rls_sizes(const crnn_rls *rls, size_t *elements, size_t *workspace);
/* Writes the factor of P = I / alpha. factor: out [crnn_rls_sizes]. It is fastest where it is
 * aligned to CRNN_ALIGN. */
CRNN_API void crnn_rls_begin(const crnn_rls *rls, double alpha, double *factor);
/* Makes some steps, with the bits of as many calls with one step each: P does not depend on
 * targets, and several steps read it from memory once. Returns the extent of the factor after the
 * last one. steps: at least 1. z: in [steps][n]. factor: in and out [crnn_rls_sizes]. gains: out
 * [steps][n]. workspace: scratch [crnn_rls_sizes] bytes, aligned to CRNN_ALIGN. */
CRNN_API crnn_rls_extent crnn_rls_gains(const crnn_rls *rls, size_t steps, const double *z,
                                        double *factor, double *gains, void *workspace);

#ifdef __cplusplus
}
#endif

#endif
