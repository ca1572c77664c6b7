/* Forward and backward through time of one recurrent layer. */
#ifndef CRNN_RECURRENT_H
#define CRNN_RECURRENT_H

#include "layer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the rows of a call --------------------------------------------------------------------- */

/* Which steps of (B, T) are read. A row may have holes, that is steps which are not read. A row may
 * also be reset before a step: it is cut there into pieces, and each piece begins with the learned
 * state or with zeros. */
typedef struct crnn_steps {
    size_t batch;           /* B. */
    size_t steps;           /* T. */
    const int64_t *lengths; /* in [B], each 0 ... T. NULL: all rows have T steps. */
    const uint8_t *mask;    /* in [B][T], not 0 at steps that are read. NULL: all are. */
    const uint8_t *resets;  /* in [B][T], not 0 at steps before which the row is cut. NULL: none. */
    bool reverse;           /* Pieces are read from their last step to their first. */
    size_t stride;          /* d > 1: step t goes on from step t - d. 0 is 1. */
} crnn_steps;

/* Returns d >= 1. A row is then cut into d strands whose steps lie d apart, and has d rows of every
 * state: states are [B][d][...], the oldest first. Only steps that are read count. After a reset,
 * or from the beginning, step i < d goes on from state i; the final states are those of the last d
 * steps. The stride is the only delay of the layer (crnn_layer.delays). */
static inline size_t crnn_strands(const crnn_steps *steps) {
    return steps->stride > 1 ? steps->stride : 1;
}

/* Bits of crnn_rows.ends: which piece of its row is read first, and which is read last. */
enum { CRNN_READ_FIRST = 1, CRNN_READ_LAST = 2 };

/* The pieces of all rows, longest first. A piece's index in this order is its place, so the pieces
 * that have a step t are the places 0 ... active[t] - 1. A tape has one row for each step that is
 * read: row first[t] + place. crnn_rows_init fills the struct; all arrays lie in its `words`. */
typedef struct crnn_rows {
    crnn_steps given;
    size_t places;  /* How many pieces there are: B if no row is cut. */
    size_t total;   /* N. */
    size_t *order;  /* [places] the caller's row of each piece. */
    size_t *length; /* [places] the number of its steps that are read; never increases. */
    size_t *begin;  /* [places] its first step in time, or where its steps begin in `times`. */
    size_t *ends;   /* [places] CRNN_READ_FIRST and CRNN_READ_LAST, or 0. */
    size_t *active; /* [T] the number of places that have step t. */
    size_t *first;  /* [T + 1] the tape row of step t and place 0. */
    size_t *strand; /* [places] the state, of d, that it begins with: the strand that it is, */
    size_t *leaves; /* [places] and the one that it ends with. */
    size_t *times;  /* [N] the steps that are read, piece by piece. NULL: there are no holes. */
} crnn_rows;

/* Writes the number of words that crnn_rows_init needs. */
CRNN_API crnn_status crnn_rows_size(const crnn_steps *steps, size_t *words);
/* Fills *rows. words: [crnn_rows_size] numbers, owned by the caller. *rows refers to `words` and to
 * the arrays of `steps`, which must stay as they are while *rows is in use. */
CRNN_API void crnn_rows_init(crnn_rows *rows, size_t *words, const crnn_steps *steps);

/* Returns the caller's step that the piece at a place reads as its step t. */
static inline size_t crnn_rows_time(const crnn_rows *rows, size_t place, size_t t) {
    const size_t nth = rows->given.reverse ? rows->length[place] - 1 - t : t;
    if (rows->times) return rows->times[rows->begin[place] + nth];
    return rows->begin[place] + nth * crnn_strands(&rows->given);
}

/* ---- sequences ------------------------------------------------------------------------------ */

/* A sequence (B, T, features). Element [b][t][f] is data[b * row + t * step + f]. */
typedef struct crnn_seq {
    void *data;     /* Owned by the caller. */
    ptrdiff_t row;  /* Numbers from one row to the next. */
    ptrdiff_t step; /* Numbers from one step to the next. */
} crnn_seq;

