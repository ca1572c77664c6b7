/* Decoders that are fed what they attend to, for every cell, type and instruction set: forward to
 * the last bit what single layers and attention give step by step, gradients against central
 * differences of that, the other tables against the scalar one; and bits that depend neither on
 * other rows, nor on padding, strides or threads. */
#include "decoded.h"

/* ---- gradients against central differences */

static double loss_of(const inputs *in) {
    const size_t mark = fences_used, T = in->steps, P = top_width(in);
    const size_t C = in->attention.value_size;
    outcome o = run_stepwise(in);
    const double *y = level_result(&o, in->p->depth - 1, Y)->data, *context = o.at[CONTEXT].data;
    double loss = 0;
    for (size_t i = 0; i < in->batch * T; i++) {
        if (i % T >= length_of(in, i / T)) continue;
        for (size_t k = i * P; k < (i + 1) * P; k++) loss += y[k] * ((double *)in->dy)[k];
        for (size_t k = i * C; k < (i + 1) * C; k++)
            loss += context[k] * ((double *)in->dcontext)[k];
    }
    fences_release(mark);
    return loss;
}

/* Every n-th of x [count] and the gradient d found for it; those of padding are zero. */
static void check_slopes(const inputs *in, const char *what, size_t count, size_t every,
                         const void *x_, const double *d) {
    const double by = 2e-6;
    double *x = (double *)x_;
    for (size_t i = 0; x && i < count; i += every) {
        const double here = x[i];
        x[i] = here + by;
        const double up = isnan(here) ? 0 : loss_of(in);
        x[i] = here - by;
        const double slope = isnan(here) ? 0 : (up - loss_of(in)) / (2 * by);
        x[i] = here;
        CHECK(fabs(slope - d[i]) <= 1e-8 * (1 + fabs(slope)), ABOUT "%s %zu: %.12g, not %.12g",
              WHO(in), what, i, d[i], slope);
    }
}

/* A sum without what was there before. */
static const double *added(const result *r) {
    double *d = fenced(r->wide * sizeof *d);
    for (size_t i = 0; i < r->wide; i++) d[i] = ((double *)r->data)[i] - sample(S_SUMS, i);
    return d;
}

/* The columns of dx that are not the contexts'. */
static const double *own_columns(const inputs *in, const result *dx) {
    const size_t own = in->p->own, n = in->batch * in->steps * own;
    double *d = fenced(n * sizeof *d);
    for (size_t i = 0; i < n; i++) d[i] = ((double *)dx->data)[i / own * dx->wide + i % own];
    return d;
}

static void check_level(const inputs *in, outcome *o, size_t l, size_t every) {
    const result *grads = level_result(o, l, GRADS);
    const result *dh = level_result(o, l, DH_FIRST), *dc = level_result(o, l, DC_FIRST);
    check_slopes(in, grads->name, grads->wide, every, in->params[l], added(grads));
    check_slopes(in, dh->name, count_of(in, dh), every, in->initial[l].h, dh->data);
    if (dc->name) check_slopes(in, dc->name, count_of(in, dc), every, in->initial[l].c, dc->data);
}

static void check_gradients(const inputs *in, size_t every) {
    const size_t mark = fences_used;
    const crnn_attention *a = &in->attention;
    outcome o = run(in, NULL, 1);
    const result *at = o.at;
    check_slopes(in, "dx", in->batch * in->steps * in->p->own, every, in->x,
                 own_columns(in, &at[DX]));
    check_slopes(in, "dkeys", count_of(in, &at[DKEYS]), every, a->keys, at[DKEYS].data);
    check_slopes(in, "dvalues", count_of(in, &at[DVALUES]), every, a->values, at[DVALUES].data);
    if (a->v) check_slopes(in, "dv", at[DV].wide, every, a->v, added(&at[DV]));
    if (in->w_query)
        check_slopes(in, "dW_query", at[DW_QUERY].wide, every, in->w_query, added(&at[DW_QUERY]));
    if (in->vectors)
        check_slopes(in, "dvectors", at[DVECTORS].wide, every, in->vectors, added(&at[DVECTORS]));
    for (size_t l = 0; l < in->p->depth; l++) check_level(in, &o, l, every);
    fences_release(mark);
}

/* ---- the same numbers in other ways */

/* A row alone has the bits it has in the batch, and sums are those of all rows one by one. */
static void check_alone(const inputs *in, const outcome *all) {
    outcome sums = new_outcome(in, NULL, true);
    for (size_t b = in->batch; b-- > 0;) {
        const size_t mark = fences_used;
        const inputs row = row_of(in, b);
        outcome o = run(&row, &sums, 1);
        for (size_t i = 0; i < RESULTS; i++) {
            result *own = &o.at[i];
            if (!own->name) continue;
            if (own->kind == SUM) memcpy(sums.at[i].data, own->data, own->wide * item_of(in));
            const size_t steps =
                own->kind == SUM ? 0 : count_of(&row, own) / (own->wide ? own->wide : 1);
            bool same = true;
            for (size_t t = 0; t < steps; t++) /* of weights, so many as the row's source has */
                same = same && memcmp(place(own->data, t, own->wide, item_of(in)),
                                      place(row_result(in, &all->at[i], b), t, all->at[i].wide,
                                            item_of(in)),
                                      own->wide * item_of(in)) == 0;
            CHECK(same, ABOUT "%s of row %zu alone", WHO(in), own->name, b);
        }
        fences_release(mark);
    }
    check_near("rows one by one", in, &sums, all, true);
}

