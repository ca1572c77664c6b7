/* Options of layers, noise, holes in rows and rows that start anew: the checks of test_recurrence.c
 * over sets of options, and what is dropped against the generator itself. What each option computes
 * is compared with NumPy in tests/layers/recurrent/test_options.py. */
#include "agreement.h"
#include "teams.h"

/* ---- sets of options; what a cell does not have is left out */

static const problem sets[] = {
    {.name = "no options"},
    {.name = "layer norm", .layer = {.layer_norm = true}},
    {.name = "clip", .layer = {.clip = 0.3}},
    {.name = "hard",
     .layer = {.gate = CRNN_HARD_SIGMOID, .candidate = CRNN_RELU, .output = CRNN_SOFTSIGN}},
    {.name = "soft", .layer = {.candidate = CRNN_SOFTSIGN, .output = CRNN_IDENTITY, .clip = 0.5}},
    {.name = "swapped",
     .layer =
         {.gate = CRNN_HARD_SIGMOID, .candidate = CRNN_LOGISTIC, .output = CRNN_RELU, .clip = 0.4}},
    {.name = "linear",
     .layer = {.gate = CRNN_SOFTSIGN,
               .candidate = CRNN_IDENTITY,
               .output = CRNN_HARD_SIGMOID,
               .clip = 0.6}},
    {.name = "peepholes", .layer = {.peepholes = true}},
    {.name = "projected", .layer = {.projected = 1}},
    {.name = "learned state", .layer = {.learns_state = true}},
    {.name = "recurrent dropout", .layer = {.recurrent_dropout = 0.3}},
    {.name = "zoneout", .layer = {.zoneout_h = 0.3, .zoneout_c = 0.4}},
    {.name = "zoneout of c", .layer = {.zoneout_c = 0.4, .peepholes = true}},
    {.name = "weight drop", .layer = {.weight_drop = 0.4}},
    {.name = "leak", .layer = {.leaks = true}},
    {.name = "learned leak", .layer = {.leaks = true, .learns_leak = true}},
    {.name = "noise", .layer = {.noise = 0.3}},
    {.name = "leak, zoneout",
     .layer = {.leaks = true, .learns_leak = true, .zoneout_h = 0.3, .candidate = CRNN_LOGISTIC}},
    {.name = "projected, dropped",
     .layer = {.projected = 1, .recurrent_dropout = 0.3, .weight_drop = 0.2, .layer_norm = true}},
    {.name = "all, cells alone",
     .layer = {.peepholes = true,
               .leaks = true,
               .learns_leak = true,
               .noise = 0.4,
               .learns_state = true,
               .clip = 0.6,
               .candidate = CRNN_SOFTSIGN,
               .recurrent_dropout = 0.3,
               .weight_drop = 0.2,
               .zoneout_h = 0.2,
               .zoneout_c = 0.4}},
    {.name = "all",
     .layer = {.layer_norm = true,
               .peepholes = true,
               .leaks = true,
               .noise = 0.4,
               .learns_state = true,
               .clip = 0.8,
               .output = CRNN_SOFTSIGN,
               .recurrent_dropout = 0.3,
               .weight_drop = 0.2,
               .zoneout_h = 0.2,
               .zoneout_c = 0.4}},
    {.name = "all, projected",
     .layer = {.layer_norm = true,
               .peepholes = true,
               .projected = 1,
               .learns_state = true,
               .clip = 0.8,
               .recurrent_dropout = 0.3,
               .weight_drop = 0.2,
               .zoneout_c = 0.4}},
};
enum { SETS = sizeof sets / sizeof *sets, ALONE = SETS - 3, ALL = SETS - 2, ALL_PROJECTED };

static const problem forms[] = {
    {.name = "whole", .layer = {.bias = true}},
    {.name = "holes and cuts",
     .layer = {.bias = true},
     .ragged = true,
     .given = true,
     .holes = 0.5,
     .cuts = 0.3},
    {.name = "cuts, reversed",
     .layer = {.bias = true, .reverse = true},
     .strided = true,
     .cuts = 0.3},
    {.name = "holes, reversed",
     .layer = {.reverse = true},
     .given = true,
     .symbols = true,
     .holes = 0.6,
     .ragged = true},
    {.name = "holes", .layer = {.bias = true}, .holes = 0.4, .strided = true, .given = true},
};
enum { FORMS = sizeof forms / sizeof *forms };

