/* From logits to symbols: the likeliest, drawn ones, a beam. All is computed in double, a row at a
 * time, so that a group finds the same to the last bit in any company and on any thread. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "fpmode.h"
#include "run.h"

#define NO_LINK ((size_t)-1)

#define LANES ((size_t)8) /* of sums and maxima over a row: a chain alone waits for itself */

static const uint64_t sample_stream = 0x73616d706c65; /* "sample" */

/* What a row has chosen so far. */
typedef struct crnn_hypothesis {
    double score;        /* sum of log-probabilities */
    size_t place;        /* group * width + which one of the group it is */
    size_t length, last; /* symbols, and the link of the last; NO_LINK: there is none yet */
} hypothesis;

/* A symbol that a row may go on with. */
typedef struct crnn_candidate {
    double score, logit;
    size_t row;
    int64_t symbol;
} candidate;

/* ---- memory */

static void lay_out(crnn_search *s, core_arena *a) {
    const crnn_search_options *o = &s->options;
    s->rows = core_take(a, o->groups, o->width, sizeof(hypothesis));
    s->next = core_take(a, o->groups, o->width, sizeof(hypothesis));
    s->ended = core_take(a, o->groups, o->width, sizeof(hypothesis));
    s->ended_count = core_take(a, o->groups, 1, sizeof *s->ended_count);
    s->best = core_take(a, o->width, 1, sizeof *s->best);
    s->logits = core_take(a, o->symbols, 1, sizeof *s->logits);
    s->shares = core_take(a, o->symbols, 1, sizeof *s->shares);
    s->ranks = core_take(a, o->symbols, 1, sizeof *s->ranks);
}

crnn_status crnn_search_size(const crnn_search_options *options, size_t *bytes) {
    crnn_search s = {.options = *options};
    core_arena a = core_arena_at(NULL);
    lay_out(&s, &a);
    return core_arena_size(&a, bytes);
}

crnn_status crnn_search_history_size(const crnn_search_options *options, size_t steps,
                                     size_t *bytes) {
    size_t rows;
    core_arena a = core_arena_at(NULL);
    if (!crnn_size_mul(options->groups, options->width, &rows)) return CRNN_OVERFLOW;
    core_take(&a, rows, steps, sizeof(crnn_link));
    return core_arena_size(&a, bytes);
}

void crnn_search_begin(crnn_search *s, const crnn_search_options *options, void *memory) {
    *s = (crnn_search){
        .options = *options, .live = options->groups, .kernels = crnn_kernels_now(CRNN_F64)};
    core_arena a = core_arena_at(memory);
    lay_out(s, &a);
    for (size_t g = 0; g < options->groups; g++) {
        s->rows[g] = (hypothesis){.place = g * options->width, .last = NO_LINK};
        s->ended_count[g] = 0;
    }
}

/* ---- one row of logits */

typedef struct row {
    const double *logits; /* [K] */
    double top;           /* the largest, */
    double log_sum;       /* and ln of the sum of e^(logit - top) */
} row;

static bool has_nan(crnn_dtype dtype, size_t n, const void *logits) {
    const float *f = logits;
    const double *d = logits;
    int found = 0;
    if (dtype == CRNN_F64)
        for (size_t i = 0; i < n; i++) found |= d[i] != d[i];
    else
        for (size_t i = 0; i < n; i++) found |= f[i] != f[i];
    return found;
}

static double max_of(size_t n, const double *x) {
    double most[LANES], top = -INFINITY;
    size_t i = 0;
    for (size_t j = 0; j < LANES; j++) most[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (size_t j = 0; j < LANES; j++) top = most[j] > top ? most[j] : top;
    return top;
}

static double sum_of(size_t n, const double *x) {
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) sums[j] += x[i + j];
    for (; i < n; i++) sum += x[i];
    for (size_t j = 0; j < LANES; j++) sum += sums[j];
    return sum;
}

/* shares [K] = e^((logit - top) / temperature). Infinite logits are as likely as each other, and
 * all others not at all; likewise where all are -infinity. */
