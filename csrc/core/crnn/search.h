/* The choice of symbols from logits, step by step: the most likely, sampled ones, a beam. */
#ifndef CRNN_SEARCH_H
#define CRNN_SEARCH_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How symbols are chosen. Each group, such as a source sentence, begins with one row; after its
 * first step it has up to `width` rows, samples or beams. Groups are independent: several threads
 * may search different groups with a crnn_search each, and find the same as one crnn_search for
 * all.
 *
 * A beam search keeps the `width` best continuations, less the number of rows that have ended, by
 * their sums of log-probabilities. Of equal ones it prefers those of the better row, then of the
 * larger logit, then of the smaller symbol. Symbols of probability 0 are excluded. */
typedef struct crnn_search_options {
    size_t groups;
    size_t width;          /* Rows of a group, at least 1. */
    size_t symbols;        /* K. */
    bool beam;             /* True: beam search. False: samples. */
    int64_t stop;          /* The symbol that ends a row. -1: no symbol does. */
    double length_penalty; /* The score of a row is its sum of log-probabilities divided by its
                              length to this power. */
    double temperature;    /* Samples: probabilities are softmax(logits / temperature). Below the
                              smallest normal number: the most likely symbol, the first of
                              equals. */
    size_t top_k;  /* Samples: only the k most likely symbols, the first of equals. 0: all. */
    double top_p;  /* Samples: of these, only the fewest most likely ones whose probabilities
                      add up to this share. 1: all. */
    uint64_t seed; /* Samples. */
    uint64_t first_group;  /* Samples: row (first_group + group) * width + place draws one number a
                              step from a sequence of its own. */
    const int64_t *forced; /* in [groups * width][forced_steps]: the symbol that is read after a
                              step in place of the chosen one, unless it is negative. NULL: none. */
    size_t forced_steps;   /* In later steps, the chosen symbol is read. */
} crnn_search_options;

/* A symbol that was chosen, and the index of the one before it in the same row. */
typedef struct crnn_link {
    int64_t symbol;
    size_t before;
} crnn_link;

/* A search. Fields below `kernels` lie in the memory given to crnn_search_begin and are internal.
 */
typedef struct crnn_search {
    crnn_search_options options;
    size_t steps;       /* Steps that are done. */
    size_t live;        /* Rows that have not ended; at first one for each group. */
    crnn_link *history; /* in and out [more than `steps`][groups * width]. The caller sets it before
                           each step, and may have moved it to a larger buffer. */
    const crnn_kernels *kernels;
    struct crnn_hypothesis *rows;  /* [groups * width]. */
    struct crnn_hypothesis *next;  /* [groups * width]. */
    struct crnn_hypothesis *ended; /* [groups][width]. */
    size_t *ended_count;           /* [groups]. */
    struct crnn_candidate *best;   /* [width]. */
    double *logits;                /* [K] of one row. */
    double *shares;                /* [K] of one row. */
    size_t *ranks;                 /* [K] of one row. */
} crnn_search;

/* Writes the size of the memory of a search. */
CRNN_API crnn_status crnn_search_size(const crnn_search_options *options, size_t *bytes);
/* Writes the size of a history of so many steps. */
CRNN_API crnn_status crnn_search_history_size(const crnn_search_options *options, size_t steps,
                                              size_t *bytes);

/* Begins a search. memory: [crnn_search_size] bytes, aligned to CRNN_ALIGN, owned by the caller.
 * *search refers to it and to options->forced until the search is over. */
CRNN_API void crnn_search_begin(crnn_search *search, const crnn_search_options *options,
                                void *memory);

/* Chooses the symbols of a step. logits: in [live][K], of type dtype. symbols: out [live after the
 * step], the symbol that each row reads next; rows are ordered by group. parents: out, the same
 * length, the row before the step that each row continues. Both need room for groups * width.
 * Returns false, and changes nothing, if a logit is NaN. */
CRNN_API bool crnn_search_step(crnn_search *search, crnn_dtype dtype, const void *logits,
                               int64_t *symbols, size_t *parents);

/* Copies the results, also of rows that have not ended. steps: at least search->steps. tokens: out
 * [groups][n_best][steps], filled with `stop` behind the end of a row. scores: out
 * [groups][n_best]. Beams are sorted, best first; samples are in their order. If a group has fewer
 * than n_best rows, the others have no tokens and the score -infinity. */
CRNN_API void crnn_search_result(const crnn_search *search, size_t n_best, size_t steps,
                                 int64_t *tokens, double *scores);

#ifdef __cplusplus
}
#endif

#endif
