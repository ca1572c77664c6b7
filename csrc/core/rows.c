/* The rows of one call cut into pieces, the pieces sorted longest first, and where each step of
 * them lies on a tape. */
#include <string.h>

#include "kernels.h"

/* A row is cut into strands, and a strand where a reset lies between two of its steps. A piece is
 * steps cut..end-1 of a strand, of which step i lies at time strand + i * d. */
typedef struct piece {
    size_t row, strand, cut, end;
    size_t length;    /* steps of it that are really there */
    bool first, last; /* of its strand, in time */
} piece;

static size_t row_end(const crnn_steps *s, size_t row) {
    return s->lengths ? (size_t)s->lengths[row] : s->steps;
}

static bool is_there(const crnn_steps *s, size_t row, size_t t) {
    return !s->mask || s->mask[row * s->steps + t] != 0;
}

/* How many steps a strand of a row has. */
static size_t strand_steps(const crnn_steps *s, size_t row, size_t strand) {
    const size_t d = crnn_strands(s), end = row_end(s, row);
    return end > strand ? (end - 1 - strand) / d + 1 : 0;
}

/* Whether a strand is cut before its step i; behind the last one, i is their number. A reset at
 * step 0 cuts off the given state, so in reverse it cuts nothing. */
static bool is_cut(const crnn_steps *s, size_t row, size_t strand, size_t i) {
    const size_t d = crnn_strands(s), end = row_end(s, row), at = strand + i * d;
    const size_t last = at < end ? at : end - 1;
    size_t t = i > 0 ? at - d + 1 : s->reverse;
    for (; s->resets && end > 0 && t <= last; t++)
        if (s->resets[row * s->steps + t] != 0) return true;
    return false;
}

/* The piece behind p, or the first one where p->end is not set; false behind the last one. */
static bool next_piece(const crnn_steps *s, piece *p) {
    const bool fresh = p->end == (size_t)-1;
    if (!fresh && p->last && ++p->strand == crnn_strands(s)) {
        p->strand = 0;
        p->row++;
    }
    p->first = fresh || p->last;
    if (p->row >= s->batch) return false;
    const size_t steps = strand_steps(s, p->row, p->strand);
    p->cut = p->first ? 0 : p->end;
    p->length = 0;
    p->last = false;
    for (p->end = p->cut; !p->last; p->end++) {
        if ((p->end > p->cut || p->first) && is_cut(s, p->row, p->strand, p->end)) break;
        p->last = p->end == steps;
        if (p->last) break;
        p->length += is_there(s, p->row, p->strand + p->end * crnn_strands(s));
    }
    return true;
}

static piece before_all(void) { return (piece){.end = (size_t)-1}; }

/* Pieces that there are at most: a reset cuts every strand. */
static bool most_pieces(const crnn_steps *s, size_t *count) {
    size_t cuts = s->batch;
    for (size_t i = 0; s->resets && i < s->batch * s->steps; i++) cuts += s->resets[i] != 0;
    return crnn_size_mul(cuts, crnn_strands(s), count);
}