/* A tape may be walked back again: that gives the same, and adds it to the sums once more. */
static void check_twice(const inputs *in, const outcome *once) {
    const outcome twice = run(in, NULL, 2), before = new_outcome(in, NULL, true);
    check_same("backward twice", in, once, &twice, false);
    for (size_t i = 0; i < RESULTS; i++) {
        const result *r = &once->at[i];
        if (!r->name || r->kind != SUM) continue;
        for (size_t k = 0; k < r->wide; k++) { /* what was added first, twice */
            const crnn_dtype d = in->kernels->dtype;
            const double first = real_at(d, r->data, k) - real_at(d, before.at[i].data, k);
            real_put(d, before.at[i].data, k, real_at(d, r->data, k) + first);
        }
    }
    check_near("backward twice", in, &twice, &before, true);
}

static void check_problem(const problem *p, const crnn_kernels *k) {
    const size_t mark = fences_used;
    const inputs in = new_inputs(p, k);
    outcome o = run(&in, NULL, 1);
    check_padding(&in, &o);
    const outcome steps = run_stepwise(&in);
    check_same("step by step", &in, &steps, &o, false);
    check_alone(&in, &o);
    check_twice(&in, &o);
    problem turned = *p;
    turned.time_major = !p->time_major;
    inputs other = in;
    other.p = &turned;
    const outcome strided = run(&other, NULL, 1);
    check_same("other strides", &in, &o, &strided, true);
    if (strcmp(k->isa, "scalar") != 0) {
        other = in;
        other.kernels = core_kernels_for("scalar", k->dtype);
        const outcome plain = run(&other, NULL, 1);
        check_near("the scalar table", &in, &o, &plain, false);
    }
    fences_release(mark);
}

