/* Inside libcrnn (names that begin with core_): the shapes the kernels agree on, and the table of
 * functions that each number type and instruction set fills (isa/). V is the vector width of the
 * table, in elements.
 *
 * Words of the core:
 *   piece        steps of a row between two resets; the core treats each piece as a row of its own
 *   place        number of a piece in the order of length, longest first
 *   tape row     the row of a buffer that belongs to one step of one piece: first[t] + place
 *   slot         one of the sums of a phase, for every unit: it has x W_x of a gate, h W_h, or both
 *   phase        sums that are computed together; a second phase reads results of the first
 *   panel        columns that a product computes together, at most TILE_VECS vectors: the slots of
 *                some vectors of units, or (in a dense result) neighbouring columns
 *   strip        in backward, a panel of units or of columns of h: TILE_VECS vectors, and so one or
 *                more panels of gates
 *   pitch        elements from one block of columns to the next in a row of results
 *   factor       a term of a sum: rows times a matrix, or rows of a matrix that are looked up
 *   strand       the steps of a row that lie d apart, where a step goes on from d steps before
 *   ring         states of as many steps as a layer with delays reads, where rows have no strands:
 *                those of step t take the place of those of step t - ring
 *   tile         some rows of a panel; its sums stay in registers, then pass to the cell
 *   operand      the vector that a phase multiplies by W_h: h, or (in a second phase) r o h
 *   packed       weights in the order in which a product reads them, panel by panel
 *   turned       the same for the transpose of a matrix, which backward multiplies by
 *   direct       weights in the caller's order, not packed
 *   ahead        x W_x is computed for many steps by one product, before these steps run
 *   begun        such sums, to which a step adds h W_h
 *   rich, plain  the two versions of the functions of a cell: with options, without
 *   staged       a step whose operations need whole rows: it normalises or projects
 *   apart        gates that normalisation takes as a group of their own
 *   hat, spread  normalised sums, and 1 / standard deviation of each of their groups
 *   made         the output of the cell, where h is its projection
 *   bypass       the share of dL/dh of the step before that does not pass through W_h
 *   window       steps whose gradients are in memory at the same time, some hundred tape rows
 *   span         the rows and panels that one member of a team computes in every step
 *   group        members of a team with the same rows. (Groups of sums are normalised together;
 *                the rows of a search that belong to one source are a group of the search.) */
#ifndef CRNN_KERNELS_H
#define CRNN_KERNELS_H

#include "product.h"
#include "temporal.h"

typedef struct core_team core_team;

/* Some slots side by side. */
typedef struct core_slots {
    size_t first, count;
} core_slots;

enum { GROUPS = 2 /* of sums that are normalised together: most gates, and those apart */ };

/* One phase of a cell in a layer of a given width. A slot range is where x (or h) adds to. Packed
 * weights of forward are panel after panel of [bias: 1, x: I, h: H][count * units * V], a region
 * for each of the three; those of backward are described in panels.inc. Places are in elements. */
typedef struct core_phase {
    core_columns columns;
    core_blocks of_x, of_h; /* in W_x and in W_h */
    size_t slots;
    size_t x_first, x_count, h_first, h_count;
    size_t x_gate[MAX_SLOTS], h_gate[MAX_SLOTS]; /* gate that feeds the slot; NO_GATE: none does */
    core_slots x_group[GROUPS], h_group[GROUPS]; /* normalised together, where sums are */
    size_t bias, x, h; /* where its packed forward weights begin, in each region */
    size_t gates; /* elements a tape row has before this phase: where its gates begin, per row */
} core_phase;

#define NO_GATE ((size_t)-1)

/* Vectors (H,) of parameters that cells and normalisation look at, in one block of rows
 * [VECTORS][padded], zeros behind H; of a leak, a. Gains of sums lie in panels, like the bias. */
enum { VECTOR_P_I, VECTOR_P_F, VECTOR_P_O, VECTOR_GAIN_C, VECTOR_B_C, VECTOR_LEAK, VECTORS };

/* What normalisation keeps of a row's step: 1 / standard deviation of each group of sums of each
 * phase, from x and from h, then that of c'. */
