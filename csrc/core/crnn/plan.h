/* Plans: lists of operations, called nodes, over the steps of the rows of a batch. Each node
 * computes a value, that is features for every step, from the values of other nodes.
 *
 * An edge names the node whose value is read. With a delay of d, step t reads the value of step
 * t - d. Before the first step it reads the initial h of a recurrent layer, and zeros of any other
 * node. An edge without a delay names an earlier node. An edge with a delay may name any node. If
 * it names the node itself or a later one, all nodes from the one that reads to the one that is
 * read form a cycle. The nodes of a cycle run step by step; a node outside of all cycles runs all
 * steps in one call.
 *
 * The value of a pool and of a final state has one step for each row (`once`), and so have the
 * values of all nodes that read such a value: they run once for each row of the batch.
 *
 * No operation depends on its neighbours, so a value has the same bits in every plan that computes
 * it from the same inputs by the same operations. */
#ifndef CRNN_PLAN_H
#define CRNN_PLAN_H

#include "attention.h"
#include "recurrent.h"
#include "rowwise.h"
#include "search.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The operation of a node. */
typedef enum crnn_op {
    CRNN_OP_INPUT = 0,      /* A value that the caller gives. */
    CRNN_OP_RECURRENT = 1,  /* A recurrent layer. */
    CRNN_OP_SUM = 2,        /* A bias, and for each edge its value times a matrix. */
    CRNN_OP_ATTEND = 3,     /* Attention of queries to the steps of a source row. */
    CRNN_OP_ROWWISE = 4,    /* A function of one value, or of two, at each step. */
    CRNN_OP_POOL = 5,       /* The last, the mean or the maximum of the steps of each row. */
    CRNN_OP_STATE = 6,      /* The final state of a recurrent layer. */
    CRNN_OP_CHOOSE = 7,     /* The choice of symbols from logits. */
    CRNN_OP_CONV = 8,       /* A causal convolution over the steps of each row. */
    CRNN_OP_HEADS = 9,      /* Self-attention of several heads. */
    CRNN_OP_POSITIONS = 10, /* The number of a step, as a vector that is added to its value. */
    CRNN_OP_CROSS = 11,     /* Attention of several heads to the steps of a memory. */
    CRNN_OPS = 12           /* How many there are. */
} crnn_op;

/* What a node reads. Delays are for nodes of CRNN_OP_SUM, and for a node of CRNN_OP_ATTEND that
 * reads a recurrent layer. Edges of other nodes, and edges to symbols, have none. */
typedef struct crnn_edge {
    size_t node;  /* The number of the node whose value is read. */
    size_t delay; /* d: step t reads the value of step t - d. */
} crnn_edge;

/* A recurrent layer, h_t = layer(x_t, h_{t-1}). Its first edge is to x: floats or symbols. A second
 * edge, to symbols beside floats, stands for the symbols of crnn_input. The caller owns all
 * buffers. */
typedef struct crnn_recurrent {
    const crnn_layer *layer; /* in. */
    const crnn_rows *rows;   /* in: the steps of the plan, for a layer that is reversed in reverse,
                                and for a layer with one delay with that stride or without. In a
                                cycle the same pointer as in the plan. */
    const void *params;      /* in, flat (crnn_layout). */
    size_t table;            /* The inputs that symbols stand for, as in crnn_input. */
    size_t symbols;          /* K. Read if `vectors` is given. */
    const void *vectors;     /* in (K, table): the vector of each symbol. NULL: symbol k is row k of
                                W_x transposed. */
    const void *const *begun; /* in [B]: as in crnn_input, with `shared`. The first edge is still to
                                 all features of x. Of plans with packed weights. */
    size_t shared;
    void *dvectors;      /* Of backward: [K][table], the gradient is added to it. NULL: not
                            wanted. */
    crnn_noise noise;    /* in. */
    double kept;         /* in: of crnn_kept_share, the same in all functions. 0: as 1. */
    crnn_state initial;  /* in: the state before the first step that is read. In a plan that
                            chooses, out: see crnn_choose. */
    crnn_state final;    /* out: the state after the last step that is read. */
    crnn_tape *tape;     /* out of forward, in of backward; the caller sets its memory. NULL: no
                            tape, and the node does not run back. */
    bool from_learned;   /* Of backward: forward began with the learned state. */
    crnn_state dfinal;   /* Of backward, in: the gradient of the final state. NULL: zeros. Not
                            NULL if a node of CRNN_OP_STATE adds to it. */
    crnn_state dinitial; /* Of backward, out: the gradient of the initial state. NULL: not
                            wanted. */
    void *grads;         /* Of backward: flat like params, gradients are added to it. NULL: not
                            wanted. */
    void *trace;         /* Of backward: out [crnn_trace_size] bytes, aligned to CRNN_ALIGN.
                            NULL: not wanted. */
} crnn_recurrent;

