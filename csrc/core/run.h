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

/* Factors for the noise that a call has. */
crnn_factors crnn_lay_factors(const crnn_shape *s, const crnn_noise *noise, size_t places,
                              crnn_arena *a);

/* Whether a call drops units of h where products read it. */
bool crnn_drops_h(const crnn_shape *s, const crnn_noise *noise);
/* Whether it drops elements of W_h; and the parameters with those dropped, a copy on the arena. */
bool crnn_drops_weights(const crnn_shape *s, const crnn_noise *noise);
const void *crnn_drop_weights(const crnn_shape *s, const crnn_noise *noise, const void *params,
                              crnn_arena *a);

/* ---- shares */

/* Multiply-adds of a pass over all steps. */
double crnn_recurrence_work(const crnn_shape *s, const crnn_rows *rows);
/* The most members that a team can have and all find something to do in every step. */
size_t crnn_seats(const crnn_shape *s, const crnn_rows *rows);
/* What member `part` does of each step, which has so many panels. */
crnn_span crnn_span_of(const crnn_shape *s, const crnn_rows *rows, size_t panels, size_t part,
                       size_t parts);

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

#endif