enum { SPREAD_C = MAX_PHASES * 2 * GROUPS, SPREADS = SPREAD_C + 1 };

/* Rows from one panel of gates to the next: odd, or the panels of a row, a power of two apart,
 * would all fall into the same few places of a cache. */
static inline size_t core_panel_rows(size_t gate_rows) { return gate_rows ? gate_rows | 1 : 0; }

typedef struct core_shape {
    crnn_layer layer;
    crnn_layout at;
    const crnn_kernels *kernels;
    size_t width;            /* V */
    size_t vecs;             /* vectors of units: ceil(H / V) */
    size_t padded;           /* V * vecs: a row of c, */
    size_t h_wide, h_padded; /* P, and a row of h */
    size_t h_rows;           /* K * P: rows of W_h transposed; 0 without a W_h */
    size_t last_lanes;       /* units in the last vector */
    size_t units;            /* vectors of units in a full panel, the same in every phase */
    size_t panels;
    size_t states, phases;
    core_phase phase[MAX_PHASES];
    size_t packed_bias, packed_x, packed_h; /* elements of the packed weights of forward */
    size_t row_gates;                       /* elements of the gates in one row of them */
    size_t output_slot;                     /* of the gate o, in phase 0, where rich */
    crnn_activation candidate;              /* unless the layer chooses another */
    bool rich;                              /* the cell has options */
    bool leaks;                             /* one of them is a leak */
    bool staged;      /* a step has parts that need a whole row of what others made */
    bool keeps_gates; /* on the tape; else its one gate is h, which stands there already */
    double kept;      /* about the share of blocks of W_h that are not 0; 1 unless a call says so */
} core_shape;

/* A member of a team, or of one of its groups: which of how many. */
typedef struct core_member {
    core_team *team;    /* NULL: it works alone */
    size_t part, parts; /* part < parts */
    size_t group;       /* with whom it meets: 0 the whole team */
} core_member;

/* ---- threads.c */

typedef void core_task(void *context, const core_member *me);

/* Runs the task for every part < parts, all at once, in the mode of fpmode.h, and returns when all
 * have ended. How many parts there are depends on the work, in multiply-adds, and on who is free.
 */
void core_in_team(double multiply_adds, size_t at_most, core_task *task, void *context);
/* The same in the floating-point mode of the caller. */
void core_in_same_mode(double multiply_adds, size_t at_most, core_task *task, void *context);
/* How many members a job is worth, and at most for any number of threads. */
size_t core_worth(double multiply_adds);
size_t core_most_worth(double multiply_adds);
/* Multiply-adds that take as long as drawing one number. */
enum { CORE_DRAW_WORK = 20 };
/* The group of a member where the whole team is cut into groups of `size` >= 1: parts 0..size-1,
 * then size..2*size-1, and so on. Only members of full groups may meet in them. */
core_member core_group_of(const core_member *me, size_t size);
/* Inside a task: waits until every part of the team, or of the group, is here. */
void core_meet(const core_member *me);

typedef struct core_range {
    size_t from, to; /* from..to-1 */
} core_range;

/* A member's share of n things. */
extern const core_member core_alone; /* the only one */

static inline core_range core_share(size_t n, const core_member *me) {
    return (core_range){n * me->part / me->parts, n * (me->part + 1) / me->parts};
}

/* The same in whole blocks, of which the last one may be smaller. */
static inline core_range core_share_blocks(size_t n, size_t block, const core_member *me) {
    const core_range own = core_share(n / block + (n % block != 0), me);
    const size_t from = own.from * block, to = own.to * block;
    return (core_range){from < n ? from : n, to < n ? to : n};
}

/* What one member of a team does: a cell of a grid. Each group of members has rows of its own over
 * all steps; its members share the panels and meet after every step. */
typedef struct core_span {
    size_t from, to;             /* places */
    size_t panel_from, panel_to; /* panels of gates in forward, strips in backward */
    core_member group;           /* with the same rows */
} core_span;

static inline bool core_shares_panels(const core_span *span) { return span->group.parts > 1; }

/* Where a step of a run has noise, or what stands for it in evaluation: NULL where it has none.
 * All [places][...], by place; those of zoneout and `added` are of the step that is being run. */
