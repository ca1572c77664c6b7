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
    void *gates;   /* [gate rows][row_gates] in panels */
    void *h, *c;   /* [state rows][padded] */
    void *h0, *c0; /* [B][padded] */
} crnn_tape_parts;

crnn_tape_parts crnn_lay_states(const crnn_shape *s, size_t gate_rows, size_t state_rows,
                                size_t batch, crnn_arena *a);
crnn_tape_parts crnn_lay_tape(const crnn_shape *s, const crnn_rows *rows, crnn_arena *a);

/* ---- shares */

/* Multiply-adds of a pass over all steps. */
double crnn_recurrence_work(const crnn_shape *s, const crnn_rows *rows);
/* The most members that a team can have and all find something to do in every step. */
size_t crnn_seats(const crnn_shape *s, const crnn_rows *rows);
/* What member `part` does of each step, which has so many panels. */
crnn_span crnn_span_of(const crnn_shape *s, const crnn_rows *rows, size_t panels, size_t part,
                       size_t parts);

/* ---- states and sequences of the caller's */

/* to [B][padded] in place order, zeros where from (B, H) is NULL and in the padding. */
void crnn_state_in(const crnn_shape *s, const crnn_rows *rows, const void *from, void *to);
/* Row [padded] of one place to its row of (B, H), where that is wanted. */
void crnn_state_out(const crnn_shape *s, const crnn_rows *rows, size_t place, const void *row,
                    void *to);
/* Zeros past every row's end. */
void crnn_clear_padding(const crnn_rows *rows, const crnn_seq *seq, size_t features, size_t item);

#endif
