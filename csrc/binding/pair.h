/* What the files of Bidirectional share: how two outputs become one, and the tape that remembers
 * it.
 */
#ifndef CRNN_BINDING_PAIR_H
#define CRNN_BINDING_PAIR_H

#include "binding.h"

typedef enum merge { CONCAT, SUM, MEAN, MUL, MERGES } merge;
extern const char *const merge_names[MERGES];

/* One object of each direction, such as what both returned: tuples (y, state[, tape]). Owned. */
typedef struct both {
    PyObject *f, *b;
} both;

void both_clear(both *p);

/* The tapes of both directions, and their outputs where the merge needs them again. */
typedef struct PairTape {
    PyObject_HEAD
    PyObject *forward_tape, *backward_tape;
    PyArrayObject *y_f, *y_b; /* of dtype and shape, dense, for "mul"; else NULL */
    npy_intp shape[3];        /* of y */
    npy_intp split;           /* first column of the second direction, for "concat" */
    crnn_dtype dtype;         /* of dy */
    merge merge;
} PairTape;

/* y of both outputs, (B, T, H), or NULL with an exception. What a layer returned that is not floats
 * is taken as floats of `dtype`. */
PyArrayObject *merge_outputs(merge how, crnn_dtype dtype, const both *results);
PairTape *pair_tape_new(module_state *module, merge how, const both *results, PyArrayObject *y);
/* The gradients of both outputs from that of y, which may be None. */
bool split_dy(const PairTape *tape, PyObject *dy, both *out);

#endif
