/* libcrnn: plans. A plan is a list of operations, its nodes, over the steps of the rows of a batch.
 * Each node computes a value, features for every step, from the values of other nodes. The letters,
 * and the rule that the caller owns all buffers, are those of crnn.h, which includes this file.
 *
 * An edge names the node whose value is read. With a delay, a step reads the value of an earlier
 * step; before the first step it reads the initial h of a recurrent layer, zeros of any other node.
 * A node may read a later node, or itself, only with a delay: all nodes from the one that reads to
 * the one that is read are then a cycle, and run step by step. Other nodes run all steps in one
 * call. No operation depends on its neighbours, so any graph of nodes has the bits of its nodes. */
#ifndef CRNN_PLAN_H
#define CRNN_PLAN_H

#include "attention.h"
#include "recurrent.h"
#include "rowwise.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum crnn_op {
    CRNN_OP_INPUT = 0,     /* a value that the caller gives */
    CRNN_OP_RECURRENT = 1, /* a recurrent layer */
    CRNN_OP_SUM = 2,       /* a bias, and for each edge its value times a matrix */
    CRNN_OP_ATTEND = 3,    /* attention of queries to the steps of a source row */
    CRNN_OP_ROWWISE = 4,   /* a function of one value, or of two, at each step */
    CRNN_OPS = 5
} crnn_op;

typedef struct crnn_edge {
    size_t node;  /* whose value is read */
    size_t delay; /* steps: the value of step t - delay */
} crnn_edge;

/* A recurrent layer. Its first edge has no delay; it is floats or symbols. A second edge to symbols
 * stands for crnn_input.symbols beside floats. Fields have the meaning that they have in
 * crnn_forward_args and crnn_backward_args. */
typedef struct crnn_recurrent {
    const crnn_layer *layer;
    const crnn_rows *rows; /* of the steps of the plan; in a cycle the rows of the plan itself */
    const void *params;
    size_t table;        /* where it reads symbols: the inputs that they stand for */
    size_t symbols;      /* K, where they have vectors */
    const void *vectors; /* in (K, table), or NULL: symbol k is row k of W_x */
    void *dvectors;      /* of backward: added to */
    crnn_noise noise;
    crnn_state initial, final;
    crnn_tape *tape;
    bool from_learned; /* of backward, and so are the others */
    crnn_state dfinal, dinitial;
    void *grads, *trace;
} crnn_recurrent;

/* y = b + x_0 W_0 + x_1 W_1 + ..., an x for each edge. Where an x is symbols, row x of its W is
 * added. */
typedef struct crnn_sum {
    const void *w;  /* in (rows, features), dense: W_0, then W_1, ... */
    size_t symbols; /* rows of W_0 where x_0 is symbols; else the features of x_0 */
    const void *b;  /* in [features], or NULL */
    void *dw, *db;  /* of backward: added to, in the shape of w and b; NULL: not wanted */
} crnn_sum;

/* The value is the context; its first edge has the queries. */
typedef struct crnn_attend {
    crnn_attention attention; /* queries and query_lengths are not used */
    const size_t *source;     /* in [B] the source row of each row; NULL: its own number */
    void *weights;            /* out (B, T, T_s), dense; 0 at steps that a row does not have */
    void *dkeys, *dvalues;    /* of backward: out, in the shape of keys and of values */
    void *dv;                 /* of backward: [A] added to; NULL where there is no v */
} crnn_attend;

typedef struct crnn_node {
    crnn_op op;
    size_t edges;
    const crnn_edge *from; /* [edges] */
    size_t features;       /* of its value; 0: symbols */
    crnn_seq value; /* (B, T, features) out, of an input in; 0 at steps that it does not run */
    const int64_t *symbols; /* in [B][T], dense, of an input without features */
    void *kept;        /* [crnn_node_kept] bytes: out of forward, in of backward; NULL: there is
                          no backward */
    void *grads;       /* of backward, of a rowwise operation: [2][features], added to */
    bool filled;       /* an operation without memory runs at masked steps, too */
    crnn_seq gradient; /* (B, T, features) of backward, out: dL/dvalue; data NULL: not wanted */
    bool given;        /* gradient holds, in, what comes from outside of the plan */
    union {
        crnn_recurrent recurrent;
        crnn_sum sum;
        crnn_attend attend;
        crnn_rowwise rowwise; /* its kernels are those of the plan */
    } as;
} crnn_node;

typedef struct crnn_plan {
    const crnn_kernels *kernels; /* of the type of all values */
    const crnn_rows *rows;       /* the steps, not in reverse */
    size_t count;
    const crnn_node *node; /* [count] */
    const void *packed; /* in [crnn_plan_packed_size] bytes, by crnn_plan_pack with these kernels,
                           of a plan that runs forward often; NULL: each call packs weights */
    void *workspace;    /* [crnn_plan_workspace] bytes, aligned to CRNN_ALIGN */
} crnn_plan;

/* What node i keeps for backward. */
CRNN_API crnn_status crnn_node_kept(const crnn_plan *plan, size_t i, size_t *bytes);

CRNN_API crnn_status crnn_plan_packed_size(const crnn_plan *plan, size_t *bytes);
/* packed: out, aligned to CRNN_ALIGN. Of the nodes, what describes parameters and their values is
 * read. */
CRNN_API void crnn_plan_pack(const crnn_plan *plan, void *packed);

CRNN_API crnn_status crnn_plan_workspace(const crnn_plan *plan, size_t *bytes);
CRNN_API void crnn_plan_forward(const crnn_plan *plan);

/* After forward, with the same nodes and values. */
CRNN_API crnn_status crnn_plan_backward_workspace(const crnn_plan *plan, size_t *bytes);
CRNN_API void crnn_plan_backward(const crnn_plan *plan);

#ifdef __cplusplus
}
#endif

#endif
