/* Symbols from logits, on every table of this machine, against plain loops: all sequences there are
 * for wide beams, a beam search that sorts all continuations, drawing with exp of the C library;
 * and that a group finds the same in any company. */
#include "support.h"

enum { MOST_STEPS = 6, MOST_ROWS = 400 };

static double tolerance(double x) { return 1e-13 * fmax(1, fabs(x)); }

static bool is_near(double a, double b) { return a == b || fabs(a - b) <= tolerance(b); }

/* ---- a model: the logits of a row are a function of all that it has read */

typedef struct model {
    crnn_dtype dtype;
    size_t K;
    double scale;
    double shift; /* of some logits: infinite ones, too */
    bool ties;    /* only a few values there are */
} model;

static double logit_of(const model *m, uint64_t read, size_t k) {
    const double x = m->scale * sample(3, (size_t)(read % 60013) + 7 * k);
    const double value = (m->ties ? floor(x) : x) + (sample(5, k + read % 11) > 0.5 ? m->shift : 0);
    return m->dtype == CRNN_F64 ? value : (double)(float)value;
}

static uint64_t read_also(uint64_t read, int64_t symbol) {
    return (read * 31 + (uint64_t)symbol + 1) % 1000003;
}

static uint64_t start_of(uint64_t group) { return 17 + 1009 * group; }

/* ln softmax of one row, plainly. */
static void log_softmax(const model *m, uint64_t read, double *out) {
    double top = -INFINITY, sum = 0;
    for (size_t k = 0; k < m->K; k++) top = fmax(top, logit_of(m, read, k));
    for (size_t k = 0; k < m->K; k++) {
        const double x = logit_of(m, read, k);
        out[k] = x == top ? 0 : x - top;
        sum += exp(out[k]);
    }
    for (size_t k = 0; k < m->K; k++) out[k] -= log(sum);
}

/* ---- a run of the search */

typedef struct found {
    size_t steps;
    int64_t *tokens; /* [groups][n_best][steps] */
    double *scores;  /* [groups][n_best] */
    int64_t *read;   /* [steps][groups * width], as it was given; -2 behind it */
} found;

/* Logits that end right before a page that cannot be touched. */
static void *logits_of(const model *m, size_t rows, const uint64_t *read) {
    void *logits = fenced(rows * m->K * crnn_dtype_size(m->dtype));
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < m->K; k++)
            real_put(m->dtype, logits, i * m->K + k, logit_of(m, read[i], k));
    return logits;
}

/* The history has another place at every step. */
static void move_history(crnn_search *s) {
    size_t before, bytes;
    CHECK(crnn_search_history_size(&s->options, s->steps, &before) == CRNN_OK, "history");
    CHECK(crnn_search_history_size(&s->options, s->steps + 1, &bytes) == CRNN_OK, "history");
    crnn_link *history = fenced(bytes);
    if (before) memcpy(history, s->history, before);
    s->history = history;
}

/* Asks for a step with a NaN in the last row. */
static void check_nan(crnn_search *s, const model *m, const void *logits, int64_t *symbols,
                      size_t *parents) {
    const size_t live = s->live, steps = s->steps, n = live * m->K;
    void *broken = copied(logits, n * crnn_dtype_size(m->dtype));
    real_put(m->dtype, broken, n - 1, NAN);
    CHECK(!crnn_search_step(s, m->dtype, broken, symbols, parents), "a NaN at step %zu", steps);
    CHECK(s->live == live && s->steps == steps, "a NaN changed something");
}

