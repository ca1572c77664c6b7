/* A sum as a node of a plan: a dense map, an embedding, a convolution with an edge for each tap. */
#include <string.h>

#include "plan.h"

/* Rows of the matrix of edge k. */
static size_t inner_of(const core_node *n, size_t k) {
    const size_t features = core_read(n, k)->features;
    return features ? features : n->given->as.sum.symbols;
}

static bool is_lookup(const core_node *n, size_t k) { return core_read(n, k)->features == 0; }

/* Where the matrix of edge k lies in w or dw. */
static void *matrix_at(const core_node *n, size_t k, const void *w) {
    size_t row = 0;
    for (size_t i = 0; i < k; i++) row += inner_of(n, i);
    return core_row_of(w, row, n->given->features, core_item(n));
}

static double work(const core_node *n) {
    double inner = 0;
    for (size_t k = 0; k < n->given->edges; k++)
        inner += is_lookup(n, k) ? 1 : (double)inner_of(n, k);
    return inner * (double)n->given->features;
}

/* ---- forward */

/* The matrix of edge k, packed to `data`; as it lies in memory where that is NULL. */
static core_matrix matrix_of(const core_node *n, size_t k, void *data) {
    const void *w = data ? data : matrix_at(n, k, n->given->as.sum.w);
    return core_dense_matrix(n->plan->given->kernels, data ? CORE_PACKED : CORE_DIRECT,
                             inner_of(n, k), n->given->features, w);
}

/* How a call reads the matrices whose rows are not looked up: all of them in one way. */
static core_matrix_kind kind_of(const core_node *n) {
    const crnn_rows *rows = n->plan->given->rows;
    const double steps = n->cyclic ? (double)rows->given.steps : 1;
    size_t inner = 0;
    for (size_t k = 0; k < n->given->edges; k++) inner += is_lookup(n, k) ? 0 : inner_of(n, k);
    return core_choose_kind(n->plan->given->kernels, inner, n->given->features,
                            (double)n->cells->n / steps, steps);
}

/* Memory for the packed matrix of edge k; NULL where its rows are looked up. */
static void *take_matrix(const core_node *n, size_t k, core_arena *a) {
    if (is_lookup(n, k)) return NULL;
    return core_take_packed(n->plan->given->kernels, inner_of(n, k), n->given->features, a);
}

static void packed(core_node *n, core_arena *a, size_t *place) {
    place[0] = a->used.bytes;
    for (size_t k = 0; k < n->given->edges; k++) {
        void *data = take_matrix(n, k, a);
        if (!data) continue;
        const core_matrix m = matrix_of(n, k, data);
        n->plan->given->kernels->pack(&m, matrix_at(n, k, n->given->as.sum.w), 0, m.columns.panels);
    }
}

/* The rows that edge k reads lie in x from here on. */
static size_t rows_of_edge(const core_node *n, size_t k) { return k * n->cells->n; }

/* What both passes need: rows of x and of the value, or of its gradient. */
static void lay_rows(core_node *n, core_arena *a) {
    const size_t edges = n->given->edges, cells = n->cells->n;
    n->as.sum.matrix = core_take(a, edges, 1, sizeof(core_matrix));
    n->as.sum.factor = core_take(a, edges, 1, sizeof(core_factor));
    n->as.sum.x = core_take(a, edges, cells, sizeof(void *));
    n->as.sum.value = core_take(a, cells, 1, sizeof(void *));
    n->as.sum.symbols = core_take(a, cells, 1, sizeof(int64_t));
}

static void lay(core_node *n, core_arena *a) {
    core_arena packed = core_arena_at((void *)n->plan->given->packed);
    if (n->packed_at) packed.used.bytes = n->packed_at[0];
    lay_rows(n, a);
    const bool direct = !n->packed_at && kind_of(n) == CORE_DIRECT;
    for (size_t k = 0; k < n->given->edges; k++) {
        void *data = direct ? NULL : take_matrix(n, k, n->packed_at ? &packed : a);
        if (n->as.sum.matrix) n->as.sum.matrix[k] = matrix_of(n, k, data);
    }
}

/* Factor k: the rows that its edge reads, times a matrix. */
static core_factor factor_of(const core_node *n, size_t k, const core_matrix *matrix) {
    if (is_lookup(n, k)) return (core_factor){.matrix = matrix, .index = n->as.sum.symbols};
    return (core_factor){.matrix = matrix, .rows = {.list = n->as.sum.x + rows_of_edge(n, k)}};
}

static void open(core_node *n) {
    for (size_t k = 0; k < n->given->edges; k++)
        n->as.sum.factor[k] = factor_of(n, k, &n->as.sum.matrix[k]);
}

