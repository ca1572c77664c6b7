/* libcrnn: recurrent layers on raw float buffers.
 *
 * What it does: forward and backward through time of one recurrent layer, of a dense map, losses
 * and optimizer steps, for float and double, on the instruction set chosen at run time. What it
 * refuses to do: it allocates no memory, knows no Python and checks no shapes. The caller gives
 * every buffer and has checked every size; the functions that return a status say how large a
 * buffer must be, and are the only ones that can fail (CRNN_OVERFLOW).
 *
 * Letters: B sequences in a batch, T steps, I inputs, H hidden units, G gates, K classes or
 * symbols, N = sum of the lengths: the steps that are really there. All buffers belong to the
 * caller; `const` marks what is only read. `void *` points at float or double, as the layer's dtype
 * says.
 */
#ifndef CRNN_H
#define CRNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum crnn_status {
    CRNN_OK = 0,
    CRNN_OVERFLOW, /* a size does not fit size_t */
} crnn_status;

typedef enum crnn_dtype { CRNN_F32 = 0, CRNN_F64 = 1, CRNN_DTYPES } crnn_dtype;

static inline size_t crnn_dtype_size(crnn_dtype dtype) {
    return dtype == CRNN_F64 ? sizeof(double) : sizeof(float);
}

/* The cells, in the order of cells.def. */
typedef enum crnn_cell {
#define CRNN_CELL(id, ...) CRNN_##id,
#include "cells.def"
#undef CRNN_CELL
    CRNN_CELLS
} crnn_cell;

/* ---- sizes that cannot wrap (sizes.c): false, and nothing written, where a result does not fit */

bool crnn_size_mul(size_t a, size_t b, size_t *out);
bool crnn_size_add(size_t a, size_t b, size_t *out);

/* ---- instruction sets (dispatch.c) ---------------------------------------------------------- */

/* Name of the i-th best instruction set that can run here, NULL past the last. */
const char *crnn_isa_available(size_t i);
/* The one in use. The first call chooses: CRNN_ISA from the environment, else the best. */
const char *crnn_isa_name(void);
/* Chooses another for the calls that follow; false, and no change, where it cannot run. */
bool crnn_isa_select(const char *name);

/* The kernels of one number type on one instruction set. What is packed, taped or measured with
 * some can be used with these alone, so a caller asks once and hands them on. */
typedef struct crnn_kernels crnn_kernels;

/* Those in use. */
const crnn_kernels *crnn_kernels_now(crnn_dtype dtype);

/* ---- threads (threads.c) -------------------------------------------------------------------- */

size_t crnn_threads(void);
void crnn_set_threads(size_t count); /* at least 1 */

/* ---- random numbers (random.c) -------------------------------------------------------------- */

/* out [n]: numbers first..first+n-1 of stream (seed, stream), uniform in [0, 1), 53 bits each. */
void crnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, double *out);
/* The generator itself: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3" (SC 2011). */
void crnn_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* ---- a recurrent layer: what it is ---------------------------------------------------------- */

typedef struct crnn_layer {
    crnn_cell cell;
    crnn_dtype dtype;
    size_t inputs; /* I, at least 1 */
    size_t hidden; /* H, at least 1 */
    bool bias;
    bool reverse; /* each row is read from its own last step to its first */
    double beta;  /* JANET's, 0 elsewhere */
} crnn_layer;

/* Where the parameters lie in the flat buffer, in elements. The buffer is one matrix of G*H
 * columns, gate after gate: row 0 is b, rows 1..I are W_x transposed, then H rows of W_h
 * transposed; so a product reads it as it lies. Behind it stands the bias of a gate's recurrent
 * sum, where a cell keeps that sum apart (GRU with reset after: b_hn). */
typedef struct crnn_layout {
    size_t b;   /* (G*H,), or nothing: b_size */
    size_t w_x; /* (I, G*H) */
    size_t w_h; /* (H, G*H) */
    size_t b_h; /* (H,), or nothing: b_h_size */
    size_t b_size, b_h_size;
    size_t columns; /* G*H */
    size_t total;
} crnn_layout;

crnn_status crnn_layer_layout(const crnn_layer *layer, crnn_layout *layout);

