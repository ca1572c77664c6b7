/* Attention of queries to the keys and values of source rows. */
#ifndef CRNN_ATTENTION_H
#define CRNN_ATTENTION_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Queries of a row b attend to the keys and values of source row b. The score of a source step is
 * v . tanh(key + query) if v is given (Bahdanau, Cho and Bengio, "Neural machine translation by
 * jointly learning to align and translate", 2015), otherwise key . query (Luong, Pham and Manning,
 * "Effective approaches to attention-based neural machine translation", 2015). The softmax of the
 * scores over the steps of the source row is the weights; the mean of the values with these weights
 * is the context. Weights are 0 behind the end of a source row. A context is 0 for queries behind
 * the end of their row and for a source row of length 0. */
typedef struct crnn_attention {
    crnn_dtype dtype;
    size_t batch;                 /* B. */
    size_t queries;               /* T_q, queries of a row. */
    size_t steps;                 /* T_s, steps of a source row. */
    size_t key_size;              /* A, at least 1. */
    size_t value_size;            /* C, at least 1. */
    const int64_t *lengths;       /* in [B], each 0 ... T_s. NULL: all rows have T_s steps. */
    const int64_t *query_lengths; /* in [B], each 0 ... T_q. NULL: all rows have T_q queries. */
    const void *keys;             /* in [B][T_s][A]. */
    const void *values;           /* in [B][T_s][C]. */
    const void *v;                /* in [A]. NULL: the score is key . query. */
} crnn_attention;

/* Computes weights and contexts. queries: in [B][T_q][A]. weights: out [B][T_q][T_s]. context: out
 * [B][T_q][C]. */
CRNN_API void crnn_attention_forward(const crnn_attention *a, const void *queries, void *weights,
                                     void *context);

/* The buffers of crnn_attention_backward. */
typedef struct crnn_attention_grads {
    const void *weights;  /* in [B][T_q][T_s], as forward wrote them. */
    const void *dcontext; /* in [B][T_q][C]; not read behind the end of a row's queries. */
    void *dqueries;       /* out [B][T_q][A], zeros behind the end of a row's queries. */
    void *dkeys;          /* out [B][T_s][A]. */
    void *dvalues;        /* out [B][T_s][C]. */
    void *dv;             /* [A], the gradient is added to it, row by row. NULL if v is NULL. */
    void *workspace;      /* scratch [crnn_attention_workspace] bytes, aligned to CRNN_ALIGN. */
} crnn_attention_grads;

/* Writes the size of the workspace of crnn_attention_backward. */
CRNN_API crnn_status crnn_attention_workspace(const crnn_attention *a, size_t *bytes);
/* Computes the gradients. queries: in, as in forward. */
CRNN_API void crnn_attention_backward(const crnn_attention *a, const void *queries,
                                      const crnn_attention_grads *grads);

#ifdef __cplusplus
}
#endif

#endif
