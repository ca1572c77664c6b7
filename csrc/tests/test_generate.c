/* Decoders that read what they chose, for every cell, type and instruction set, against a search
 * that keeps the whole state of each of its hypotheses; and that it matters neither how rows are
 * shared out among parts and threads, nor how many steps are taken at once. */
#include "generated.h"

static size_t rows_ended, rows_cut; /* by the stop, by the last step: of both there must be some */

static crnn_search_options greedy(void) {
    return (crnn_search_options){.width = 1, .symbols = K, .stop = 2, .top_p = 1};
}

static crnn_search_options beam(void) {
    return (crnn_search_options){
        .width = WIDTH, .symbols = K, .beam = true, .stop = 2, .length_penalty = 0.7};
}

static crnn_search_options samples(void) {
    return (crnn_search_options){.width = WIDTH,
                                 .symbols = K,
                                 .stop = 4,
                                 .temperature = 1,
                                 .top_p = 1,
                                 .seed = 0x123456789abcdef};
}

/* ---- against plain hypotheses */

static bool agrees(const crnn_search_options *o, const found *f, size_t at, const guess *g) {
    const double score = f->scores[at];
    bool same = fabs(score - rank(o, g)) <= 1e-12 * fmax(1, fabs(score));
    for (size_t t = 0; t < STEPS; t++)
        same = same && f->tokens[at * STEPS + t] == (t < g->length ? g->tokens[t] : o->stop);
    return same;
}

static void check_hypotheses(const model *m, const crnn_search_options *o, const found *f) {
    static guess expected[WIDTH];
    const char *how = o->beam ? "beam" : o->temperature > 0 ? "sample" : "greedy";
    for (size_t b = 0; b < m->in.batch; b++) {
        const bool draws = o->temperature > 0;
        const size_t count = draws ? o->width : beams(m, o, b, expected);
        for (size_t i = 0; i < o->width; i++) {
            if (draws) expected[i] = sample_of(m, o, b, i);
            *(expected[i].read == o->stop ? &rows_ended : &rows_cut) += 1;
            CHECK(i < count && agrees(o, f, b * o->width + i, &expected[i]),
                  ABOUT "%s %zu of source %zu", WHO(&m->in), how, i, b);
        }
    }
}

/* ---- bits */

static void check_equal(const model *m, const char *what, const crnn_search_options *o,
                        const found *a, const found *b) {
    const size_t rows = m->in.batch * o->width;
    CHECK(memcmp(a->scores, b->scores, rows * sizeof *a->scores) == 0, ABOUT "%s: scores",
          WHO(&m->in), what);
    CHECK(memcmp(a->tokens, b->tokens, rows * STEPS * sizeof *a->tokens) == 0, ABOUT "%s: tokens",
          WHO(&m->in), what);
}

static void check_shares(const model *m, const crnn_search_options *o, const found *f) {
    static const size_t ways[][2] = {{1, 1}, {2, STEPS}, {PARTS, 2}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const size_t mark = fences_used;
        const found other = generate(m, o, ways[i][0], ways[i][1]);
        check_equal(m, i == 0 ? "step by step" : i == 1 ? "two parts" : "many parts", o, f, &other);
        fences_release(mark);
    }
}

static void check_search(const model *m, const crnn_search_options *o) {
    const size_t mark = fences_used;
    const found f = generate(m, o, 1, STEPS);
    check_hypotheses(m, o, &f);
    check_shares(m, o, &f);
    fences_release(mark);
}