typedef struct core_factors {
    void *recurrent;       /* [h_padded] of h where a product reads it: 0 or 1 / (1 - p) */
    void *zone_h, *zone_c; /* [padded] share of the state before the step: 0 or 1, or p */
    void *added;           /* [padded] what is added to the sums, in forward alone */
} core_factors;

/* The earlier states that a step reads. Where rows have strands, that is the one before: h of the
 * strand. */
typedef struct core_reads {
    size_t count; /* K: of states that are multiplied by W_h, by block of W_h; 0 without a W_h */
    size_t depth; /* D: the longest delay */
    size_t kept;  /* the shortest delay, whose c and h a cell keeps: block `kept` of W_h */
    size_t delay[CRNN_DELAYS];
} core_reads;

/* A tape, or what forward has in its place. */
typedef struct core_tape_parts {
    void *gates;         /* [phases][panels][gate rows][slots * units * V] */
    void *hat_x, *hat_h; /* where normalised: the sums of x and of h, in the same places, */
    void *hat_c;         /* [gate rows][padded] and c'; */
    void *spread;        /* [gate rows][SPREADS] */
    void *h, *c;         /* [state rows][h_padded], [state rows][padded] */
    void *h0, *c0;       /* [D][places] likewise: the initial state, in place order */
} core_tape_parts;

/* The matrices of a forward: those of each phase for symbols, floats and h, and the projection. Of
 * the first and the last only those that a call has are set. */
typedef struct core_weights {
    core_matrix table[MAX_PHASES], x[MAX_PHASES], h[MAX_PHASES][CRNN_DELAYS], p;
} core_weights;

/* One call of forward, as the kernels see it. Pointers are to elements of the table's type. */
typedef struct core_forward_run {
    const core_shape *shape;
    const crnn_rows *rows;
    const void *params; /* flat */
    crnn_input in;
    crnn_noise noise;
    crnn_seq y;

    core_reads reads;
    core_tape_parts tape; /* state rows: N where kept, else D + 1 buffers [places] in turn */
    bool keep;            /* it is the caller's tape, */
    bool keep_gates;      /* the gates too */
    size_t gate_rows;     /* N where gates are kept, else those of some steps */

    /* matrices and vectors of parameters */
    void *bias;                /* [phases][slots][padded] */
    void *packed_x, *packed_h; /* packed panels; NULL: W_x, or W_h, is read as it lies */
    size_t unpacked;           /* rows of W_x that are not packed though others are: of symbols */
    double *packed_kept;       /* beside packed_h: `kept` of the shape; or NULL: */
    /* where blocks of zeros of W_h are left out: */
    core_skips skips[MAX_PHASES][CRNN_DELAYS];
    void *packed_p; /* the projection, packed; or NULL */
    const core_weights *weights;
    void *vectors;         /* [VECTORS][padded], where rich */
    void *gain_x, *gain_h; /* [phases][panels][slots * units * V], where normalised */

    /* scratch */
    void *sums; /* [places][MAX_SLOTS][padded] where all matrices are read as they lie; else NULL */
    bool ahead; /* x is multiplied for many steps at once, not with h: */
    size_t steps_ahead; /* for so many; else 1 */
    core_factors factors;
    void *h_in;    /* [K][places][h_padded] what products read in place of h; NULL: h itself */
    void *operand; /* [K][places][padded], where there are two phases */
    void *made;    /* [places][padded] the cell's output, where h is projected */
} core_forward_run;

enum { AHEAD_ROWS = 128 /* of a batch over all steps, that are projected ahead at a time */ };

/* What backward keeps of every step where that is wanted. */
typedef struct core_trace_parts {
    void *dh, *dc;  /* [N][h_padded], [N][padded]: total derivatives */
    void *dgates;   /* [phases][panels][N][...] like gates: the gradient of each sum, */
    void *dgates_h; /* of what h gave to it, the same buffer where not normalised */
    void *h_read;   /* [phases][K][N][h_padded] what products read of h, or the operand */
} core_trace_parts;

