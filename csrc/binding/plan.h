/* Plans: what the files plan*.c share. A plan is made by crnn's own Python code from a model whose
 * layers are all known to the core. Its methods take the arguments of the model as a user gives
 * them, and return None where one does not fit: the model then runs layer by layer, and the layer
 * that refuses the argument says why. */
#ifndef CRNN_BINDING_PLAN_H
#define CRNN_BINDING_PLAN_H

#include "binding.h"

/* What attention reads. */
typedef struct attention_arrays {
    PyArrayObject *keys, *values, *lengths; /* owned, or NULL */
} attention_arrays;

/* One operation, as Python described it. */
typedef struct plan_node {
    crnn_op op;
    size_t edges;
    crnn_edge *from; /* owned [edges] */
    size_t features; /* of an input: I, 0 where it takes no floats */
    size_t symbols;  /* of an input, and of a layer that reads vectors: K, else 0 */
    size_t inputs;   /* of a recurrent layer */
    size_t last;     /* the last node that runs before its value may be overwritten */
    bool filled;     /* an operation without memory runs at masked steps that are answered */
    bool cyclic;     /* it is part of a cycle */
    bool wants;      /* a gradient with respect to its value, where that of x is wanted; */
    bool trains;     /* likewise, where the gradients of parameters alone are wanted */
    bool is_read;    /* a node with `trains` reads it */
    bool frozen;     /* of a recurrent layer: its gradients are not wanted */
    bool repeats, backwards, rest, once; /* as in crnn_node */
    bool cell;                           /* of a final state: c instead of h */
    crnn_pool_how how;
    bool reverse; /* of a convolution and of positions: rows are read from their end */
    size_t taps, dilation;
    crnn_activation activation;
    size_t heads, window; /* of self-attention, */
    bool whole;
    size_t most; /* of positions: the most steps of a row; 0: any number */
    double rotary, p;
    uint64_t seed;   /* and of its dropout */
    size_t cross;    /* the node that attends to a memory behind it; 0: none */
    size_t owner;    /* of that one: the self-attention whose state has the memory */
    PyObject *layer; /* owned: a recurrent layer, or NULL, */
    uint32_t number; /* and its number in the model */
    crnn_rowwise rowwise;
    PyArrayObject *w, *b, *dw, *db; /* owned, or NULL: parameters and their gradients, which frozen
                                       ones do not have: of a sum; of layer normalisation w
                                       [2 * features]; vectors w (K, size); of additive attention w
                                       [A]; of a convolution w (J, H, I), of positions w
                                       (steps, H); */
    PyArrayObject *g, *dg;          /* with weight norm g (H,) */
} plan_node;

typedef struct Plan {
    PyObject_HEAD
    module_state *module;
    crnn_dtype dtype;
    size_t count;
    plan_node *nodes; /* owned [count]; the first one is the input, the last one makes y */
    size_t attend;    /* the node that attends to the memory; 0: none */
    bool delays;      /* an edge has a delay, */
    bool late;        /* and reads an earlier step that a stream does not keep */
    bool strict;      /* an argument that does not fit raises its error: nothing else runs */
    PyObject *states; /* owned: the form of a state. A tuple of such forms stands for a list, and a
                         PairState of two for a PairState; an integer is a recurrent node; None has
                         no state */
} Plan;

/* Reads all nodes to plan->nodes [count], then checks what they read, which may be later nodes.
 * False: an exception. */
bool plan_read_nodes(Plan *plan, PyObject *given);
/* The floats that a recurrent node reads beside symbols. */
size_t plan_floats_beside_symbols(const Plan *plan, const plan_node *node);

/* The width of a part of a state; 0 where there is no such part. */
static inline size_t plan_state_width(const crnn_layer *layer, bool cell) {
    if (!cell) return crnn_width(layer);
    return state_count(layer) == 2 ? layer->hidden : 0;
}

/* A node during a call. */
typedef struct node_call {
    held_layer held;
    state_arrays initial, final;
} node_call;

/* Of all nodes [count], owned, with their layers held, and with `grads` the gradients of those that
 * are not frozen; NULL: an exception. */
node_call *plan_hold(const Plan *plan, bool grads);
void plan_release(const Plan *plan, node_call *calls);