typedef struct crnn_cell_facts {
    const char *name;
    const char *gates; /* a letter each, in gate_order */
    size_t states;     /* 1: h; 2: h and c */
} crnn_cell_facts;

const crnn_cell_facts *crnn_cell_describe(crnn_cell cell);
/* Letter of the gate whose recurrent sum has a bias b_h of its own, 0 where none has. */
char crnn_cell_b_h(crnn_cell cell);

/* ---- the rows of one call ------------------------------------------------------------------- */

/* Rows are walked longest first, so that those still running at step t are the first active[t]; a
 * tape has one row for each step that is really there: first[t] + place. */
typedef struct crnn_rows {
    size_t batch, steps; /* B, T */
    size_t total;        /* N */
    size_t *order;       /* [B] the caller's row at each place */
    size_t *length;      /* [B] its length; never increases */
    size_t *active;      /* [T] rows that have step t */
    size_t *first;       /* [T + 1] tape row of step t, place 0 */
} crnn_rows;

crnn_status crnn_rows_size(size_t batch, size_t steps, size_t *words);
/* words [crnn_rows_size] is referred to by *rows. lengths [B], each 0..T, or NULL: all are T. */
void crnn_rows_init(crnn_rows *rows, size_t *words, size_t batch, size_t steps,
                    const int64_t *lengths);

/* ---- forward and backward ------------------------------------------------------------------- */

/* Element [b][t][f] lies at data[b * row + t * step + f]: strides in elements, features side by
 * side. */
typedef struct crnn_seq {
    void *data;
    ptrdiff_t row, step;
} crnn_seq;

static inline void *crnn_seq_at(const crnn_seq *seq, size_t row, size_t time, size_t item) {
    const ptrdiff_t at = (ptrdiff_t)row * seq->row + (ptrdiff_t)time * seq->step;
    return (char *)seq->data + at * (ptrdiff_t)item;
}

/* What the layer reads: floats (B, T, I), or symbols (B, T) in 0..I-1 where x.data is NULL. */
typedef struct crnn_input {
    crnn_seq x;
    const int64_t *symbols; /* [B][T], dense */
} crnn_input;

/* Elements of a state buffer: (B, H) dense, in the caller's row order. c only where states == 2;
 * a NULL stands for zeros where it is read, and for "not wanted" where it is written. */
typedef struct crnn_state {
    void *h, *c;
} crnn_state;

/* What forward keeps for backward: one buffer, whose layout depends on the instruction set, which
 * it remembers. */
typedef struct crnn_tape {
    const crnn_kernels *kernels; /* those that forward ran on */
    void *memory;                /* [crnn_tape_size] bytes, aligned to CRNN_ALIGN */
} crnn_tape;

enum { CRNN_ALIGN = 64 };

crnn_status crnn_tape_size(const crnn_layer *layer, const crnn_kernels *kernels,
                           const crnn_rows *rows, size_t *bytes);
crnn_status crnn_packed_size(const crnn_layer *layer, const crnn_kernels *kernels, size_t *bytes);

/* packed [crnn_packed_size] bytes: the weights in the order the forward kernels read them. */
void crnn_pack(const crnn_layer *layer, const crnn_kernels *kernels, const void *params,
               void *packed);