typedef struct core_backward_run {
    const core_shape *shape;
    const crnn_rows *rows;
    const void *params;    /* flat */
    void *vectors;         /* [VECTORS][padded], where rich */
    void *gain_x, *gain_h; /* packed like the bias of forward, where normalised */
    crnn_input in;
    crnn_noise noise;
    core_factors factors;
    crnn_seq dy, dx;
    bool add_dx;
    core_reads reads;
    core_tape_parts tape;
    size_t window; /* tape rows whose gradients are there at a time: those of some steps */
    void *dgates;  /* [phases][panels][window][...] like gates: the gradient of each sum; */
    void *dgates_x, *dgates_h; /* of what x and h gave to it, the same where not normalised */
    void *operand;             /* [K][window][padded], where there are two phases */
    void *h_in;     /* [K][window][h_padded] what products read in place of h; NULL: h itself */
    void *c_made;   /* [window][padded] c' before zoneout, where peepholes look at it; or NULL */
    void *d_leak;   /* [window][padded] what each step adds to dL/dl, where a leak is learned; or
                       NULL */
    void *made;     /* [window][padded] the cell's output, where h is projected, */
    void *dh_made;  /* [window][h_padded] and the gradient of h there; or NULL */
    void *d_norm;   /* [window][padded] where c' is normalised: the gradient behind it; or NULL */
    void *d_units;  /* [places][padded] where steps have stages: dL/d(the cell's output), */
    void *squashed; /* [places][padded] phi of the normalised c', */
    void *dc_norm;  /* [places][padded] and the gradient of c' that comes through it */
    void *spare;    /* [places][padded] that are not read, in place of `bypass` where projected */
    void *bypass;   /* [places][h_padded] share of dh_{t-1} past the products; at first the gradient
                       of the final h, at last of the initial h */
    void *dc;       /* [places][padded] likewise for c */
    void *ring_h, *ring_c; /* [D + 1][places][h_padded], [D + 1][places][padded] where D > 1: the
                              gradients of the states of the steps before the one that runs back, as
                              far as later steps have given them; else NULL */
    void *d_further; /* [K - 1][places][padded] where K > 1 and there are two phases: the gradients
                        of the operands but the kept one; else NULL */
    core_trace_parts trace;              /* where all of it is wanted, else NULL each */
    core_matrix turned_h[MAX_PHASES][2]; /* W_h turned, of full panels of gates and of a narrower */
    core_matrix turned_x[MAX_PHASES][2]; /* last one; W_x likewise; */
    core_matrix *turned_more;            /* [K - 1][MAX_PHASES][2] the further blocks of W_h; */
    core_matrix w_p;                     /* W_p turned, where h is projected */
    void *grads;                         /* flat; NULL: not wanted, */
    void *grads_h;       /* (K*P, G*H) in it, or apart, where weights are dropped, or NULL */
    void *block;         /* [I + H + K P + (K + 2) tile_rows][block_rows] scratch */
    const void **x_rows; /* [window] the row of x at each tape row, */
    int64_t *symbol_of;  /* [window] or its symbol */
    const void **h_rows; /* [phases][K][window] what the product reads of h, or the operand */
    const void **c_rows; /* [window] the row of c before the step */
    void **dx_rows;      /* [window] */
} core_backward_run;

/* The transpose of block k of a phase's W_h, in its two parts. */
static inline core_matrix *core_turned_of(const core_backward_run *run, size_t phase, size_t k) {
    if (k == 0) return (core_matrix *)run->turned_h[phase];
    return run->turned_more + ((k - 1) * MAX_PHASES + phase) * 2;
}

/* Some steps of backward, and where their tape rows begin and end. */
typedef struct core_window {
    size_t begin, end;
    size_t row, rows; /* first tape row, and how many */
} core_window;

/* Where the gradients of one query of attention go. Rows are those of its source row. */
typedef struct core_attend_grads {
    void *dscores; /* out [T_s], as far as the row goes */
    void *dquery;  /* out [A] */
    void *dkeys;   /* [T_s][A] added to */
    void *dv;      /* [A] added to; NULL where there is no v */
} core_attend_grads;

/* Steps of recursive least squares that one pass over the factor makes, and its rows that are
 * updated together. */
enum { RLS_STEPS = 4, RLS_ROWS = 4 };

