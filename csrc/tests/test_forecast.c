/* Sample paths: they are those of a plain loop over paths and steps, whose layer reads all inputs
 * at each step; and it matters neither how paths are shared out among parts and threads, nor how
 * many steps are taken at once, nor whether the inputs that paths share are multiplied once. */
#include "repeated.h"

enum { SERIES = 3, SAMPLES = 4, PATHS = SERIES * SAMPLES, STEPS = 6, FIXED = 2 };
enum { MOST_LAGS = 4, PARTS = 5, SEED = 7 };

typedef struct model {
    network net;
    crnn_paths paths; /* without `paths` */
} model;

static const double scales[SERIES] = {0.5, 3, 40};
static const uint64_t names[SERIES] = {11, 5, UINT64_MAX};

/* Numbers that were drawn are read by none, some or all of the lags. */
static const int64_t lags[][MOST_LAGS] = {{1}, {9, 6, 5, 2}, {STEPS}, {4, 3, 2, 1}};
static const size_t lag_counts[] = {1, MOST_LAGS, 1, MOST_LAGS};

static void init_model(model *m, const crnn_kernels *kernels, crnn_cell cell, size_t hidden,
                       crnn_likelihood likelihood, size_t which, bool indicators) {
    const crnn_dtype d = kernels->dtype;
    const size_t P = crnn_likelihood_parameters(likelihood);
    const size_t features = FIXED + lag_counts[which] * (indicators ? 2 : 1);
    init_network(&m->net, kernels, cell, features, hidden, P);
    m->paths = (crnn_paths){.likelihood = likelihood,
                            .samples = SAMPLES,
                            .steps = STEPS,
                            .gap = which % 2,
                            .lags = lag_counts[which],
                            .lag = lags[which],
                            .indicators = indicators,
                            .x = {sampled(d, 4, SERIES * STEPS * features),
                                  (ptrdiff_t)(STEPS * features), (ptrdiff_t)features},
                            .scales = scales,
                            .seed = SEED,
                            .series = names};
}

/* A plan of one step, that begins with a state of zeros. */
static void make_step(planned *p, const model *m, size_t batch) {
    const size_t state = batch * m->net.hidden * m->net.item;
    make_plan(p, &m->net, batch, 1, (crnn_state){zeros(state), zeros(state)});
}

/* ---- the plain loop */

static void set(const model *m, void *row, size_t at, double number) {
    if (m->net.kernels->dtype == CRNN_F32)
        ((float *)row)[at] = (float)number;
    else
        ((double *)row)[at] = number;
}

static void read_plainly(const model *m, void *row, size_t i, size_t t, const double *drawn) {
    const crnn_paths *p = &m->paths;
    memcpy(row, crnn_seq_at(&p->x, i, t, m->net.item), m->net.features * m->net.item);
    for (size_t k = 0; k < p->lags; k++) {
        if ((size_t)p->lag[k] > t) continue;
        set(m, row, m->net.features - p->lags + k, drawn[t - (size_t)p->lag[k]] / scales[i]);
        if (p->indicators) set(m, row, m->net.features - 2 * p->lags + k, 1);
    }
}

static double draw_plainly(const model *m, const void *y, size_t path, size_t t) {
    double outputs[CRNN_MOST_PARAMETERS] = {0};
    uint32_t key[2];
    for (size_t k = 0; k < crnn_likelihood_parameters(m->paths.likelihood); k++)
        outputs[k] = m->net.kernels->dtype == CRNN_F32 ? (double)((const float *)y)[k]
                                                       : ((const double *)y)[k];
    crnn_draw_key(SEED, names[path / SAMPLES], key);
    return crnn_draw(m->paths.likelihood, outputs, scales[path / SAMPLES], key,
                     (uint32_t)(path % SAMPLES), (uint32_t)t);
}

static float *run_plainly(const model *m) {
    const size_t kept = STEPS - m->paths.gap;
    float *paths = fenced(PATHS * kept * sizeof *paths);
    for (size_t path = 0; path < PATHS; path++) {
        double drawn[STEPS];
        planned p;
        make_step(&p, m, 1);
        for (size_t t = 0; t < STEPS; t++) {
            read_plainly(m, p.node[0].value.data, path / SAMPLES, t, drawn);
            crnn_plan_forward(&p.plan);
            drawn[t] = draw_plainly(m, p.node[2].value.data, path, t);
            if (t >= m->paths.gap) paths[path * kept + t - m->paths.gap] = (float)drawn[t];
        }
    }
    return paths;
}

/* ---- parts */