/* A sum y = b + x_0 W_0 + x_1 W_1 + ..., with an x for each edge. At most one x is symbols, which
 * select rows of its matrix. The caller owns all buffers. */
typedef struct crnn_sum {
    const void *w;  /* in (rows, features): W_0, then W_1, and so on. */
    size_t symbols; /* K, the rows of the matrix of the x that is symbols. */
    const void *b;  /* in [features]. NULL: zeros. */
    void *dw; /* Of backward: gradients are added to it, in the shape of w. NULL: not wanted. */
    void *db; /* Of backward: the same in the shape of b. NULL: not wanted. */
} crnn_sum;

/* A causal convolution: y_t = activation(b + sum over j < J of W_j x_{t - (J - 1 - j) d}). Only
 * steps that are read count; earlier ones, back to the last reset, are those of the initial state,
 * the last D = (J - 1) d inputs of each row, the oldest first. Its only edge is to x: floats (B, T,
 * I). The caller owns all buffers. */
typedef struct crnn_conv {
    const crnn_rows *rows;      /* in: the steps of the plan, or the same in reverse. */
    size_t taps;                /* J, at least 1. */
    size_t dilation;            /* d, at least 1. */
    crnn_activation activation; /* CRNN_IDENTITY, or one of those before it but CRNN_USUAL. */
    const void *w;              /* in [J][H][I], the oldest tap first. */
    const void *g; /* in [H]: w is then v, and W of unit o is g[o] v / |v|, with the norm of all of
                      its weights. NULL: W is w. */
    const void *b; /* in [H]. NULL: zeros. */
    void *dw, *dg, *db;  /* Of backward: the gradients of w, g and b are added to them. NULL: not
                            wanted. */
    const void *initial; /* in [B][D][I]. NULL: zeros. */
    void *final;         /* out [B][D][I], another buffer. NULL: not wanted. */
    const void *dfinal;  /* Of backward: in [B][D][I]. NULL: zeros. */
    void *dinitial;      /* Of backward: out [B][D][I]. NULL: not wanted. */
} crnn_conv;

/* Attention. Its value is the context; its only edge is to the queries. The caller owns all
 * buffers. */
typedef struct crnn_attend {
    crnn_attention attention; /* in. Its queries and query_lengths are not read. */
    size_t *source; /* in [B]: the source row of each row; out in a plan that chooses. NULL, as
                       backward needs it: row b reads source row b. */
    void *weights; /* out of forward, in of backward [B][T][T_s]: zeros at steps that do not run. */
    void *dkeys;   /* Of backward: out [B][T_s][A]. */
    void *dvalues; /* Of backward: out [B][T_s][C]. NULL: not wanted. */
    void *dv;      /* Of backward: [A], the gradient is added to it. NULL: not wanted. */
} crnn_attend;

/* The final state of a recurrent layer: of an earlier node, and not of one in the same cycle. A
 * node of CRNN_OP_STATE has no edges. */