/* Some steps of recursive least squares, see crnn_rls. The rows of U have zeros behind the diagonal
 * up to a multiple of CRNN_ALIGN bytes, and rows up to `pitch` have a zero in D. */
typedef struct rls_call {
    size_t pitch, steps; /* pitch: n in whole CRNN_ALIGN bytes; steps: at most RLS_STEPS */
    double forgetting;
    const void *z; /* in [steps][pitch], zeros behind n */
    void *d, *u;   /* in and out [pitch], and the rows of U */
    void *gains;   /* out [steps][pitch] */
} rls_call;

enum { REFLECT_COLUMNS = 48 /* of a panel of crnn_ridge_add; whole vectors */ };

enum { DIRECT_ROWS = 3 /* that a matrix as it lies is read for together */ };

/* Measured times, in units of a multiply-add by a row of a full tile: what chooses between packing
 * a matrix and reading it as it lies (see core_choose_way and core_choose_kind). */
typedef struct core_costs {
    double pack;         /* of each weight: to pack it; */
    double packed_begin; /* to read it packed, once for each tile */
    double packed;       /* and for each row; */
    double direct_begin; /* to read it as it lies, once for DIRECT_ROWS rows */
    double direct;       /* and for each row */
    double factor;       /* of each column: a further factor of a sum, for each tile */
    double pack_call;    /* of each call: to pack all weights, */
    double direct_call;  /* and to read them as they lie once, more than packed */
} core_costs;

struct crnn_kernels {
    const char *isa;
    crnn_dtype dtype;
    size_t width;      /* V */
    size_t tile_rows;  /* rows of a tile */
    size_t block_rows; /* rows that a product over rows takes at a time: tape rows whose gradients
                          are there at once */
    core_costs costs;

    /* params to [VECTORS][padded] */
    void (*pack_vectors)(const core_shape *shape, const void *params, void *vectors);
    /* gain_x or gain_h, which: CRNN_GAIN_X or CRNN_GAIN_H */
    void (*pack_gains)(const core_shape *shape, crnn_extra which, const void *params, void *gains);
    /* rows from..to-1 of W_h, some of its elements 0, the others larger; and backward: grads_h +=
     * the gradient of what was dropped, times the same factors */
    void (*drop_weights)(const core_shape *shape, const crnn_noise *noise, size_t from, size_t to,
                         const void *w_h, void *dropped);
    void (*add_dropped)(const core_shape *shape, const crnn_noise *noise, size_t from, size_t to,
                        const void *ddropped, void *grads_h);
    /* steps from..to-1 */
    void (*forward)(const core_forward_run *run, const core_span *span, size_t from, size_t to);
    /* backward: what it needs before the first window; then window by window, last to first: what
     * stands at its tape rows, its steps from the last, what its first one leaves to the step
     * before; and, once all members are there, their share of the products over it */
    void (*begin_back)(const core_backward_run *run, const core_member *me);
    void (*list_window)(const core_backward_run *run, const core_member *me, const core_window *w);
    void (*step_back)(const core_backward_run *run, const core_span *span, const core_window *w,
                      size_t t);
    void (*finish_window)(const core_backward_run *run, const core_span *span,
                          const core_window *w);
    void (*weight_grads)(const core_backward_run *run, const core_window *w, const core_member *me);
    /* dx of tape rows from..to-1 of the window */
    void (*input_grad)(const core_backward_run *run, size_t from, size_t to);
    void (*view_gate)(const core_shape *shape, const crnn_rows *rows, const void *gates,
                      size_t phase, size_t slot, bool raw, void *out);

    /* panels from..to-1 of w to m->data */
    void (*pack)(const core_matrix *m, const void *w, size_t from, size_t to);
    /* rows from..to-1 */
    void (*sum)(const core_sum *sum, size_t from, size_t to);
    /* a member's share of the rows of the matrix, or of its panels where there is an index */
    void (*outer)(const core_outer *p, const core_member *me);
    /* table[index[i]] += d[i], i from last to first; index NULL: all go to row 0. Rows of both are
     * `step` apart. */
    void (*add_rows)(size_t n, size_t columns, size_t step, const int64_t *index, const void *d,
                     void *table);