/* Everything that one forward was given and made. */
typedef struct PlanTape {
    PyObject_HEAD
    Plan *plan;               /* owned */
    call call;                /* owned: of the input */
    bool filled;              /* the input has answers at masked steps */
    bool needs_dx;            /* false: for the gradients of parameters alone, so that nodes without
                                 `trains` keep nothing */
    crnn_attention attention; /* without v */
    attention_arrays memory;  /* owned: what it points into */
    PyArrayObject *weights;   /* owned (B, T, T_s): of attention, or NULL */
    PyArrayObject *values, *y; /* owned: the values of nodes between, in one block; of the last */
    PyArrayObject *passing; /* owned, in forward: the block of values that are not kept; or NULL */
    size_t *place;          /* owned [count]: where a value begins in its block, in elements */
    Tape **tapes;           /* owned [count] of owned: of recurrent nodes, else NULL */
    void **kept;            /* owned [count] of owned memory, or NULL */
    state_arrays *starts;   /* owned [count] of owned: copies of initial states, of nodes that need
                               them to run back */
} PlanTape;

PlanTape *plan_tape_new(Plan *plan);
/* Whether backward may run node i, so that the tape has all that it reads; whether it has the value
 * of node i. */
bool plan_keeps(const PlanTape *tape, size_t i);
bool plan_keeps_value(const PlanTape *tape, size_t i);
/* Steps of the value of a node, and how many elements it has; false where these are too many. */
size_t plan_steps(const PlanTape *tape, size_t i);
bool plan_value_size(const PlanTape *tape, size_t i, size_t *size);
/* A new array (B, steps, features); one like the value of a node, (B, T, features) or
 * (B, features). */
PyArrayObject *plan_rows(const PlanTape *tape, size_t steps, size_t features);
PyArrayObject *plan_array(const PlanTape *tape, size_t i);
/* "LSTM, GRU" from "LSTM"; the first is "". Takes the reference to `names`, which may be NULL with
 * an exception, and returns a new one, or NULL. The node has a state; `layer` is that of a
 * recurrent one. */
PyObject *plan_add_name(PyObject *names, const plan_node *node, const crnn_layer *layer);
/* Where the value of a node lies; of all steps. */
crnn_seq plan_value(const PlanTape *tape, size_t i);
/* The rows of a node with a state: those of the input, reversed or cut into strands. In a cycle,
 * states of a layer with delays are in a ring. layer: read of a recurrent node. */
static inline crnn_steps plan_layer_steps(const Plan *plan, size_t i, const crnn_layer *layer,
                                          const crnn_steps *input) {
    const plan_node *node = &plan->nodes[i];
    crnn_steps steps = *input;
    steps.reverse = node->op == CRNN_OP_RECURRENT ? layer->reverse : node->reverse;
    steps.stride = node->cyclic || node->op != CRNN_OP_RECURRENT ? 1 : crnn_stride(layer);
    return steps;
}
/* Whether such rows are not those of the input. */
static inline bool plan_has_own_rows(const crnn_steps *steps) {
    return steps->reverse || crnn_strands(steps) > 1;
}
/* Node i of the plan of the tape, or of one like it, as the core wants it, but for its gradients.
 * Rows that are not those of the input are those of its tape, where it has one, else `rows`. */
crnn_node plan_core_node(const Plan *plan, const PlanTape *tape, size_t i, const node_call *call,
                         const crnn_kernels *kernels, const crnn_rows *rows);

/* `running` memory of a node (crnn_node). Without a window, self-attention needs room for all
 * steps: it is enlarged. Of positions there may be no more than some. */
typedef struct running_memory {
    void *memory; /* owned, or NULL */
    size_t rows;  /* that there may be, */
    size_t slots; /* steps for which there is room, where it is enlarged; */
    size_t seen;  /* a bound of the steps that rows have, where that counts */
} running_memory;

/* Memory that a state is to be taken over to; NULL: there is enough. */
typedef struct running_room {
    void *memory; /* owned, or NULL */
    size_t slots;
} running_room;

/* A node with a state in a stream. */
typedef struct node_state {
    crnn_layer layer;       /* of a recurrent node, */
    state_arrays state;     /* owned, never shown: copies are; */
    state_arrays start;     /* owned: one row, what a state is after a reset */
    running_memory running; /* of another one */
    PyObject *projected;    /* owned, or NULL: a capsule with `running` of a node with a memory */
} node_state;

/* A plan of one step, with its weights packed. */
typedef struct Stream {
    PyObject_HEAD
    module_state *module;
    Plan *plan; /* owned */
    size_t batch;
    size_t *words; /* owned: the rows of a step */
    crnn_rows rows;
    node_state *states;      /* owned [count] */
    crnn_node *nodes;        /* owned [count] */
    PyArrayObject **copies;  /* owned [2 * count] of owned, or NULL: parameters that are not
                                packed */
    attention_arrays memory; /* owned: what attention reads, if there is one */
    void *values, *packed, *workspace; /* owned */
    crnn_plan core;
    bool laid, symbols; /* the workspace is laid out, for an input of symbols */
    bool begun;         /* it has had a state */
} Stream;