/* Returns the address of [row][time][0]. item: the size of a number in bytes. */
static inline void *crnn_seq_at(const crnn_seq *seq, size_t row, size_t time, size_t item) {
    const ptrdiff_t at = (ptrdiff_t)row * seq->row + (ptrdiff_t)time * seq->step;
    return (char *)seq->data + at * (ptrdiff_t)item;
}

/* Writes the steps of seq (B, T, features) that were not read: zeros; with `repeat`, holes get the
 * values of the last step that was read before them, if there is one. item: bytes of a number. */
CRNN_API void crnn_fill_gaps(const crnn_rows *rows, const crnn_seq *seq, size_t features,
                             size_t item, bool repeat);
/* Adds the gradient of the values that crnn_fill_gaps repeated to the step that they came from.
 * dy: in (B, T, features). folded: out [B][T][features]; may be dy, where that is dense. Returns
 * the sequence in `folded`. */
CRNN_API crnn_seq crnn_fold_gaps(const crnn_rows *rows, const crnn_seq *dy, size_t features,
                                 crnn_dtype dtype, void *folded);

/* What a layer reads. Without symbols: x (B, T, I). With symbols: symbol k adds row k of a table to
 * the sums of the gates, and x (B, T, I - table), if it has any features, multiplies the rows of
 * W_x transposed behind the first `table`. These first rows are the table, or `products` is. */
typedef struct crnn_input {
    crnn_seq x;             /* in. */
    const int64_t *symbols; /* in [B][T], rows of the table. NULL: floats alone. */
    size_t table; /* The inputs that symbols stand for, at most I; ignored without symbols. */
    const void *products; /* in [symbols][G*H]: what each symbol gives to the sums. NULL: row k of
                             W_x transposed. */
    void *dproducts;      /* Of backward: the gradient of products, added to. NULL: not wanted. */
    const void *const *begun; /* in [B]: the sums of each row, from crnn_begin_sums. x then has no
                                 more than the features behind the first `shared`. Of forward
                                 without symbols and with packed weights. NULL: no sum is begun. */
    size_t shared;            /* At most I; ignored without `begun`. */
} crnn_input;

/* Returns the number of features of x. */
static inline size_t crnn_floats(const crnn_layer *layer, const crnn_input *in) {
    if (in->begun) return layer->inputs - in->shared;
    return in->symbols ? layer->inputs - in->table : layer->inputs;
}

/* A state or its gradient: h [B][D][P] and, for a cell with two states, c [B][D][H], with D the
 * longest delay of the layer, the oldest first. If it is read, NULL stands for the learned state or
 * for zeros. If it is written, NULL means that it is not wanted. */
typedef struct crnn_state {
    void *h;
    void *c;
} crnn_state;

/* The values that forward keeps for backward. Their layout depends on the instruction set. */
typedef struct crnn_tape {
    const crnn_kernels *kernels; /* out: the table with which forward ran. */
    void *memory;                /* [crnn_tape_size] bytes, aligned to CRNN_ALIGN. */
} crnn_tape;

/* Writes the size of the memory of a tape. */
CRNN_API crnn_status crnn_tape_size(const crnn_layer *layer, const crnn_kernels *kernels,
                                    const crnn_rows *rows, size_t *bytes);

/* ---- blocks of zeros in W_h --------------------------------------------------------------------
 */

/* Returns an estimate of the share of the blocks of 16 x 16 units in W_h that are not 0, from some
 * of them: 1 if the first ones are not, or if W_h is small. Where a call gets it, its products
 * leave out blocks of zeros (in which every bit is 0), if that saves time. The bits of all results
 * are the same. params: in, flat (crnn_layout). */
CRNN_API double crnn_kept_share(const crnn_layer *layer, const void *params);

/* ---- forward -------------------------------------------------------------------------------- */

/* Writes the size of packed weights. */
CRNN_API crnn_status crnn_packed_size(const crnn_layer *layer, const crnn_kernels *kernels,
                                      size_t *bytes);