static bool has_noise(const crnn_layer *l) {
    return l->recurrent_dropout != 0 || l->weight_drop != 0 || l->zoneout_h != 0 ||
           l->zoneout_c != 0 || l->noise != 0;
}

/* A set and a form for a cell; false where nothing of the set remains. */
static bool combine(problem *p, crnn_cell cell, int set, int form, bool training) {
    static char name[100];
    const bool has_c = crnn_cell_describe(cell)->states == 2;
    const crnn_layer bare = {.cell = cell,
                             .beta = 0.7,
                             .bias = forms[form].layer.bias,
                             .reverse = forms[form].layer.reverse};
    crnn_layer *l = &p->layer;
    *p = forms[form];
    *l = sets[set].layer;
    l->cell = cell;
    l->beta = bare.beta;
    l->bias = bare.bias;
    l->reverse = bare.reverse;
    if (!has_c) {
        l->peepholes = false;
        l->projected = 0;
        l->zoneout_c = 0;
        l->output = CRNN_USUAL;
        if (!crnn_cell_describe(cell)->activated) l->gate = CRNN_USUAL;
        if (cell == CRNN_RNN_RELU) l->candidate = CRNN_USUAL;
    }
    if (!crnn_cell_leaks(cell)) {
        l->leaks = l->learns_leak = false;
        l->noise = 0;
    }
    p->training = training;
    snprintf(name, sizeof name, "%s, %s%s", sets[set].name, forms[form].name,
             training ? ", training" : "");
    p->name = name;
    return (set == 0 || !crnn_layer_same(l, &bare)) && (!training || has_noise(l));
}

/* Around the tiles; few rows and steps; and more tape rows than backward has gradients of at a
 * time. The last one has the size of the first, and that many steps. */
enum { SHAPES = 5, LONG = SHAPES, MOST_ROWS = 32 };

static void set_shape(problem *p, const crnn_kernels *k, int i) {
    static int64_t lengths[MOST_ROWS];
    const size_t R = k->tile_rows;
    const size_t shapes[SHAPES + 1][5] = {
        /* B, T, I, H, P */
        {2, 2, 3, 5, 3},           {R + 1, 5, 2, 33, 19}, {3, 7, k->width + 1, 17, 3},
        {2 * R + 1, 4, 3, 17, 19}, {R, 5, R + 1, 33, 3},  {9, 4 * k->block_rows / 9 + 1, 2, 5, 3},
    };
    p->kernels = k;
    p->layer.dtype = k->dtype;
    p->batch = shapes[i][0];
    p->steps = shapes[i][1];
    p->layer.inputs = shapes[i][2];
    p->layer.hidden = shapes[i][3];
    if (p->layer.projected) p->layer.projected = shapes[i][4];
    for (size_t b = 0; b < p->batch; b++)
        lengths[b] = (int64_t)((0.5 + 0.5 * sample(S_LENGTHS, b)) * (double)(p->steps + 1));
    lengths[p->batch / 2] = (int64_t)p->steps;
    if (p->ragged) p->lengths = lengths;
}

/* ---- the fields of crnn_layer, as options.def lists them */

/* Every field is 1: one that options.def forgets has no value here. */
#pragma GCC diagnostic error "-Wmissing-field-initializers"
static const crnn_layer ones = {
#define CRNN_FIELD(name, rich) 1,
#include "options.def"
    {1},
};

typedef struct field {
    const char *name;
    crnn_layer layer; /* with this field alone */
    bool is_option;   /* else it is the cell, the type or a size */
} field;