    /* cells from..to-1; and, from all cells, a member's share of the gradients of parameters */
    void (*rowwise)(const crnn_rowwise *o, const crnn_cells *cells, size_t from, size_t to,
                    const crnn_rowwise_call *call);
    void (*rowwise_back)(const crnn_rowwise *o, const crnn_cells *cells, size_t from, size_t to,
                         const crnn_rowwise_call *call);
    void (*rowwise_grads)(const crnn_rowwise *o, const crnn_cells *cells, const core_member *me,
                          const crnn_rowwise_call *call);
    /* rows from..to-1 */
    void (*pool)(const crnn_pool *pool, size_t from, size_t to, const crnn_seq *x, void *y,
                 int64_t *taken);
    void (*pool_back)(const crnn_pool *pool, size_t from, size_t to, const void *dy,
                      const int64_t *taken, const crnn_seq *dx, bool add);

    /* losses [n] and dlogits, 0 at targets below 0 */
    void (*cross_entropy)(size_t n, size_t classes, const void *logits, const int64_t *targets,
                          double scale, void *dlogits, double *losses);
    /* of rows from..to-1: losses [to - from], and dlogits [to - from][labels] of the first of them
     */
    void (*label_losses)(const crnn_labels *labels, size_t from, size_t to, double scale,
                         void *dlogits, double *losses);
    double (*squared_error)(size_t n, const void *y, const void *target, double scale, void *dy);
    double (*sum_squares)(size_t n, const void *g);
    /* some elements of a step */
    void (*sgd)(const crnn_optim_step *s, core_range some, double momentum, void *velocity);
    void (*rmsprop)(const crnn_optim_step *s, core_range some, double alpha, double eps,
                    void *square);
    void (*adam)(const crnn_optim_step *s, core_range some, double beta1, double beta2, double eps,
                 uint64_t step, void *m, void *v);

    /* rows from..to-1 of w, like v; and from its gradient dw those of v and g, added to, or NULL */
    void (*norm_weights)(const core_normed *p, size_t from, size_t to, void *w);
    void (*norm_weights_back)(const core_normed *p, size_t from, size_t to, const void *dw,
                              void *dv, void *dg);

    /* rows from..to-1 of the gradients; `from` is a multiple of tile_rows */
    void (*taps_outer)(const core_taps_outer *p, size_t from, size_t to);

    /* reflections that make columns [n][REFLECT_COLUMNS] zero, of which v keeps their vectors; r
     * [columns][r_step]: what they are reflected onto; t: out [REFLECT_COLUMNS][REFLECT_COLUMNS],
     * minus the transpose of T, where the product of all is I - [I; V] T [I; V]^T */
    void (*reflect)(size_t n, size_t columns, void *r, size_t r_step, void *v, void *t);
    /* returns the trace of P after the steps */
    double (*rls_steps)(const rls_call *call);

    /* attention, one query [A] to one source row at a time; batch, queries and query_lengths count
     * for nothing. weights [T_s] and context [C] are written */
    void (*attend)(const crnn_attention *a, size_t row, const void *query, void *weights,
                   void *context);
    /* all gradients but that of the values */
    void (*attend_back)(const crnn_attention *a, size_t row, const void *query, const void *weights,
                        const void *dcontext, const core_attend_grads *to);
    /* dvalues [T_s][C] of the source row += those of its queries 0..n-1, last to first; weights
     * (B, T_q, T_s), dcontext (B, T_q, C) */
    void (*attend_values_back)(const crnn_attention *a, size_t row, size_t n,
                               const crnn_seq *weights, const crnn_seq *dcontext, void *dvalues);

    /* self-attention, or attention to a memory: rows from..to-1 of the angles; one pair of a place
     * and a head, of all steps, backward, or of one step of a stream, of self-attention or with a
     * memory */
    void (*heads_angles)(const core_heads_run *run, size_t from, size_t to);
    void (*heads)(const core_heads_run *run, size_t place, size_t head,
                  const core_heads_scratch *s);
    void (*heads_back)(const core_heads_run *run, size_t place, size_t head,
                       const core_heads_scratch *s);
    void (*heads_step)(const core_heads_run *run, size_t place, size_t head,
                       const core_heads_scratch *s);
    void (*memory_step)(const core_heads_run *run, size_t place, size_t head,
                        const core_heads_scratch *s);

