/* What forward and backward share outside the kernels: how buffers are laid out, how rows and
 * panels are shared out, how states come in and go out. */
#ifndef CRNN_RUN_H
#define CRNN_RUN_H

#include "kernels.h"

/* ---- buffers: each is laid out by one function, which measures when `base` is NULL and gives
 * addresses otherwise, so that a size and its use cannot disagree */

typedef struct crnn_arena {
    char *base;
    crnn_measure used;
} crnn_arena;

static inline crnn_arena crnn_arena_at(void *base) { return (crnn_arena){base, {.fits = true}}; }

void *crnn_take(crnn_arena *a, size_t count, size_t each, size_t item);
crnn_status crnn_arena_size(const crnn_arena *a, size_t *bytes);

typedef struct crnn_tape_parts {
    void *gates;                          /* [gate rows][row_gates] in panels */
    void *hat_x, *hat_h, *hat_c, *spread; /* [gate rows][...] where normalised, else NULL */
    void *h, *c;                          /* [state rows][h_padded], [state rows][padded] */
    void *h0, *c0;                        /* [places][...] likewise */
} crnn_tape_parts;

crnn_tape_parts crnn_lay_states(const crnn_shape *s, size_t gate_rows, size_t state_rows,
                                size_t places, crnn_arena *a);
crnn_tape_parts crnn_lay_tape(const crnn_shape *s, const crnn_rows *rows, crnn_arena *a);

crnn_trace_parts crnn_lay_trace(const crnn_shape *s, const crnn_rows *rows, crnn_arena *a);

/* ---- looking into a tape or a trace: out (B, T, ...), dense, zeros at steps not read */

/* values [N][features rounded up to the width]. */
void crnn_view_rows(const crnn_shape *s, const crnn_rows *rows, size_t features, const void *values,
                    void *out);
/* One slot of gates in panels; raw: through the logistic function. */
void crnn_view_gate(const crnn_shape *s, const crnn_rows *rows, const void *gates, size_t phase,
                    size_t slot, bool raw, void *out);

/* Parameters of options that are packed: NULL where the layer has none. */
void crnn_lay_extras(const crnn_shape *s, void **vectors, void **gain_x, void **gain_h,
                     crnn_arena *a);
void crnn_pack_extras(const crnn_shape *s, const void *params, void *vectors, void *gain_x,
                      void *gain_h);

/* Factors for the noise that a call has. */
crnn_factors crnn_lay_factors(const crnn_shape *s, const crnn_noise *noise, size_t places,
                              crnn_arena *a);

/* Whether a call drops units of h where products read it. */
bool crnn_drops_h(const crnn_shape *s, const crnn_noise *noise);
/* Whether it drops elements of W_h; and the parameters with those dropped, a copy on the arena. */
bool crnn_drops_weights(const crnn_shape *s, const crnn_noise *noise);
const void *crnn_drop_weights(const crnn_shape *s, const crnn_noise *noise, const void *params,
                              crnn_arena *a);

/* Room for a packed dense matrix of so many rows, whichever way round. */
void *crnn_take_packed(const crnn_kernels *kernels, size_t inner, size_t columns, crnn_arena *a);

/* Row `row` of rows of so many elements. */
static inline char *crnn_row_of(const void *base, size_t row, size_t wide, size_t item) {
    return (char *)base + row * wide * item;
}

/* ---- shares */

/* Multiply-adds of a step of one row. */
double crnn_step_work(const crnn_layer *layer);

/* Multiply-adds of a pass over all steps. */
double crnn_recurrence_work(const crnn_shape *s, const crnn_rows *rows);
/* The most members that a team can have and all find something to do in every step. */
size_t crnn_seats(const crnn_shape *s, const crnn_rows *rows);
/* What member `part` does of each step, which has so many panels. */
crnn_span crnn_span_of(const crnn_shape *s, const crnn_rows *rows, size_t panels, size_t part,
                       size_t parts);
/* The same with rows of its own, over all steps. */
crnn_span crnn_span_of_rows(const crnn_rows *rows, size_t panels, size_t part, size_t parts);

/* ---- states and sequences of the caller's */

/* One part of a state, h or c. */
typedef struct crnn_state_part {
    size_t wide, padded;        /* P and h_padded, or H and padded */
    size_t learned, is_learned; /* where it lies in the parameters; whether it does */
} crnn_state_part;

crnn_state_part crnn_state_h(const crnn_shape *s);
crnn_state_part crnn_state_c(const crnn_shape *s);

/* The states that pieces begin with, to [places][padded]: what is given (B, wide) for those read
 * first of their row, else the learned state, else zeros. params may be NULL where nothing is
 * learned. */
void crnn_states_in(const crnn_shape *s, const crnn_rows *rows, crnn_state_part part,
                    const void *given, const void *params, void *to);
/* The gradients that pieces end with: `given` (B, wide) or zeros for those read last, else zeros.
 */
void crnn_dstates_in(const crnn_shape *s, const crnn_rows *rows, crnn_state_part part,
                     const void *given, void *to);
/* Row [padded] of one place to its row of (B, wide), where that is wanted. */
void crnn_state_out(const crnn_shape *s, const crnn_rows *rows, crnn_state_part part, size_t place,
                    const void *row, void *to);

/* ---- a call in pieces: forward and backward are made of these, and so is whoever runs layers side
 * by side, step by step. Between open and close a team runs the kernels. */

typedef struct crnn_forward_call {
    crnn_shape shape;
    crnn_forward_run run; /* refers to shape: a call is not to be moved */
    crnn_state final;
    bool packs; /* weights */
} crnn_forward_call;

void crnn_forward_open(crnn_forward_call *call, const crnn_forward_args *args);
/* A member's share, after which the team meets. */
void crnn_forward_pack(const crnn_forward_call *call, size_t part, size_t parts);
void crnn_forward_close(const crnn_forward_call *call);

typedef struct crnn_backward_call {
    crnn_shape shape;
    crnn_backward_run run; /* refers to shape */
    crnn_state dinitial;
    bool from_learned;
    bool drops; /* weights: their gradients go through what was dropped */
} crnn_backward_call;

void crnn_backward_open(crnn_backward_call *call, const crnn_backward_args *args);
/* Panels of output, each of TILE_VECS vectors. */
size_t crnn_output_panels(const crnn_shape *s, size_t features);
/* A member's share, after which the team meets. */
void crnn_backward_turn(const crnn_backward_call *call, size_t part, size_t parts);
/* The window before step `end`, of at most so many tape rows. */
crnn_window crnn_window_before(const crnn_rows *rows, size_t most, size_t end);
void crnn_backward_close(const crnn_backward_call *call);

#endif