typedef struct crnn_final {
    size_t node; /* The layer. The part of its `final` that is read is not NULL. */
    bool cell;   /* c instead of h. */
} crnn_final;

/* The choice of symbols. Its only edge is to the logits, whose rows lie one behind the other. It is
 * the last node of a plan of one step, whose rows are those of the search that live. Its value are
 * the symbols that rows read in the next step: nodes that read them with a delay, and an input in
 * the same memory, read those of the step before.
 *
 * After the step, each row goes on from its parent (crnn_search_step): `initial` of each recurrent
 * layer becomes the rows of `final` that belong to the parents, and `source` of attention likewise.
 * Therefore `initial` and `final` are different buffers, and all of these have room for groups *
 * width rows. After logits that are not numbers, nothing has changed but `final` and the values. */
typedef struct crnn_choose {
    crnn_search *search; /* in and out: begun. Its history has room for the step. */
} crnn_choose;

/* The earlier steps that self-attention sees: of row b, k and v of the last min(steps[b], slots)
 * steps that were read, in the last slots, the oldest first. What lies before them is not read. k
 * is rotated. */
typedef struct crnn_cache {
    void *k, *v;    /* [B][slots][H]. */
    int64_t *steps; /* [B]: the number of steps that the row has read since its beginning. */
    size_t slots;
} crnn_cache;

/* Self-attention of M heads. The only edge of the node is to q, k and v side by side, (B, T, 3 H);
 * its value is the context, (B, T, H). Head m has the features m A ... (m + 1) A - 1 of each, with
 * A = H / M. Only steps that are read count. A piece that is not read first begins without earlier
 * steps. A masked step repeats the output of the last step that was read before it.
 *
 * A score is q . k / sqrt(A), the weights of a step are the softmax of its scores, the context is
 * the mean of v with these weights (Vaswani et al., "Attention is all you need", 2017). A rotation
 * turns the pairs (i, i + A / 2) of q and k by the angle t base^(-2 i / A), where t counts the
 * steps that the row has read before (Su et al., "RoFormer", 2021).
 *
 * With dropout, the number of the weight of a step for the step r steps before it is that of unit r
 * (with `whole`: of the step number r of its piece). Its row and step are those of the step in the
 * call; its key is words 0 and 1 of crnn_philox with the key of CRNN_NOISE_HEADS and the counter
 * (m, 0, 0, 0).
 *
 * Backward reads the value of the node, that of its edge, and `kept`. In a plan that chooses the
 * node has `running`: for each row a window of steps, or without a window `room` steps. Beyond
 * these the oldest step is forgotten, so a caller moves the state to more memory before, by
 * crnn_node_save and crnn_node_load. The caller owns all buffers. No two of them
 * overlap. */
typedef struct crnn_heads {
    const crnn_rows *rows; /* in: the steps of the plan, for a layer that is reversed in reverse. */
    size_t heads;          /* M, a divisor of H. */
    size_t window;         /* W: a step sees itself and the W - 1 steps before it. 0: all. */
    size_t room;           /* Without a window: the steps of a row for which `running` has room. 0:
                              as many as `initial` has slots. */
    bool whole;            /* A step sees all steps of its piece, later ones too. `window` is 0
                              then, and there are no states. */
    double rotary;         /* The base, for example 10000; A is even. 0: q and k are not rotated. */
    double p;              /* A weight is dropped with this probability if the noise is on. */
    crnn_noise noise;      /* in. */
    crnn_cache initial;    /* in: before the first step that is read. k NULL: nothing was read. */
    crnn_cache final;      /* out: after the last step that is read; zeros in slots that are not
                              filled. It has at most as many slots as `initial` and the rows
                              together have steps where `initial` did not have room for all steps
                              that had been read. k NULL: not wanted. */
    crnn_cache dinitial;   /* Of backward: out, with the slots of `initial`; zeros in slots that are
                              not read. k NULL: not wanted. */
    crnn_cache dfinal;     /* Of backward: in, with the slots of `final`. k NULL: zeros. Of both
                              `steps` is not used. */
    void *weights;         /* out [B][M][T][S + T], S the slots of `initial`: the weights before
                              dropout, first those of the cache; zeros at steps that are not seen.
                              NULL: not wanted, as where the node has `running`. */
} crnn_heads;

