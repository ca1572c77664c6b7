/* The rows of a call, with holes and cut into pieces, against plain loops: where each piece stands,
 * which steps it reads, what is written in holes and what comes back from them. */
#include "support.h"

enum { MOST = 24, MOST_PIECES = MOST * (MOST + 1) };

/* ---- which steps there are */

static bool is_read(const crnn_steps *s, size_t b, size_t t) {
    return !s->mask || s->mask[b * s->steps + t];
}

static size_t length_of(const crnn_steps *s, size_t b) {
    return s->lengths ? (size_t)s->lengths[b] : s->steps;
}

/* Whether row b is cut between t - 1 and t: before step 0 there is something to cut off only where
 * rows are read forward, the state given. */
static bool cut_before(const crnn_steps *s, size_t b, size_t t) {
    return s->resets && s->resets[b * s->steps + t] && (t > 0 || !s->reverse);
}

/* A case: every row of some length, every step a hole or a cut by chance. */
typedef struct marks {
    int64_t lengths[MOST];
    uint8_t mask[MOST * MOST], resets[MOST * MOST]; /* 0, or any other byte */
} marks;

/* Bytes that are true: all but 0. */
static uint8_t truth(bool is_true, size_t i) {
    static const uint8_t bytes[] = {1, 255, 2, 128};
    return is_true ? bytes[i % sizeof bytes] : 0;
}

static double chance(size_t stream, size_t i) { return 0.5 + 0.5 * sample(stream, i); }

/* choice: bits for lengths, mask, resets, reverse; the rest how many holes and cuts there are. */
static crnn_steps steps_of(marks *m, size_t batch, size_t steps, size_t choice) {
    const double share[] = {0, 0.3, 0.8, 1};
    const double holes = share[choice / 16 % 4], cuts = share[choice / 64 % 4];
    for (size_t b = 0; b < batch; b++)
        m->lengths[b] = (int64_t)(chance(choice, 1000 + b) * ((double)steps + 1));
    for (size_t i = 0; i < batch * steps; i++) {
        m->mask[i] = truth(chance(choice + 1, i) >= holes, i);
        m->resets[i] = truth(chance(choice + 2, i) < cuts, i);
    }
    return (crnn_steps){.batch = batch,
                        .steps = steps,
                        .lengths = choice & 1 ? m->lengths : NULL,
                        .mask = choice & 2 ? m->mask : NULL,
                        .resets = choice & 4 ? m->resets : NULL,
                        .reverse = choice & 8};
}

enum { CHOICES = 16 * 16 };

/* ---- pieces */

typedef struct piece {
    size_t row, read, times[MOST], ends;
} piece;

static size_t end_of(const crnn_steps *s, bool first, bool last) {
    return ((s->reverse ? last : first) ? CRNN_READ_FIRST : 0) |
           ((s->reverse ? first : last) ? CRNN_READ_LAST : 0);
}

/* All pieces, row by row, in the order of time. */
static size_t cut_rows(const crnn_steps *s, piece *pieces) {
    size_t count = 0;
    for (size_t b = 0; b < s->batch; b++) {
        bool first = true;
        piece p = {.row = b};
        for (size_t t = 0; t < length_of(s, b); t++) {
            if (cut_before(s, b, t)) {
                p.ends = end_of(s, first, false);
                pieces[count++] = p;
                p = (piece){.row = b};
                first = false;
            }
            if (is_read(s, b, t)) p.times[p.read++] = t;
        }
        p.ends = end_of(s, first, true);
        pieces[count++] = p;
    }
    return count;
}

/* Longest first, those as long as each other in their order. */
static size_t place_of(const piece *pieces, size_t count, size_t i) {
    size_t place = 0;
    for (size_t j = 0; j < count; j++)
        place += pieces[j].read > pieces[i].read || (pieces[j].read == pieces[i].read && j < i);
    return place;
}

static bool piece_stands(const crnn_rows *rows, const piece *p, size_t place) {
    bool right = rows->order[place] == p->row && rows->length[place] == p->read &&
                 rows->ends[place] == p->ends;
    for (size_t i = 0; right && i < p->read; i++) {
        const size_t at = rows->begin[place] + i;
        right = p->times[i] == (rows->times ? rows->times[at] : at);
    }
    return right;
}

/* Field by field: between them a struct has bytes that an assignment need not copy. */
static bool same_steps(const crnn_steps *a, const crnn_steps *b) {
    return a->batch == b->batch && a->steps == b->steps && a->lengths == b->lengths &&
           a->mask == b->mask && a->resets == b->resets && a->reverse == b->reverse;
}

static void check_rows(const crnn_steps *s, size_t choice) {
    static piece pieces[MOST_PIECES];
    const size_t count = cut_rows(s, pieces), mark = fences_used;
    size_t words = 0, total = 0;
    crnn_rows rows;
    CHECK(crnn_rows_size(s, &words) == CRNN_OK, "(%zu, %zu)", s->batch, s->steps);
    crnn_rows_init(&rows, fenced(words * sizeof words), s);
    bool right = rows.places == count && same_steps(&rows.given, s);
    CHECK(!rows.times == !s->mask, "times are listed where there are holes");
    for (size_t i = 0; right && i < count; i++)
        right = piece_stands(&rows, &pieces[i], place_of(pieces, count, i));
    CHECK(right, "pieces of (%zu, %zu), choice %zu", s->batch, s->steps, choice);
    for (size_t t = 0; t < s->steps; t++) {
        size_t active = 0;
        for (size_t i = 0; i < count; i++) active += pieces[i].read > t;
        right = right && rows.active[t] == active && rows.first[t] == total;
        total += active;
    }
    CHECK(right && rows.first[s->steps] == total && rows.total == total,
          "steps of (%zu, %zu), choice %zu", s->batch, s->steps, choice);
    fences_release(mark);
}

