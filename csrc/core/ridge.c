/* Least squares over rows in blocks: a block is made zero, panel of columns by panel, by the
 * reflections of kernels/ridge.inc; nearly all of the time is spent in the products that apply
 * those of a panel to the columns behind it. */
#include <string.h>

#include "fpmode.h"
#include "kernels.h"

enum {
    STRIP = 96,  /* columns that a member multiplies at a time, so that they stay in a near cache */
    MEMBERS = 64 /* the most members of a team */
};

/* Where the parts of the workspace begin, in bytes, and how long the buffers of a member are. */
typedef struct ridge_layout {
    size_t v, v_t, t, members, member, packed, sums, bytes;
} ridge_layout;

crnn_status crnn_ridge_pitch(const crnn_ridge *ridge, size_t *pitch) {
    const size_t line = CRNN_ALIGN / sizeof(double);
    size_t wide;
    if (!crnn_size_add(ridge->features, ridge->outputs, &wide) ||
        !crnn_size_add(wide, 2 * line, &wide))
        return CRNN_OVERFLOW;
    /* An odd number of cache lines: rows a power of two apart would share few places of a cache. */
    *pitch = ((wide - line - 1) / line | 1) * line;
    return CRNN_OK;
}

/* How many strips there are behind the first panel, at most. */
static size_t strips_of(const crnn_ridge *ridge) {
    return (ridge->features + ridge->outputs) / STRIP + 1;
}

static crnn_status lay_out(const crnn_ridge *ridge, ridge_layout *at) {
    const size_t item = sizeof(double), strips = strips_of(ridge);
    const size_t wide = STRIP + TILE_VECS * ridge->kernels->width;
    core_measure m = {.fits = true}, own = {.fits = true};
    at->v = 0;
    core_measure_add(&m, CRNN_RIDGE_ROWS, REFLECT_COLUMNS, item);
    at->v_t = m.bytes;
    core_measure_add(&m, CRNN_RIDGE_ROWS, REFLECT_COLUMNS, item);
    at->t = m.bytes;
    core_measure_add(&m, REFLECT_COLUMNS, REFLECT_COLUMNS, item);
    at->members = m.bytes;
    core_measure_add(&own, CRNN_RIDGE_ROWS, wide, item);
    at->packed = own.bytes;
    core_measure_add(&own, REFLECT_COLUMNS, wide, item);
    at->sums = own.bytes;
    core_measure_add(&own, REFLECT_COLUMNS, STRIP, item);
    at->member = own.bytes;
    core_measure_add(&m, own.bytes, strips < MEMBERS ? strips : MEMBERS, 1);
    at->bytes = m.bytes;
    return m.fits && own.fits ? CRNN_OK : CRNN_OVERFLOW;
}

crnn_status crnn_ridge_workspace(const crnn_ridge *ridge, size_t *bytes) {
    ridge_layout at;
    size_t pitch;
    if (crnn_ridge_pitch(ridge, &pitch) != CRNN_OK || lay_out(ridge, &at) != CRNN_OK)
        return CRNN_OVERFLOW;
    *bytes = at.bytes;
    return CRNN_OK;
}

typedef struct ridge_job {
    const crnn_ridge *ridge;
    ridge_layout at;
    size_t n, first, pitch;
    double *block, *factor, *rest;
    char *workspace;
} ridge_job;

/* The reflections of columns from..from+columns-1: V [n][REFLECT_COLUMNS], its transpose, and -T^T.
 */
static void reflect_panel(const ridge_job *job, size_t from, size_t columns) {
    double *v = (double *)(job->workspace + job->at.v), *t = (double *)(job->workspace + job->at.t);
    double *v_t = (double *)(job->workspace + job->at.v_t);
    for (size_t i = 0; i < job->n; i++) {
        double *to = v + i * REFLECT_COLUMNS;
        memcpy(to, job->block + i * job->pitch + from, columns * sizeof *to);
        memset(to + columns, 0, (REFLECT_COLUMNS - columns) * sizeof *to);
    }
    job->ridge->kernels->reflect(job->n, columns, job->factor + from * job->pitch + from,
                                 job->pitch, v, t);
    for (size_t k = 0; k < columns; k++)
        for (size_t i = 0; i < job->n; i++) v_t[k * job->n + i] = v[i * REFLECT_COLUMNS + k];
}

/* Rows of a product: n of them, `inner` elements each; and where it begins and ends. */
typedef struct strip_rows {
    size_t n, inner;
    core_row_list a, begin, to;
} strip_rows;

/* to = begin + a W for a strip of `columns` columns of w, whose rows are w_step apart. */
static void multiply_strip(const crnn_kernels *k, const strip_rows *rows, size_t columns,
                           const double *w, size_t w_step, void *packed) {
    core_blocks blocks = core_dense_blocks(k, columns);
    core_matrix m;
    blocks.step = w_step;
    core_matrix_init(&m, CORE_PACKED, rows->inner, &blocks, packed);
    k->pack(&m, w, 0, m.columns.panels);
    const core_factor factor = {.matrix = &m, .rows = rows->a};
    const core_sum sum = {.columns = &m.columns,
                          .factors = 1,
                          .factor = &factor,
                          .begin = rows->begin.first ? &rows->begin : NULL,
                          .to = rows->to};
    k->sum(&sum, 0, rows->n);
}

/* Applies the reflections of a panel to columns from..to-1 of its rows of the factor, C, and of the
 * block, A: M = -T^T (C + V^T A), C += M, A += V M. */