static void make_shares(const crnn_search *s, const row *r, double temperature) {
    const size_t K = s->options.symbols;
    double *shares = s->shares;
    if (isinf(r->top)) {
        for (size_t k = 0; k < K; k++) shares[k] = r->logits[k] == r->top;
        return;
    }
    for (size_t k = 0; k < K; k++) shares[k] = (r->logits[k] - r->top) / temperature;
    s->kernels->exp(K, shares, shares);
}

static row read_row(const crnn_search *s, crnn_dtype dtype, const void *logits, size_t index) {
    const size_t K = s->options.symbols;
    row r = {.logits = s->logits};
    if (dtype == CRNN_F64) {
        r.logits = (const double *)logits + index * K;
    } else {
        const float *x = (const float *)logits + index * K;
        for (size_t k = 0; k < K; k++) s->logits[k] = (double)x[k];
    }
    r.top = max_of(K, r.logits);
    make_shares(s, &r, 1);
    r.log_sum = log(sum_of(K, s->shares));
    return r;
}

static double log_probability(const row *r, size_t symbol) {
    const double logit = r->logits[symbol];
    if (isinf(r->top)) return logit == r->top ? -r->log_sum : -INFINITY;
    return (logit - r->top) - r->log_sum;
}

/* ---- drawing: some shares become zero, then a number says where in the sum of shares it falls */

/* Symbols as a heap, the likeliest one first; those taken from it stand behind it in ranks [K], the
 * last one taken first. */
typedef struct heap {
    const double *logits;
    size_t *ranks;
    size_t left, K;
} heap;

static bool is_likelier(const heap *h, size_t a, size_t b) {
    return h->logits[a] > h->logits[b] || (h->logits[a] == h->logits[b] && a < b);
}

static void sift(heap *h, size_t i) {
    const size_t symbol = h->ranks[i];
    for (size_t child; (child = 2 * i + 1) < h->left; i = child) {
        if (child + 1 < h->left && is_likelier(h, h->ranks[child + 1], h->ranks[child])) child++;
        if (is_likelier(h, symbol, h->ranks[child])) break;
        h->ranks[i] = h->ranks[child];
    }
    h->ranks[i] = symbol;
}

static heap new_heap(const crnn_search *s, const row *r) {
    const size_t K = s->options.symbols;
    heap h = {r->logits, s->ranks, K, K};
    for (size_t k = 0; k < K; k++) h.ranks[k] = k;
    for (size_t i = K / 2; i-- > 0;) sift(&h, i);
    return h;
}

/* The symbol that is the likeliest but `rank` others. */
static size_t ranked(heap *h, size_t rank) {
    while (h->K - h->left <= rank) {
        const size_t first = h->ranks[0];
        h->left--;
        h->ranks[0] = h->ranks[h->left];
        h->ranks[h->left] = first;
        if (h->left) sift(h, 0);
    }
    return h->ranks[h->K - 1 - rank];
}

static void drop_behind(const heap *h, size_t kept, double *shares) {
    for (size_t i = 0; i < h->K - kept; i++) shares[h->ranks[i]] = 0;
}

/* What top_k and top_p leave out has no share any more. */
static void drop_unlikely(const crnn_search *s, const row *r) {
    const crnn_search_options *o = &s->options;
    const bool few = o->top_k > 0 && o->top_k < o->symbols;
    size_t kept = few ? o->top_k : o->symbols;
    if (!few && o->top_p >= 1) return;
    heap h = new_heap(s, r);
    ranked(&h, few ? kept - 1 : 0);
    drop_behind(&h, kept, s->shares);
    if (o->top_p >= 1) return;
    const double enough = o->top_p * sum_of(o->symbols, s->shares);
    double sum = s->shares[ranked(&h, 0)];
    size_t needed = 1;
    while (needed < kept && sum < enough) sum += s->shares[ranked(&h, needed++)];
    drop_behind(&h, needed, s->shares);
}

