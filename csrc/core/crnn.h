/* libcrnn: recurrent layers on raw float buffers.
 *
 * What it does: forward and backward through time of one recurrent layer, of a decoder of several
 * with attention, of a dense map; the choice of symbols and what a decoder writes; losses and
 * optimizer steps; for float and double, on the instruction set chosen at run time. What it refuses
 * to do: it allocates no memory, knows no Python and checks no shapes. The caller gives every
 * buffer and has checked every size; the functions that return a status say how large a buffer must
 * be, and are the only ones that can fail (CRNN_OVERFLOW).
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

/* At most so many work on a call. The first call chooses, where crnn_set_threads has not:
 * CRNN_NUM_THREADS from the environment, else the least of the cores that this process may run on,
 * the CPU quota of its control groups, rounded up, and OMP_NUM_THREADS. */
size_t crnn_threads(void);
void crnn_set_threads(size_t count); /* at least 1 */
/* What CRNN_NUM_THREADS may be: an integer of at least 1. 0: it is none. */
size_t crnn_parse_threads(const char *text);

/* ---- random numbers (random.c) -------------------------------------------------------------- */

/* out [n]: numbers first..first+n-1 of stream (seed, stream), uniform in [0, 1), 53 bits each. */
void crnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, double *out);
/* The generator itself: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3" (SC 2011). */
void crnn_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* What is dropped in a call is a function of these, and of row, step and unit; nothing is hidden.
 * Rows are counted from first_row on, steps from first_step. */
typedef struct crnn_noise {
    bool on; /* training: else nothing is dropped */
    uint64_t seed, call, first_row;
    uint32_t first_step, layer;
} crnn_noise;

typedef enum crnn_noise_kind {
    CRNN_NOISE_INPUT, /* of the layer Dropout */
    CRNN_NOISE_RECURRENT,
    CRNN_NOISE_ZONEOUT_H,
    CRNN_NOISE_ZONEOUT_C,
    CRNN_NOISE_WEIGHTS,
} crnn_noise_kind;

/* Numbers (row, step, unit) of one kind are words unit % 4 of Philox with this key and the counter
 * (unit / 4, step, row low, row high). An event of probability p happens where a number is below
 * crnn_below(p). */
void crnn_noise_key(const crnn_noise *noise, crnn_noise_kind kind, uint32_t key[2]);
uint32_t crnn_below(double p);

/* ---- a recurrent layer: what it is ---------------------------------------------------------- */

/* CRNN_USUAL: what the cell's equations say, tanh or the logistic function. */
typedef enum crnn_activation {
    CRNN_USUAL,
    CRNN_TANH,
    CRNN_LOGISTIC,
    CRNN_HARD_SIGMOID, /* max(0, min(1, 0.2 s + 0.5)) */
    CRNN_RELU,
    CRNN_SOFTSIGN, /* s / (1 + |s|) */
    CRNN_IDENTITY,
    CRNN_ACTIVATIONS, /* So many are those of the cells: their slopes are functions of their values.
                       */
    /* The layer Activation has these, too. */
    CRNN_GELU = CRNN_ACTIVATIONS, /* s logistic(2 sqrt(2/pi) (s + 0.044715 s^3)) */
    CRNN_GELU_EXACT,              /* s Phi(s), Phi the distribution function of the normal law */
    CRNN_SILU,                    /* s logistic(s) */
    CRNN_ROWWISE_ACTIVATIONS
} crnn_activation;

/* All options are off where they are 0. */
typedef struct crnn_layer {
    crnn_cell cell;
    crnn_dtype dtype;
    size_t inputs;    /* I, at least 1 */
    size_t hidden;    /* H, at least 1 */
    size_t projected; /* P: h is W_p times the cell's output; 0: it is the output, and P is H */
    bool bias;
    bool reverse; /* each row is read from its own last step to its first */
    bool learns_state;
    bool layer_norm;
    bool peepholes;                          /* of a cell that has a c */
    crnn_activation gate, candidate, output; /* of the gates, of the candidate, of c' */
    double beta;                             /* JANET's, 0 elsewhere */
    double clip;                             /* of the complete sums; 0: none */
    double recurrent_dropout, weight_drop, zoneout_h, zoneout_c; /* probabilities */
} crnn_layer;

