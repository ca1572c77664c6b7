/* What forward and backward share outside the kernels: how buffers are laid out, how rows and
 * panels are shared out, how states come in and go out. */
#ifndef CRNN_RUN_H
#define CRNN_RUN_H

#include "kernels.h"

/* ---- buffers: each is laid out by one function, which measures when `base` is NULL and gives
 * addresses otherwise, so that a size and its use cannot disagree */

typedef struct core_arena {
    char *base;
    core_measure used;
} core_arena;

static inline core_arena core_arena_at(void *base) { return (core_arena){base, {.fits = true}}; }

void *core_take(core_arena *a, size_t count, size_t each, size_t item);
crnn_status core_arena_size(const core_arena *a, size_t *bytes);

/* buffers: of `places` states each; 0: all steps of the rows. */
core_tape_parts core_lay_states(const core_shape *s, const crnn_rows *rows, size_t gate_rows,
                                size_t buffers, core_arena *a);
core_tape_parts core_lay_tape(const core_shape *s, const crnn_rows *rows, core_arena *a);
/* Rows of so many buffers [places]. */
size_t core_rows_in(size_t buffers, const crnn_rows *rows, core_arena *a);

core_trace_parts core_lay_trace(const core_shape *s, const crnn_rows *rows, core_arena *a);

/* ---- looking into a tape or a trace: out (B, T, ...), dense, zeros at steps not read */

/* values [N][features rounded up to the width]; rows of out are `pitch` elements apart, and zeros
 * before. */
void core_copy_rows(const core_shape *s, const crnn_rows *rows, size_t features, const void *values,
                    void *out, size_t pitch);
void core_view_rows(const core_shape *s, const crnn_rows *rows, size_t features, const void *values,
                    void *out);
/* One slot of gates in panels; raw: through the logistic function. */
void core_view_gate(const core_shape *s, const crnn_rows *rows, const void *gates, size_t phase,
                    size_t slot, bool raw, void *out);

/* Parameters of options that are packed: NULL where the layer has none. */
void core_lay_extras(const core_shape *s, void **vectors, void **gain_x, void **gain_h,
                     core_arena *a);
void core_pack_extras(const core_shape *s, const void *params, void *vectors, void *gain_x,
                      void *gain_h);

/* W_p, (H, P), among the parameters. */
static inline const void *core_w_p(const core_shape *s, const void *params) {
    return (const char *)params + s->at.extra[CRNN_W_P] * crnn_dtype_size(s->layer.dtype);
}

/* Factors for the noise that a call has. */
core_factors core_lay_factors(const core_shape *s, const crnn_noise *noise, size_t places,
                              core_arena *a);

/* Whether a call adds noise to the sums. */
bool core_adds_noise(const core_shape *s, const crnn_noise *noise);
/* Whether a call drops units of h where products read it. */
bool core_drops_h(const core_shape *s, const crnn_noise *noise);
/* Whether it drops elements of W_h; multiply-adds that this takes; and the parameters with those
 * dropped, a copy on the arena. */
bool core_drops_weights(const core_shape *s, const crnn_noise *noise);
double core_drop_work(const core_shape *s);
const void *core_drop_weights(const core_shape *s, const crnn_noise *noise, const void *params,
                              core_arena *a);

/* Room for a packed dense matrix of so many rows, whichever way round. */
void *core_take_packed(const crnn_kernels *kernels, size_t inner, size_t columns, core_arena *a);

/* Row `row` of rows of so many elements. */
static inline char *core_row_of(const void *base, size_t row, size_t wide, size_t item) {
    return (char *)base + row * wide * item;
}

/* ---- blocks of zeros in W_h */

/* The share of blocks up to which it is worth it to leave out the others. */
#define CORE_MOST_KEPT 0.5

/* Whether they are left out where W_h is packed. */
bool core_leaves_out(const core_shape *s);
/* Sets `kept` as a call says it; 0 says nothing. */
void core_set_kept(core_shape *s, double kept);
/* Rows of W_h, or as many as cost as much as what is kept of them. */
double core_kept_rows(const core_shape *s);
/* Places for what is kept of a packed matrix with so many runs of rows. */
core_skips core_lay_skips(const crnn_kernels *kernels, const core_columns *columns, size_t count,
                          size_t runs, size_t run, core_arena *a);

/* ---- how weights are read */

/* direct: as they lie, with the sums in memory; else packed. ahead: x is then multiplied for many
 * steps at once. */
typedef struct core_way {
    bool direct, ahead;
} core_way;

/* The matrices of a phase: (inputs, columns) and (hidden, columns); the share of the latter that is
 * kept where it is packed; 0 stands for 1. */
typedef struct core_way_size {
    size_t inputs, hidden, columns;
    double kept;
} core_way_size;

/* The cheapest way for `rows` rows over some steps, by the costs of the kernels. A pure function;
 * the bits of the results are the same in every way. */
core_way core_choose_way(const crnn_kernels *kernels, core_way_size size, double rows,
                         double steps);

