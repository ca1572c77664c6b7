/* The rows of one call cut into pieces, the pieces sorted longest first, and where each step of
 * them lies on a tape. */
#include <string.h>

#include "kernels.h"

/* A row is cut before each step that resets it: the steps cut..end-1 are a piece. */
typedef struct piece {
    size_t row, cut, end;
    size_t length;    /* steps of it that are really there */
    bool first, last; /* of its row, in time */
} piece;

static size_t row_end(const crnn_steps *s, size_t row) {
    return s->lengths ? (size_t)s->lengths[row] : s->steps;
}

static bool is_there(const crnn_steps *s, size_t row, size_t t) {
    return !s->mask || s->mask[row * s->steps + t] != 0;
}

/* Whether a piece begins at step t of a row: nothing is read before step 0 in reverse. */
static bool is_cut(const crnn_steps *s, size_t row, size_t t) {
    return s->resets && s->resets[row * s->steps + t] != 0 && !(s->reverse && t == 0);
}

/* The piece behind p, or the first one where p->end is not set; false behind the last one. */
static bool next_piece(const crnn_steps *s, piece *p) {
    const bool fresh = p->row == 0 && p->end == (size_t)-1;
    if (!fresh && p->last) p->row++;
    p->first = fresh || p->last;
    if (p->row >= s->batch) return false;
    const size_t end = row_end(s, p->row);
    p->cut = p->first ? 0 : p->end;
    p->length = 0;
    for (p->end = p->cut; p->end < end; p->end++) {
        if ((p->end > p->cut || p->first) && is_cut(s, p->row, p->end)) break;
        p->length += is_there(s, p->row, p->end);
    }
    p->last = p->end == end;
    return true;
}

static piece before_all(void) { return (piece){.end = (size_t)-1}; }

/* Pieces that there are at most; B * T fits. */
static size_t most_pieces(const crnn_steps *s) {
    size_t count = s->batch;
    for (size_t i = 0; s->resets && i < s->batch * s->steps; i++) count += s->resets[i] != 0;
    return count;
}

crnn_status crnn_rows_size(const crnn_steps *steps, size_t *words) {
    size_t cells, times, bytes;
    /* N <= B * T must fit as well: tape rows are counted with it. */
    if (!crnn_size_mul(steps->batch, steps->steps, &cells)) return CRNN_OVERFLOW;
    if (!crnn_size_mul(most_pieces(steps), 4, words) || !crnn_size_mul(steps->steps, 2, &times) ||
        !crnn_size_add(times, 1, &times) || !crnn_size_add(*words, times, words) ||
        !crnn_size_add(*words, steps->mask ? cells : 0, words) ||
        !crnn_size_mul(*words, sizeof(size_t), &bytes))
        return CRNN_OVERFLOW;
    return CRNN_OK;
}

/* A counting sort: active[t] = pieces longer than t is at once the place where pieces of length t
 * begin. `next` [T + 1] is borrowed for the place of the next piece of each length. */
static void count_lengths(crnn_rows *rows, size_t *next) {
    const size_t T = rows->given.steps;
    memset(rows->active, 0, T * sizeof(size_t));
    rows->places = 0;
    for (piece p = before_all(); next_piece(&rows->given, &p); rows->places++)
        if (p.length > 0) rows->active[p.length - 1]++;
    for (size_t t = T; t-- > 1;) rows->active[t - 1] += rows->active[t];
    for (size_t t = 0; t < T; t++) next[t] = rows->active[t];
    next[T] = 0;
}

/* The times of a piece's steps that are there, listed from `from` on; returns the end. */
static size_t list_times(const crnn_rows *rows, const piece *p, size_t from) {
    for (size_t t = p->cut; t < p->end; t++)
        if (is_there(&rows->given, p->row, t)) rows->times[from++] = t;
    return from;
}