/* P: the width of h. */
static inline size_t crnn_width(const crnn_layer *layer) {
    return layer->projected ? layer->projected : layer->hidden;
}

/* Parameters other than the matrix below, in the order in which they follow it. */
typedef enum crnn_extra {
    CRNN_B_H,    /* (H,) bias of a recurrent sum that is kept apart */
    CRNN_P_I,    /* (H,) peepholes */
    CRNN_P_F,    /* (H,) */
    CRNN_P_O,    /* (H,) */
    CRNN_GAIN_X, /* (G*H,) of layer normalisation */
    CRNN_GAIN_H, /* (G*H,) */
    CRNN_GAIN_C, /* (H,) */
    CRNN_B_C,    /* (H,) */
    CRNN_W_P,    /* (H, P) projection, transposed */
    CRNN_H0,     /* (P,) learned state */
    CRNN_C0,     /* (H,) */
    CRNN_EXTRAS
} crnn_extra;

/* Where the parameters lie in the flat buffer, in elements. The buffer begins as one matrix of G*H
 * columns, gate after gate: row 0 is b, rows 1..I are W_x transposed, then P rows of W_h
 * transposed; so a product reads it as it lies. The extras stand behind it. */
typedef struct crnn_layout {
    size_t b;   /* (G*H,), or nothing: b_size */
    size_t w_x; /* (I, G*H) */
    size_t w_h; /* (P, G*H) */
    size_t b_size;
    size_t columns;                                     /* G*H */
    size_t extra[CRNN_EXTRAS], extra_size[CRNN_EXTRAS]; /* of size 0 where there is none */
    size_t total;
} crnn_layout;

crnn_status crnn_layer_layout(const crnn_layer *layer, crnn_layout *layout);

typedef struct crnn_cell_facts {
    const char *name;
    const char *gates; /* a letter each, in gate_order */
    size_t states;     /* 1: h; 2: h and c */
    bool activated;    /* the activations of its gates and of its candidate can be chosen */
} crnn_cell_facts;

const crnn_cell_facts *crnn_cell_describe(crnn_cell cell);
/* Letter of the gate whose recurrent sum has a bias b_h of its own, 0 where none has. */
char crnn_cell_b_h(crnn_cell cell);

/* ---- the rows of one call ------------------------------------------------------------------- */

/* Which steps of (B, T) there are. A row may have holes, steps that are not read; and it may start
 * anew at some step: it is cut there into pieces that know nothing of each other. */
typedef struct crnn_steps {
    size_t batch, steps;    /* B, T */
    const int64_t *lengths; /* [B], each 0..T; NULL: all are T */
    const uint8_t *mask;    /* [B][T] not 0: the steps that are read; NULL: all are */
    const uint8_t *resets;  /* [B][T] not 0: a row is cut before these; NULL: nowhere */
    bool reverse;           /* pieces are read from their last step to their first */
} crnn_steps;

enum { CRNN_READ_FIRST = 1, CRNN_READ_LAST = 2 };

/* Pieces of rows are walked longest first, so that those still running at step t are the first
 * active[t]; a tape has one row for each step that is really there: first[t] + place. */
typedef struct crnn_rows {
    crnn_steps given;
    size_t places;  /* how many pieces there are: B where no row is cut */
    size_t total;   /* N */
    size_t *order;  /* [places] the caller's row at each place */
    size_t *length; /* [places] steps that are read; never increases */
    size_t *begin;  /* [places] the first of its steps in time: its place in `times`, or a time */
    size_t *ends;   /* [places] CRNN_READ_FIRST, CRNN_READ_LAST of its row */
    size_t *active; /* [T] places that have step t */
    size_t *first;  /* [T + 1] tape row of step t, place 0 */
    size_t *times;  /* piece by piece, the steps that are read; NULL where there are no holes */
} crnn_rows;

crnn_status crnn_rows_size(const crnn_steps *steps, size_t *words);
/* words [crnn_rows_size], and what `steps` points to, are referred to by *rows. */
void crnn_rows_init(crnn_rows *rows, size_t *words, const crnn_steps *steps);