static found run(const model *m, const crnn_search_options *o, size_t max_steps, size_t n_best,
                 bool nan) {
    const size_t slots = o->groups * o->width;
    uint64_t read[MOST_ROWS], before[MOST_ROWS];
    found f = {.read = fenced(max_steps * slots * sizeof(int64_t))};
    int64_t *symbols = fenced(slots * sizeof *symbols);
    size_t *parents = fenced(slots * sizeof *parents), bytes;
    crnn_search s;
    CHECK(crnn_search_size(o, &bytes) == CRNN_OK, "(%zu, %zu)", o->groups, o->width);
    crnn_search_begin(&s, o, fenced(bytes));
    for (size_t g = 0; g < o->groups; g++) read[g] = start_of(o->first_group + g);
    while (s.live && s.steps < max_steps) {
        const void *logits = logits_of(m, s.live, read);
        int64_t *row = f.read + s.steps * slots;
        if (nan) check_nan(&s, m, logits, symbols, parents);
        move_history(&s);
        CHECK(crnn_search_step(&s, m->dtype, logits, symbols, parents), "numbers");
        memcpy(before, read, sizeof read);
        for (size_t i = 0; i < slots; i++) row[i] = i < s.live ? symbols[i] : -2;
        for (size_t i = 0; i < s.live; i++) read[i] = read_also(before[parents[i]], symbols[i]);
    }
    f.steps = s.steps;
    f.tokens = fenced(o->groups * n_best * f.steps * sizeof *f.tokens);
    f.scores = fenced(o->groups * n_best * sizeof *f.scores);
    crnn_search_result(&s, n_best, f.steps, f.tokens, f.scores);
    return f;
}

/* ---- what should be found in one group */

typedef struct guess {
    double score; /* sum of log-probabilities */
    size_t length, row;
    uint64_t read;
    int64_t tokens[MOST_STEPS];
} guess;

static guess with(const guess *g, size_t row, int64_t symbol, double log_p) {
    guess next = *g;
    next.tokens[next.length++] = symbol;
    next.score += log_p;
    next.read = read_also(g->read, symbol);
    next.row = row;
    return next;
}

static double rank(const crnn_search_options *o, const guess *g) {
    return g->score / pow((double)g->length, o->length_penalty);
}

/* Best first; what is as good stays in its order. */
static void sort_guesses(const crnn_search_options *o, guess *g, size_t count) {
    for (size_t i = 1; i < count; i++) {
        const guess moved = g[i];
        size_t j = i;
        for (; j > 0 && rank(o, &moved) > rank(o, &g[j - 1]); j--) g[j] = g[j - 1];
        g[j] = moved;
    }
}

enum { MOST_GUESSES = 4096 };

/* All sequences there are. */
static size_t all_guesses(const model *m, const crnn_search_options *o, const guess *from,
                          size_t steps, guess *out, size_t count) {
    double log_p[64];
    if (from->length == steps || (from->length && from->tokens[from->length - 1] == o->stop)) {
        out[count] = *from;
        return count + 1;
    }
    log_softmax(m, from->read, log_p);
    for (size_t k = 0; k < m->K; k++) {
        const guess next = with(from, 0, (int64_t)k, log_p[k]);
        if (log_p[k] > -INFINITY) count = all_guesses(m, o, &next, steps, out, count);
    }
    return count;
}

/* A beam search in which all continuations are sorted. */
static size_t beam_guesses(const model *m, const crnn_search_options *o, const guess *from,
                           size_t steps, guess *out) {
    static guess live[MOST_ROWS], every[MOST_GUESSES];
    const crnn_search_options plain = {.length_penalty = 0};
    size_t ended = 0, rows = 1;
    live[0] = *from;
    for (size_t t = 0; t < steps && rows; t++) {
        size_t count = 0, kept = 0;
        for (size_t i = 0; i < rows; i++) {
            double log_p[64];
            log_softmax(m, live[i].read, log_p);
            for (size_t k = 0; k < m->K; k++)
                if (log_p[k] > -INFINITY) every[count++] = with(&live[i], i, (int64_t)k, log_p[k]);
        }
        sort_guesses(&plain, every, count);
        const size_t most = o->width - ended;
        for (size_t i = 0; i < count && i < most; i++) {
            if (every[i].tokens[t] == o->stop)
                out[ended++] = every[i];
            else
                live[kept++] = every[i];
        }
        rows = kept;
    }
    memcpy(out + ended, live, rows * sizeof *live);
    return ended + rows;
}

/* Which symbols may be drawn, by sorting. */
static void keep(const crnn_search_options *o, const model *m, uint64_t read, const double *shares,
                 bool *kept) {
    size_t order[64], wanted = o->top_k && o->top_k < m->K ? o->top_k : m->K;
    double total = 0, sum = 0;
    for (size_t k = 0; k < m->K; k++) {
        size_t j = k;
        for (; j > 0 && logit_of(m, read, k) > logit_of(m, read, order[j - 1]); j--)
            order[j] = order[j - 1];
        order[j] = k;
        kept[k] = false;
    }
    for (size_t i = 0; i < wanted; i++) total += shares[order[i]];
    for (size_t i = 0; i < wanted && (o->top_p == 1 || i == 0 || sum < o->top_p * total); i++) {
        kept[order[i]] = true;
        sum += shares[order[i]];
    }
}