/* Copies of the states of all nodes [count], as `final`, owned; NULL: an exception. */
node_call *stream_states(Stream *self);
/* The states of all nodes become copies of these; of nodes without one here, what they are after a
 * reset. The stream is locked. False: an exception, and nothing has changed. */
bool stream_take_states(Stream *self, node_call *calls, state_arrays *(*of)(node_call *call));
/* Of a workspace that does not fit the memory any more: the next step makes another one. */
void stream_drop_workspace(Stream *self);
/* What a plan of one step needs: its rows, with the words that they refer to; a block with the
 * values of all nodes but the input, and with the weights of attention, which it tells the nodes; a
 * workspace. Each returns memory that the caller owns, or NULL with an exception. */
size_t *step_rows(crnn_rows *rows, size_t batch);
void *step_values(const Plan *plan, crnn_node *nodes, size_t batch);
void *step_workspace(const crnn_plan *core);

/* ---- plan_cross.c: memories of other sequences, parts of the state of their owner */

/* The node whose state node i reads. */
static inline size_t plan_owner(const Plan *plan, size_t i) {
    return plan->nodes[i].op == CRNN_OP_CROSS ? plan->nodes[i].owner : i;
}
/* Reads a memory and its lengths; of a gradient `lengths` is NULL. False: an exception. */
bool memory_read(const Plan *plan, const plan_node *owner, const char *name, size_t batch,
                 PyObject *memory, PyObject *lengths, state_arrays *to);
/* Whether the gradient of a memory has its steps; otherwise an exception. */
bool memory_gradient_fits(const state_arrays *start, const state_arrays *gradient);
/* Whether there is a memory for each node that reads one; otherwise an exception. */
bool memories_are_given(const Plan *plan, const node_call *calls);
/* New references to a memory and its lengths, if there is one. */
void memory_share(const state_arrays *from, state_arrays *to);
/* Replaces the memories of initial states by arrays that never change. False: an exception. */
bool memories_keep(const Plan *plan, node_call *calls);
/* What a node with a memory adds to the core's; its memory; the gradients of node i,
 * whose owner's call is open. False: an exception. */
crnn_cross cross_of(const PlanTape *tape, const plan_node *node);
void cross_set_memory(crnn_cross *cross, const state_arrays *state);
bool cross_open_back(const PlanTape *tape, size_t i, node_call *calls, crnn_cross *cross);
/* Memories for the nodes of a stream, before its states change. */
typedef struct stream_memories {
    PyObject **running; /* owned [count] of owned */
    crnn_node *before;  /* owned [count]: the nodes as they were */
} stream_memories;

/* Makes those that are given; false: an exception. Then the stream takes them over, or, if
 * something failed, becomes what it was. */
bool stream_make_memories(Stream *self, node_call *calls, stream_memories *made);
void stream_take_memories(Stream *self, node_call *calls, stream_memories *made, bool fine);

/* What rows of their own read of a stream's memory. */
typedef struct memory_reader {
    size_t *source;      /* owned [rows], or NULL */
    PyObject *projected; /* owned, or NULL */
} memory_reader;

/* Readers [count] for copies of a stream's nodes: the first `given` of these rows read rows of the
 * stream from `first` on. False: an exception. */
bool new_sources(const Plan *plan, Stream *stream, crnn_node *nodes, size_t first, size_t given,
                 size_t rows, memory_reader *readers);
void readers_clear(memory_reader *readers, size_t count);

/* Stream._generate and Stream._symbols: see plan_generate.c. */
PyObject *stream_generate(Stream *self, PyObject *args);
PyObject *stream_get_symbols(Stream *self, void *unused);
/* Stream._feed: see plan_feedback.c. */
PyObject *stream_feed(Stream *self, PyObject *args);
/* Stream._sample_paths: see plan_forecast.c. */
PyObject *stream_sample_paths(Stream *self, PyObject *args);

/* ---- plan_states.c: the states of nodes. `layer` is read of a recurrent node */

static inline bool node_has_state(const plan_node *node) {
    return node->op == CRNN_OP_RECURRENT || node->op == CRNN_OP_CONV ||
           node->op == CRNN_OP_POSITIONS || (node->op == CRNN_OP_HEADS && !node->whole);
}
/* New arrays, with any numbers, for the state of node i, of self-attention with so many slots; for
 * a gradient without `steps`, and of positions none. False: an exception. */
bool node_state_new(const Plan *plan, size_t i, const crnn_layer *layer, size_t batch, size_t slots,
                    bool gradient, state_arrays *to);
/* Slots of the state that a node has after it has read some rows, from an initial state on; of one
 * that is given; both are 0 but for self-attention. */