static void place_pieces(crnn_rows *rows, size_t *next) {
    size_t listed = 0;
    for (piece p = before_all(); next_piece(&rows->given, &p);) {
        const size_t place = next[p.length]++;
        const bool reverse = rows->given.reverse;
        rows->order[place] = p.row;
        rows->length[place] = p.length;
        rows->begin[place] = rows->times ? listed : p.cut;
        rows->ends[place] = ((reverse ? p.last : p.first) ? CRNN_READ_FIRST : 0) |
                            ((reverse ? p.first : p.last) ? CRNN_READ_LAST : 0);
        if (rows->times) listed = list_times(rows, &p, listed);
    }
}

void crnn_rows_init(crnn_rows *rows, size_t *words, const crnn_steps *steps) {
    const size_t T = steps->steps;
    const size_t places = most_pieces(steps);
    *rows = (crnn_rows){.given = *steps,
                        .active = words,
                        .first = words + T,
                        .order = words + 2 * T + 1,
                        .length = words + 2 * T + 1 + places,
                        .begin = words + 2 * T + 1 + 2 * places,
                        .ends = words + 2 * T + 1 + 3 * places,
                        .times = steps->mask ? words + 2 * T + 1 + 4 * places : NULL};
    count_lengths(rows, rows->first);
    place_pieces(rows, rows->first);
    for (size_t t = 0; t < T; t++) {
        rows->first[t] = rows->total;
        rows->total += rows->active[t];
    }
    rows->first[T] = rows->total;
}

/* ---- steps that are not there */

/* What a step of a row that is masked has to do with: in the order of reading, t runs over the
 * steps before a row's end, `last` is the step whose output is repeated at t, NO_STEP where there
 * is none. */
#define NO_STEP ((size_t)-1)

static size_t nth_read(const crnn_steps *s, size_t end, size_t i) {
    return s->reverse ? end - 1 - i : i;
}

/* The step that stands for t, given the one that stood for the step read before it. */
static size_t stand_in(const crnn_steps *s, size_t row, size_t t, size_t end, size_t before) {
    const size_t cut = s->reverse ? t + 1 : t; /* where a cut parts t from the step read before */
    if (is_there(s, row, t)) return t;
    return cut < end && is_cut(s, row, cut) ? NO_STEP : before;
}

void crnn_fill_gaps(const crnn_rows *rows, const crnn_seq *seq, size_t features, size_t item,
                    bool repeat) {
    const crnn_steps *s = &rows->given;
    for (size_t b = 0; seq->data && b < s->batch; b++) {
        const size_t end = row_end(s, b), wide = features * item;
        for (size_t t = end; t < s->steps; t++) memset(crnn_seq_at(seq, b, t, item), 0, wide);
        for (size_t i = 0, last = NO_STEP; s->mask && i < end; i++) {
            const size_t t = nth_read(s, end, i);
            last = stand_in(s, b, t, end, last);
            if (last == t) continue;
            if (repeat && last != NO_STEP)
                memcpy(crnn_seq_at(seq, b, t, item), crnn_seq_at(seq, b, last, item), wide);
            else
                memset(crnn_seq_at(seq, b, t, item), 0, wide);
        }
    }
}

static void add_row(crnn_dtype dtype, size_t count, const void *from, void *to) {
    for (size_t k = 0; k < count; k++) {
        if (dtype == CRNN_F64)
            ((double *)to)[k] += ((const double *)from)[k];
        else
            ((float *)to)[k] += ((const float *)from)[k];
    }
}

crnn_seq crnn_fold_gaps(const crnn_rows *rows, const crnn_seq *dy, size_t features,
                        crnn_dtype dtype, void *folded) {
    const crnn_steps *s = &rows->given;
    const size_t item = crnn_dtype_size(dtype);
    const crnn_seq to = {folded, (ptrdiff_t)(s->steps * features), (ptrdiff_t)features};
    for (size_t b = 0; b < s->batch; b++) {
        const size_t end = row_end(s, b);
        for (size_t i = 0, last = NO_STEP; i < end; i++) {
            const size_t t = nth_read(s, end, i);
            const void *from = crnn_seq_at(dy, b, t, item);
            last = stand_in(s, b, t, end, last);
            if (last == t)
                memcpy(crnn_seq_at(&to, b, t, item), from, features * item);
            else if (last != NO_STEP)
                add_row(dtype, features, from, crnn_seq_at(&to, b, last, item));
        }
    }
    return to;
}