static void check_threads(const problem *p, const crnn_kernels *k) {
    const size_t mark = fences_used;
    const inputs in = new_inputs(p, k);
    const outcome one = run(&in, NULL, 1);
    for (size_t threads = 2; threads <= 3; threads++) {
        crnn_set_threads(threads);
        const outcome many = run(&in, NULL, 1);
        check_same(threads == 2 ? "two threads" : "three threads", &in, &one, &many, true);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

/* ---- problems: forms of a decoder, and sizes around a vector and a tile */

static const problem forms[] = {
    {.name = "additive", .table = 3, .own = 2, .additive = true, .asks = true},
    {.name = "dot", .own = 3, .given = true},
    {.name = "general", .table = 4, .asks = true, .given = true, .time_major = true},
    {.name = "additive, learned",
     .layer = {.learns_state = true},
     .own = 2,
     .additive = true,
     .asks = true,
     .time_major = true},
    {.name = "additive, h itself", .table = 2, .own = 1, .additive = true, .given = true},
    {.name = "dot, learned", .layer = {.learns_state = true}, .table = 3},
    {.name = "options",
     .layer = {.layer_norm = true, .recurrent_dropout = 0.3, .weight_drop = 0.2, .zoneout_h = 0.2},
     .own = 1,
     .additive = true,
     .asks = true,
     .given = true,
     .training = true},
    {.name = "options, learned",
     .layer = {.clip = 0.8, .learns_state = true, .recurrent_dropout = 0.3, .zoneout_h = 0.3},
     .table = 3,
     .own = 2,
     .training = true},
    {.name = "projected", /* where a cell can be */
     .layer = {.projected = 2, .learns_state = true},
     .table = 3,
     .own = 1,
     .asks = true},
    {.name = "dropout",
     .layer = {.zoneout_h = 0.2},
     .own = 2,
     .asks = true,
     .training = true,
     .dropout = 0.4},
    {.name = "vectors", .table = 7, .embedded = 3, .additive = true, .asks = true, .given = true},
    {.name = "vectors, floats, dropout",
     .table = 4,
     .embedded = 5,
     .own = 2,
     .training = true,
     .dropout = 0.3,
     .variational = true,
     .time_major = true},
};
enum { FORMS = sizeof forms / sizeof *forms };

static problem posed(int form, crnn_cell cell, size_t depth) {
    problem p = forms[form];
    p.layer.cell = cell;
    p.layer.bias = form != 1;
    p.layer.beta = 0.7;
    p.attends = p.feeds = true;
    p.depth = depth;
    if (crnn_cell_describe(cell)->states != 2) p.layer.projected = 0;
    return p;
}

static void set_sizes(problem *p, const size_t sizes[6]) {
    p->batch = sizes[0];
    p->steps = sizes[1];
    p->sources = sizes[2];
    p->layer.hidden = sizes[3];
    p->key_size = sizes[4];
    p->value_size = sizes[5];
    if (p->layer.projected) p->layer.projected = sizes[3] / 2 + 1;
}

static void check_all_gradients(crnn_cell cell) {
    const crnn_kernels *scalar = core_kernels_for("scalar", CRNN_F64);
    crnn_isa_select("scalar");
    for (int i = 0; i < FORMS * DEPTH; i++) {
        problem p = posed(i / DEPTH, cell, 1 + (size_t)i % DEPTH);
        set_sizes(&p, i % 3 ? (size_t[]){4, 3, 3, 2, 3, 2} : (size_t[]){5, 3, 2, 5, 2, 4});
        if (p.layer.layer_norm)
            p.layer.hidden += 4; /* two units that are normalised are 1 and -1 */
        const size_t mark = fences_used;
        const inputs in = new_inputs(&p, scalar);
        check_gradients(&in, i % 3 ? 5 : 7);
        fences_release(mark);
    }
}

/* The last one has more tape rows than backward has gradients of at a time. */
static void check_sizes(const crnn_kernels *k, crnn_cell cell) {
    const size_t V = k->width, R = k->tile_rows;
    const size_t sizes[][6] = {
        {R + 1, 4, 5, V + 1, V, 1},
        {1, 3, 1, 1, V + 1, V},
        {2 * R + 1, 5, 3, 3 * V, 2, V + 1},
        {6, 2, 4, 2 * V + 1, 1, 2},
        {0, 2, 3, 3, 2, 2},
        {3, 0, 2, 3, 2, 2},
        {R, 3, 0, 3, 2, V},
        {9, k->block_rows / 3 + 2, 3, 3, 2, 3},
    };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (int i = 0; i < SIZES; i++) {
        for (int form = (i + (int)cell) % 2; form < FORMS; form += slow_runner() ? 6 : 2) {
            problem p = posed(form, cell, 1 + (size_t)(form / 2 + i) % DEPTH);
            if (i + 1 == SIZES && form > 3 && form < FORMS - 3) continue;
            set_sizes(&p, sizes[i]);
            check_problem(&p, k);
        }
    }
}

/* Work for three threads, of which each has some rows. */
static void check_teams(const crnn_kernels *k, crnn_cell cell) {
    if (left_out(k)) return;
    for (int form = 0; form < FORMS; form += slow_runner() ? FORMS : 2) {
        problem p = posed(form, cell, 2);
        set_sizes(&p, (size_t[]){26, 24, 9, 60, 21, 33});
        check_threads(&p, k);
    }
}

/* ---- sizes that do not fit */

static void check_overflow(const crnn_kernels *k) {
    const size_t most = SIZE_MAX, mark = fences_used;
    const struct {
        size_t rows, sources, key_size, hidden; /* N is B */
        bool forward; /* else what grows with them is the caller's, or backward's alone, */
        bool packed;  /* or that of packed weights: few rows read the queries' as they lie */
    } sizes[] = {
        {most / 8, 3, 2, 3, true, false},  {most / 256, 3, 2, 9, false, false},
        {4, 3, most / 8, 3, false, true},  {4, 3, most, 3, false, true},
        {4, most / 4, 2, 3, false, false}, {4, 3, 2, most / 64, true, true},
        {4, 3, 2, most, true, true},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        problem p = posed(0, CRNN_LSTM, 1);
        set_sizes(&p, (size_t[]){4, 2, 3, 3, 2, 2});
        inputs in = new_inputs(&p, k);
        const crnn_rows rows = {.given = {.batch = sizes[i].rows, .steps = 1},
                                .places = sizes[i].rows,
                                .total = sizes[i].rows};
        outcome o = new_outcome(&in, NULL, true);
        call c = begin_call(&in, &o);
        build(&c);
        set_gradients(&c);
        c.rows = rows;
        c.tape[0].kernels = k; /* as forward sets it */
        c.node[c.context].as.attend.attention.batch = sizes[i].rows;
        c.node[c.context].as.attend.attention.steps = sizes[i].sources;
        c.node[c.context].as.attend.attention.key_size = sizes[i].key_size;
        c.node[c.query].features = sizes[i].key_size;
        c.node[c.level[0]].features = in.layer[0].hidden = sizes[i].hidden;
        size_t bytes;
        CHECK((crnn_plan_workspace(&c.plan, &bytes) == CRNN_OVERFLOW) == sizes[i].forward,
              "forward %zu", i);
        CHECK((crnn_plan_packed_size(&c.plan, &bytes) == CRNN_OVERFLOW) == sizes[i].packed,
              "packed %zu", i);
        CHECK(crnn_plan_backward_workspace(&c.plan, &bytes) == CRNN_OVERFLOW, "backward %zu", i);
    }
    fences_release(mark);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (int cell = 0; cell < CRNN_CELLS; cell++) {
        if (!slow_runner()) check_all_gradients((crnn_cell)cell); /* in scalar code */
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k;
            for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
                crnn_isa_select(k->isa); /* what attention by itself runs on */
                check_sizes(k, (crnn_cell)cell);
                check_teams(k, (crnn_cell)cell);
                if (cell == 0) check_overflow(k);
            }
        }
    }
    return check_done();
}