/* ---- holes */

#define NOTHING ((size_t)-1)

/* The step whose output stands at step t: t itself, or one read before it of the same piece. */
static size_t source_of(const crnn_steps *s, size_t b, size_t t) {
    while (!is_read(s, b, t)) {
        if (s->reverse) {
            if (t + 1 == length_of(s, b) || cut_before(s, b, t + 1)) return NOTHING;
            t++;
        } else {
            if (t == 0 || cut_before(s, b, t)) return NOTHING;
            t--;
        }
    }
    return t;
}

/* (B, T, F), time-major with the last step first, and something between the rows. */
typedef struct array {
    crnn_seq seq;
    void *memory; /* [count] */
    size_t count;
} array;

static array new_array(const crnn_steps *s, crnn_dtype dtype, size_t features) {
    const size_t wide = features + 2, rows = s->batch * s->steps, item = crnn_dtype_size(dtype);
    char *memory = sampled(dtype, 3, rows * wide);
    char *step_0 = memory + (rows ? (s->steps - 1) * s->batch * wide * item : 0);
    return (array){{step_0, (ptrdiff_t)wide, -(ptrdiff_t)(s->batch * wide)}, memory, rows * wide};
}

static double value_at(const crnn_seq *seq, crnn_dtype dtype, size_t b, size_t t, size_t f) {
    return real_at(dtype, crnn_seq_at(seq, b, t, crnn_dtype_size(dtype)), f);
}

static void check_fill(const crnn_rows *rows, crnn_dtype dtype, size_t features, bool repeat) {
    const crnn_steps *s = &rows->given;
    const size_t mark = fences_used;
    const array before = new_array(s, dtype, features), after = new_array(s, dtype, features);
    size_t changed = 0, changes = 0;
    crnn_fill_gaps(rows, &after.seq, features, crnn_dtype_size(dtype), repeat);
    bool right = true;
    for (size_t b = 0; b < s->batch; b++) {
        for (size_t t = 0; t < s->steps; t++) {
            size_t from = t < length_of(s, b) ? source_of(s, b, t) : NOTHING;
            if (!repeat && from != t) from = NOTHING;
            for (size_t f = 0; f < features; f++) {
                const double old = value_at(&before.seq, dtype, b, t, f);
                const double new = from == NOTHING ? 0 : value_at(&before.seq, dtype, b, from, f);
                right = right && value_at(&after.seq, dtype, b, t, f) == new;
                changes += new != old;
            }
        }
    }
    CHECK(right, "fill (%zu, %zu, %zu) reverse %d repeat %d", s->batch, s->steps, features,
          s->reverse, repeat);
    for (size_t i = 0; i < after.count; i++)
        changed += real_at(dtype, before.memory, i) != real_at(dtype, after.memory, i);
    CHECK(changed == changes, "nothing else is written");
    fences_release(mark);
}

/* One chain of additions, in the order of reading; what stands for no step is not written. */
static void check_fold(const crnn_rows *rows, crnn_dtype dtype, size_t features) {
    const crnn_steps *s = &rows->given;
    const size_t mark = fences_used, cells = s->batch * s->steps * features;
    const crnn_seq dy = new_array(s, dtype, features).seq;
    void *folded = fenced(cells * crnn_dtype_size(dtype));
    const crnn_seq got = crnn_fold_gaps(rows, &dy, features, dtype, folded);
    bool right = got.data == folded && got.step == (ptrdiff_t)features &&
                 got.row == (ptrdiff_t)(s->steps * features);
    for (size_t b = 0; b < s->batch; b++) {
        for (size_t t = 0; t < s->steps; t++) {
            const size_t n = length_of(s, b);
            for (size_t f = 0; f < features; f++) {
                const double value = value_at(&got, dtype, b, t, f);
                double sum = 0;
                for (size_t i = 0; i < n; i++) {
                    const size_t u = s->reverse ? n - 1 - i : i;
                    if (source_of(s, b, u) != t) continue;
                    sum += value_at(&dy, dtype, b, u, f);
                    if (dtype == CRNN_F32) sum = (float)sum;
                }
                right = right && (t < n && is_read(s, b, t) ? value == sum : isnan(value));
            }
        }
    }
    CHECK(right, "fold (%zu, %zu, %zu) reverse %d", s->batch, s->steps, features, s->reverse);
    fences_release(mark);
}

static void check_gaps(const crnn_steps *s) {
    const size_t mark = fences_used;
    size_t words;
    crnn_rows rows;
    CHECK(crnn_rows_size(s, &words) == CRNN_OK, "(%zu, %zu)", s->batch, s->steps);
    crnn_rows_init(&rows, fenced(words * sizeof words), s);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        for (int repeat = 0; repeat < 2; repeat++)
            check_fill(&rows, (crnn_dtype)d, 1 + 2 * (size_t)d, repeat);
        check_fold(&rows, (crnn_dtype)d, 3 - 2 * (size_t)d);
    }
    fences_release(mark);
}

/* ---- everything */

static void check_all(void) {
    static marks m;
    for (size_t batch = 0; batch <= MOST; batch += 1 + batch / 4) {
        for (size_t steps = 0; steps <= MOST; steps += 1 + steps / 3) {
            for (size_t choice = 0; choice < CHOICES; choice++) {
                const crnn_steps s = steps_of(&m, batch, steps, choice);
                check_rows(&s, choice);
                if (batch <= 5 && steps <= 10) check_gaps(&s);
            }
        }
    }
}

int main(void) {
    check_deadline(120);
    check_all();
    return check_done();
}