/* The symbol that a number u in [0, 1) draws. */
static size_t drawn_symbol(const crnn_search_options *o, const model *m, uint64_t read, double u) {
    double shares[64], top = -INFINITY, total = 0, sum = 0;
    bool kept[64];
    size_t best = m->K;
    for (size_t k = 0; k < m->K; k++) top = fmax(top, logit_of(m, read, k));
    for (size_t k = m->K; k-- > 0;) best = logit_of(m, read, k) == top ? k : best;
    if (!isnormal(o->temperature)) return best;
    for (size_t k = 0; k < m->K; k++) {
        const double x = logit_of(m, read, k);
        shares[k] = x == top ? 1 : exp((x - top) / o->temperature);
    }
    keep(o, m, read, shares, kept);
    for (size_t k = 0; k < m->K; k++) total += kept[k] ? shares[k] : 0;
    for (size_t k = 0; k < m->K; k++) {
        sum += kept[k] ? shares[k] : 0;
        if (sum > u * total) return k;
    }
    return m->K;
}

static guess drawn_guess(const model *m, const crnn_search_options *o, const guess *from,
                         size_t place, size_t steps) {
    guess g = *from;
    while (g.length < steps && !(g.length && g.tokens[g.length - 1] == o->stop)) {
        double log_p[64], u;
        const size_t t = g.length;
        crnn_random_uniform(o->seed, 0x73616d706c65,
                            ((o->first_group * o->width + place) << 32) + t, 1, &u);
        const size_t symbol = drawn_symbol(o, m, g.read, u);
        log_softmax(m, g.read, log_p);
        const uint64_t read = g.read;
        g = with(&g, 0, (int64_t)symbol, log_p[symbol]);
        if (o->forced && t < o->forced_steps && o->forced[place * o->forced_steps + t] >= 0)
            g.read = read_also(read, o->forced[place * o->forced_steps + t]);
    }
    return g;
}

/* ---- comparisons */

static bool agrees(const crnn_search_options *o, const found *f, size_t i, const guess *g) {
    bool same = is_near(f->scores[i], rank(o, g));
    for (size_t t = 0; t < f->steps; t++)
        same = same && f->tokens[i * f->steps + t] == (t < g->length ? g->tokens[t] : o->stop);
    return same;
}

static bool is_nothing(const crnn_search_options *o, const found *f, size_t i) {
    bool nothing = f->scores[i] == -INFINITY;
    for (size_t t = 0; t < f->steps; t++)
        nothing = nothing && f->tokens[i * f->steps + t] == o->stop;
    return nothing;
}

#define CASE "%s: K %zu, %zu groups, width %zu, stop %d, penalty %g, scale %g, shift %g"
#define CASE_OF(m, o) \
    type_name[(m)->dtype], (m)->K, (o)->groups, (o)->width, (int)(o)->stop, (o)->length_penalty, \
        (m)->scale, (m)->shift

/* Every beam of every group is that of beam_guesses, which finds all there are where exhaustive. */
static void check_beam(const model *m, const crnn_search_options *o, size_t steps,
                       bool exhaustive) {
    static guess expected[MOST_GUESSES], all[MOST_GUESSES];
    const size_t mark = fences_used;
    const found f = run(m, o, steps, o->width, true);
    for (size_t g = 0; g < o->groups; g++) {
        const guess from = {.read = start_of(o->first_group + g)};
        const size_t count = beam_guesses(m, o, &from, steps, expected);
        sort_guesses(o, expected, count);
        bool same = true;
        for (size_t i = 0; i < o->width; i++) {
            const size_t at = g * o->width + i;
            same = same && (i < count ? agrees(o, &f, at, &expected[i]) : is_nothing(o, &f, at));
        }
        CHECK(same, "beams, " CASE, CASE_OF(m, o));
        if (!exhaustive) continue;
        CHECK(all_guesses(m, o, &from, steps, all, 0) == count, "all, " CASE, CASE_OF(m, o));
        sort_guesses(o, all, count);
        for (size_t i = 0; i < count; i++) same = same && agrees(o, &f, g * o->width + i, &all[i]);
        CHECK(same, "the best of all, " CASE, CASE_OF(m, o));
    }
    fences_release(mark);
}