crnn_status crnn_rows_size(const crnn_steps *steps, size_t *words) {
    size_t cells, times, bytes, pieces;
    /* N <= B * T must fit as well: tape rows are counted with it. */
    if (!crnn_size_mul(steps->batch, steps->steps, &cells)) return CRNN_OVERFLOW;
    if (!most_pieces(steps, &pieces) || !crnn_size_mul(pieces, 5, words) ||
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
    for (size_t i = p->cut; i < p->end; i++) {
        const size_t t = p->strand + i * crnn_strands(&rows->given);
        if (is_there(&rows->given, p->row, t)) rows->times[from++] = t;
    }
    return from;
}

/* The strands of a row by the order in which their first steps are read. */
static size_t strand_read(const crnn_steps *s, size_t row, size_t strand) {
    const size_t d = crnn_strands(s);
    return s->reverse ? (row_end(s, row) % d + 2 * d - 1 - strand) % d : strand;
}

size_t core_state_row(const crnn_rows *rows, size_t place, bool final) {
    const crnn_steps *s = &rows->given;
    const size_t d = crnn_strands(s), row = rows->order[place], strand = rows->strand[place];
    return row * d + (final ? strand + d - row_end(s, row) % d : strand) % d;
}

static void place_pieces(crnn_rows *rows, size_t *next) {
    size_t listed = 0;
    for (piece p = before_all(); next_piece(&rows->given, &p);) {
        const size_t place = next[p.length]++;
        const bool reverse = rows->given.reverse;
        rows->order[place] = p.row;
        rows->length[place] = p.length;
        rows->begin[place] = rows->times ? listed : p.strand + p.cut * crnn_strands(&rows->given);
        rows->strand[place] = strand_read(&rows->given, p.row, p.strand);
        rows->ends[place] = ((reverse ? p.last : p.first) ? CRNN_READ_FIRST : 0) |
                            ((reverse ? p.first : p.last) ? CRNN_READ_LAST : 0);
        if (rows->times) listed = list_times(rows, &p, listed);
    }
}

void crnn_rows_init(crnn_rows *rows, size_t *words, const crnn_steps *steps) {
    const size_t T = steps->steps;
    size_t places = 0;
    most_pieces(steps, &places);
    *rows = (crnn_rows){.given = *steps,
                        .active = words,
                        .first = words + T,
                        .order = words + 2 * T + 1,
                        .length = words + 2 * T + 1 + places,
                        .begin = words + 2 * T + 1 + 2 * places,
                        .ends = words + 2 * T + 1 + 3 * places,
                        .strand = words + 2 * T + 1 + 4 * places,
                        .times = steps->mask ? words + 2 * T + 1 + 5 * places : NULL};
    count_lengths(rows, rows->first);
    place_pieces(rows, rows->first);
    for (size_t t = 0; t < T; t++) {
        rows->first[t] = rows->total;
        rows->total += rows->active[t];
    }
    rows->first[T] = rows->total;
}

/* ---- steps that are not there */

/* What a step of a strand that is masked has to do with: in the order of reading, `last` is the
 * step whose output is repeated at a step, NO_STEP where there is none. */
#define NO_STEP ((size_t)-1)

/* One strand of a row, in the order of reading: how many of its steps were read, the time of the
 * last one of these, and the step that stands for it. */
typedef struct reading {
    const crnn_steps *steps;
    size_t row, strand, read, t, last;
} reading;

static bool read_next(reading *r) {
    const crnn_steps *s = r->steps;
    const size_t d = crnn_strands(s), count = strand_steps(s, r->row, r->strand);
    if (r->read == count) return false;
    const size_t i = s->reverse ? count - 1 - r->read : r->read;
    const bool cut = r->read > 0 && is_cut(s, r->row, r->strand, s->reverse ? i + 1 : i);
    r->t = r->strand + i * d;
    r->read++;
    if (is_there(s, r->row, r->t))
        r->last = r->t;
    else if (cut)
        r->last = NO_STEP;
    return true;
}

static reading read_strand(const crnn_steps *s, size_t row, size_t strand) {
    return (reading){.steps = s, .row = row, .strand = strand, .last = NO_STEP};
}

void crnn_fill_gaps(const crnn_rows *rows, const crnn_seq *seq, size_t features, size_t item,
                    bool repeat) {
    const crnn_steps *s = &rows->given;
    const size_t wide = features * item;
    for (size_t b = 0; seq->data && b < s->batch; b++) {
        for (size_t t = row_end(s, b); t < s->steps; t++)
            memset(crnn_seq_at(seq, b, t, item), 0, wide);
        for (size_t k = 0; s->mask && k < crnn_strands(s); k++) {
            for (reading r = read_strand(s, b, k); read_next(&r);) {
                void *to = crnn_seq_at(seq, b, r.t, item);
                if (r.last == r.t) continue;
                if (repeat && r.last != NO_STEP)
                    memcpy(to, crnn_seq_at(seq, b, r.last, item), wide);
                else
                    memset(to, 0, wide);
            }
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
        for (size_t k = 0; k < crnn_strands(s); k++) {
            for (reading r = read_strand(s, b, k); read_next(&r);) {
                const void *from = crnn_seq_at(dy, b, r.t, item);
                if (r.last == r.t)
                    memcpy(crnn_seq_at(&to, b, r.t, item), from, features * item);
                else if (r.last != NO_STEP)
                    add_row(dtype, features, from, crnn_seq_at(&to, b, r.last, item));
            }
        }
    }
    return to;
}