/* Writes the weights in the order in which forward reads them. params: in, flat (crnn_layout).
 * packed: out [crnn_packed_size] bytes, aligned to CRNN_ALIGN. */
CRNN_API void crnn_pack(const crnn_layer *layer, const crnn_kernels *kernels, const void *params,
                        void *packed);

/* Rows that begin with the same inputs: the share of these in the sums of a step is computed once.
 * The sums are the same chains of multiply-adds, so their bits are the same. */
typedef struct crnn_begin_args {
    const crnn_layer *layer;     /* in: one of crnn_may_begin. */
    const crnn_kernels *kernels; /* The table to run with. */
    const void *packed;          /* in, from crnn_pack with `kernels`. */
    size_t n;                    /* Rows. */
    const void *const *x;        /* in [n]: rows of at least `shared` features. */
    size_t shared;               /* At most I. */
    void *begun;                 /* out [n][crnn_begun_wide], aligned to CRNN_ALIGN. */
} crnn_begin_args;

/* Returns whether sums of a layer can be begun: it neither normalises its sums nor projects h. */
CRNN_API bool crnn_may_begin(const crnn_layer *layer);
/* Writes how many numbers the sums of a row are. */
CRNN_API crnn_status crnn_begun_wide(const crnn_layer *layer, const crnn_kernels *kernels,
                                     size_t *wide);
/* Begins the sums of rows: bias, and the first `shared` inputs times their weights. */
CRNN_API void crnn_begin_sums(const crnn_begin_args *args);

/* The arguments of crnn_forward. */
typedef struct crnn_forward_args {
    const crnn_layer *layer;     /* in. */
    const crnn_kernels *kernels; /* The table to run with. */
    const crnn_rows *rows;       /* in. */
    const void *params;          /* in, flat. If `packed` is given, only h0 and c0 are read. */
    const void *packed;          /* in, from crnn_pack with `kernels`; excludes weight_drop. NULL:
                                    forward packs the weights itself where this is worth it. */
    crnn_input in;               /* in. */
    bool stepwise;               /* The input of a step is known only after the step before it. */
    double kept;                 /* in: of crnn_kept_share, the same as for the workspace; crnn_pack
                                    finds it itself. 0: W_h is taken as a whole. */
    crnn_noise noise;            /* in. */
    crnn_state initial;          /* in: the state before the first step that is read. */
    crnn_seq y;       /* out (B, T, P): zeros behind the end of a row, the last output in holes.
                         data NULL: not wanted. */
    crnn_state final; /* out: the state after the last step that is read. */
    crnn_tape *tape;  /* out; the caller sets its memory. NULL: no tape, and no backward. */
    void *workspace;  /* scratch [crnn_forward_workspace] bytes, aligned to CRNN_ALIGN. */
} crnn_forward_args;

/* Writes the size of the workspace of crnn_forward. The fields params, initial, y, final and
 * workspace are not read and may be set later; tape->memory may be NULL. */
CRNN_API crnn_status crnn_forward_workspace(const crnn_forward_args *args, size_t *bytes);
/* Runs the layer over all steps. */
CRNN_API void crnn_forward(const crnn_forward_args *args);

/* ---- backward ------------------------------------------------------------------------------- */

