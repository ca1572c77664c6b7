/* What the files of a decoder share: its tape, which is everything that the core was told, and what
 * it kept. */
#ifndef CRNN_BINDING_DECODER_TAPE_H
#define CRNN_BINDING_DECODER_TAPE_H

#include "binding.h"

typedef struct level {
    held_layer held; /* released after forward: a tape does not own layers, which may own it */
    state_arrays initial, final; /* owned */
    PyArrayObject *y;            /* owned (B, T, P) */
    PyArrayObject *dropped; /* owned (B, T, I): what it reads in place of the y below; or NULL */
    double dropout;
    int variational;
    crnn_noise dropout_noise;
    crnn_noise noise;
    Tape *tape; /* owned: that of the layer */
} level;

typedef struct DecoderTape {
    PyObject_HEAD
    size_t batch, steps, features; /* B, T, and the floats of the lowest level's input */
    size_t depth;
    level *levels;                        /* owned [depth] */
    crnn_decoder_level *facts;            /* owned [depth]: the same as the core wants it */
    PyArrayObject *x, *symbols, *lengths; /* owned; nothing else writes to x */
    PyArrayObject *keys, *values, *source_lengths, *w_query, *v; /* owned, or NULL */
    PyArrayObject *queries, *weights;                            /* owned */
    size_t *words;                                               /* owned */
    crnn_rows rows;
    crnn_input in;
    crnn_attention attention;
} DecoderTape;

static inline const crnn_layer *layer_at(const DecoderTape *d, size_t l) {
    return &d->levels[l].held.layer;
}

static inline size_t width_at(const DecoderTape *d, size_t l) { return crnn_width(layer_at(d, l)); }

static inline crnn_dtype dtype_of_levels(const DecoderTape *d) { return layer_at(d, 0)->dtype; }

/* A new array (B, T, features). */
PyArrayObject *new_steps(module_state *module, const DecoderTape *d, size_t features);
/* The decoder as the core has it, without a workspace. */
crnn_decoder decoder_of(const DecoderTape *d, const crnn_kernels *kernels);

/* A method of Seq2Seq. */
PyObject *seq2seq_decode_back(PyObject *self, PyObject *args);

#endif