static void open_part(const model *m, planned *p, crnn_forecast *part, const crnn_paths *paths,
                      size_t first, size_t rows) {
    size_t bytes;
    make_step(p, m, rows);
    *part = (crnn_forecast){
        .paths = paths, .first = first, .plan = &p->plan, .node = p->node, .finite = true};
    CHECK(crnn_forecast_scratch(part, &bytes) == CRNN_OK, "scratch");
    part->scratch = fenced(bytes);
}

static float *run_parts(const model *m, size_t parts, size_t at_once, crnn_forecast *part) {
    static planned p[PARTS];
    crnn_paths paths = m->paths;
    paths.paths = fenced(PATHS * (STEPS - paths.gap) * sizeof *paths.paths);
    for (size_t i = 0, first = 0; i < parts; i++) {
        const size_t rows = PATHS / parts + (i < PATHS % parts);
        open_part(m, &p[i], &part[i], &paths, first, rows);
        first += rows;
    }
    for (size_t t = 0; t < STEPS; t += at_once)
        crnn_sample_paths(part, parts, STEPS - t < at_once ? STEPS - t : at_once);
    for (size_t i = 0; i < parts; i++) CHECK(part[i].step == STEPS, "step %zu", part[i].step);
    return paths.paths;
}

static void check_model(model *m) {
    crnn_forecast part[PARTS];
    const size_t bytes = PATHS * (STEPS - m->paths.gap) * sizeof(float);
    const float *expected = run_plainly(m);
    for (size_t packs = 0; packs < 2; packs++) {
        m->net.packed = packs ? pack(&m->net) : NULL;
        for (size_t threads = 1; threads <= 2; threads++) {
            crnn_set_threads(threads);
            for (size_t parts = 1; parts <= PARTS; parts += 2) {
                const float *found = run_parts(m, parts, parts, part);
                CHECK(memcmp(found, expected, bytes) == 0, "%s %s, %zu lags, %zu parts, packed %zu",
                      m->net.kernels->isa, crnn_cell_describe(m->net.layer.cell)->name,
                      m->paths.lags, parts, packs);
                for (size_t i = 0; i < parts; i++) CHECK(part[i].finite, "part %zu", i);
            }
        }
        crnn_set_threads(1);
    }
}

static void check_cell(const crnn_kernels *kernels, crnn_cell cell) {
    const size_t widths[] = {3, kernels->width + 1};
    for (size_t i = 0; i < 2; i++) {
        for (size_t which = 0; which < sizeof lag_counts / sizeof *lag_counts; which++) {
            const size_t mark = fences_used;
            model m;
            init_model(&m, kernels, cell, widths[i],
                       (crnn_likelihood)((which + i) % CRNN_LIKELIHOODS), which, (which + i) % 2);
            check_model(&m);
            fences_release(mark);
        }
    }
}

/* Of a path whose number is not finite the first step is told, of several paths the first one. */
static void check_bad(const crnn_kernels *kernels) {
    const size_t mark = fences_used;
    crnn_forecast part[PARTS];
    model m;
    init_model(&m, kernels, CRNN_GRU_AFTER, 5, CRNN_GAUSSIAN, 0, false);
    m.net.packed = pack(&m.net);
    for (size_t i = 1; i < SERIES; i++) /* series 2 at step 1, series 1 at step 3 */
        set(&m, m.paths.x.data, (i * STEPS + (i == 1 ? 3 : 1)) * m.net.features, NAN);
    run_parts(&m, 1, 2, part);
    CHECK(!part[0].finite && part[0].bad == SAMPLES && part[0].when == 3, "path %zu, step %zu",
          part[0].bad, part[0].when);
    run_parts(&m, SERIES, STEPS, part);
    CHECK(part[0].finite && !part[1].finite && part[1].when == 3 && part[2].when == 1, "parts");
    fences_release(mark);
}

/* Enough work for a team. */
static void check_teams(const crnn_kernels *kernels) {
    const size_t mark = fences_used;
    model m;
    init_model(&m, kernels, CRNN_LSTM, 300, CRNN_STUDENT_T, 1, true);
    check_model(&m);
    fences_release(mark);
}

int main(void) {
    check_deadline(240);
    crnn_set_threads(1);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *kernels;
        for (size_t i = 0; (kernels = table_at(i, (crnn_dtype)d)); i++) {
            for (int cell = 0; cell < CRNN_CELLS; cell++) check_cell(kernels, (crnn_cell)cell);
            check_bad(kernels);
            check_teams(kernels);
        }
    }
    return check_done();
}
