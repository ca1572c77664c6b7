/* The cells and the states of convolutions. */
#include "conv.h"

#include <string.h>

/* ---- cells */

crnn_rowwise conv_activation(const core_node *n) {
    return (crnn_rowwise){.kind = CRNN_ROWWISE_ACTIVATE,
                          .kernels = n->plan->given->kernels,
                          .inputs = 1,
                          .features = {n->given->features},
                          .activation = conv_of(n)->activation};
}

crnn_cells conv_cells(const conv_chunk *chunk) {
    return (crnn_cells){.n = chunk->n, .row = chunk->row, .time = chunk->time};
}

/* Cell c; at least one piece has steps. */
conv_cell conv_find(const core_node *n, size_t c) {
    const size_t *start = n->as.conv.start;
    size_t low = 0, high = conv_of(n)->rows->places;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (start[middle] <= c)
            low = middle;
        else
            high = middle;
    }
    return (conv_cell){low, c - start[low]};
}

void conv_next(const core_node *n, conv_cell *cell) {
    const crnn_rows *rows = conv_of(n)->rows;
    cell->t++;
    while (cell->place < rows->places && cell->t >= rows->length[cell->place]) {
        cell->place++;
        cell->t = 0;
    }
}

/* Where the steps of each piece begin. */
void conv_lay_cells(core_node *n, core_arena *a) {
    const crnn_rows *rows = conv_of(n)->rows;
    size_t *start = core_take(a, rows->places + 1, 1, sizeof *start);
    if (!start) return;
    start[0] = 0;
    for (size_t i = 0; i < rows->places; i++) start[i + 1] = start[i] + rows->length[i];
    n->as.conv.start = start;
}

bool conv_is_plain(const core_node *n) {
    const crnn_rows *rows = conv_of(n)->rows;
    return !rows->times && !rows->given.reverse && !n->given->running;
}

/* Cells from a cell on, to the end of its piece, of which equally many taps have rows, and how many
 * taps these are; of backward, which equally many steps read. */
static size_t equal_cells(const core_node *n, conv_cell cell, bool back, size_t *present) {
    const crnn_conv *c = conv_of(n);
    const size_t length = c->rows->length[cell.place];
    const size_t steps = back ? length - 1 - cell.t : cell.t, nth = steps / c->dilation;
    *present = nth < c->taps ? nth + 1 : c->taps;
    if (back)
        return cell.t < length - (*present - 1) * c->dilation
                   ? length - (*present - 1) * c->dilation - cell.t
                   : 0;
    const size_t end = *present < c->taps ? *present * c->dilation : length;
    return (end < length ? end : length) - cell.t;
}

/* Whether rows of a state stand for steps that a chunk of a piece does not have. */
static bool meets_state(const core_node *n, conv_cell cell, size_t present, bool back) {
    const crnn_conv *c = conv_of(n);
    if (back) return c->dfinal && (c->rows->ends[cell.place] & CRNN_READ_LAST);
    return present < c->taps && c->initial && (c->rows->ends[cell.place] & CRNN_READ_FIRST);
}

void conv_list(const core_node *n, size_t from, size_t to, bool back, conv_chunk *chunk) {
    enum { FEWEST = 21 /* cells for which a chunk of their own is worth it: some full tiles */ };
    const crnn_rows *rows = conv_of(n)->rows;
    conv_cell cell = conv_find(n, from);
    size_t most = to - from < CONV_CELLS ? to - from : CONV_CELLS;
    chunk->present = 0;
    for (chunk->n = 0; chunk->n < most; chunk->n++, conv_next(n, &cell)) {
        size_t present = 0, equal = 0;
        if (chunk->present == 0 && conv_is_plain(n)) equal = equal_cells(n, cell, back, &present);
        if (equal >= FEWEST && !meets_state(n, cell, present, back)) {
            if (chunk->n > 0) return; /* they are the next chunk */
            chunk->present = present;
            most = equal < most ? equal : most;
        }
        chunk->cell[chunk->n] = cell;
        chunk->row[chunk->n] = rows->order[cell.place];
        chunk->time[chunk->n] = crnn_rows_time(rows, cell.place, cell.t);
    }
}

core_row_list conv_rows_at(const core_node *n, const conv_chunk *chunk, const crnn_seq *seq,
                           size_t shift) {
    return core_rows_at(crnn_seq_at(seq, chunk->row[0], chunk->time[0] - shift, core_item(n)),
                        (size_t)seq->step);
}

/* ---- states: the last inputs of each row, (J - 1) d of them, the oldest first */

/* Memory of a stream: this, a ring of inputs (past, rows, I), and (rows, I) to move rows. */
typedef struct conv_ring {
    size_t oldest; /* the slot of the oldest inputs */
    size_t rows;   /* that there may be */
} conv_ring;

static void *ring_slot(const core_node *n, size_t slot) {
    const conv_ring *ring = n->given->running;
    return core_row_of((char *)n->given->running + CRNN_ALIGN, slot * ring->rows, conv_inputs(n),
                       core_item(n));
}

static void *ring_row(const core_node *n, size_t nth, size_t row) {
    const conv_ring *ring = n->given->running;
    const size_t slot = (ring->oldest + nth) % conv_past(conv_of(n));
    return core_row_of(ring_slot(n, slot), row, conv_inputs(n), core_item(n));
}

