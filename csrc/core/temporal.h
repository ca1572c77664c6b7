/* Types of the kernels of convolutions, self-attention and positions, which kernels.h includes. */
#ifndef CRNN_TEMPORAL_H
#define CRNN_TEMPORAL_H

#include "crnn.h"

/* Weights v [taps][rows][inputs] of a convolution with a norm and a gain g [rows]. */
typedef struct core_normed {
    size_t taps, rows, inputs;
    const void *v, *g;
} core_normed;

/* Self-attention. A pair of a piece and a head has n queries, those of the steps of the piece, and
 * as keys those of the cache that it may see, then its own n. A row of A numbers has P elements: A
 * rounded up to V, zeros behind. Rows in panels are transposed: TILE_VECS * V rows of [A], or as
 * many whole vectors as are left, are a panel [A][rows]. */

/* The memory of a stream. The step number t of a row is in slot t % slots of its place. */
typedef struct core_heads_ring {
    size_t batch, slots; /* slots: whole vectors */
    int64_t *steps;      /* [batch] steps that the row has read, */
    size_t *seen;        /* [batch] how many of them are here, */
    size_t *place;       /* [batch] and in which place: all are different. Of a memory in which
                            place the one is that a row attends to, and `seen` is that of a place */
    char *data;  /* [batch][heads]: keys in panels [slots], then values [slots][P]; one head is */
    size_t each; /* bytes */
} core_heads_ring;

/* The memory that queries attend to in place of the steps of their own piece. */
typedef struct core_heads_memory {
    size_t steps;           /* S */
    const int64_t *lengths; /* in [B]; NULL: all rows have S steps */
    const void *kv;         /* in [B][S][2 H]: keys, then values */
    void *dkv;              /* of backward, out: the rows within the lengths */
} core_heads_memory;

/* Scratch of one member. NULL where a pass does not need it. */
typedef struct core_heads_scratch {
    void *queries;      /* [block][P] of forward, [n][P] of backward: scaled and rotated */
    void *keys;         /* [a panel][P] of forward, [keys][P] of backward: rotated */
    void *values;       /* [keys][P] */
    void *turned;       /* keys in panels; of backward the queries */
    void *dcontexts;    /* of backward, [n][P] and */
    void *turned_d;     /* in panels */
    void *dqueries;     /* [n][P] */
    void *scores;       /* [block][range] a row for each query; of backward for each key, and */
    void *dscores;      /* likewise; the first become weights, these gradients of scores */
    void *factors;      /* likewise, where weights are dropped */
    void *sums, *dsums; /* [block][P] */
    void *inverse;      /* 1 / the sum of the exponentials: [block], of backward [n] */
    void *top, *mean;   /* of backward [n]: the largest score; the context times its gradient */
} core_heads_scratch;

typedef struct core_heads_run {
    const crnn_heads *given;
    const crnn_rows *rows;
    size_t hidden, size, pitch;      /* H, A, P */
    size_t cached;                   /* keys of the cache that a step may see at most */
    size_t keys;                     /* keys that a pair has at most */
    size_t slots;                    /* of a step of a stream: of its ring; else 0 */
    size_t block, range;             /* rows and elements of a row of the scores */
    crnn_seq qkv, value;             /* (B, T, 3 H), (B, T, H) */
    crnn_seq dvalue, dqkv;           /* of backward; dqkv.data NULL: not wanted */
    void *kept;                      /* [N][heads][2]: top and inverse; or NULL */
    const core_heads_ring *ring;     /* of a stream, or NULL */
    const core_heads_memory *memory; /* or NULL: queries see steps of their own piece */
    const double *rates;             /* [A / 2] angle of a step; NULL: nothing is rotated */
    const int64_t *positions;        /* of each row of `angles` */
    const size_t *angle_row;         /* [places] the row of the first step */
    void *angles;                    /* [...][A]: cosines of A / 2 angles, then sines */
} core_heads_run;

/* Sinusoidal positions: row r has sin(n rates[i]), cos(n rates[i]) for each i, side by side, n =
 * positions[r]; the last cosine is left out of an odd size. */
typedef struct core_sinusoids {
    size_t size;
    double *rates;            /* [(size + 1) / 2] */
    const int64_t *positions; /* of each row */
    void *table;              /* out [...][size] */
} core_sinusoids;

/* Gradients of the weights of some taps from n neighbouring cells of one piece. */
enum { CONV_PARTS = 16 };

typedef struct core_taps_part {
    void *dw;         /* in and out [hidden][inputs] */
    size_t skip, n;   /* of the cells, the last ones that are left out, and how many are not */
    const void *last; /* x of the last one, whole vectors, */
    ptrdiff_t step;   /* and from one to the next */
} core_taps_part;

typedef struct core_taps_outer {
    size_t n, hidden, inputs; /* n: at most block_rows */
    const void *last_delta;   /* of the last cell [hidden], */
    ptrdiff_t delta_step;     /* and from one to the next */
    size_t parts;
    core_taps_part part[CONV_PARTS];
    void *scratch; /* [core_outer_rows(hidden)][block_rows] */
} core_taps_outer;

#endif
