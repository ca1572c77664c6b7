/* A problem for a recurrent layer, as a table row, and one call that solves it:
 * every buffer of exactly the size that was asked for, in guarded memory, and
 * filled with NaN beforehand. */
#ifndef CRNN_TESTS_PROBLEM_H
#define CRNN_TESTS_PROBLEM_H

#include "support.h"

/* ---- a problem: a function gives its numbers, so that a part of it has those
 * of the whole */

enum { GAP = 3 /* elements between the rows of a strided array */ };
enum { S_WEIGHTS, S_X, S_DY, S_H0, S_C0, S_DH, S_DC, S_GRADS, S_DX, S_LENGTHS, S_HOLES, S_CUTS };

typedef struct nudge {
    int stream;
    size_t at;
    double by;
} nudge;

typedef struct problem {
    const char *name;
    bool ragged;           /* lengths differ */
    bool symbols, one_hot; /* the input is symbols, or their one-hot rows; */
    size_t table;          /* both with floats behind so many: 0 where there are none */
    bool given;            /* initial state, and gradient of the final one */
    bool strided;          /* time-major, last step first, gaps between rows */
    bool add_dx, no_dy;
    bool no_traces, no_tape; /* no_tape: forward alone */
    bool packed;             /* forward gets packed weights, and no others */
    bool twice;              /* backward runs twice over the same tape */
    bool training;           /* there is noise */
    double holes;            /* share of the steps that are not read; 1: of all there are */
    double cuts;             /* share of the steps before which a row starts anew */
    double zeros;            /* share of the blocks of W_h that are zero, */
    double kept;             /* and what forward and backward are told of the others */
    const crnn_kernels *kernels;
    crnn_layer layer;
    size_t batch, steps;
    const int64_t *lengths; /* [batch], or NULL */
    /* The part of the whole: row 0 is its first_row, step 0 its first_step, or
     * its last one. */
    size_t first_row, first_step;
    bool turned;
    /* In place of samples, where not NULL: (B, P) and (B, H) dense, the flat
     * gradients before. */
    const void *h0, *c0, *dh, *dc, *grads;
    nudge nudge; /* one number of forward's, changed */
} problem;

static size_t item_of(const problem *p) { return crnn_dtype_size(p->layer.dtype); }

static size_t length_of(const problem *p, size_t b) {
    return p->lengths ? (size_t)p->lengths[b] : p->steps;
}

static crnn_layout layout_of(const problem *p) {
    crnn_layout at = {0};
    CHECK(crnn_layer_layout(&p->layer, &at) == CRNN_OK, "%s", p->name);
    return at;
}

/* Where in the whole's numbers element f of row b, step t stands. */
static size_t place_in_whole(const problem *p, size_t b, size_t t, size_t f) {
    const size_t time = p->first_step + (p->turned ? length_of(p, b) - 1 - t : t);
    return (p->first_row + b) * 10007 + time * 1009 + f;
}

static double state_number(const problem *p, int stream, size_t b, size_t f) {
    return sample((size_t)stream, (p->first_row + b) * 10007 + f);
}

static double param_number(const problem *p, size_t at) {
    return 2 / sqrt((double)(p->layer.inputs + p->layer.hidden)) * sample(S_WEIGHTS, at);
}

static double share_number(const problem *p, int stream, size_t b, size_t time) {
    return 0.5 + 0.5 * sample((size_t)stream, (p->first_row + b) * 10007 + 1009 * time);
}

/* Steps 1, 4, 7.. of the whole are read in any case, so that a whole can be
 * split there. */
static bool is_hole(const problem *p, size_t b, size_t t) {
    if (p->turned && t >= length_of(p, b)) return false;
    const size_t time = p->first_step + (p->turned ? length_of(p, b) - 1 - t : t);
    return p->holes >= 1 || (time % 3 != 1 && share_number(p, S_HOLES, b, time) < p->holes);
}

/* Whether row b is marked to be cut before step t. */
static bool is_cut(const problem *p, size_t b, size_t t) {
    if (p->turned && (t == 0 || t >= length_of(p, b))) return false;
    const size_t time = p->first_step + (p->turned ? length_of(p, b) - t : t);
    return share_number(p, S_CUTS, b, time) < p->cuts;
}

/* The i-th step of row b in the order of reading, holes counted; and whether a
 * piece begins there that is not the one read first. */
static size_t in_turn(const problem *p, size_t b, size_t i) {
    return p->layer.reverse ? length_of(p, b) - 1 - i : i;
}

static bool starts_anew(const problem *p, size_t b, size_t i) {
    const size_t t = in_turn(p, b, i);
    return p->layer.reverse ? i > 0 && is_cut(p, b, t + 1) : is_cut(p, b, t);
}