/* Attention of M heads to a memory: the steps of another sequence, of which each row has one. The
 * only edge of the node is to q, (B, T, H); its value is the context, (B, T, H). Keys and values
 * are [k v] = e W + b for the steps e of the memory; then the equations are those of crnn_heads
 * without rotation, and a step sees all steps of the memory of its row that are within its length.
 * Others are not read. Resets change nothing. The context is 0 at masked steps, and where a memory
 * has no steps. With dropout, the number of the weight of step r of the memory is that of unit r.
 *
 * Backward reads the value of the node, that of its edge, and `kept`. With `running`, keys and
 * values are computed by crnn_node_load alone; nodes of several plans may have the same `running`.
 * The caller owns all buffers. No two of them overlap. */
typedef struct crnn_cross {
    size_t heads;           /* M, a divisor of H. */
    size_t size;            /* C, at least 1. */
    size_t steps;           /* S. */
    const void *memory;     /* in (B, S, C). NULL: S is 0. */
    const int64_t *lengths; /* in [B], each 0 ... S. NULL: all rows have S steps. */
    const void *w;          /* in (C, 2 H): of the keys, then of the values. */
    const void *b;          /* in [2 H]. NULL: zeros. */
    void *dw;               /* Of backward: the gradient is added to it. NULL: not wanted. */
    void *db;               /* Of backward: likewise. */
    double p;               /* A weight is dropped with this probability if the noise is on. */
    crnn_noise noise;       /* in. */
    const void *dfinal;     /* Of backward, in (B, S, C): a gradient of the memory, to which that of
                               this node is added. NULL: zeros. */
    void *dmemory;          /* Of backward, out (B, S, C): the sum. NULL: not wanted. */
    size_t *source;         /* With `running`, in [B]: the row of `running` that each row reads; out
                               in a plan that chooses. NULL: row b reads row b. */
    void *weights;          /* out [B][M][T][S]: the weights before dropout; zeros behind the length
                               of a memory and at steps that do not run. NULL: not wanted, as where
                               the node has `running`. */
} crnn_cross;

/* Positions: y_t = x_t + P_n, where n counts the steps that the row has read before, from its
 * beginning or its last reset on. Only steps that are read count; a masked step repeats the output
 * of the last step that was read before it. The only edge of the node is to x: floats (B, T, H). P
 * is a table, or P_{n,2i} = sin(n 10000^(-2i/H)), P_{n,2i+1} = cos(n 10000^(-2i/H)) (Vaswani et
 * al., "Attention is all you need", 2017), computed in double and rounded once. The caller owns all
 * buffers. */
typedef struct crnn_positions {
    const crnn_rows *rows;  /* in: the steps of the plan, or the same in reverse. */
    const void *table;      /* in: [...][H], P of every n that occurs. NULL: sines and cosines. */
    void *dtable;           /* Of backward: gradients are added to it, in the shape of the table.
                               NULL: not wanted. */
    const int64_t *initial; /* in: [B], the steps that each row has read before, not negative.
                               NULL: zeros. */
    int64_t *final;         /* out: [B], the same after the last step. NULL: not wanted. */
} crnn_positions;

/* An operation, what it reads, and its value. The caller owns all buffers. Values must not change
 * between forward and backward. */