/* Lists the rows of a member's share of cells; `value` is the value or its gradient. */
static void list_rows(const core_node *n, const crnn_seq *value, const core_member *me) {
    const size_t steps = n->plan->given->rows->given.steps;
    const core_range own = core_share(n->cells->n, me);
    for (size_t c = own.from; c < own.to; c++) {
        const size_t row = n->cells->row[c], t = n->cells->time[c];
        n->as.sum.value[c] = crnn_seq_at(value, row, t, core_item(n));
        for (size_t k = 0; k < n->given->edges; k++) {
            if (is_lookup(n, k))
                n->as.sum.symbols[c] = core_read(n, k)->symbols[row * steps + t];
            else
                n->as.sum.x[rows_of_edge(n, k) + c] = core_input_row(n, k, row, t);
        }
    }
}

/* A member's share of the panels of all matrices. */
static void pack_part(const core_node *n, const void *w, const core_member *me) {
    for (size_t k = 0; k < n->given->edges; k++) {
        const core_matrix *m = &n->as.sum.matrix[k];
        const core_range own = core_share(m->columns.panels, me);
        if (m->kind != CORE_DIRECT)
            n->plan->given->kernels->pack(m, matrix_at(n, k, w), own.from, own.to);
    }
}

static void pack(const core_node *n, const core_member *me) {
    list_rows(n, &n->given->value, me);
    if (!n->plan->given->packed) pack_part(n, n->given->as.sum.w, me);
}

static void cells(const core_node *n, size_t from, size_t to) {
    const core_sum sum = {.factors = n->given->edges,
                          .factor = n->as.sum.factor,
                          .init = n->given->as.sum.b,
                          .to = {.list = n->as.sum.value}};
    n->plan->given->kernels->sum(&sum, from, to);
}

/* ---- backward */

static void lay_back(core_node *n, core_arena *a) {
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t features = n->given->features;
    size_t most = 0;
    lay_rows(n, a);
    n->as.sum.dx = core_take(a, n->cells->n, 1, sizeof(void *));
    for (size_t k = 0; k < n->given->edges; k++) {
        const size_t inner = inner_of(n, k);
        void *data = is_lookup(n, k) ? NULL : core_take_packed(kernels, features, inner, a);
        if (!is_lookup(n, k) && inner > most) most = inner;
        if (n->as.sum.matrix)
            n->as.sum.matrix[k] =
                data ? core_dense_matrix(kernels, CORE_TURNED, features, inner, data)
                     : matrix_of(n, k, NULL);
    }
    if (n->given->as.sum.dw || n->given->as.sum.db)
        n->as.sum.scratch =
            core_take(a, core_outer_rows(kernels, most), kernels->block_rows, core_item(n));
}

static void pack_back(const core_node *n, const core_member *me) {
    list_rows(n, &n->given->gradient, me);
    pack_part(n, n->given->as.sum.w, me);
}

static void cells_back(const core_node *n, size_t k, size_t from, size_t to) {
    const core_factor factor = {.matrix = &n->as.sum.matrix[k], .rows = {.list = n->as.sum.value}};
    const core_sum sum = {
        .factors = 1, .factor = &factor, .to = {.list = (const void *const *)n->as.sum.dx}};
    for (size_t c = from; c < to; c++)
        n->as.sum.dx[c] = crnn_seq_at(&n->to[k], n->cells->row[c], n->cells->time[c], core_item(n));
    n->plan->given->kernels->sum(&sum, from, to);
}

/* A matrix of gradients gains the product of a factor's rows and those of the gradient. */
static void add_product(const core_node *n, core_factor factor, size_t inner, void *gradient,
                        const core_window *w, const core_member *me) {
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_matrix matrix =
        core_dense_matrix(kernels, CORE_DIRECT, inner, n->given->features, gradient);
    factor.matrix = &matrix;
    if (factor.rows.list) factor.rows.list += w->row;
    if (factor.index) factor.index += w->row;
    const core_outer outer = {.n = w->rows,
                              .factor = &factor,
                              .d = {.list = n->as.sum.value + w->row},
                              .scratch = n->as.sum.scratch};
    kernels->outer(&outer, me);
}

static void grads(const core_node *n, const core_window *w, const core_member *me) {
    const crnn_sum *s = &n->given->as.sum;
    for (size_t k = 0; s->dw && k < n->given->edges; k++)
        add_product(n, factor_of(n, k, NULL), inner_of(n, k), matrix_at(n, k, s->dw), w, me);
    if (s->db) add_product(n, (core_factor){0}, 1, s->db, w, me);
}

const core_op core_op_sum = {.work = work,
                             .packed = packed,
                             .lay = lay,
                             .open = open,
                             .pack = pack,
                             .cells = cells,
                             .lay_back = lay_back,
                             .pack_back = pack_back,
                             .cells_back = cells_back,
                             .grads = grads};