/* The last step of row b that has been read when the i-th is: its own, where
 * that is no hole. NOTHING where none of its piece has. */
#define NOTHING ((size_t)-1)
static size_t last_read(const problem *p, size_t b, size_t i, size_t before) {
    if (!is_hole(p, b, in_turn(p, b, i))) return in_turn(p, b, i);
    return i == 0 || starts_anew(p, b, i) ? NOTHING : before;
}

/* Rows beyond 32 bits, parts with the numbers of the whole. */
static crnn_noise noise_of(const problem *p) {
    return (crnn_noise){.on = p->training,
                        .seed = 0x0123456789abcdef,
                        .call = 0x3fffffff5,
                        .first_row = 0xfffffffe + p->first_row,
                        .first_step = (uint32_t)p->first_step,
                        .layer = 3};
}

static size_t symbols_in(const problem *p) { return p->table ? p->table : p->layer.inputs; }

static int64_t symbol_at(const problem *p, size_t b, size_t t) {
    const double unit = 0.5 + 0.5 * sample(S_X, place_in_whole(p, b, t, 0));
    return (int64_t)(unit * (double)symbols_in(p));
}

static double number(const problem *p, int stream, size_t b, size_t t, size_t f) {
    if (stream == S_X && p->one_hot && f < symbols_in(p)) return (int64_t)f == symbol_at(p, b, t);
    return sample((size_t)stream, place_in_whole(p, b, t, f));
}

static void apply_nudge(const problem *p, int stream, void *values) {
    if (p->nudge.by != 0 && p->nudge.stream == stream)
        real_put(p->layer.dtype, values, p->nudge.at,
                 real_at(p->layer.dtype, values, p->nudge.at) + p->nudge.by);
}

/* ---- arrays (B, T, F), dense or strided */

static size_t strided_size(const problem *p, size_t features) {
    const size_t rows = p->batch * p->steps;
    return rows ? rows * (features + GAP) - GAP : 0;
}

static crnn_seq new_seq(const problem *p, size_t features) {
    const size_t B = p->batch, T = p->steps, wide = features + GAP;
    if (!p->strided)
        return (crnn_seq){fenced(B * T * features * item_of(p)), (ptrdiff_t)(T * features),
                          (ptrdiff_t)features};
    char *data = fenced(strided_size(p, features) * item_of(p));
    const size_t step_0 = B > 0 && T > 0 ? (T - 1) * B * wide : 0;
    return (crnn_seq){data + step_0 * item_of(p), (ptrdiff_t)wide, -(ptrdiff_t)(B * wide)};
}

/* The steps that are there; the rest stays NaN, and what is in the input where
 * a hole is. */
static crnn_seq filled_seq(const problem *p, int stream, size_t features) {
    const crnn_seq seq = new_seq(p, features);
    for (size_t b = 0; b < p->batch; b++)
        for (size_t t = 0; t < length_of(p, b); t++)
            for (size_t f = 0; f < features && !(stream == S_X && is_hole(p, b, t)); f++)
                real_put(p->layer.dtype, crnn_seq_at(&seq, b, t, item_of(p)), f,
                         number(p, stream, b, t, f));
    if (!p->strided) apply_nudge(p, stream, seq.data);
    return seq;
}

/* to (B, T, F) dense; and nothing was written between the rows. */
static void read_seq(const problem *p, const crnn_seq *seq, size_t features, char *to) {
    const size_t bytes = features * item_of(p);
    bool gaps = true;
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t t = 0; t < p->steps; t++, to += bytes) {
            const unsigned char *row = crnn_seq_at(seq, b, t, item_of(p));
            memcpy(to, row, bytes);
            if (!p->strided || (t == 0 && b + 1 == p->batch)) continue; /* the last one has none */
            for (size_t i = 0; i < GAP * item_of(p); i++)
                gaps = gaps && row[bytes + i] == fence_fill;
        }
    }
    CHECK(gaps, "%s: wrote between rows", p->name);
}

/* A state of a row is that of its last D steps. */
static size_t states_in(const problem *p) { return p->batch * crnn_longest_delay(&p->layer); }

/* (B, D, P) or (B, D, H) samples, `instead` if there is one, or none. */
static void *state_of(const problem *p, int stream, const void *instead) {
    const bool of_h = stream == S_H0 || stream == S_DH;
    const size_t H = of_h ? crnn_width(&p->layer) : p->layer.hidden, count = states_in(p) * H;
    if (instead) return copied(instead, count * item_of(p));
    if (!p->given) return NULL;
    void *state = fenced(count * item_of(p));
    for (size_t i = 0; i < count; i++)
        real_put(p->layer.dtype, state, i, state_number(p, stream, i / H, i % H));
    apply_nudge(p, stream, state);
    return state;
}

#endif