typedef struct crnn_node {
    crnn_op op;
    size_t edges;          /* How many edges there are. */
    const crnn_edge *from; /* in [edges]. */
    size_t features;       /* The width of the value. 0: the value is symbols. */
    crnn_seq value;        /* (B, T, features), out; of an input in. Zeros at steps that do not run,
                              and from a recurrent layer, self-attention and positions the last
                              output in holes. With `once`
                              (B, 1, features), and dense for CRNN_OP_POOL. */
    int64_t *symbols; /* [B][T]: the value of an input without features, in; of CRNN_OP_CHOOSE in
                         and out [groups * width]. */
    void *kept;       /* out of forward, in of backward: [crnn_node_kept] bytes. NULL: there is no
                         backward. */
    void *running;    /* in and out [crnn_node_running] bytes, aligned to CRNN_ALIGN: the state of
                         a node of CRNN_OP_CONV, CRNN_OP_HEADS, CRNN_OP_CROSS or CRNN_OP_POSITIONS in a
                         plan of one step that runs again and again, in a layout of its own. NULL:
                         `initial` and `final` of the operation are used. */
    void *grads;      /* Of backward, for layer normalisation: [2][features], the gradients of its
                         parameters are added to it. NULL: not wanted. */
    bool filled;      /* A node of CRNN_OP_SUM or CRNN_OP_ROWWISE outside of cycles runs at masked
                         steps, too. */
    bool repeats;   /* A node of CRNN_OP_SUM or CRNN_OP_ROWWISE outside of cycles, not `filled`: its
                       value at masked steps is that of the last step that was read before them. Of
                       backward: its gradient there is added to that step's, in place. */
    bool backwards; /* A node of CRNN_OP_SUM or CRNN_OP_ROWWISE outside of cycles, not `filled`:
                       rows are read from their end. With `repeats`, the steps before a step are
                       those behind it; gradients of parameters are summed in that order. */
    bool rest;      /* A node of CRNN_OP_ROWWISE outside of cycles: at steps that do not run,
                       its value is that of edge 0, which has as many features. */
    bool once;      /* A node of CRNN_OP_POOL or CRNN_OP_STATE, and one of CRNN_OP_SUM or
                       CRNN_OP_ROWWISE all edges of which lead to such nodes. */
    crnn_seq gradient; /* Of backward: like the value, out: its gradient. data NULL: not wanted; a
                          node other than a recurrent layer with a tape does not run back then. */
    bool given;        /* Of backward: on entry `gradient` has a share that comes from outside of
                          the plan. The shares of the nodes that read the value are added to it. */
    union {
        crnn_recurrent recurrent;
        crnn_sum sum;
        crnn_attend attend;
        crnn_conv conv;
        crnn_rowwise rowwise; /* With the kernels of the plan. */
        crnn_pool_how pool;
        crnn_final final;
        crnn_choose choose;
        crnn_heads heads;
        crnn_cross cross;
        crnn_positions positions;
    } as; /* The description of the operation; nothing for CRNN_OP_INPUT. */
} crnn_node;

/* A list of nodes, and the steps on which they run. */
typedef struct crnn_plan {
    const crnn_kernels *kernels; /* Of the type of all values. */
    const crnn_rows *rows;       /* in: the steps, not in reverse. */
    size_t count;                /* How many nodes there are. */
    const crnn_node *node;       /* in [count]. */
    const void *packed; /* in [crnn_plan_packed_size] bytes, from crnn_plan_pack with the same
                           kernels. NULL: forward packs the weights. */
    void *workspace;    /* scratch, aligned to CRNN_ALIGN: [crnn_plan_workspace] bytes for
                           forward, [crnn_plan_backward_workspace] for backward. */
} crnn_plan;

/* Writes the size of the memory that node i keeps for backward. */
CRNN_API crnn_status crnn_node_kept(const crnn_plan *plan, size_t i, size_t *bytes);

/* Writes the size of `running` of node i: 0 for an operation that has none. The rows of the plan
 * are all rows that it may ever have. */
CRNN_API crnn_status crnn_node_running(const crnn_plan *plan, size_t i, size_t *bytes);
/* Fills `running` from `initial` of the operation, and writes `final` from it. The plan has the
 * rows with which `running` was measured. These functions, and the next one, do nothing where
 * `running` is NULL. */