size_t node_final_slots(const plan_node *node, const crnn_rows *rows, const state_arrays *initial);
size_t node_slots(const state_arrays *state);
/* Steps that a state of self-attention keeps of a row: at most its slots; 0 for other nodes. */
size_t node_known_steps(const state_arrays *state, size_t row);
/* Row of an array (B, ...), borrowed from it; NULL for no array. */
void *row_of(PyArrayObject *array, size_t row);
/* Makes new arrays of those of a gradient, with zeros where there are none. */
bool node_state_own(const Plan *plan, size_t i, const crnn_layer *layer, size_t batch,
                    state_arrays *s);
/* Where a node of the core reads its initial state and writes its final one, from a row of these
 * on; the rows that it runs; and the gradients of both states. */
void node_set_states(crnn_node *node, const state_arrays *initial, const state_arrays *final,
                     size_t row);
void node_set_rows(crnn_node *node, const crnn_rows *rows);
void node_set_gradients(crnn_node *node, const state_arrays *dinitial, const state_arrays *dfinal);
void state_copy(const state_arrays *to, const state_arrays *from);

/* Whether no row of a call reads more steps than there are positions; false: an exception. */
bool plan_positions_fit(const Plan *plan, node_call *calls, const crnn_rows *rows);
/* False, with the exception of a row of more steps than there are positions. */
bool refuse_steps(const plan_node *node, size_t steps);

/* Whether this is the form of a state of the plan. */
bool plan_check_form(const Plan *plan, PyObject *form);
/* States in the form of the plan: false where they do not fit, perhaps with an exception. */
bool plan_read_states(const Plan *plan, node_call *calls, const char *name, size_t batch,
                      PyObject *state, state_arrays *(*of)(node_call *call));
/* The gradients of the states that the forward of a tape returned, into `final` of the calls. */
bool plan_read_gradients(const PlanTape *tape, node_call *calls, PyObject *dstate);
/* A new reference, or NULL with an exception. */
PyObject *plan_show_states(const Plan *plan, node_call *calls,
                           state_arrays *(*of)(node_call *call));
state_arrays *initial_of(node_call *call);
state_arrays *final_of(node_call *call);
/* ---- plan_running.c: states in a layout of the operation's own, of nodes that have one */

static inline bool node_runs_on(const plan_node *node) {
    return node_has_state(node) && !node->layer;
}
/* New memory for so many rows, which takes over a state (NULL: nothing was read) from a row of it
 * on. False: an exception. */
bool running_load(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  size_t rows, const state_arrays *state, size_t row);
/* The same in two parts. The first allocates what the state needs: false with an exception, and
 * nothing has changed. The second takes over the memory and the state: true where the plan needs
 * another workspace. */
bool running_prepare(const running_memory *m, const Plan *plan, const crnn_plan *core,
                     crnn_node *node, const state_arrays *state, running_room *room);
bool running_take(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  const state_arrays *state, size_t row, running_room *room);
/* Writes the state to arrays with running_slots slots, from a row on. */
void running_save(const running_memory *m, const crnn_plan *core, crnn_node *node,
                  const state_arrays *state, size_t row);
size_t running_slots(const running_memory *m, const plan_node *node);
/* Whether all rows may read so many more steps, and how many of these; false: an exception. */
bool running_may_read(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                      size_t steps);
bool running_left(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                  size_t steps, size_t *left);
/* Makes room for so many more steps. `grown` becomes true where the plan needs another workspace.
 * False: an exception, and nothing has changed. */
bool running_reserve(running_memory *m, const Plan *plan, const crnn_plan *core, crnn_node *node,
                     size_t steps, bool *grown);
/* No row has read anything any more: to be called when all rows have been cleared. */
void running_cleared(running_memory *m);
void running_clear(running_memory *m);

/* NULL, with the exception of refuse_misfit. */
static inline PyObject *refused(const char *name) {
    refuse_misfit(name);
    return NULL;
}

/* Reads the memory of a plan with attention, (keys, values, lengths), to `a` and the arrays that it
 * points into; with `keep` these never change. False: it does not fit, perhaps with an exception.
 * given: NULL for none. */
bool plan_read_memory(const Plan *plan, size_t batch, PyObject *given, bool keep, crnn_attention *a,
                      attention_arrays *to);
void attention_clear(attention_arrays *arrays);

/* None where the exception, if there is one, tells of an argument; else NULL. A strict plan always
 * returns NULL; where there is no exception, it says that `name` does not fit. */
PyObject *plan_refuse(const Plan *plan, const char *name);

PyObject *plan_forward(Plan *self, PyObject *const *values, Py_ssize_t count);
/* Whether backward would take these. */
PyObject *plan_check(Plan *self, PyObject *args);
PyObject *plan_stream(Plan *self, PyObject *args);
PyObject *plan_backward(Plan *self, PyObject *const *values, Py_ssize_t count);

extern PyType_Spec plan_spec, plan_tape_spec;

#endif