/* The caller's step that a place reads as its t-th. */
static inline size_t crnn_rows_time(const crnn_rows *rows, size_t place, size_t t) {
    const size_t nth = rows->given.reverse ? rows->length[place] - 1 - t : t;
    const size_t at = rows->begin[place] + nth;
    return rows->times ? rows->times[at] : at;
}

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

/* Writes zeros (features) at the steps of seq that were not read; with `repeat`, in holes what
 * stands at the step read before, where there is one. */
void crnn_fill_gaps(const crnn_rows *rows, const crnn_seq *seq, size_t features, size_t item,
                    bool repeat);
/* The gradient of what is repeated in holes goes to the step that it came from: a sequence in
 * folded [B][T][features]. */
crnn_seq crnn_fold_gaps(const crnn_rows *rows, const crnn_seq *dy, size_t features,
                        crnn_dtype dtype, void *folded);

/* What the layer reads: floats (B, T, I); or symbols (B, T), of which number k stands for row k of
 * W_x; or both side by side: then the floats, (B, T, I - table), meet the rows of W_x behind those
 * that symbols stand for. */
typedef struct crnn_input {
    crnn_seq x;
    const int64_t *symbols; /* [B][T] in 0..table-1, dense; or NULL */
    size_t table;           /* where there are symbols; I where there is nothing else */
} crnn_input;

/* How many of the inputs are floats. */
static inline size_t crnn_floats(const crnn_layer *layer, const crnn_input *in) {
    return in->symbols ? layer->inputs - in->table : layer->inputs;
}

/* Elements of a state buffer: h (B, P), c (B, H), dense, in the caller's row order. c only where
 * states == 2; a NULL stands, where it is read, for the learned state or for zeros, and for "not
 * wanted" where it is written. */
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
    const void *params; /* flat; of those, h0 and c0 alone are read where packed is given */
    const void *packed; /* by the same kernels, and none of them is dropped; NULL: forward packs
                           what is worth it */
    crnn_input in;
    bool stepwise; /* a step of x is there only when the step before it is done */
    crnn_noise noise;
    crnn_state initial; /* in */
    crnn_seq y; /* out (B, T, P), zeros past a row's end, what was last in holes; data NULL: not
                   wanted */
    crnn_state final; /* out */
    crnn_tape *tape;  /* out, memory given by the caller; NULL: keep nothing */
    void *workspace;  /* [crnn_forward_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_forward_args;

/* All of args counts but params, y and states, which may come later, and the workspace itself. */
crnn_status crnn_forward_workspace(const crnn_forward_args *args, size_t *bytes);
void crnn_forward(const crnn_forward_args *args);