CRNN_API void crnn_node_load(const crnn_plan *plan, size_t i);
CRNN_API void crnn_node_save(const crnn_plan *plan, size_t i);
/* Makes one row of `running` what it is where nothing was read before. */
CRNN_API void crnn_node_clear(const crnn_plan *plan, size_t i, size_t row);

/* Writes the size of the packed weights of all nodes. */
CRNN_API crnn_status crnn_plan_packed_size(const crnn_plan *plan, size_t *bytes);
/* Packs the weights of all nodes, for a plan that runs forward many times with the same parameters.
 * packed: out [crnn_plan_packed_size] bytes, aligned to CRNN_ALIGN. Both functions read the kernels
 * of the plan, and of its nodes the operations, edges, widths and parameters. */
CRNN_API void crnn_plan_pack(const crnn_plan *plan, void *packed);

/* Writes the size of the workspace of crnn_plan_forward. Which buffers of the nodes are NULL has to
 * be final by then; no numbers in these buffers are read. */
CRNN_API crnn_status crnn_plan_workspace(const crnn_plan *plan, size_t *bytes);
/* Computes the values of all nodes: crnn_plan_lay, then crnn_plan_run. */
CRNN_API void crnn_plan_forward(const crnn_plan *plan);
/* Lays out the workspace; reads no values. */
CRNN_API void crnn_plan_lay(const crnn_plan *plan);
/* Computes the values of all nodes of a plan that was laid out. It may run any number of times.
 * Between two runs nothing may change but the numbers in buffers, the states included and the
 * parameters not, and the `value` and `symbols` of nodes, which may lie elsewhere. */
CRNN_API void crnn_plan_run(const crnn_plan *plan);

/* A plan that chooses, to be run again and again. */
typedef struct crnn_generation {
    const crnn_plan *plan; /* in: its last node is of CRNN_OP_CHOOSE. It and its workspace suit all
                              rows that there may be. */
    crnn_rows *rows;       /* in and out: the rows of the plan and of its layers. Before each step,
                              they become the rows of the search that live. */
    size_t *words;         /* scratch: the words of the rows, for all that there may be. */
    bool finite;           /* in and out: false ends the generation; a logit was NaN. */
} crnn_generation;

/* Runs each of the plans until its search has no rows that live, for at most so many steps. Each of
 * them may run on a thread of its own; they may share packed weights. parts: in and out [count]. */
CRNN_API void crnn_generate(crnn_generation *parts, size_t count, size_t steps);

/* A plan of one step whose output is part of its next input, to be run again and again: a closed
 * loop. Node 0 is its input, the last node its output. */
typedef struct crnn_feedback {
    const crnn_plan *plan; /* in: `initial` and `final` of each layer are the same buffers. */
    crnn_node *node;       /* in: the nodes of the plan; out: the `value` of the last one. The value
                              of node 0 holds on entry what the next step reads of the output of the
                              step before, and on return that of the step behind the last one. */
    size_t given; /* E: the first features of the input that are those of x, at most all. The others
                     are the output of the step before, once or several times. */
    crnn_seq x;   /* in (B, T, E). Read if E is not 0. */
    crnn_seq y;   /* out (B, T, features of the last node). */
    size_t step;  /* in and out: the next step, of x and of y. */
} crnn_feedback;

/* Runs so many steps of each of the plans. Each of them may run on a thread of its own; they may
 * share packed weights. parts: in and out [count]. */
CRNN_API void crnn_feed_back(crnn_feedback *parts, size_t count, size_t steps);

/* Writes the size of the workspace of crnn_plan_backward, as crnn_plan_workspace does. */
CRNN_API crnn_status crnn_plan_backward_workspace(const crnn_plan *plan, size_t *bytes);
/* Computes all gradients that are wanted, after a forward with the same nodes and values. It may
 * run any number of times. */
CRNN_API void crnn_plan_backward(const crnn_plan *plan);

#ifdef __cplusplus
}
#endif

#endif