/* ---- shares */

/* Multiply-adds of a step of one row. kept: as in crnn_recurrent. */
double core_step_work(const crnn_layer *layer, double kept);

/* Multiply-adds of a pass over all steps. */
double core_recurrence_work(const core_shape *s, const crnn_rows *rows);

/* A step, as its members share it. */
typedef struct core_step_size {
    size_t rows, panels; /* at least 1 each */
    size_t tile_rows;
    double row_work; /* multiply-adds of one row */
    bool apart;      /* members do not meet, because no unit reads another one */
} core_step_size;

/* Members in row_groups groups, each of which has rows of its own; panel_groups members in each. */
typedef struct core_grid {
    size_t row_groups, panel_groups;
} core_grid;

/* The time of a step on a grid, in multiply-adds: the share of its slowest member, and a meeting
 * where panels are shared. */
double core_grid_cost(const core_step_size *step, core_grid grid);
/* The fastest grid of at most `parts` >= 1 members. All of them have rows and panels. */
core_grid core_grid_of(const core_step_size *step, size_t parts);

/* Members for a pass of so many multiply-adds, whose steps have so many panels: as many as have a
 * share in every step. */
size_t core_seats(const core_shape *s, const crnn_rows *rows, size_t panels, double multiply_adds);
/* What a member does of each step, which has so many panels. */
core_span core_span_of(const core_shape *s, const crnn_rows *rows, size_t panels,
                       const core_member *me);
/* The same with rows of its own, over all steps. */
core_span core_span_of_rows(const crnn_rows *rows, size_t panels, const core_member *me);

/* ---- states and sequences of the caller's */

/* One part of a state, h or c. */
typedef struct core_state_part {
    size_t wide, padded;        /* P and h_padded, or H and padded */
    size_t learned, is_learned; /* where it lies in the parameters; whether it does */
    size_t depth;               /* D, or 1 in rows with strands: states of a place */
} core_state_part;

core_state_part core_state_h(const core_shape *s, const core_reads *reads);
core_state_part core_state_c(const core_shape *s, const core_reads *reads);

/* The states that pieces begin with, to [depth][places][padded]: what is given (B, D, wide) for
 * those read first of their row, else the learned state, else zeros. params may be NULL where
 * nothing is learned. States that are given, and that no step reads, may be left out. */
void core_states_in(const core_shape *s, const crnn_rows *rows, const core_reads *reads,
                    core_state_part part, const void *given, const void *params, void *to);
/* The gradients that pieces end with: `given` (B, D, wide) or zeros for those read last, else
 * zeros. To [places][padded]; where depth > 1 to a ring, whose other rows are zeros. */
void core_dstates_in(const core_shape *s, const crnn_rows *rows, core_state_part part,
                     const void *given, void *to);
/* Row [padded] of one place to its row of (B, D, wide), where that is wanted. nth < depth: of the
 * states of the place, the oldest first. */
void core_state_out(const core_shape *s, const crnn_rows *rows, core_state_part part, size_t place,
                    bool final, size_t nth, const void *row, void *to);

/* Of a place whose row is shorter than D: the last ones of its given states, which are its first
 * final ones. Returns how many. given, to: (B, D, wide), perhaps the same; given may be NULL. */
size_t core_state_keep(const core_shape *s, const crnn_rows *rows, core_state_part part,
                       size_t place, const void *given, void *to);

/* ---- a call in pieces: forward and backward are made of these, and so is whoever runs layers side
 * by side, step by step. Between begin, or open, and close a team runs the kernels. */

typedef struct core_forward_call {
    core_shape shape;
    core_weights weights;
    core_forward_run run; /* refers to shape and weights: a call is not to be moved */
    crnn_state initial, final;
    bool packs; /* weights */
} core_forward_call;

/* Lays out the workspace; returns the bytes of it that are in use. */
size_t core_forward_lay(core_forward_call *call, const crnn_forward_args *args);
/* Reads the initial state. A call that was laid out may run again from here. */
void core_forward_begin(const core_forward_call *call);
/* A member's share, after which the team meets. */
void core_forward_pack(const core_forward_call *call, const core_member *me);
/* Packs and runs all steps in a team. */
void core_forward_all(core_forward_call *call);
void core_forward_close(const core_forward_call *call);

typedef struct core_backward_call {
    core_shape shape;
    core_backward_run run; /* refers to shape */
    crnn_state dinitial;
    bool from_learned;
    bool drops; /* weights: their gradients go through what was dropped */
} core_backward_call;

void core_backward_open(core_backward_call *call, const crnn_backward_args *args);
/* A member's share, after which the team meets. */
void core_backward_turn(const core_backward_call *call, const core_member *me);
/* The window before step `end`, of at most so many tape rows. */
core_window core_window_before(const crnn_rows *rows, size_t most, size_t end);
/* Turns weights and runs all steps in a team. */
void core_backward_all(core_backward_call *call);
void core_backward_close(core_backward_call *call);

#endif