typedef struct crnn_backward_args {
    const crnn_layer *layer;
    const crnn_rows *rows;
    const crnn_tape *tape;
    const void *params;  /* flat */
    crnn_input in;       /* as given to forward, */
    crnn_noise noise;    /* likewise */
    bool from_learned;   /* forward began with the learned state */
    crnn_seq dy;         /* in (B, T, P), or data NULL: zeros */
    crnn_state dfinal;   /* in */
    crnn_state dinitial; /* out */
    void *grads;         /* flat, added to */
    crnn_seq dx;         /* out (B, T, floats), or data NULL: not wanted; zeros past a row's end */
    bool add_dx;         /* add to what dx holds instead, and leave the padding alone */
    void *trace;         /* out [crnn_trace_size] bytes, aligned to CRNN_ALIGN, or NULL */
    void *workspace;     /* [crnn_backward_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_backward_args;

/* Of args, layer, rows, tape and dx count. */
crnn_status crnn_backward_workspace(const crnn_backward_args *args, size_t *bytes);
void crnn_backward(const crnn_backward_args *args);

/* Copies into out (B, T, H), dense, zeros at steps not read: a gate by its letter, after its
 * activation; */
void crnn_tape_gate(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                    char gate, void *out);
/* h (B, T, P), or c, which stay what they were in holes. */
void crnn_tape_state(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                     bool cell_state, void *out);

/* ---- the trace: what a walk back finds at each step, where that is wanted (trace.c) ---------- */

/* A tape whose memory is NULL will do. */
crnn_status crnn_trace_size(const crnn_layer *layer, const crnn_tape *tape, const crnn_rows *rows,
                            size_t *bytes);

typedef struct crnn_traced {
    const crnn_layer *layer;
    const crnn_rows *rows;
    const crnn_tape *tape;
    const void *trace;
} crnn_traced;

/* Copies into out, dense, zeros at steps not read: the total derivative dL/dh (B, T, P), or dL/dc;
 */
void crnn_trace_state(const crnn_traced *t, bool cell_state, void *out);
/* of a gate by its letter, (B, T, H): dL/d(its sum, which the activation takes), */
void crnn_trace_sum(const crnn_traced *t, char gate, void *out);
/* dL/d(what its rows of W_h gave to that sum): another number where sums are normalised, or where
 * the reset gate stands between the two, */
void crnn_trace_product(const crnn_traced *t, char gate, void *out);
/* and (B, T, P): what these rows multiplied. Products of the last two, over rows and steps, add up
 * to the gradient of W_h, */
void crnn_trace_read(const crnn_traced *t, char gate, void *out);
/* where none of its elements were dropped. Else, with w_h (P, G*H): dropped gets what forward read
 * in its place, each element times 0 or 1 / (1 - p). False, and nothing is written, where none
 * were. */
bool crnn_trace_dropped(const crnn_traced *t, const crnn_noise *noise, const void *w_h,
                        void *dropped);

/* ---- dense map, losses, optimizers (ops.c) -------------------------------------------------- */

/* y = x W + b. x [n][inputs], w (inputs, outputs), b [outputs] or NULL, y [n][outputs], all dense.
 */
typedef struct crnn_dense {
    const crnn_kernels *kernels; /* of the type of all buffers */
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

/* ---- operations on each step alone, and pooling (rowwise.c) ---------------------------------- */

#include "crnn/rowwise.h"

/* ---- attention (attention.c) ---------------------------------------------------------------- */

/* Queries [B][T_q][A] look at the keys [B][T_s][A] of their own source row and get a mean of its
 * values [B][T_s][C]. The score of step s is  v . tanh(key_s + query)  where v is given (Bahdanau
 * et al., "Neural machine translation by jointly learning to align and translate", 2015), else
 * key_s . query  (Luong et al., "Effective approaches to attention-based neural machine
 * translation", 2015). The softmax of the scores of the steps that are there is the weights
 * [B][T_q][T_s]; the mean they make is the context [B][T_q][C]. Past the end of a source weights
 * are 0; past the end of its queries, and of a source that is empty, so is the context. All buffers
 * are dense. */
typedef struct crnn_attention {
    crnn_dtype dtype;
    size_t batch, queries, steps; /* B, T_q, T_s */
    size_t key_size, value_size;  /* A, C; at least 1 */
    const int64_t *lengths;       /* [B] of the sources, each 0..T_s; NULL: all are T_s */
    const int64_t *query_lengths; /* [B] each 0..T_q; NULL: all are T_q */
    const void *keys, *values;
    const void *v; /* [A], or NULL: key . query */
} crnn_attention;

/* weights, context: out. */
void crnn_attention_forward(const crnn_attention *a, const void *queries, void *weights,
                            void *context);

typedef struct crnn_attention_grads {
    const void *weights;   /* in, as forward gave them */
    const void *dcontext;  /* in [B][T_q][C]; nothing is read past the end of a row's queries */
    void *dqueries;        /* out [B][T_q][A], zeros past the end */
    void *dkeys, *dvalues; /* out, in the shape of keys and of values */
    void *dv;              /* [A] added to, row by row; NULL where there is no v */
    void *workspace;       /* [crnn_attention_workspace] bytes */
} crnn_attention_grads;

crnn_status crnn_attention_workspace(const crnn_attention *a, size_t *bytes);
void crnn_attention_backward(const crnn_attention *a, const void *queries,
                             const crnn_attention_grads *grads);

/* ---- a decoder that is fed what it attends to (decoder.c) ----------------------------------- */

/* Recurrent layers one on top of the other. Before each step the top one's last h, P wide, asks
 * attention for a context, and the lowest layer reads it beside its own input: Bahdanau et al.
 * (2015). The context of a step waits for the step before, so all layers take a step before any
 * takes the next. */
typedef struct crnn_decoder_level {
    const crnn_layer *layer; /* not reversed */
    const void *params;      /* flat */
    crnn_noise noise;
    crnn_state initial, final; /* in; out */
    crnn_seq y;                /* out (B, T, P) */
    crnn_tape *tape;           /* out, memory given by the caller */
    /* Of what a level above the lowest reads, which is then in `dropped` (B, T, I); NULL there:
     * nothing is dropped. */
    crnn_seq dropped;
    double dropout;
    bool variational; /* the same features at every step of a row */
    crnn_noise dropout_noise;
} crnn_decoder_level;

typedef struct crnn_decoder {
    const crnn_kernels *kernels;
    const crnn_rows *rows;           /* of the target, not cut and without holes */
    size_t depth;                    /* at least 1 */
    const crnn_decoder_level *level; /* [depth], lowest first */
    crnn_input in; /* of the lowest, with floats: of their last C forward writes the contexts */
    const crnn_attention *attention; /* of T queries; those past a row's end do not count */
    const void *w_query;             /* (P, A): the query is W_query h; NULL: it is h, and A is P */
    void *queries;                   /* out (B, T, A), dense */
    void *weights;                   /* out (B, T, T_s), dense, zeros past a row's end */
    void *workspace;                 /* [crnn_decoder_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_decoder;

crnn_status crnn_decoder_workspace(const crnn_decoder *d, size_t *bytes);
void crnn_decoder_forward(const crnn_decoder *d);

typedef struct crnn_decoder_level_grads {
    crnn_seq dy;         /* (B, T, P) of the top one: in, changed; of others: scratch */
    crnn_seq ddropped;   /* (B, T, I) scratch, where something is dropped */
    bool from_learned;   /* forward began with the learned state */
    crnn_state dinitial; /* out */
    void *grads;         /* flat, added to */
    void *trace;         /* out, as in crnn_backward_args, or NULL */
} crnn_decoder_level_grads;

typedef struct crnn_decoder_grads {
    const crnn_decoder_level_grads *level; /* [depth] */
    crnn_seq dx;           /* out (B, T, floats) of the lowest level's, zeros past a row's end */
    void *dcontext;        /* in (B, T, C), dense; gains what came through the lowest level */
    void *dqueries;        /* out (B, T, A), dense; not written past a row's end */
    void *dkeys, *dvalues; /* out, in the shape of keys and of values */
    void *dv, *dw_query;   /* [A], (P, A) added to; NULL where there is none */
    void *workspace;       /* [crnn_decoder_grads_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_decoder_grads;

/* After forward; the decoder's own workspace does not count here. */
crnn_status crnn_decoder_grads_workspace(const crnn_decoder *d, const crnn_decoder_grads *g,
                                         size_t *bytes);
void crnn_decoder_backward(const crnn_decoder *d, const crnn_decoder_grads *g);

/* ---- choosing symbols (search.c) ------------------------------------------------------------ */

/* From the logits of each step to the symbols that are read next: the likeliest, drawn ones, or
 * those of a beam search. Every group, such as a source, begins with one row; from its first step
 * on it has up to `width` rows, samples or beams. Groups know nothing of each other: each thread
 * may search some of them with an object of its own, and find what one object finds for all.
 *
 * A beam search goes on with the best continuations, by their sums of log-probabilities, as many as
 * `width` less those that have ended; of equal ones with those of the better row, then of the
 * larger logit, then of the lower symbol. Symbols of probability 0 are left out. */
typedef struct crnn_search_options {
    size_t groups, width;
    size_t symbols; /* K */
    bool beam;
    int64_t stop;          /* the symbol that ends a row; -1: none does */
    double length_penalty; /* a row's score is its sum of log-probabilities / length**this */
    /* where beam is false: */
    double temperature;         /* draw with probabilities softmax(logits / this); below the least
                                   normal number: take the likeliest, of equal ones the first */
    size_t top_k;               /* among the k likeliest, of equal ones the first; 0: among all, */
    double top_p;               /* and of those the fewest likeliest that have this share; 1: all */
    uint64_t seed, first_group; /* row (first_group + group) * width + place draws numbers of its
                                   own, one a step */
    const int64_t *forced;      /* [groups * width][forced_steps] or NULL: what is read after a step
                                   in place of the symbol chosen there, where it is not negative */
    size_t forced_steps;        /* what is chosen in later ones is read */
} crnn_search_options;

/* A symbol that was chosen, and the one before it in the same row, which is its index. */
typedef struct crnn_link {
    int64_t symbol;
    size_t before;
} crnn_link;

typedef struct crnn_search {
    crnn_search_options options;
    size_t steps;       /* done */
    size_t live;        /* rows that have not ended; at first one for each group */
    crnn_link *history; /* [more than steps][groups * width], set before each step by the caller,
                           who may have moved it to where there is more room */
    /* what search.c keeps in the caller's memory */
    const crnn_kernels *kernels;
    struct crnn_hypothesis *rows, *next; /* [groups * width] */
    struct crnn_hypothesis *ended;       /* [groups][width], of each group so many: */
    size_t *ended_count;                 /* [groups] */
    struct crnn_candidate *best;         /* [width] */
    double *logits, *shares;             /* [K] of one row */
    size_t *ranks;                       /* [K] */
} crnn_search;

/* The bytes of `memory`, and of a history with room for so many steps. */
crnn_status crnn_search_size(const crnn_search_options *options, size_t *bytes);
crnn_status crnn_search_history_size(const crnn_search_options *options, size_t steps,
                                     size_t *bytes);

/* memory [crnn_search_size] bytes, aligned to CRNN_ALIGN. */
void crnn_search_begin(crnn_search *search, const crnn_search_options *options, void *memory);

/* logits [live][K], dense, of either type. Writes for each of the rows that are live then, which
 * stand in the order of groups, the symbol it reads next, and which of the rows before it goes on
 * from; both have room for groups * width. False, and nothing is changed, where there is a NaN. */
bool crnn_search_step(crnn_search *search, crnn_dtype dtype, const void *logits, int64_t *symbols,
                      size_t *parents);

/* tokens [groups][n_best][steps], steps >= search->steps, filled with `stop` behind a row's end;
 * scores [groups][n_best]. Beams come best first, samples in their places. Where there are fewer of
 * them, the rest has no tokens and the score -infinity. What is live counts as it is. */
void crnn_search_result(const crnn_search *search, size_t n_best, size_t steps, int64_t *tokens,
                        double *scores);

/* ---- a decoder that reads what it chose (generate.c) ---------------------------------------- */

typedef struct crnn_generator_level {
    const crnn_layer *layer; /* not reversed */
    const void *packed;      /* by crnn_pack */
    crnn_state initial;      /* of each source row: (B, P), (B, H) */
} crnn_generator_level;

/* A decoder, with or without attention, for all steps of a generation. */
typedef struct crnn_generator {
    const crnn_kernels *kernels;
    size_t depth;                      /* at least 1 */
    const crnn_generator_level *level; /* [depth], lowest first */
    size_t symbols;                    /* K */
    const void *embedding; /* (K, E): the vector that is read for a symbol; NULL: its number is */
    size_t embedded;       /* E, 0 where there is none */
    const crnn_attention *attention; /* or NULL; its queries count for nothing */
    bool feeds;                      /* contexts are read beside symbols, asked for with the last h;
                                        else asked for with the step's own */
    const void *w_query;             /* (P, A), or NULL: the query is h */
    const void *w_out, *b_out;       /* (P + C, K) of the logits, and [K] or NULL */
    const int64_t *start;            /* [B] what is read first */
    void *packed;                    /* [crnn_generator_size] bytes, by crnn_generator_pack */
} crnn_generator;

crnn_status crnn_generator_size(const crnn_generator *g, size_t *bytes);
void crnn_generator_pack(const crnn_generator *g);

/* Some source rows, from the search's first_group on, and how far they are: each such part may be
 * run by a thread of its own. */
typedef struct crnn_generation {
    crnn_search *search; /* begun; its history has room for the steps to come */
    void *memory;        /* [crnn_generation_size] bytes, aligned to CRNN_ALIGN */
    bool finite;         /* false once a logit was NaN: nothing goes on then */
} crnn_generation;

crnn_status crnn_generation_size(const crnn_generator *g, const crnn_search *search, size_t *bytes);
void crnn_generation_begin(const crnn_generator *g, crnn_generation *part);
/* At most so many steps more, of every part. */
void crnn_generate(const crnn_generator *g, crnn_generation *parts, size_t count, size_t steps);

#endif