/* The input that lies `before` >= 1 steps before the first step of a piece; NULL: none. */
static const void *earlier_input(const core_node *n, size_t place, size_t before) {
    const crnn_conv *c = conv_of(n);
    const size_t row = c->rows->order[place], nth = conv_past(c) - before;
    if (!(c->rows->ends[place] & CRNN_READ_FIRST)) return NULL;
    if (n->given->running) return ring_row(n, nth, row);
    return c->initial ? conv_state_row(n, c->initial, row, nth) : NULL;
}

static const void *input_at(const core_node *n, size_t place, size_t t) {
    const crnn_rows *rows = conv_of(n)->rows;
    return crnn_seq_at(&core_read(n, 0)->value, rows->order[place], crnn_rows_time(rows, place, t),
                       core_item(n));
}

const void *conv_input(const core_node *n, conv_cell cell, size_t shift) {
    if (cell.t >= shift) return input_at(n, cell.place, cell.t - shift);
    return earlier_input(n, cell.place, shift - cell.t);
}

void conv_running(const core_node *n, core_arena *a) {
    core_take(a, 1, 1, CRNN_ALIGN);
    core_take(a, conv_past(conv_of(n)) + 1, n->plan->given->rows->given.batch,
              conv_inputs(n) * core_item(n));
}

void conv_load(const core_node *n) {
    const crnn_conv *c = conv_of(n);
    const size_t batch = n->plan->given->rows->given.batch, wide = conv_inputs(n) * core_item(n);
    *(conv_ring *)n->given->running = (conv_ring){.rows = batch};
    for (size_t i = 0; i < batch * conv_past(c); i++) {
        void *to = ring_row(n, i / batch, i % batch);
        if (c->initial)
            memcpy(to, conv_state_row(n, c->initial, i % batch, i / batch), wide);
        else
            memset(to, 0, wide);
    }
}

void conv_save(const core_node *n) {
    const size_t batch = n->plan->given->rows->given.batch;
    for (size_t i = 0; i < batch * conv_past(conv_of(n)); i++)
        memcpy(conv_state_row(n, conv_of(n)->final, i % batch, i / batch),
               ring_row(n, i / batch, i % batch), conv_inputs(n) * core_item(n));
}

void conv_clear(const core_node *n, size_t row) {
    for (size_t nth = 0; nth < conv_past(conv_of(n)); nth++)
        memset(ring_row(n, nth, row), 0, conv_inputs(n) * core_item(n));
}

/* Moves the inputs of a row that did not read the step by one slot, as the ring turns for all. */
static void turn_unread(const core_node *n, size_t row) {
    const size_t wide = conv_inputs(n) * core_item(n), past = conv_past(conv_of(n));
    char *spare = ring_slot(n, past);
    memcpy(spare, ring_row(n, past - 1, row), wide);
    for (size_t nth = past - 1; nth > 0; nth--)
        memcpy(ring_row(n, nth, row), ring_row(n, nth - 1, row), wide);
    memcpy(ring_row(n, 0, row), spare, wide);
}

/* The step is the newest input; the oldest one is no longer read. */
void conv_turn(const core_node *n) {
    conv_ring *ring = n->given->running;
    const crnn_rows *rows = conv_of(n)->rows;
    if (conv_past(conv_of(n)) == 0) return;
    for (size_t i = 0; i < rows->active[0]; i++)
        memcpy(ring_row(n, 0, rows->order[i]), input_at(n, i, 0), conv_inputs(n) * core_item(n));
    for (size_t i = rows->active[0]; i < rows->places; i++) turn_unread(n, rows->order[i]);
    ring->oldest = (ring->oldest + 1) % conv_past(conv_of(n));
}

/* The final state of the row of a piece that is read last. */
static void write_final(const core_node *n, size_t place) {
    const crnn_conv *c = conv_of(n);
    const size_t past = conv_past(c), length = c->rows->length[place];
    for (size_t nth = 0; nth < past; nth++) {
        const size_t t = length + nth; /* + past */
        const void *from =
            t >= past ? input_at(n, place, t - past) : earlier_input(n, place, past - t);
        void *to = conv_state_row(n, c->final, c->rows->order[place], nth);
        if (from)
            memcpy(to, from, conv_inputs(n) * core_item(n));
        else
            memset(to, 0, conv_inputs(n) * core_item(n));
    }
}

void conv_write_final(const core_node *n) {
    const crnn_conv *c = conv_of(n);
    for (size_t i = 0; c->final && i < c->rows->places; i++)
        if (c->rows->ends[i] & CRNN_READ_LAST) write_final(n, i);
}

void conv_follow(const core_node *n, const size_t *parents, size_t count) {
    const conv_ring *ring = n->given->running;
    const size_t wide = conv_inputs(n) * core_item(n), past = conv_past(conv_of(n));
    char *spare = ring_slot(n, past);
    for (size_t slot = 0; slot < past; slot++) {
        char *rows = ring_slot(n, slot);
        memcpy(spare, rows, ring->rows * wide);
        for (size_t i = 0; i < count; i++) memcpy(rows + i * wide, spare + parents[i] * wide, wide);
    }
}
