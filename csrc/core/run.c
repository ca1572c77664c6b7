/* What forward and backward share outside the kernels. */
#include <string.h>

#include "run.h"

/* ---- buffers */

void *crnn_take(crnn_arena *a, size_t count, size_t each, size_t item) {
    void *here = a->base ? a->base + a->used.bytes : NULL;
    crnn_measure_add(&a->used, count, each, item);
    return here;
}

crnn_status crnn_arena_size(const crnn_arena *a, size_t *bytes) {
    *bytes = a->used.bytes;
    return a->used.fits ? CRNN_OK : CRNN_OVERFLOW;
}

/* Where a cell has no c, its pointers are those of h: the kernels compute with them and never read.
 */
crnn_tape_parts crnn_lay_states(const crnn_shape *s, size_t gate_rows, size_t state_rows,
                                size_t batch, crnn_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    crnn_tape_parts t;
    t.gates = crnn_take(a, gate_rows, s->row_gates, item);
    t.h = t.c = crnn_take(a, state_rows, s->padded, item);
    t.h0 = t.c0 = crnn_take(a, batch, s->padded, item);
    if (s->states == 2) {
        t.c = crnn_take(a, state_rows, s->padded, item);
        t.c0 = crnn_take(a, batch, s->padded, item);
    }
    return t;
}

crnn_tape_parts crnn_lay_tape(const crnn_shape *s, const crnn_rows *rows, crnn_arena *a) {
    return crnn_lay_states(s, s->keeps_gates ? rows->total : 0, rows->total, rows->batch, a);
}

/* ---- shares */

/* Multiply-adds of one step worth meeting for. */
static const double STEP_WORK = 40e3;

static double step_work(const crnn_shape *s, const crnn_rows *rows) {
    return (double)rows->batch * (double)s->at.columns * (double)s->layer.hidden;
}

double crnn_recurrence_work(const crnn_shape *s, const crnn_rows *rows) {
    return (double)rows->total * (double)s->at.columns *
           (double)(s->layer.inputs + s->layer.hidden);
}

size_t crnn_seats(const crnn_shape *s, const crnn_rows *rows) {
    const double by_panels = step_work(s, rows) / STEP_WORK;
    return by_panels > (double)rows->batch ? (size_t)by_panels : rows->batch;
}

/* First place of a share: shares have about as many steps each. */
static size_t share_of_rows(const crnn_rows *rows, size_t part, size_t parts) {
    const double wanted = (double)rows->total * (double)part / (double)parts;
    double steps = 0;
    size_t place = 0;
    while (place < rows->batch && steps + 0.5 * (double)rows->length[place] < wanted)
        steps += (double)rows->length[place++];
    return part == parts ? rows->batch : place;
}

/* Rows of its own for each member, unless that left most of a tile empty. */
crnn_span crnn_span_of(const crnn_shape *s, const crnn_rows *rows, size_t panels, size_t part,
                       size_t parts) {
    const bool too_few_rows = 2 * rows->batch < parts * s->kernels->tile_rows;
    if (parts > 1 && too_few_rows && step_work(s, rows) >= (double)parts * STEP_WORK)
        return (crnn_span){
            part, parts, 0, rows->batch, panels * part / parts, panels * (part + 1) / parts, true};
    return (crnn_span){
        part,   parts, share_of_rows(rows, part, parts), share_of_rows(rows, part + 1, parts), 0,
        panels, false};
}

/* ---- states and sequences of the caller's */

void crnn_state_in(const crnn_shape *s, const crnn_rows *rows, const void *from, void *to) {
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = s->layer.hidden * item;
    memset(to, 0, rows->batch * s->padded * item);
    for (size_t i = 0; from && i < rows->batch; i++)
        memcpy((char *)to + i * s->padded * item, (const char *)from + rows->order[i] * wide, wide);
}

void crnn_state_out(const crnn_shape *s, const crnn_rows *rows, size_t place, const void *row,
                    void *to) {
    const size_t wide = s->layer.hidden * crnn_dtype_size(s->layer.dtype);
    if (to) memcpy((char *)to + rows->order[place] * wide, row, wide);
}

void crnn_clear_padding(const crnn_rows *rows, const crnn_seq *seq, size_t features, size_t item) {
    for (size_t i = 0; seq->data && i < rows->batch; i++)
        for (size_t t = rows->length[i]; t < rows->steps; t++)
            memset(crnn_seq_at(seq, rows->order[i], t, item), 0, features * item);
}
