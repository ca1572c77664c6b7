/* Inside of plans: the state of a call, and the functions of each operation. */
#ifndef CORE_PLAN_H
#define CORE_PLAN_H

#include "embedded.h"

/* The steps on which an operation without memory runs. */
typedef enum core_order {
    CORE_ROW_BY_ROW,   /* the steps that are read */
    CORE_BACKWARDS,    /* the same, each row from its end */
    CORE_FILLED,       /* the steps before the ends of rows, row by row */
    CORE_STEP_BY_STEP, /* the steps that are read, in the order of a tape */
    CORE_ONCE,         /* one for each row */
    CORE_ORDERS
} core_order;

enum { PACKED_PLACES = 2 };

struct core_plan;

/* A node during a call. */
typedef struct core_node {
    const struct core_plan *plan;
    const crnn_node *given;
    const struct core_op *op; /* NULL: an input */
    bool cyclic;
    const crnn_cells *cells;
    void *first;  /* [B][features] the value before step 0; NULL: zeros */
    void *dfirst; /* [B][features] of backward: its gradient; NULL: not wanted */
    /* Of backward, [edges]: where the gradient of what an edge reads is written; data NULL: it is
     * not wanted. Where `in_scratch`, it is then added to the gradient of the node that is read. */
    crnn_seq *to;
    bool *in_scratch;
    const size_t *packed_at; /* [PACKED_PLACES] in the packed weights of the plan; NULL: none */
    void *work, *packed;     /* of a layer: workspace; packed weights or NULL */
    core_embedded embedded;  /* of a layer that reads symbols with vectors */
    const void *products;    /* of all symbols, or NULL */
    union {
        core_forward_call forward;
        core_backward_call backward;
        struct {
            core_matrix *matrix;           /* [edges] W of each edge; of backward transposed */
            core_factor *factor;           /* [edges] */
            const void **x, **value, **dx; /* [edges][n], [n], [n] rows */
            int64_t *symbols;              /* [n] */
            void *scratch;                 /* of the product to W */
        } sum;
        struct {
            size_t *source;     /* [B] of the step, or NULL */
            void *dscores, *dv; /* [B][T_s], [B][A]: of each row, because the order of a sum is
                                   fixed */
        } attend;
        struct {
            size_t *start;       /* [places + 1]: the cells before each piece */
            core_matrix *matrix; /* [taps] */
            void *w, *dw;        /* [taps][H][I] where normed: the weights, and their gradient */
            crnn_seq delta;      /* (B, T, H) of backward: the gradients of the sums */
            void *zeros;         /* [I] */
            void *scratch;       /* of products over cells */
        } conv;
        int64_t *taken; /* [B][features] of a pool, where a tape keeps none */
        struct {
            size_t *parents; /* [count]: where each row of the next step comes from */
            size_t count;    /* 0: there is no next step */
        } choose;
        struct {
            core_heads_run run;
            core_heads_ring ring;
            double *rates;      /* [A / 2], or NULL */
            int64_t *positions; /* [angle rows] */
            size_t *angle_row;  /* [places] */
            size_t *found,
                slots;     /* [slots], a power of two: places by the position they begin at */
            size_t angles; /* how many rows of angles there are */
            size_t steps;  /* of a piece, at most */
            char *scratch; /* [members][each] */
            size_t members, each;
            void *folded;             /* of backward [B][T][H], where steps are masked; else NULL */
            struct core_cross *cross; /* of attention to a memory; else NULL */
        } heads;
        struct {
            core_sinusoids sinusoids; /* of the positions that occur, where there is no table; */
            size_t rows;              /* how many these are, */
            size_t *row;              /* [places] and that of the first step of each piece */
            int64_t *positions;       /* [...] of each row */
            void *folded;             /* of backward [B][T][H], where steps are masked; else NULL */
        } positions;
    } as;
} core_node;

typedef struct core_plan {
    const crnn_plan *given;
    core_node *nodes; /* [count] */
    crnn_cells cells[CORE_ORDERS];
    bool laid[CORE_ORDERS];
    size_t window; /* of backward, in a cycle: tape rows at a time */
} core_plan;

/* The functions of an operation; NULL: there is nothing to do. An operation without memory has
 * `cells` and `cells_back`, which run on any of its cells. One with memory has `alone`, which runs
 * all steps, and `step`, which runs one step of the rows of a span. Functions that take a member
 * are called by each member of a team, which meets before and after. */
