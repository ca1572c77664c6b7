/* Common declarations of the files of a decoder: its tape, which is the plan that the core ran, and
 * the memory that the plan refers to. */
#ifndef CRNN_BINDING_DECODER_TAPE_H
#define CRNN_BINDING_DECODER_TAPE_H

#include "binding.h"

typedef struct level {
    held_layer held;   /* released after forward: a tape does not own layers, which may own it */
    PyObject *state;   /* borrowed from the arguments of forward; not used later */
    crnn_rowwise drop; /* before the layer; inputs 0: no dropout */
    state_arrays initial, final; /* owned */
    Tape *tape;                  /* owned: that of the layer */
    size_t node;                 /* the number of the layer in the plan */
} level;

/* What a node of the plan refers to. */
typedef struct node_memory {
    crnn_edge from[2];
    PyArrayObject *value; /* owned (B, T, features); NULL for the target */
} node_memory;

/* Node 0 is the target; node 1, the query or the attention, reads the top layer with a delay; the
 * last node is the top layer. */
typedef struct DecoderTape {
    PyObject_HEAD
    size_t batch, steps;      /* B, T */
    size_t symbols, features; /* K of the target, 0 where it is floats; E */
    size_t depth;
    level *levels;       /* owned [depth], lowest first */
    crnn_plan plan;      /* without a workspace */
    crnn_node *nodes;    /* owned [plan.count] */
    node_memory *memory; /* owned [plan.count] */
    size_t context;      /* the number of the attention in the plan */
    PyArrayObject *target, *vectors, *lengths, *weights; /* owned, or NULL */
    attention_arrays arrays;
} DecoderTape;

static inline const crnn_layer *layer_at(const DecoderTape *d, size_t l) {
    return &d->levels[l].tape->layer;
}

static inline crnn_dtype dtype_of_levels(const DecoderTape *d) { return layer_at(d, 0)->dtype; }

static inline const crnn_attention *attention_of(const DecoderTape *d) {
    return &d->nodes[d->context].as.attend.attention;
}

/* A new array (B, T, features). */
PyArrayObject *new_steps(module_state *module, const DecoderTape *d, size_t features);
/* A list of a state of each level, `state` from the first one and `each` bytes to the next; a new
 * reference, or NULL. */
PyObject *states_of_levels(const DecoderTape *d, const state_arrays *state, size_t each);

/* A method of Seq2Seq. */
PyObject *seq2seq_decode_back(PyObject *self, PyObject *args);

#endif
