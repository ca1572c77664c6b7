/* What the two directions of a decoder with input feeding share. */
#ifndef CORE_DECODER_H
#define CORE_DECODER_H

#include "run.h"

/* The place of (row, t) in a dense array (B, T, ...). */
static inline size_t core_dense_row(const crnn_rows *rows, size_t place, size_t t) {
    return rows->order[place] * rows->given.steps + t;
}

static inline const crnn_layer *core_top_layer(const crnn_decoder *d) {
    return d->level[d->depth - 1].layer;
}

/* Multiply-adds of a pass forward. */
double core_decoder_work(const crnn_decoder *d);
/* What a level reads, besides symbols. */
crnn_input core_level_input(const crnn_decoder *d, size_t level);
/* Step t of places from..to-1 of x, some of it dropped before level l reads it, to y. */
void core_drop_step(const crnn_decoder *d, size_t l, size_t t, size_t from, size_t to,
                    const crnn_seq *x, const crnn_seq *y);
/* The top layer's h of places from..to-1 before step t, to h_rows [places][P]. */
void core_gather_h(const core_shape *top, const crnn_rows *rows, const void *h, const void *h0,
                   size_t t, size_t from, size_t to, void *h_rows);

#endif