static void check_drawn(const model *m, const crnn_search_options *o, size_t steps) {
    const size_t mark = fences_used, slots = o->groups * o->width;
    const found f = run(m, o, steps, o->width, true);
    bool same = true;
    for (size_t i = 0; i < slots; i++) {
        const guess from = {.read = start_of(o->first_group + i / o->width)};
        const guess g = drawn_guess(m, o, &from, i, steps);
        same = same && agrees(o, &f, i, &g);
        for (size_t t = 0; o->forced && t < f.steps; t++) {
            const int64_t forced = t < o->forced_steps ? o->forced[i * o->forced_steps + t] : -1;
            same = same && f.read[t * slots + i] == (forced < 0 ? g.tokens[t] : forced);
        }
    }
    CHECK(same, "at %g, top k %zu, p %g, " CASE, o->temperature, o->top_k, o->top_p, CASE_OF(m, o));
    fences_release(mark);
}

/* To the last bit. */
static void check_same(const char *what, const found *a, size_t from, const found *b, size_t rows,
                       int64_t stop) {
    bool same = memcmp(a->scores + from, b->scores, rows * sizeof(double)) == 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t t = 0; t < a->steps; t++)
            same = same && a->tokens[(from + i) * a->steps + t] ==
                               (t < b->steps ? b->tokens[i * b->steps + t] : stop);
    CHECK(same, "%s", what);
}

static void check_alone(const model *m, const crnn_search_options *o, size_t steps) {
    const size_t mark = fences_used;
    const found together = run(m, o, steps, o->width, false);
    for (size_t g = 0; g < o->groups; g++) {
        crnn_search_options one = *o;
        one.groups = 1;
        one.first_group += g;
        const found alone = run(m, &one, steps, o->width, false);
        check_same("a group alone", &together, g * o->width, &alone, o->width, o->stop);
    }
    fences_release(mark);
}

/* Sums of logits that differ little are often equal: a beam of one takes the larger logit. */
static void check_beam_of_one(const model *m, crnn_search_options o, size_t steps) {
    const size_t mark = fences_used;
    o.width = 1;
    o.beam = false;
    o.temperature = 0;
    const found greedy = run(m, &o, steps, 1, false);
    o.beam = true;
    const found beam = run(m, &o, steps, 1, false);
    CHECK(greedy.steps == beam.steps, "%zu, %zu", greedy.steps, beam.steps);
    check_same("a beam of one", &greedy, 0, &beam, o.groups, o.stop);
    fences_release(mark);
}

/* ---- cases */

static void check_beams(crnn_dtype dtype) {
    static const double penalties[] = {0, 0.6, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        for (int64_t stop = -1; stop < 3; stop++) {
            crnn_search_options o = {.groups = 3,
                                     .symbols = 3,
                                     .beam = true,
                                     .stop = stop,
                                     .length_penalty = penalties[i],
                                     .first_group = 5};
            model m = {dtype, 3, 3, 0, false};
            o.width = stop < 0 ? 81 : 31; /* as many as there are sequences of up to 4 symbols */
            check_beam(&m, &o, 4, true);
            m.shift = -INFINITY;
            check_beam(&m, &o, 4, true);
            m.shift = 0;
            m.scale = 0; /* all are as likely */
            for (o.width = 1; o.width < 9; o.width++) check_beam(&m, &o, 5, false);
            m = (model){dtype, o.symbols = 13, 4, 0, false};
            for (o.width = 1; o.width < 9; o.width++) check_beam(&m, &o, MOST_STEPS, false);
            o.width = 40;
            check_beam(&m, &o, 2, false);
            o.width = 4;
            check_alone(&m, &o, MOST_STEPS);
            m.shift = INFINITY;
            check_beam(&m, &o, MOST_STEPS, false);
            m = (model){dtype, o.symbols, 1e-15, 0, false};
            check_beam_of_one(&m, o, MOST_STEPS);
            m.scale = 4;
            check_beam_of_one(&m, o, MOST_STEPS);
        }
    }
}