typedef struct core_op {
    bool by_rows;                       /* members share cells by whole rows */
    double (*work)(const core_node *n); /* multiply-adds of a step of a row */

    /* takes memory for packed weights, whose places it writes to `place` [PACKED_PLACES], in bytes;
     * packs them where the arena has memory */
    void (*packed)(core_node *n, core_arena *a, size_t *place);
    void (*lay)(core_node *n, core_arena *a);
    void (*open)(core_node *n); /* before any node runs */
    void (*pack)(const core_node *n, const core_member *me);
    void (*cells)(const core_node *n, size_t from, size_t to);
    void (*alone)(core_node *n);
    void (*step)(const core_node *n, const core_span *span, size_t t);
    void (*close)(core_node *n);
    /* after a choice: what row i < count begins the next step with is that of row parents[i] */
    void (*follow)(const core_node *n, const size_t *parents, size_t count);

    /* the state of a stream in a layout of its own, `running` of the node: takes its memory, reads
     * it from `initial`, writes it to `final`, makes one row new; called without a layout of the
     * plan */
    void (*running)(const core_node *n, core_arena *a);
    void (*load)(const core_node *n);
    void (*save)(const core_node *n);
    void (*clear)(const core_node *n, size_t row);

    void (*begin_back)(core_node *n); /* before any node runs back, where it has `first` */
    void (*lay_back)(core_node *n, core_arena *a);
    void (*open_back)(core_node *n);
    void (*pack_back)(const core_node *n, const core_member *me);
    /* the gradient of what edge k reads at cells from..to-1, last to first, to n->to[k] */
    void (*cells_back)(const core_node *n, size_t k, size_t from, size_t to);
    /* what the cells of a window add to the gradients of parameters */
    void (*grads)(const core_node *n, const core_window *w, const core_member *me);
    void (*alone_back)(core_node *n);
    size_t (*window)(const core_node *n); /* in a cycle: the most tape rows at a time */
    void (*list)(const core_node *n, const core_window *w, const core_member *me);
    void (*step_back)(const core_node *n, const core_span *span, const core_window *w, size_t t);
    void (*finish)(const core_node *n, const core_span *span, const core_window *w);
    void (*end_back)(const core_node *n, const core_member *me); /* after all steps */
    void (*close_back)(core_node *n);
} core_op;

extern const core_op core_op_recurrent, core_op_sum, core_op_attend, core_op_rowwise, core_op_pool,
    core_op_state, core_op_choose, core_op_conv, core_op_heads, core_op_positions, core_op_cross;

static inline size_t core_item(const core_node *n) {
    return crnn_dtype_size(n->plan->given->kernels->dtype);
}

/* The node that edge k reads. */
static inline const crnn_node *core_read(const core_node *n, size_t k) {
    return &n->plan->given->node[n->given->from[k].node];
}

/* The row that edge k reads at a step; NULL before step 0 of a node without an initial value. */
const void *core_input_row(const core_node *n, size_t k, size_t row, size_t t);

/* ---- plan.c: what forward and backward share */

/* The end of the cycle that begins with node `begin`; begin + 1 where it is in none. */
size_t core_cycle_end(const crnn_plan *given, size_t begin);
/* Lays out what the nodes of a call see of each other: cells, and values before the first step.
 * Then nodes begin..end-1, which are those of a cycle or a single one. Where the arena has no base,
 * both measure. */
void core_lay_seen(core_plan *p, const crnn_plan *given, bool back, core_arena *a);
void core_lay_nodes(core_plan *p, size_t begin, size_t end, bool back, core_arena *a);
/* The steps of a node's value: T, or 1. */
size_t core_steps_of(const crnn_plan *given, const crnn_node *node);
/* Writes all steps of `to`, the value of the node or its gradient: those of `from`; NULL: zeros. */
void core_fill(const crnn_plan *given, const crnn_node *node, const crnn_seq *to,
               const crnn_seq *from);
/* Whether a node's cells are all steps. */
bool core_is_full(const core_node *n);
/* A member's share of the cells. */
core_range core_share_of_cells(const core_node *n, const core_member *me);
double core_work_of(const core_plan *p, size_t begin, size_t end);
/* Multiply-adds of a step of one row. */
double core_work_of_step(const crnn_plan *given);
/* Runs so many steps of each of [count] parts, of `size` bytes each and with a plan of its own: a
 * member of a team runs whole parts. `work` is that of one step of all parts. */
void core_run_parts(void *parts, size_t size, size_t count, size_t steps, double work,
                    void (*run)(void *part, size_t steps));
/* Cells from..to-1 of the span's rows at step t, in the order of a tape. False: there are none. */
bool core_step_cells(const core_plan *p, const core_span *span, size_t t, size_t *from, size_t *to);

/* The steps of a node that repeats its value, in the order in which they are read. Of the result
 * `given` alone is to be read, as by crnn_fill_gaps and crnn_fold_gaps. */
static inline crnn_rows core_rows_repeated(const core_node *n) {
    crnn_rows rows = *n->plan->given->rows;
    rows.given.reverse = n->given->backwards;
    return rows;
}

/* ---- plan_back.c */

/* Whether a node runs back: a recurrent layer with a tape does, because its last state may have a
 * gradient. */
bool core_runs_back(const crnn_node *node);
/* Whether the gradient of a node has content: given, or from nodes that read it. */
bool core_has_gradient(const core_node *n);
/* Where the gradient of what edge k reads is written; data NULL: it is not wanted. */
crnn_seq core_target(const core_node *n, size_t k);
void core_lay_targets(core_node *n, core_arena *a);

/* ---- op_cross.c: takes the memory that a node keeps for backward */

void core_cross_kept(const crnn_plan *plan, const crnn_node *node, core_arena *a);

/* ---- op_recurrent.c: sums that rows begin with inputs that they share */

/* Numbers that the sums of a row are; 0: those of node i cannot be begun, as of all nodes that are
 * no recurrent layers. */
size_t core_begun_wide(const crnn_plan *given, size_t i);
/* Begins the sums of some rows of node i with the first `shared` features of x [count]. */
void core_begin_sums(const crnn_plan *given, size_t i, const void *const *x, size_t count,
                     size_t shared, void *begun);
/* The sums of each row of the node go on from those in `begun` [B]. */
void core_go_on(crnn_node *node, const void *const *begun, size_t shared);

/* ---- op_pool.c: takes memory for the steps that a pool selects */

int64_t *core_take_steps(const crnn_plan *given, const crnn_node *node, core_arena *a);

#endif
