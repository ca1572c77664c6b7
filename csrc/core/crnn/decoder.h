/* Recurrent layers that run side by side, step by step: a decoder with attention that is trained,
 * and one that reads the symbols which it chose. */
#ifndef CRNN_DECODER_H
#define CRNN_DECODER_H

#include "attention.h"
#include "recurrent.h"
#include "search.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a decoder with input feeding (Bahdanau, Cho and Bengio, 2015) ----------------------------
 */

/* One of the recurrent layers of a decoder, which are stacked. */
typedef struct crnn_decoder_level {
    const crnn_layer *layer;  /* in; not reversed. */
    const void *params;       /* in, flat. */
    crnn_noise noise;         /* in. */
    crnn_state initial;       /* in. */
    crnn_state final;         /* out. */
    crnn_seq y;               /* out (B, T, P). */
    crnn_tape *tape;          /* out; the caller sets its memory. */
    crnn_seq dropped;         /* out (B, T, I): what a level above the lowest reads, after dropout.
                                 data NULL: no dropout. */
    double dropout;           /* Probability. */
    bool variational;         /* One mask for all steps of a row. */
    crnn_noise dropout_noise; /* in. */
} crnn_decoder_level;

/* A decoder. Before each step, attention with the last h of the top level computes a context, which
 * the lowest level reads beside its own input. All levels take a step before any takes the next. */
typedef struct crnn_decoder {
    const crnn_kernels *kernels;
    const crnn_rows *rows;           /* in: of the targets, without masks and resets. */
    size_t depth;                    /* At least 1. */
    const crnn_decoder_level *level; /* [depth], lowest first. */
    crnn_input in; /* in and out, of the lowest level, with floats: forward writes the
                      contexts to the last C of them. */
    const crnn_attention
        *attention;      /* in: T queries; those behind the end of a row do not count. */
    const void *w_query; /* in (P, A): the query is W_query h. NULL: it is h, and A = P. */
    void *queries;       /* out [B][T][A]. */
    void *weights;       /* out [B][T][T_s], zeros behind the end of a row. */
    void *workspace;     /* scratch [crnn_decoder_workspace] bytes, aligned to CRNN_ALIGN. */
} crnn_decoder;

/* Writes the size of the workspace of crnn_decoder_forward. */
CRNN_API crnn_status crnn_decoder_workspace(const crnn_decoder *d, size_t *bytes);
/* Runs all levels over all steps. */
CRNN_API void crnn_decoder_forward(const crnn_decoder *d);

/* The gradients of a level. */
typedef struct crnn_decoder_level_grads {
    crnn_seq dy;         /* (B, T, P): of the top level in, and changed; of others scratch. */
    crnn_seq ddropped;   /* scratch (B, T, I), where the level has dropout. */
    bool from_learned;   /* Forward began with the learned state. */
    crnn_state dinitial; /* out. */
    void *grads;         /* in and out, flat: gradients are added to it. */
    void *trace;         /* out, as in crnn_backward_args. NULL: not wanted. */
} crnn_decoder_level_grads;

/* The buffers of crnn_decoder_backward. */
typedef struct crnn_decoder_grads {
    const crnn_decoder_level_grads *level; /* [depth]. */
    crnn_seq dx; /* out (B, T, crnn_floats) of the lowest level, zeros behind the end of a row. */
    void *dcontext;  /* in and out [B][T][C]: the gradient that came through the lowest level is
                        added. */
    void *dqueries;  /* out [B][T][A]; not written behind the end of a row. */
    void *dkeys;     /* out, shaped like the keys. */
    void *dvalues;   /* out, shaped like the values. */
    void *dv;        /* [A], the gradient is added to it. NULL if the attention has no v. */
    void *dw_query;  /* (P, A), the gradient is added to it. NULL if w_query is NULL. */
    void *workspace; /* scratch [crnn_decoder_grads_workspace] bytes, aligned to CRNN_ALIGN. */
} crnn_decoder_grads;

/* Writes the size of the workspace of crnn_decoder_backward, after forward. */
CRNN_API crnn_status crnn_decoder_grads_workspace(const crnn_decoder *d,
                                                  const crnn_decoder_grads *g, size_t *bytes);
/* Computes all gradients. The workspace of d is not used. */
CRNN_API void crnn_decoder_backward(const crnn_decoder *d, const crnn_decoder_grads *g);

/* ---- generation ------------------------------------------------------------------------------ */

/* One of the recurrent layers of a generator, which are stacked. */
typedef struct crnn_generator_level {
    const crnn_layer *layer; /* in; not reversed. */
    const void *packed;      /* in, from crnn_pack. */
    crnn_state initial;      /* in: of each source row. */
} crnn_generator_level;

/* A decoder, with or without attention, that reads the symbols which it chose. */
typedef struct crnn_generator {
    const crnn_kernels *kernels;
    size_t depth;                      /* At least 1. */
    const crnn_generator_level *level; /* [depth], lowest first. */
    size_t symbols;                    /* K. */
    const void *embedding;           /* in (K, E): the vector of each symbol. NULL: the lowest layer
                                        reads symbols. */
    size_t embedded;                 /* E; 0 without an embedding. */
    const crnn_attention *attention; /* in; its queries are not read. NULL: no attention. */
    bool feeds; /* Contexts are computed from the last h and read beside the symbols. False:
                   they are computed from the h of the step. */
    const void *w_query;  /* in (P, A). NULL: the query is h. */
    const void *w_out;    /* in (P + C, K): the map to the logits. */
    const void *b_out;    /* in [K]. NULL: none. */
    const int64_t *start; /* in [B]: the symbols of the first step. */
    void *packed;         /* out [crnn_generator_size] bytes, aligned to CRNN_ALIGN. */
} crnn_generator;

/* Writes the size of the packed matrices of a generator. */
CRNN_API crnn_status crnn_generator_size(const crnn_generator *g, size_t *bytes);
/* Packs the matrices of a generator. */
CRNN_API void crnn_generator_pack(const crnn_generator *g);

/* Some source rows, from search->options.first_group on. Each part may run on a thread of its own.
 */
typedef struct crnn_generation {
    crnn_search *search; /* in and out: begun; its history has room for the steps to come. */
    void *memory;        /* [crnn_generation_size] bytes, aligned to CRNN_ALIGN. */
    bool finite;         /* out: false after a logit was NaN, which ends the generation. */
} crnn_generation;

/* Writes the size of the memory of a part. */
CRNN_API crnn_status crnn_generation_size(const crnn_generator *g, const crnn_search *search,
                                          size_t *bytes);
/* Begins a part. Its memory is used until the generation is over. */
CRNN_API void crnn_generation_begin(const crnn_generator *g, crnn_generation *part);
/* Runs every part for at most so many more steps. parts: in and out [count]. */
CRNN_API void crnn_generate(const crnn_generator *g, crnn_generation *parts, size_t count,
                            size_t steps);

#ifdef __cplusplus
}
#endif

#endif