static void check_draws(crnn_dtype dtype) {
    static const double temperatures[] = {0, 0.3, 1, 4, 1e-300, 0x1p-1074, 1e300};
    static const double shares[] = {0x1p-1074, 1e-9, 0.3, 0.9, 1};
    static const double shifts[] = {0, INFINITY, -INFINITY};
    static const size_t sizes[] = {1, 2, 7, 8, 9, 40};
    for (size_t i = 0; i < 7 * 5 * 3 * 6; i++) {
        const size_t K = sizes[i % 6];
        const model m = {dtype, K, 4, shifts[i / 6 % 3], i % 5 == 0};
        crnn_search_options o = {.groups = 4,
                                 .width = i % 4 == 0 ? 3 : 1,
                                 .symbols = K,
                                 .stop = i % 2 == 0 || K < 7 ? -1 : 3,
                                 .length_penalty = (double)(i % 3) / 2,
                                 .temperature = temperatures[i / 18 % 7],
                                 .top_p = shares[i / 126],
                                 .seed = 0xfedcba9876543210 + i,
                                 .first_group = i};
        for (o.top_k = 0; o.top_k < K + 2; o.top_k += 1 + o.top_k) check_drawn(&m, &o, 4);
        o.top_k = i % (K + 1);
        if (i % 8 == 0) check_alone(&m, &o, MOST_STEPS);
    }
}

static void check_forced(crnn_dtype dtype) {
    enum { ROWS = 5, K = 6 };
    int64_t forced[ROWS * MOST_STEPS];
    for (size_t i = 0; i < ROWS * MOST_STEPS; i++) forced[i] = (int64_t)floor(4 * sample(8, i));
    for (size_t steps = 0; steps <= MOST_STEPS; steps += 3) {
        const model m = {dtype, K, 4, 0, false};
        const crnn_search_options o = {.groups = ROWS,
                                       .width = 1,
                                       .symbols = K,
                                       .stop = -1,
                                       .temperature = steps == 3 ? 1 : 0,
                                       .top_p = 1,
                                       .forced = forced,
                                       .forced_steps = steps};
        check_drawn(&m, &o, MOST_STEPS);
    }
}

static void check_sizes(void) {
    const crnn_search_options o = {.groups = SIZE_MAX / 4, .width = 4, .symbols = 2};
    const crnn_search_options wide = {.groups = 2, .width = 2, .symbols = SIZE_MAX / 8};
    const crnn_search_options small = {.groups = 2, .width = 2, .symbols = 2};
    const crnn_search_options none = {.groups = 0, .width = 2, .symbols = 2};
    size_t bytes;
    CHECK(crnn_search_size(&o, &bytes) == CRNN_OVERFLOW, "rows");
    CHECK(crnn_search_history_size(&o, 1, &bytes) == CRNN_OVERFLOW, "rows of history");
    CHECK(crnn_search_size(&wide, &bytes) == CRNN_OVERFLOW, "symbols");
    CHECK(crnn_search_history_size(&small, SIZE_MAX / 32, &bytes) == CRNN_OVERFLOW, "steps");
    CHECK(crnn_search_size(&none, &bytes) == CRNN_OK, "no groups");
    const model m = {CRNN_F32, 2, 1, 0, false};
    CHECK(run(&m, &none, 3, 2, false).steps == 0, "no groups");
}

/* Before its first step every group has one row, without a symbol. */
static void check_nothing_done(void) {
    const crnn_search_options o = {.groups = 2, .width = 2, .symbols = 2, .beam = true, .stop = 1};
    const model m = {CRNN_F64, 2, 1, 0, false};
    const found f = run(&m, &o, 0, 2, false);
    CHECK(f.scores[0] == 0 && f.scores[1] == -INFINITY, "%g, %g", f.scores[0], f.scores[1]);
    CHECK(f.scores[2] == 0 && f.scores[3] == -INFINITY, "%g, %g", f.scores[2], f.scores[3]);
}

int main(void) {
    check_deadline(120);
    const char *name;
    for (size_t i = 0; (name = crnn_isa_available(i)); i++) {
        crnn_isa_select(name);
        for (int d = 0; d < CRNN_DTYPES; d++) {
            check_beams((crnn_dtype)d);
            check_draws((crnn_dtype)d);
            check_forced((crnn_dtype)d);
        }
    }
    check_sizes();
    check_nothing_done();
    return check_done();
}