typedef struct crnn_forward_args {
    const crnn_layer *layer;
    const crnn_kernels *kernels;
    const crnn_rows *rows;
    const void *params; /* flat; not read where packed is given */
    const void *packed; /* by the same kernels; NULL: forward packs what is worth it */
    crnn_input in;
    crnn_state initial; /* in */
    crnn_seq y;         /* out (B, T, H), zeros past a row's end; data NULL: not wanted */
    crnn_state final;   /* out */
    crnn_tape *tape;    /* out, memory given by the caller; NULL: keep nothing */
    void *workspace;    /* [crnn_forward_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_forward_args;

/* All of args counts but params, y and states, which may come later, and the workspace itself. */
crnn_status crnn_forward_workspace(const crnn_forward_args *args, size_t *bytes);
void crnn_forward(const crnn_forward_args *args);

typedef struct crnn_backward_args {
    const crnn_layer *layer;
    const crnn_rows *rows;
    const crnn_tape *tape;
    const void *params;  /* flat */
    crnn_input in;       /* as given to forward */
    crnn_seq dy;         /* in (B, T, H), or data NULL: zeros */
    crnn_state dfinal;   /* in */
    crnn_state dinitial; /* out */
    void *grads;         /* flat, added to */
    crnn_seq dx;         /* out (B, T, I), or data NULL: not wanted; zeros past a row's end */
    bool add_dx;         /* add to what dx holds instead, and leave the padding alone */
    void *dh, *dc;       /* out [N][crnn_padded_hidden], total derivatives; NULL: not wanted */
    void *workspace;     /* [crnn_backward_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_backward_args;

/* Of args, layer, rows, tape and dx count. */
crnn_status crnn_backward_workspace(const crnn_backward_args *args, size_t *bytes);
void crnn_backward(const crnn_backward_args *args);

/* Elements in a row of dh and dc: H rounded up to the vector width of the tape's kernels. */
size_t crnn_padded_hidden(const crnn_layer *layer, const crnn_tape *tape);

/* Copies into out (B, T, H), dense, zeros past a row's end: a gate by its letter, after its
 * activation; */
void crnn_tape_gate(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                    char gate, void *out);
/* h, or c; */
void crnn_tape_state(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                     bool cell_state, void *out);
/* and values [N][crnn_padded_hidden], such as dh. */
void crnn_rows_view(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                    const void *values, void *out);

/* ---- dense map, losses, optimizers (ops.c) -------------------------------------------------- */

/* y = x W + b. x [n][inputs], w (inputs, outputs), b [outputs] or NULL, y [n][outputs], all dense.
 */
typedef struct crnn_dense {
    crnn_dtype dtype;
    size_t n, inputs, outputs;
} crnn_dense;

crnn_status crnn_dense_workspace(const crnn_dense *dense, size_t *bytes);
void crnn_dense_forward(const crnn_dense *dense, const void *x, const void *w, const void *b,
                        void *y, void *workspace);
/* dw, db are added to (db may be NULL); dx [n][inputs] out, may be NULL. */
void crnn_dense_backward(const crnn_dense *dense, const void *x, const void *w, const void *dy,
                         void *dw, void *db, void *dx, void *workspace);

/* dtable [symbols][size] gets row dy[i] added at symbols[i], i from last to first. */
void crnn_embedding_backward(crnn_dtype dtype, size_t n, size_t size, const int64_t *symbols,
                             const void *dy, void *dtable);

/* Rows to leave out have target -1. logits, dlogits [n][classes]; returns the sum over rows of the
 * loss in nats, and dlogits = (softmax - onehot) * scale, zeros in rows left out. */
double crnn_cross_entropy(crnn_dtype dtype, size_t n, size_t classes, const void *logits,
                          const int64_t *targets, double scale, void *dlogits);
/* dy = 2 (y - target) * scale over n elements; returns the sum of squares. */
double crnn_squared_error(crnn_dtype dtype, size_t n, const void *y, const void *target,
                          double scale, void *dy);

/* Sum of squares of g [n], in double, in one fixed order. */
double crnn_sum_squares(crnn_dtype dtype, size_t n, const void *g);

/* One step over a flat buffer; g is multiplied by `scale` (norm clipping) as it is read and left as
 * it is. */
typedef struct crnn_optim_step {
    crnn_dtype dtype;
    size_t n;
    double scale;
    void *p;       /* [n] parameters, changed in place */
    const void *g; /* [n] gradients */
    double lr;
    double weight_decay; /* AdamW's decoupled decay; 0 elsewhere */
} crnn_optim_step;

/* velocity [n] in and out, or NULL where momentum is 0. */
void crnn_sgd(const crnn_optim_step *s, double momentum, void *velocity);
/* square [n] in and out. */
void crnn_rmsprop(const crnn_optim_step *s, double alpha, double eps, void *square);
/* m, v [n] in and out; step counts from 1. */
void crnn_adam(const crnn_optim_step *s, double beta1, double beta2, double eps, uint64_t step,
               void *m, void *v);

#endif
