/* What the passes of a convolution share: its cells, which are the steps that are read, piece by
 * piece, and its states, the last (J - 1) d inputs of each row, the oldest first. */
#ifndef CORE_CONV_H
#define CORE_CONV_H

#include "plan.h"

enum {
    CONV_CELLS = 84, /* that are listed at a time: whole tiles of every height */
    CONV_TAPS = 8    /* that are added together; the others go on from their sums */
};

static inline const crnn_conv *conv_of(const core_node *n) { return &n->given->as.conv; }
static inline size_t conv_inputs(const core_node *n) { return core_read(n, 0)->features; }
/* How many steps before a step its tap j reads. */
static inline size_t conv_shift(const crnn_conv *c, size_t j) {
    return (c->taps - 1 - j) * c->dilation;
}
/* The steps of a state: (J - 1) d. */
static inline size_t conv_past(const crnn_conv *c) { return (c->taps - 1) * c->dilation; }
/* Row `nth` of the state of a row, in `state` (B, D, I). */
static inline void *conv_state_row(const core_node *n, const void *state, size_t row, size_t nth) {
    return core_row_of(state, row * conv_past(conv_of(n)) + nth, conv_inputs(n), core_item(n));
}

/* A step of a piece. */
typedef struct conv_cell {
    size_t place, t;
} conv_cell;

/* Some cells, and where their rows lie. If `present` is not 0, they are neighbours of one piece
 * whose rows lie at equal distances, and so many taps of theirs have rows: in forward the newest
 * ones, in backward so many steps read them. */
typedef struct conv_chunk {
    size_t present;
    size_t n, row[CONV_CELLS], time[CONV_CELLS];
    conv_cell cell[CONV_CELLS];
    const void *x[CONV_TAPS][CONV_CELLS];
    void *to[CONV_CELLS];
} conv_chunk;

/* Takes memory for the numbers of the cells. */
void conv_lay_cells(core_node *n, core_arena *a);
/* Cell c < N, and the one behind a cell. */
conv_cell conv_find(const core_node *n, size_t c);
void conv_next(const core_node *n, conv_cell *cell);
/* Lists cells `from` to `to` - 1, at most CONV_CELLS of them; for forward, or for dx. */
void conv_list(const core_node *n, size_t from, size_t to, bool back, conv_chunk *chunk);
/* Whether the steps of each piece are neighbours in time. */
bool conv_is_plain(const core_node *n);
/* Rows of a sequence, of a chunk with `present` taps, that begin `shift` steps before its cells. */
core_row_list conv_rows_at(const core_node *n, const conv_chunk *chunk, const crnn_seq *seq,
                           size_t shift);
crnn_cells conv_cells(const conv_chunk *chunk);
/* The input that lies `shift` steps before a cell; NULL: there is none. */
const void *conv_input(const core_node *n, conv_cell cell, size_t shift);
/* The activation, as a rowwise operation. */
crnn_rowwise conv_activation(const core_node *n);

/* Writes the final states of all rows that are wanted. */
void conv_write_final(const core_node *n);
/* The memory of a stream (core_op); conv_turn makes the step that ran its newest input. */
void conv_running(const core_node *n, core_arena *a);
void conv_load(const core_node *n);
void conv_save(const core_node *n);
void conv_clear(const core_node *n, size_t row);
void conv_follow(const core_node *n, const size_t *parents, size_t count);
void conv_turn(const core_node *n);

/* ---- sums (op_conv.c) */

/* What a sum of all taps reads. */
typedef struct conv_taps {
    const void *(*row)(const core_node *n, conv_cell cell, size_t shift); /* NULL: adds nothing */
    const void *init;           /* the vector that all sums begin with, or NULL, */
    const core_row_list *begin; /* or one for each cell, or NULL */
    bool newest_first;          /* the order of the taps */
} conv_taps;

/* Adds all taps to chunk->to: some, then those behind them, which go on from there. */
void conv_add_taps(const core_node *n, conv_chunk *chunk, const conv_taps *taps);

/* ---- the weights (op_conv.c) */

/* Memory for the matrices of all taps, packed or turned, one behind the other; where they are
 * normed, in forward before it for the weights. */
void conv_lay_taps(core_node *n, bool turned, core_arena *a);
void *conv_take_weights(const core_node *n, core_arena *a);
/* The weights (H, I) of tap j in w [J][H][I]. */
void *conv_tap(const core_node *n, const void *w, size_t j);
core_normed conv_normed(const core_node *n);
/* A member's share of the weights that a norm and a gain make, and of the packed matrices. */
void conv_norm_weights(const core_node *n, const core_member *me);
void conv_pack_taps(const core_node *n, const core_member *me);
/* Multiply-adds of all cells. */
double conv_work(const core_node *n);

/* ---- backward (conv_back.c) */

void conv_lay_back(core_node *n, core_arena *a);
void conv_open_back(core_node *n);
void conv_alone_back(core_node *n);
void conv_close_back(core_node *n);

#endif
