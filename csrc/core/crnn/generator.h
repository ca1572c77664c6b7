/* Generation: recurrent layers, with or without attention, that read the symbols which they chose.
 */
#ifndef CRNN_GENERATOR_H
#define CRNN_GENERATOR_H

#include "attention.h"
#include "recurrent.h"
#include "search.h"

#ifdef __cplusplus
extern "C" {
#endif

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
typedef struct crnn_part {
    crnn_search *search; /* in and out: begun; its history has room for the steps to come. */
    void *memory;        /* [crnn_generation_size] bytes, aligned to CRNN_ALIGN. */
    bool finite;         /* out: false after a logit was NaN, which ends the generation. */
} crnn_part;

/* Writes the size of the memory of a part. */
CRNN_API crnn_status crnn_generation_size(const crnn_generator *g, const crnn_search *search,
                                          size_t *bytes);
/* Begins a part. Its memory is used until the generation is over. */
CRNN_API void crnn_generation_begin(const crnn_generator *g, crnn_part *part);
/* Runs every part for at most so many more steps. parts: in and out [count]. */
CRNN_API void crnn_generate_parts(const crnn_generator *g, crnn_part *parts, size_t count,
                            size_t steps);

#ifdef __cplusplus
}
#endif

#endif