    /* rows from..to-1 of sinusoidal positions */
    void (*sinusoids)(const core_sinusoids *s, size_t from, size_t to);

    void (*exp)(size_t n, const void *x, void *y);
    void (*tanh)(size_t n, const void *x, void *y);
    void (*logistic)(size_t n, const void *x, void *y);
};

/* How many tiles so many rows fill. */
double core_tiles(const crnn_kernels *kernels, double rows);
/* The time of a product of so many rows with a packed matrix, for each weight, in the units of
 * core_costs. */
double core_packed_cost(const crnn_kernels *kernels, double rows);
/* The same with a matrix that is read as it lies. */
double core_direct_cost(const crnn_kernels *kernels, double rows);
/* The cheapest kind for a dense matrix of so many columns, at least 1, that multiplies `rows` rows
 * at each of some steps: CORE_PACKED or CORE_DIRECT. The bits of the results are the same. */
core_matrix_kind core_choose_kind(const crnn_kernels *kernels, size_t inner, size_t columns,
                                  double rows, double steps);

/* Packs a member's share of the panels of w (inner, columns), dense; for CORE_TURNED w is (columns,
 * inner), and for CORE_DIRECT nothing is packed. Gives the matrix. */
core_matrix core_pack_dense(const crnn_kernels *kernels, core_matrix_kind kind, size_t inner,
                            size_t columns, const void *w, void *packed, const core_member *me);
/* Rows from..to-1 of c = init + a times the matrix: a [n][inner], c [n][columns], all dense. */
void core_multiply(const crnn_kernels *kernels, const core_matrix *matrix, const void *a,
                   const void *init, void *c, size_t from, size_t to);

/* Rows of the scratch of an outer product. */
static inline size_t core_outer_rows(const crnn_kernels *kernels, size_t inner) {
    return inner + kernels->tile_rows;
}

/* Panels of TILE_VECS vectors of columns in a dense matrix. */
static inline size_t core_dense_panels(const crnn_kernels *kernels, size_t columns) {
    const size_t wide = TILE_VECS * kernels->width;
    return columns / wide + (columns % wide != 0);
}

/* Where element k of row `row` is, of rows [count] in panels of `wide`. */
static inline size_t core_in_panels(size_t wide, size_t count, size_t size, size_t row, size_t k) {
    const size_t begin = row / wide * wide, left = count - begin;
    return begin * size + k * (left < wide ? left : wide) + row - begin;
}

/* The table of a named instruction set, or NULL where it was not built or cannot run here. */
const crnn_kernels *core_kernels_for(const char *isa, crnn_dtype dtype);
crnn_status core_shape_init(core_shape *s, const crnn_layer *layer, const crnn_kernels *kernels);

/* ---- rows.c */

/* The row, of B * d, of the state that a place begins with, or ends with. */
size_t core_state_row(const crnn_rows *rows, size_t place, bool final);

/* ---- run.c */

/* What the steps of a layer read, in rows with strands or without. */
void core_reads_init(core_reads *reads, const crnn_layer *layer, const crnn_rows *rows);

/* The block [places] of a ring of depth + 1 that has the state of step t - delay. */
static inline size_t core_ring_at(size_t depth, size_t t, size_t delay) {
    return (t + depth + 1 - delay) % (depth + 1);
}

/* Where a gate is: its phase, the slots that x and that h feed (NO_GATE: none); raw: kept as a sum.
 */
typedef struct core_gate_slots {
    size_t phase, slot, slot_h;
    bool raw;
} core_gate_slots;

/* False: no such gate. */
bool core_find_gate(const crnn_layer *layer, char letter, core_gate_slots *found);

/* ---- sizes.c */

/* Adds up the bytes of buffers that lie one behind the other, each on a boundary of CRNN_ALIGN. */
typedef struct core_measure {
    size_t bytes;
    bool fits; /* true at first */
} core_measure;

void core_measure_add(core_measure *m, size_t a, size_t b, size_t c); /* a * b * c bytes */

#endif