static void check_threads(const problem *p, const crnn_kernels *k) {
    const crnn_search_options o = beam();
    const size_t mark = fences_used;
    model m;
    make_model(&m, p, k);
    const found one = generate(&m, &o, 1, STEPS);
    for (size_t threads = 2; threads <= 3; threads++) {
        crnn_set_threads(threads);
        const found many = generate(&m, &o, PARTS, STEPS);
        check_equal(&m, "threads", &o, &one, &many);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

/* ---- a decoder that is fed what was chosen chooses that again */

static inputs fed_inputs(const model *m, const problem *p, const found *f) {
    inputs in = new_inputs(p, m->in.kernels);
    int64_t *lengths = fenced(in.batch * sizeof *lengths);
    int64_t *symbols = fenced(in.batch * STEPS * sizeof *symbols);
    for (size_t i = 0; i < in.batch * STEPS; i++) {
        lengths[i / STEPS] = STEPS;
        symbols[i] = i % STEPS ? f->tokens[i - 1] : m->start[i / STEPS];
    }
    in.lengths = in.attention.query_lengths = lengths;
    in.symbols = symbols;
    return in;
}

static void check_fed(const model *m) {
    const size_t mark = fences_used;
    crnn_search_options o = greedy();
    o.stop = -1;
    const found f = generate(m, &o, 1, STEPS);
    problem p = *m->in.p;
    p.steps = STEPS;
    const inputs in = fed_inputs(m, &p, &f);
    outcome all = run(&in, NULL, 0);
    const size_t rows = in.batch * STEPS, P = top_width(&in), item = item_of(&in);
    const size_t C = in.attention.value_size;
    char *joined = fenced(rows * (P + C) * item);
    for (size_t i = 0; i < rows; i++) {
        char *row = place(joined, i, P + C, item);
        memcpy(row, place(level_result(&all, p.depth - 1, Y)->data, i, P, item), P * item);
        memcpy(row + P * item, place(all.at[CONTEXT].data, i, C, item), C * item);
    }
    const void *logits = logits_of(m, rows, joined);
    bool same = true;
    for (size_t i = 0; i < rows; i++) {
        size_t best = 0;
        for (size_t k = 1; k < K; k++)
            if (real_at(in.kernels->dtype, logits, i * K + k) >
                real_at(in.kernels->dtype, logits, i * K + best))
                best = k;
        same = same && f.tokens[i] == (int64_t)best;
    }
    CHECK(same, ABOUT "fed what it chose", WHO(&m->in));
    fences_release(mark);
}

/* ---- rows that have ended, and numbers that are none */

/* The values of a source row are no numbers from here on. */
static void spoil(const model *m, size_t b) {
    const crnn_attention *a = &m->in.attention;
    const size_t n = a->steps * a->value_size;
    for (size_t i = 0; m->in.p->attends && i < n; i++)
        real_put(a->dtype, (void *)a->values, b * n + i, NAN);
}

/* Steps after which a sequence has its stop; more than STEPS where it has none. */
static size_t end_of(const crnn_search_options *o, const int64_t *tokens) {
    size_t t = 0;
    while (t < STEPS && tokens[t] != o->stop) t++;
    return t + 1;
}

/* Rows that have ended are not live, and nobody looks at their source again. */
static void check_ending(const problem *p, const crnn_kernels *k, const crnn_search_options *o) {
    const size_t mark = fences_used;
    model m;
    running r;
    make_model(&m, p, k);
    const found f = generate(&m, o, 1, STEPS);
    open(&r, &m, o, 1);
    for (size_t t = 1; t <= STEPS; t++) {
        size_t live = 0;
        crnn_generate(r.part, 1, 1);
        for (size_t b = 0; b < m.in.batch; b++) {
            size_t own = 0;
            for (size_t i = b * o->width; i < (b + 1) * o->width; i++)
                own += end_of(o, f.tokens + i * STEPS) > t;
            if (own == 0) spoil(&m, b);
            live += own;
        }
        CHECK(r.search[0].live == live, ABOUT "%zu rows live, not %zu", WHO(&m.in),
              r.search[0].live, live);
    }
    const found other = result_of(&r);
    check_equal(&m, "ended rows without numbers", o, &f, &other);
    fences_release(mark);
}

/* A NaN ends the part that has it and no other. */
static void check_nan(const problem *p, const crnn_kernels *k) {
    crnn_search_options o = greedy();
    const size_t mark = fences_used, bad = 2; /* the source of which is not empty */
    model m;
    running r;
    o.stop = -1;
    make_model(&m, p, k);
    const found f = generate(&m, &o, 1, STEPS);
    open(&r, &m, &o, m.in.batch);
    crnn_generate(r.part, r.count, 1);
    const size_t bytes =
        m.in.batch * m.in.attention.steps * m.in.attention.value_size * item_of(&m.in);
    const void *values = copied(m.in.attention.values, bytes);
    spoil(&m, bad);
    crnn_generate(r.part, r.count, STEPS - 1);
    memcpy((void *)m.in.attention.values, values, bytes);
    crnn_generate(&r.part[bad], 1, 1); /* nothing any more */
    CHECK(!r.part[bad].finite && r.search[bad].steps == 1 && r.search[bad].live == 1,
          ABOUT "a NaN: %zu steps", WHO(&m.in), r.search[bad].steps);
    for (size_t b = 0; b < r.count; b++) {
        int64_t tokens[STEPS];
        double score;
        if (b == bad) continue;
        crnn_search_result(&r.search[b], 1, STEPS, tokens, &score);
        CHECK(r.part[b].finite && score == f.scores[b] &&
                  memcmp(tokens, f.tokens + b * STEPS, sizeof tokens) == 0,
              ABOUT "row %zu, of which none is a NaN", WHO(&m.in), b);
    }
    fences_release(mark);
}

/* ---- problems */

static const problem forms[] = {
    {.name = "no attention", .table = K},
    {.name = "additive",
     .table = K,
     .attends = true,
     .feeds = true,
     .additive = true,
     .asks = true},
    {.name = "dot, vectors", .table = K, .embedded = 3, .attends = true, .feeds = true},
    {.name = "dot, afterwards", .table = K, .embedded = 4, .attends = true},
    {.name = "general, afterwards", .table = K, .attends = true, .asks = true},
    {.name = "vectors", .table = K, .embedded = 2},
    {.name = "options",
     .layer = {.projected = 3,
               .layer_norm = true,
               .zoneout_h = 0.2,
               .zoneout_c = 0.3,
               .peepholes = true},
     .table = K,
     .embedded = 2,
     .attends = true,
     .feeds = true,
     .asks = true},
};
enum { FORMS = sizeof forms / sizeof *forms };

static problem posed(int form, crnn_cell cell, size_t depth, const size_t sizes[5]) {
    problem p = forms[form];
    p.layer.cell = cell;
    p.layer.bias = form != 2;
    p.layer.beta = 0.7;
    p.given = true;
    p.depth = depth;
    p.batch = sizes[0];
    p.sources = sizes[1];
    p.layer.hidden = sizes[2];
    p.key_size = sizes[3];
    p.value_size = p.attends ? sizes[4] : 0;
    if (p.layer.projected && crnn_cell_describe(cell)->states == 2) { /* no zoneout of such an h */
        p.layer.zoneout_h = 0;
        return p;
    }
    p.layer.projected = 0;
    p.layer.zoneout_c = 0;
    p.layer.peepholes = false;
    return p;
}

static void check_problem(const problem *p, const crnn_kernels *k) {
    const crnn_search_options ways[] = {greedy(), beam(), samples()};
    const size_t mark = fences_used;
    model m;
    make_model(&m, p, k);
    for (int i = 0; i < 3; i++) check_search(&m, &ways[i]);
    if (p->feeds) check_fed(&m);
    fences_release(mark);
    for (int i = 0; i < 3; i += 2) check_ending(p, k, &ways[i]);
    if (p->attends && p->batch <= PARTS && p->batch > 1) check_nan(p, k);
}

static void check_table(const crnn_kernels *k, crnn_cell cell) {
    const size_t V = k->width;
    const size_t sizes[][5] = {
        {5, 3, V + 1, V, 2}, {k->tile_rows + 2, 6, 3, 2, V + 1}, {1, 2, 2 * V, 3, 1}};
    for (int form = (int)cell % (slow_runner() ? 3 : 1); form < FORMS;
         form += slow_runner() ? 3 : 1) {
        for (int i = 0; i < 3; i++) {
            if (slow_runner() && i != form % 3) continue;
            const problem p = posed(form, cell, 1 + (size_t)(form + i) % DEPTH, sizes[i]);
            check_problem(&p, k);
        }
    }
    if (left_out(k)) return;
    const problem large = posed(1, cell, DEPTH, (size_t[]){40, 9, 80, 30, 40});
    check_threads(&large, k);
}

/* ---- sizes that do not fit */

static void check_overflow(const crnn_kernels *k) {
    const size_t most = SIZE_MAX, mark = fences_used;
    const struct {
        size_t groups, width, symbols, key_size, hidden;
        bool matrices; /* these do not fit, else the choice */
    } sizes[] = {
        {most / 8, 1, K, 2, 3, false},     {3, most / 8, K, 2, 3, false},
        {most / 2 + 1, 2, K, 2, 3, false}, {most / 4, 8, K, 2, 3, false},
        {3, 2, most / 8, 2, 3, true},      {3, 2, most, 2, 3, true},
        {3, 2, K, most / 8, 3, true},      {3, 2, K, most, 3, true},
        {3, 2, K, 2, most / 64, true},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const problem posed_one = posed(4, CRNN_LSTM, 1, (size_t[]){3, 2, 3, 2, 2});
        model m;
        planned p;
        make_model(&m, &posed_one, k);
        crnn_search search = {.options = {.groups = sizes[i].groups, .width = sizes[i].width}};
        make_plan(&p, &m, 6, &search);
        size_t bytes;
        p.plan.packed = NULL;
        p.node[m.logits].features = sizes[i].symbols;
        p.node[m.query].features = sizes[i].key_size;
        m.in.layer[0].hidden = p.node[m.level[0]].features = sizes[i].hidden;
        CHECK((crnn_plan_packed_size(&p.plan, &bytes) == CRNN_OVERFLOW) == sizes[i].matrices,
              "matrices %zu", i);
        CHECK(sizes[i].matrices || crnn_plan_workspace(&p.plan, &bytes) == CRNN_OVERFLOW,
              "workspace %zu", i);
    }
    fences_release(mark);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (int cell = 0; cell < CRNN_CELLS; cell++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k;
            for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
                crnn_isa_select(k->isa); /* what attention by itself runs on */
                check_table(k, (crnn_cell)cell);
                if (cell == 0) check_overflow(k);
            }
        }
    }
    CHECK(rows_ended > 0 && rows_cut > 0, "%zu rows ended, %zu did not", rows_ended, rows_cut);
    return check_done();
}