/* The symbol at u of the sum of the shares, u in [0, 1). */
static size_t symbol_at(size_t K, const double *shares, double u) {
    const double wanted = u * sum_of(K, shares);
    double sum = 0;
    size_t last = 0;
    for (size_t k = 0; k < K; k++) {
        if (shares[k] == 0) continue;
        sum += shares[k];
        last = k;
        if (sum > wanted) break;
    }
    return last;
}

/* ---- a step */

/* What a step makes: links, and rows that go on. */
typedef struct outcome {
    size_t links, live;
    int64_t *symbols;
    size_t *parents;
} outcome;

static int64_t read_after(const crnn_search *s, size_t place, int64_t chosen) {
    const crnn_search_options *o = &s->options;
    if (!o->forced || s->steps >= o->forced_steps) return chosen;
    const int64_t forced = o->forced[place * o->forced_steps + s->steps];
    return forced < 0 ? chosen : forced;
}

static void go_on(crnn_search *s, outcome *out, size_t place, const candidate *c) {
    const crnn_search_options *o = &s->options;
    const size_t link = s->steps * o->groups * o->width + out->links++;
    const hypothesis child = {c->score, place, s->steps + 1, link};
    s->history[link] = (crnn_link){c->symbol, s->rows[c->row].last};
    if (c->symbol == o->stop) {
        const size_t group = place / o->width;
        s->ended[group * o->width + s->ended_count[group]++] = child;
        return;
    }
    out->symbols[out->live] = read_after(s, place, c->symbol);
    out->parents[out->live] = c->row;
    s->next[out->live++] = child;
}

static size_t likeliest(const row *r) {
    size_t k = 0;
    while (r->logits[k] != r->top) k++;
    return k;
}

/* The numbers of a place are those of the stream from its row * 2**32 on. */
static size_t draw(const crnn_search *s, size_t place) {
    const crnn_search_options *o = &s->options;
    const uint64_t number = ((o->first_group * o->width + place) << 32) + s->steps;
    double u;
    crnn_random_uniform(o->seed, sample_stream, number, 1, &u);
    return symbol_at(o->symbols, s->shares, u);
}

/* Each of the places goes on from a row by itself. */
static void choose(crnn_search *s, const row *r, size_t index, size_t places, outcome *out) {
    const hypothesis *parent = &s->rows[index];
    const double temperature = s->options.temperature;
    const bool draws = temperature >= DBL_MIN; /* a smaller one is zero here (fpmode.h) */
    if (draws && temperature != 1) make_shares(s, r, temperature);
    if (draws) drop_unlikely(s, r);
    for (size_t i = 0; i < places; i++) {
        const size_t symbol = draws ? draw(s, parent->place + i) : likeliest(r);
        const candidate c = {.score = parent->score + log_probability(r, symbol),
                             .row = index,
                             .symbol = (int64_t)symbol};
        go_on(s, out, parent->place + i, &c);
    }
}

static bool is_better(const candidate *a, const candidate *b) {
    if (a->score != b->score) return a->score > b->score;
    return a->row == b->row && a->logit > b->logit; /* sums of different logits may be equal */
}

/* Puts a candidate where it belongs among the `count` best, at most `most`; those that are as good
 * stay before it. Returns how many there are then. */
static size_t insert(candidate *best, size_t count, size_t most, const candidate *c) {
    if (count == most && !is_better(c, &best[most - 1])) return count;
    size_t i = count < most ? count : most - 1;
    for (; i > 0 && is_better(c, &best[i - 1]); i--) best[i] = best[i - 1];
    best[i] = *c;
    return count < most ? count + 1 : count;
}

static size_t insert_row(crnn_search *s, const row *r, size_t index, size_t count, size_t most) {
    const double before = s->rows[index].score;
    for (size_t k = 0; k < s->options.symbols; k++) {
        const candidate c = {before + log_probability(r, k), r->logits[k], index, (int64_t)k};
        if (c.score == -INFINITY || (count == most && c.score < s->best[most - 1].score)) continue;
        count = insert(s->best, count, most, &c);
    }
    return count;
}