static void reflect_strip(const ridge_job *job, size_t panel, size_t count, core_range columns,
                          const core_member *me) {
    const crnn_kernels *k = job->ridge->kernels;
    const size_t wide = columns.to - columns.from;
    char *own = job->workspace + job->at.members + me->part * job->at.member;
    double *sums = (double *)(own + job->at.sums), *c = job->factor + panel * job->pitch,
           *a = job->block + columns.from;
    const core_row_list in_sums = core_rows_at(sums, STRIP), in_block = core_rows_at(a, job->pitch);
    c += columns.from;
    const strip_rows gather = {.n = count,
                               .inner = job->n,
                               .a = core_rows_at(job->workspace + job->at.v_t, job->n),
                               .begin = core_rows_at(c, job->pitch),
                               .to = in_sums};
    multiply_strip(k, &gather, wide, a, job->pitch, own);
    const strip_rows combine = {.n = count,
                                .inner = count,
                                .a = core_rows_at(job->workspace + job->at.t, REFLECT_COLUMNS),
                                .to = in_sums};
    multiply_strip(k, &combine, wide, sums, STRIP, own + job->at.packed);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < wide; j++) c[i * job->pitch + j] += sums[i * STRIP + j];
    const strip_rows spread = {.n = job->n,
                               .inner = count,
                               .a = core_rows_at(job->workspace + job->at.v, REFLECT_COLUMNS),
                               .begin = in_block,
                               .to = in_block};
    multiply_strip(k, &spread, wide, sums, STRIP, own + job->at.packed);
}

/* The squares of the targets that are left of the rows, each sum in the order of the rows. */
static void add_rest(const ridge_job *job) {
    for (size_t i = 0; i < job->n; i++) {
        const double *left = job->block + i * job->pitch + job->ridge->features;
        for (size_t k = 0; k < job->ridge->outputs; k++) job->rest[k] += left[k] * left[k];
    }
}

/* Members share the columns behind a panel; the first one makes its reflections. */
static void add_part(void *context, const core_member *me) {
    const ridge_job *job = context;
    const size_t features = job->ridge->features, all = features + job->ridge->outputs;
    for (size_t from = job->first, to; from < features; from = to) {
        const size_t left = features - from;
        to = from + (left < REFLECT_COLUMNS ? left : REFLECT_COLUMNS);
        if (me->part == 0) reflect_panel(job, from, to - from);
        core_meet(me);
        const core_range own = core_share_blocks(all - to, STRIP, me);
        for (size_t at = to + own.from, end; at < to + own.to; at = end) {
            end = at + STRIP < to + own.to ? at + STRIP : to + own.to;
            reflect_strip(job, from, to - from, (core_range){at, end}, me);
        }
        core_meet(me);
    }
    if (me->part == 0) add_rest(job);
}

void crnn_ridge_add(const crnn_ridge *ridge, size_t n, size_t first, double *block, double *factor,
                    double *rest, void *workspace) {
    ridge_job job = {.ridge = ridge,
                     .n = n,
                     .first = first,
                     .block = block,
                     .factor = factor,
                     .rest = rest,
                     .workspace = workspace};
    const size_t features = ridge->features, strips = strips_of(ridge);
    const double wide = (double)(features - first);
    if (n == 0) return;
    lay_out(ridge, &job.at); /* fits: the caller has measured it */
    crnn_ridge_pitch(ridge, &job.pitch);
    core_in_team(2 * (double)n * wide * (wide / 2 + (double)ridge->outputs),
                 strips < MEMBERS ? strips : MEMBERS, add_part, &job);
}

/* ---- solution: with X = -W, row i of R W = Y is X_i = -(Y_i + the sum of R_ij X_j) / R_ii */

/* Rows from..to-1 of X, once the sums over the rows behind them are there. */
static void solve_rows(const double *factor, size_t pitch, size_t outputs, core_range rows,
                       double *x) {
    for (size_t i = rows.to; i-- > rows.from;) {
        const double *r = factor + i * pitch;
        double *to = x + i * outputs;
        for (size_t j = i + 1; j < rows.to; j++)
            for (size_t k = 0; k < outputs; k++) to[k] += r[j] * x[j * outputs + k];
        for (size_t k = 0; k < outputs; k++) to[k] /= -r[i];
    }
}

void crnn_ridge_solve(const crnn_ridge *ridge, const double *factor, double *w) {
    const size_t features = ridge->features, outputs = ridge->outputs;
    const core_fpmode caller = core_fpmode_enter(CORE_FLUSHING);
    size_t pitch = 0, count;
    crnn_ridge_pitch(ridge, &pitch);
    for (size_t to = features; to > 0; to -= count) {
        count = to < REFLECT_COLUMNS ? to : REFLECT_COLUMNS;
        const size_t from = to - count;
        const double *r = factor + from * pitch;
        const core_matrix m = core_dense_matrix(ridge->kernels, CORE_DIRECT, features - to, outputs,
                                                w + to * outputs);
        const core_factor behind = {.matrix = &m, .rows = core_rows_at(r + to, pitch)};
        const core_row_list targets = core_rows_at(r + features, pitch);
        const core_sum sum = {.columns = &m.columns,
                              .factors = 1,
                              .factor = &behind,
                              .begin = &targets,
                              .to = core_rows_at(w + from * outputs, outputs)};
        ridge->kernels->sum(&sum, 0, count);
        solve_rows(factor, pitch, outputs, (core_range){from, to}, w);
    }
    for (size_t i = 0; i < features * outputs; i++) w[i] = -w[i];
    core_fpmode_set(caller);
}