/* The arguments of crnn_backward. */
typedef struct crnn_backward_args {
    const crnn_layer *layer; /* in: as in forward, */
    const crnn_rows *rows;   /* in: as in forward, */
    const crnn_tape *tape;   /* in: as forward wrote it. */
    const void *params;      /* in, flat: as in forward. */
    crnn_input in;           /* in: as in forward. */
    double kept;             /* in: of crnn_kept_share, the same as for the workspace. 0: as 1. */
    crnn_noise noise;        /* in: as in forward. */
    bool from_learned;       /* Forward began with the learned state. */
    crnn_seq dy;             /* in (B, T, P): the gradient of y. data NULL: zeros. */
    crnn_state dfinal;       /* in: the gradient of the final state. NULL: zeros. */
    crnn_state dinitial;     /* out: the gradient of the initial state. */
    void *grads;     /* in and out, flat like params: gradients are added to it. NULL: not wanted,
                        as of a frozen layer. */
    crnn_seq dx;     /* out (B, T, crnn_floats): zeros at steps that were not read. data NULL: not
                        wanted. */
    bool add_dx;     /* Add to dx instead, and leave steps that were not read as they are. */
    void *trace;     /* out [crnn_trace_size] bytes, aligned to CRNN_ALIGN. NULL: not wanted. */
    void *workspace; /* scratch [crnn_backward_workspace] bytes, aligned to CRNN_ALIGN. */
} crnn_backward_args;

/* Writes the size of the workspace of crnn_backward. It depends on layer, rows, tape->kernels,
 * noise, kept, and on whether grads, in.symbols, dx.data and dy.data are NULL. */
CRNN_API crnn_status crnn_backward_workspace(const crnn_backward_args *args, size_t *bytes);
/* Computes all gradients. A tape may be used any number of times. */
CRNN_API void crnn_backward(const crnn_backward_args *args);

/* ---- values on a tape ----------------------------------------------------------------------- */

/* Copies the values of a gate, after its activation. gate: its letter. out: [B][T][H], zeros at
 * steps that were not read. */
CRNN_API void crnn_tape_gate(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                             char gate, void *out);
/* Copies h, or c if `cell_state`. out: [B][T][P] or [B][T][H], zeros behind the end of a row, the
 * last state in holes. */
CRNN_API void crnn_tape_state(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                              bool cell_state, void *out);

/* ---- the trace: gradients that backward computed at each step ---------------------------------
 */

/* Writes the size of a trace. The memory of the tape is not read and may be NULL. */
CRNN_API crnn_status crnn_trace_size(const crnn_layer *layer, const crnn_tape *tape,
                                     const crnn_rows *rows, size_t *bytes);

/* A trace with the arguments of the backward that wrote it. */
typedef struct crnn_traced {
    const crnn_layer *layer; /* in. */
    const crnn_rows *rows;   /* in. */
    const crnn_tape *tape;   /* in. */
    const void *trace;       /* in [crnn_trace_size] bytes. */
} crnn_traced;

/* Copies the total derivative of the loss with respect to h, or to c if `cell_state`, at each step.
 * out: [B][T][P] or [B][T][H], zeros at steps that were not read. */
CRNN_API void crnn_trace_state(const crnn_traced *t, bool cell_state, void *out);
/* Copies the derivative of the loss with respect to the sum of a gate, which its activation takes.
 * gate: its letter. out: [B][T][H], zeros at steps that were not read. */
CRNN_API void crnn_trace_sum(const crnn_traced *t, char gate, void *out);
/* Copies the derivative of the loss with respect to the product of h and the columns of W_h that
 * belong to a gate. It differs from crnn_trace_sum if sums are normalised, or if the reset gate
 * multiplies the product. out: [B][T][H], zeros at steps that were not read. */
CRNN_API void crnn_trace_product(const crnn_traced *t, char gate, void *out);
/* Copies the vector that the columns of W_h that belong to a gate multiplied. The outer products of
 * this vector and crnn_trace_product, summed over rows and steps, are the gradient of these columns
 * if no elements were dropped (crnn_trace_dropped). out: [B][T][K*P], zeros at steps not read. */
CRNN_API void crnn_trace_read(const crnn_traced *t, char gate, void *out);
/* Copies the matrix that forward used in place of W_h if elements of it were dropped: each element
 * times 0 or 1 / (1 - p). noise: as in forward. w_h: in (K*P, G*H). dropped: out, likewise. Returns
 * false, and writes nothing, if none were. */
CRNN_API bool crnn_trace_dropped(const crnn_traced *t, const crnn_noise *noise, const void *w_h,
                                 void *dropped);

#ifdef __cplusplus
}
#endif

#endif