static void step_beam(crnn_search *s, crnn_dtype dtype, const void *logits, size_t from, size_t to,
                      outcome *out) {
    const size_t width = s->options.width, group = s->rows[from].place / width;
    const size_t most = width - s->ended_count[group], live_before = out->live;
    size_t count = 0;
    for (size_t index = from; index < to; index++) {
        const row r = read_row(s, dtype, logits, index);
        count = insert_row(s, &r, index, count, most);
    }
    for (size_t i = 0; i < count; i++)
        go_on(s, out, group * width + out->live - live_before, &s->best[i]);
}

/* The first row behind `from` that is of another group. */
static size_t group_end(const crnn_search *s, size_t from) {
    const size_t width = s->options.width, group = s->rows[from].place / width;
    size_t to = from + 1;
    while (to < s->live && s->rows[to].place / width == group) to++;
    return to;
}

static void step_rows(crnn_search *s, crnn_dtype dtype, const void *logits, outcome *out) {
    if (s->options.beam) {
        for (size_t from = 0, to; from < s->live; from = to) {
            to = group_end(s, from);
            step_beam(s, dtype, logits, from, to, out);
        }
        return;
    }
    for (size_t index = 0; index < s->live; index++) {
        const row r = read_row(s, dtype, logits, index);
        choose(s, &r, index, s->steps == 0 ? s->options.width : 1, out);
    }
}

bool crnn_search_step(crnn_search *s, crnn_dtype dtype, const void *logits, int64_t *symbols,
                      size_t *parents) {
    if (has_nan(dtype, s->live * s->options.symbols, logits)) return false;
    outcome out = {.symbols = symbols, .parents = parents};
    const core_fpmode caller = core_fpmode_enter(CORE_FLUSHING); /* that of a team, whoever calls */
    step_rows(s, dtype, logits, &out);
    core_fpmode_set(caller);
    hypothesis *const before = s->rows;
    s->rows = s->next;
    s->next = before;
    s->live = out.live;
    s->steps++;
    return true;
}

/* ---- results */

static double final_score(const crnn_search *s, const hypothesis *h) {
    return h->length ? h->score / pow((double)h->length, s->options.length_penalty) : 0;
}

static bool comes_before(const crnn_search *s, const hypothesis *a, const hypothesis *b) {
    return s->options.beam ? final_score(s, a) > final_score(s, b) : a->place < b->place;
}

/* The hypotheses of a group in order, on s->next, which no step reads: those that have ended, and
 * the live rows from..to-1. Returns how many there are. */
static size_t sort_group(const crnn_search *s, size_t group, size_t from, size_t to) {
    const size_t ended = s->ended_count[group], count = ended + to - from;
    const hypothesis *first = s->ended + group * s->options.width;
    for (size_t i = 0; i < count; i++) {
        const hypothesis h = i < ended ? first[i] : s->rows[from + i - ended];
        size_t j = i;
        for (; j > 0 && comes_before(s, &h, &s->next[j - 1]); j--) s->next[j] = s->next[j - 1];
        s->next[j] = h;
    }
    return count;
}

static void write_tokens(const crnn_search *s, const hypothesis *h, size_t steps, int64_t *tokens) {
    size_t link = h ? h->last : NO_LINK;
    for (size_t t = h ? h->length : 0; t < steps; t++) tokens[t] = s->options.stop;
    for (size_t t = h ? h->length : 0; t-- > 0; link = s->history[link].before)
        tokens[t] = s->history[link].symbol;
}

void crnn_search_result(const crnn_search *s, size_t n_best, size_t steps, int64_t *tokens,
                        double *scores) {
    for (size_t group = 0, from = 0, to; group < s->options.groups; group++, from = to) {
        const bool lives = from < s->live && s->rows[from].place / s->options.width == group;
        to = lives ? group_end(s, from) : from;
        const size_t count = sort_group(s, group, from, to);
        for (size_t i = 0; i < n_best; i++) {
            const hypothesis *h = i < count ? &s->next[i] : NULL;
            write_tokens(s, h, steps, tokens + (group * n_best + i) * steps);
            scores[group * n_best + i] = h ? final_score(s, h) : -INFINITY;
        }
    }
}