static const field fields[] = {
#define CRNN_FIELD(name, rich) \
    {#name, \
     {.name = _Generic(ones.name, double: 0.4, crnn_activation: CRNN_RELU, default: 1)}, \
     offsetof(crnn_layer, name) > offsetof(crnn_layer, hidden)},
#include "options.def"
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void check_comparison(void) {
    const crnn_layer zeros = {0};
    const crnn_layer delays = {.delays = {1, 4}}, others = {.delays = {1, 3}};
    CHECK(crnn_layer_same(&zeros, &zeros) && crnn_layer_same(&ones, &ones), "the same layer");
    CHECK(crnn_layer_same(&delays, &delays) && !crnn_layer_same(&delays, &others), "delays");
    for (size_t i = 0; i < FIELDS; i++) {
        const crnn_layer copy = fields[i].layer;
        CHECK(crnn_layer_same(&fields[i].layer, &copy), "%s", fields[i].name);
        CHECK(!crnn_layer_same(&fields[i].layer, &zeros), "%s", fields[i].name);
    }
}

/* Whether an option changes y, in training. Whether a leak is learned is an option of layers that
 * leak. */
static bool has_effect(const field *f, crnn_cell cell, const crnn_kernels *k) {
    problem p = {.name = f->name, .layer = f->layer, .training = true, .no_tape = true};
    const size_t mark = fences_used;
    p.layer.cell = cell;
    p.layer.leaks = p.layer.leaks || p.layer.learns_leak;
    set_shape(&p, k, 2);
    const outcome with = run(&p);
    p.layer = (crnn_layer){.cell = cell, .leaks = f->layer.learns_leak};
    set_shape(&p, k, 2);
    const outcome without = run(&p);
    const bool same = with.count[Y] == without.count[Y] &&
                      memcmp(with.at[Y], without.at[Y], with.count[Y] * item_of(&p)) == 0;
    fences_release(mark);
    return !same;
}

/* An option of the rich functions has none in a layer that runs the plain ones. Cells that have c
 * have all options but beta, those of a leak, and noise. */
static void check_effects(const crnn_kernels *k) {
    for (size_t i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        bool found = !f->is_option;
        for (int cell = 0; cell < CRNN_CELLS; cell++)
            if (f->layer.beta != 0 || f->layer.leaks || f->layer.learns_leak ||
                f->layer.noise != 0 || crnn_cell_describe((crnn_cell)cell)->states == 2)
                found = found || has_effect(f, (crnn_cell)cell, k);
        CHECK(found, "%s changes nothing", f->name);
    }
}

/* ---- gradients */

static void check_all_gradients(crnn_cell cell) {
    static const int64_t lengths[] = {4, 5, 0, 5, 2};
    const crnn_kernels *scalar = core_kernels_for("scalar", CRNN_F64);
    for (int i = 0; i < SETS * FORMS * 2; i++) {
        problem p;
        const bool large = i % 3 == 0; /* more than a tile each way */
        if (!combine(&p, cell, i / 2 / FORMS, i / 2 % FORMS, i % 2)) continue;
        set_shape(&p, scalar, 0);
        p.layer.inputs = large ? 9 : 2;
        p.layer.hidden = large ? 7 : 3;
        if (p.layer.projected) p.layer.projected = large ? 5 : 2;
        p.batch = large ? 5 : 2;
        p.steps = 5;
        p.strided = false;
        p.lengths = p.ragged ? lengths : NULL;
        check_gradients(&p, large ? 7 : 2);
    }
}

/* ---- what is dropped, against the generator */

/* In evaluation zoneout is a mean: of the state before a step and what the step makes of it. */
static void check_mean(const crnn_kernels *k, crnn_cell cell) {
    problem p = {.name = "zoneout, its mean", .layer = {.cell = cell, .beta = 1}, .given = true};
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used;
    set_shape(&p, k, 1);
    p.steps = 1;
    const outcome plain = run(&p);
    p.layer.zoneout_h = 0.25;
    p.layer.zoneout_c = plain.at[C_LAST] ? 0.375 : 0;
    const outcome o = run(&p);
    bool right = true;
    for (int i = H_LAST; i <= C_LAST; i++) {
        const double share = i == C_LAST ? 0.375 : 0.25;
        const void *before = state_of(&p, i == C_LAST ? S_C0 : S_H0, NULL);
        for (size_t at = 0; at < o.count[i]; at++) {
            const double mean =
                share * real_at(d, before, at) + (1 - share) * real_at(d, plain.at[i], at);
            right = right && fabs(real_at(d, o.at[i], at) - mean) < 1e-6;
        }
    }
    CHECK(right, ABOUT "states", WHO(&p));
    fences_release(mark);
}

static const double SHARE = 0.4;

static bool happens(const problem *p, crnn_noise_kind kind, double share, uint64_t row, size_t step,
                    size_t unit) {
    const crnn_noise noise = noise_of(p);
    return drawn(&noise, kind, row, step, unit) < crnn_below(share);
}

/* A unit stays what it was where zoneout says so, and nowhere else. */
static bool zoneout_is_drawn(const outcome *o, bool of_c, size_t b) {
    const problem *p = o->p;
    const double share = of_c ? p->layer.zoneout_c : p->layer.zoneout_h;
    const int result = of_c ? TAPE_C : Y;
    bool right = true;
    for (size_t i = 0, last = NOTHING; i < length_of(p, b); i++) {
        const size_t before = last, t = in_turn(p, b, i);
        last = last_read(p, b, i, before);
        if (before == NOTHING || last != t || starts_anew(p, b, i)) continue;
        for (size_t f = 0; f < p->layer.hidden; f++) {
            const double was = real_at(p->layer.dtype, from_step(o, result, b, before), f);
            const double is = real_at(p->layer.dtype, from_step(o, result, b, t), f);
            const bool stays = happens(p, of_c ? CRNN_NOISE_ZONEOUT_C : CRNN_NOISE_ZONEOUT_H, share,
                                       noise_of(p).first_row + b, t, f);
            right = right && stays == (fabs(is - was) < 4e-7);
        }
    }
    return right;
}

static void check_zoneout(const crnn_kernels *k, crnn_cell cell, bool reverse) {
    problem p = {.name = "zoneout",
                 .layer = {.cell = cell, .reverse = reverse, .zoneout_h = 0.3, .beta = 1},
                 .training = true,
                 .ragged = true,
                 .holes = 0.3,
                 .cuts = 0.2};
    const bool has_c = crnn_cell_describe(cell)->states == 2;
    const size_t mark = fences_used;
    if (has_c) p.layer.zoneout_c = 0.6;
    set_shape(&p, k, 1);
    const outcome o = run(&p);
    bool right = true;
    for (size_t b = 0; cell != CRNN_RNN_RELU && b < p.batch; b++) /* whose h may be 0 twice */
        right =
            right && zoneout_is_drawn(&o, false, b) && (!has_c || zoneout_is_drawn(&o, true, b));
    CHECK(right, ABOUT "reverse %d", WHO(&p), reverse);
    fences_release(mark);
}

static bool is_dropped(const problem *p, bool weights, size_t unit, size_t column) {
    const uint64_t row = noise_of(p).first_row;
    const size_t H = p->layer.hidden;
    if (weights) return happens(p, CRNN_NOISE_WEIGHTS, SHARE, unit, 0, column);
    if (happens(p, CRNN_NOISE_RECURRENT, SHARE, row, 0, unit)) return true;
    /* r o m o h: nor does it matter what r is */
    return p->layer.cell == CRNN_GRU_BEFORE && column < H &&
           happens(p, CRNN_NOISE_RECURRENT, SHARE, row, 0, column);
}

/* Weights that a product does not read, and those of units of h that it does not read, get no
 * gradient; all others do. */
static void check_dropped(const crnn_kernels *k, crnn_cell cell, bool weights, size_t row) {
    const size_t mark = fences_used, projected = row % 2 ? 1 : 0;
    problem p = {.name = weights ? "weight drop" : "recurrent dropout",
                 .layer = {.cell = cell, .bias = true, .beta = 1},
                 .training = true,
                 .given = true,
                 .first_row = row};
    if (crnn_cell_describe(cell)->states == 2) p.layer.projected = projected;
    *(weights ? &p.layer.weight_drop : &p.layer.recurrent_dropout) = SHARE;
    set_shape(&p, k, row % 2 ? 3 : 2);
    p.batch = 1;
    const crnn_layout at = layout_of(&p);
    void *zeros = fenced(at.total * item_of(&p));
    memset(zeros, 0, at.total * item_of(&p));
    p.grads = zeros;
    const outcome o = run(&p);
    bool right = true;
    for (size_t i = 0; cell != CRNN_RNN_RELU && i < crnn_reads(&p.layer) * at.columns; i++) {
        const bool dropped = is_dropped(&p, weights, i / at.columns, i % at.columns);
        right = right && dropped == (real_at(p.layer.dtype, o.at[GRADS], at.w_h + i) == 0);
    }
    CHECK(right, ABOUT "row %zu", WHO(&p), row);
    fences_release(mark);
}

/* Where phi is the identity and nothing is read twice, y has what is added to the sums. */
static void check_added(const crnn_kernels *k, bool reverse) {
    problem p = {.name = "noise",
                 .layer = {.cell = CRNN_RNN_TANH, .candidate = CRNN_IDENTITY, .reverse = reverse},
                 .no_tape = true};
    const size_t mark = fences_used;
    const double amount = 0.7;
    set_shape(&p, k, 1);
    p.steps = 1;
    const outcome without = run(&p);
    p.layer.noise = amount;
    const outcome off = run(&p);
    p.training = true;
    const outcome with = run(&p);
    const crnn_noise noise = noise_of(&p);
    bool right = true;
    for (size_t b = 0; b < p.batch; b++) {
        for (size_t f = 0; f < p.layer.hidden; f++) {
            const uint32_t number = drawn(&noise, CRNN_NOISE_SUMS, noise.first_row + b, 0, f);
            const double u = 2 * ((double)number + 0.5) / 0x1p32 - 1;
            const double y = real_at(k->dtype, from_step(&without, Y, b, 0), f);
            right = right && y == real_at(k->dtype, from_step(&off, Y, b, 0), f);
            right = right &&
                    fabs(real_at(k->dtype, from_step(&with, Y, b, 0), f) - y - amount * u) < 1e-6;
        }
    }
    CHECK(right, ABOUT "reverse %d", WHO(&p), reverse);
    fences_release(mark);
}

static void check_noise(const crnn_kernels *k, crnn_cell cell) {
    check_mean(k, cell);
    for (int reverse = 0; cell == CRNN_RNN_TANH && reverse < 2; reverse++) check_added(k, reverse);
    for (int reverse = 0; reverse < 2; reverse++) check_zoneout(k, cell, reverse);
    for (size_t row = 0; row < 4; row++) {
        check_dropped(k, cell, false, row);
        check_dropped(k, cell, true, row);
    }
}

/* ---- everything */

/* An input that is infinite saturates a cell whose functions are bounded; what is not a number
 * stays in lanes that no unit has.
 */
static void check_infinite(problem p) {
    const bool unbounded = p.layer.cell == CRNN_RNN_RELU ||
                           crnn_cell_describe(p.layer.cell)->candidate == CRNN_IDENTITY;
    const bool usual = !p.layer.layer_norm && !p.layer.candidate && !unbounded;
    const int results[] = {Y, TRACE_H, DH_FIRST};
    if (!usual || p.symbols || p.strided || p.holes > 0) return;
    const size_t mark = fences_used;
    p.nudge = (nudge){S_X, 0, INFINITY};
    const outcome o = run(&p);
    bool numbers = true;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        for (size_t at = 0; at < o.count[results[i]]; at++)
            numbers = numbers && isfinite(real_at(p.layer.dtype, o.at[results[i]], at));
    CHECK(numbers, ABOUT "infinite input", WHO(&p));
    fences_release(mark);
}

/* Members of a team share the panels of a step, and have whole rows where it has stages. */
static void check_threads(const crnn_kernels *k, crnn_cell cell) {
    static const struct {
        int set, form, shape;
    } calls[] = {
        {ALONE, 4, FEW}, {ALONE, 1, MANY_UNITS}, {ALL, 2, FEW}, {ALL_PROJECTED, 1, MANY_UNITS}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        problem p;
        if (!combine(&p, cell, calls[i].set, calls[i].form, true)) continue;
        if (p.layer.projected) p.layer.projected = 19;
        set_team_shape(&p, k, calls[i].shape);
        check_teams(p);
    }
}

/* Of two tables one after the other each has the costly checks of every other problem. */
static void check_table(const crnn_kernels *k, crnn_cell cell, size_t table) {
    static const int64_t zeros[MOST_ROWS];
    problem p;
    for (int i = 0; i < SETS * FORMS * 2; i += thinned()) {
        const int set = i / 2 / FORMS, form = i / 2 % FORMS, training = i % 2;
        if (!combine(&p, cell, set, form, training)) continue;
        set_shape(&p, k, (set + 2 * form + training + (int)cell) % SHAPES);
        if (strcmp(k->isa, "scalar") != 0) check_against_scalar(&p);
        if ((size_t)(set + form + training + (int)cell) % 2 == table % 2) check_bits(&p);
        check_infinite(p);
        if (form < 2) check_empty(p, zeros);
    }
    for (int set = ALONE; set <= ALL_PROJECTED; set++) {
        if (!combine(&p, cell, set, set % 2, true)) continue;
        set_shape(&p, k, LONG);
        check_against_scalar(&p);
    }
    check_noise(k, cell);
    check_threads(k, cell);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    check_comparison();
    check_effects(core_kernels_for("scalar", CRNN_F64));
    for (int cell = 0; cell < CRNN_CELLS; cell++) {
        if (!slow_runner()) check_all_gradients((crnn_cell)cell); /* in scalar code */
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k;
            for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++)
                check_table(k, (crnn_cell)cell, i + (size_t)d);
        }
    }
    return check_done();
}
