/* The rows of one call cut into pieces, the pieces sorted longest first, and where each step of
 * them lies on a tape. */
#include <string.h>

#include "kernels.h"

/* A row is cut before each step that resets it: the steps cut..end-1 are a part, and each of its
 * strands is a piece. */
typedef struct part {
    size_t row, cut, end;
    size_t read;      /* steps of it that are really there */
    bool first, last; /* of its row, in time */
} part;

static size_t row_end(const crnn_steps *s, size_t row) {
    return s->lengths ? (size_t)s->lengths[row] : s->steps;
}

static bool is_there(const crnn_steps *s, size_t row, size_t t) {
    return !s->mask || s->mask[row * s->steps + t] != 0;
}

/* Whether a part begins at step t of a row: nothing is read before step 0 in reverse. */
static bool is_cut(const crnn_steps *s, size_t row, size_t t) {
    return s->resets && s->resets[row * s->steps + t] != 0 && !(s->reverse && t == 0);
}

/* The part behind p, or the first one where p->end is not set; false behind the last one. */
static bool next_part(const crnn_steps *s, part *p) {
    const bool fresh = p->row == 0 && p->end == (size_t)-1;
    if (!fresh && p->last) p->row++;
    p->first = fresh || p->last;
    if (p->row >= s->batch) return false;
    const size_t end = row_end(s, p->row);
    p->cut = p->first ? 0 : p->end;
    p->read = 0;
    for (p->end = p->cut; p->end < end; p->end++) {
        if ((p->end > p->cut || p->first) && is_cut(s, p->row, p->end)) break;
        p->read += is_there(s, p->row, p->end);
    }
    p->last = p->end == end;
    return true;
}

static part before_all(void) { return (part){.end = (size_t)-1}; }

/* Steps of a part that strand k of d has: k, k + d, k + 2d and so on, as they are read. */
static size_t strand_steps(size_t read, size_t d, size_t k) {
    return read > k ? (read - 1 - k) / d + 1 : 0;
}

/* Pieces that there are at most; B * T fits. */
static bool most_pieces(const crnn_steps *s, size_t *count) {
    size_t parts = s->batch;
    for (size_t i = 0; s->resets && i < s->batch * s->steps; i++) parts += s->resets[i] != 0;
    return crnn_size_mul(parts, crnn_strands(s), count);
}

enum { PIECE_WORDS = 6 };

crnn_status crnn_rows_size(const crnn_steps *steps, size_t *words) {
    size_t cells, times, bytes, pieces;
    /* N <= B * T must fit as well: tape rows are counted with it. */
    if (!crnn_size_mul(steps->batch, steps->steps, &cells)) return CRNN_OVERFLOW;
    if (!most_pieces(steps, &pieces) || !crnn_size_mul(pieces, PIECE_WORDS, words) ||
        !crnn_size_mul(steps->steps, 2, &times) || !crnn_size_add(times, 1, &times) ||
        !crnn_size_add(*words, times, words) ||
        !crnn_size_add(*words, steps->mask ? cells : 0, words) ||
        !crnn_size_mul(*words, sizeof(size_t), &bytes))
        return CRNN_OVERFLOW;
    return CRNN_OK;
}

/* A counting sort: active[t] = pieces longer than t is at once the place where pieces of length t
 * begin. `next` [T + 1] is borrowed for the place of the next piece of each length. */
static void count_lengths(crnn_rows *rows, size_t *next) {
    const size_t T = rows->given.steps, d = crnn_strands(&rows->given);
    memset(rows->active, 0, T * sizeof(size_t));
    rows->places = 0;
    for (part p = before_all(); next_part(&rows->given, &p); rows->places += d)
        for (size_t k = 0; k < d && k < p.read; k++) rows->active[strand_steps(p.read, d, k) - 1]++;
    for (size_t t = T; t-- > 1;) rows->active[t - 1] += rows->active[t];
    for (size_t t = 0; t < T; t++) next[t] = rows->active[t];
    next[T] = 0;
}

/* Steps of the strands before strand k, of which the first ones are longer by one. */
static size_t steps_before(size_t read, size_t d, size_t k) {
    return k * (read / d) + (k < read % d ? k : read % d);
}

/* The times of a part's steps that are there, strand after strand, in the order of time. */
static void list_times(const crnn_rows *rows, const part *p, size_t *times) {
    const size_t d = crnn_strands(&rows->given);
    for (size_t t = p->cut, i = 0; t < p->end; t++) {
        if (!is_there(&rows->given, p->row, t)) continue;
        const size_t nth = rows->given.reverse ? p->read - 1 - i : i, k = nth % d;
        const size_t in_time =
            rows->given.reverse ? strand_steps(p->read, d, k) - 1 - nth / d : nth / d;
        times[steps_before(p->read, d, k) + in_time] = t;
        i++;
    }
}

/* The first step, in time, of a strand that has some, where no steps are masked. */
static size_t strand_begin(const crnn_rows *rows, const part *p, size_t k, size_t length) {
    const size_t d = crnn_strands(&rows->given);
    return rows->given.reverse && length > 0 ? p->end - 1 - k - (length - 1) * d : p->cut + k;
}

static void place_part(crnn_rows *rows, size_t *next, const part *p, size_t listed) {
    const size_t d = crnn_strands(&rows->given);
    const bool reverse = rows->given.reverse;
    const size_t ends = ((reverse ? p->last : p->first) ? CRNN_READ_FIRST : 0) |
                        ((reverse ? p->first : p->last) ? CRNN_READ_LAST : 0);
    for (size_t k = 0; k < d; k++) {
        const size_t length = strand_steps(p->read, d, k), place = next[length]++;
        rows->order[place] = p->row;
        rows->length[place] = length;
        rows->begin[place] =
            rows->times ? listed + steps_before(p->read, d, k) : strand_begin(rows, p, k, length);
        rows->ends[place] = ends;
        rows->strand[place] = k;
        rows->leaves[place] = (k + d - p->read % d) % d;
    }
}

static void place_parts(crnn_rows *rows, size_t *next) {
    size_t listed = 0;
    for (part p = before_all(); next_part(&rows->given, &p);) {
        place_part(rows, next, &p, listed);
        if (!rows->times) continue;
        list_times(rows, &p, rows->times + listed);
        listed += p.read;
    }
}

void crnn_rows_init(crnn_rows *rows, size_t *words, const crnn_steps *steps) {
    const size_t T = steps->steps;
    size_t places = 0, *pieces = words + 2 * T + 1;
    most_pieces(steps, &places);
    *rows = (crnn_rows){.given = *steps,
                        .active = words,
                        .first = words + T,
                        .order = pieces,
                        .length = pieces + places,
                        .begin = pieces + 2 * places,
                        .ends = pieces + 3 * places,
                        .strand = pieces + 4 * places,
                        .leaves = pieces + 5 * places,
                        .times = steps->mask ? pieces + PIECE_WORDS * places : NULL};
    count_lengths(rows, rows->first);
    place_parts(rows, rows->first);
    for (size_t t = 0; t < T; t++) {
        rows->first[t] = rows->total;
        rows->total += rows->active[t];
    }
    rows->first[T] = rows->total;
}

size_t core_state_row(const crnn_rows *rows, size_t place, bool final) {
    const size_t strand = final ? rows->leaves[place] : rows->strand[place];
    return rows->order[place] * crnn_strands(&rows->given) + strand;
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
            if (last == NO_STEP) continue;
            void *into = crnn_seq_at(&to, b, last, item);
            if (last != t)
                add_row(dtype, features, from, into);
            else if (from != into)
                memcpy(into, from, features * item);
        }
    }
    return to;
}
