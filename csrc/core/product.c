/* Descriptions of matrices for the product of kernels/product.inc. */
#include "kernels.h"

core_columns core_dense_columns(const crnn_kernels *kernels, size_t columns) {
    const size_t vecs = columns / kernels->width + (columns % kernels->width != 0);
    return (core_columns){.wide = columns,
                          .pitch = columns,
                          .slots = 1,
                          .vecs = vecs,
                          .units = TILE_VECS,
                          .panels = (vecs + TILE_VECS - 1) / TILE_VECS};
}

core_blocks core_dense_blocks(const crnn_kernels *kernels, size_t columns) {
    return (core_blocks){
        .columns = core_dense_columns(kernels, columns), .count = 1, .step = columns};
}

/* Field by field: a copy of a struct waits until the smaller stores that made it are done. */
void core_matrix_init(core_matrix *m, core_matrix_kind kind, size_t inner,
                      const core_blocks *blocks, const void *data) {
    m->kind = kind;
    m->columns = blocks->columns;
    m->first = m->skip = 0;
    m->count = blocks->count;
    m->inner = m->rows = inner;
    m->data = data;
    m->source = *blocks;
    m->skips = NULL;
}

core_matrix core_turned_matrix(const crnn_kernels *kernels, size_t columns,
                               const core_blocks *blocks, bool padded, const void *data) {
    const size_t lanes = padded ? blocks->columns.vecs * kernels->width : blocks->columns.wide;
    return (core_matrix){.kind = CORE_TURNED,
                         .columns = core_dense_columns(kernels, columns),
                         .count = 1,
                         .inner = blocks->count * lanes,
                         .rows = blocks->count * lanes,
                         .data = data,
                         .source = *blocks};
}

core_matrix core_dense_matrix(const crnn_kernels *kernels, core_matrix_kind kind, size_t inner,
                              size_t columns, const void *data) {
    const core_blocks blocks = core_dense_blocks(kernels, kind == CORE_TURNED ? inner : columns);
    core_matrix m;
    if (kind == CORE_TURNED) return core_turned_matrix(kernels, columns, &blocks, false, data);
    core_matrix_init(&m, kind, inner, &blocks, data);
    return m;
}

/* The least integer that is not below x >= 0. */
static double whole(double x) {
    const double below = (double)(size_t)x;
    return below < x ? below + 1 : below;
}

double core_tiles(const crnn_kernels *k, double rows) { return whole(rows / (double)k->tile_rows); }

double core_packed_cost(const crnn_kernels *k, double rows) {
    return core_tiles(k, rows) * k->costs.packed_begin + rows * k->costs.packed;
}

double core_direct_cost(const crnn_kernels *k, double rows) {
    return whole(rows / DIRECT_ROWS) * k->costs.direct_begin + rows * k->costs.direct;
}

/* Measured. A narrow matrix is slow to read as it lies, because each number of x is broadcast for
 * few vectors; and so is one whose results leave the L1 cache. A tile of results is begun and
 * stored, which is a part of what a factor costs. */
static const double NARROW = 1.5, NEAR_BYTES = 1 << 16, FAR = 1.2, TILE = 0.7;

core_matrix_kind core_choose_kind(const crnn_kernels *k, size_t inner, size_t columns, double rows,
                                  double steps) {
    const core_costs *c = &k->costs;
    const double wide = (double)columns, bytes = rows * wide * (double)crnn_dtype_size(k->dtype);
    const double direct = core_direct_cost(k, rows) * (1 + NARROW * (double)k->width / wide) *
                          (bytes > NEAR_BYTES ? FAR : 1);
    const double packed = core_packed_cost(k, rows) +
                          TILE * c->factor * core_tiles(k, rows) / (double)(inner ? inner : 1);
    return steps * direct < c->pack + steps * packed ? CORE_DIRECT : CORE_PACKED;
}

core_matrix core_pack_dense(const crnn_kernels *kernels, core_matrix_kind kind, size_t inner,
                            size_t columns, const void *w, void *packed, const core_member *me) {
    const bool direct = kind == CORE_DIRECT;
    const core_matrix m = core_dense_matrix(kernels, kind, inner, columns, direct ? w : packed);
    const core_range own = core_share(m.columns.panels, me);
    if (!direct) kernels->pack(&m, w, own.from, own.to);
    return m;
}

void core_multiply(const crnn_kernels *kernels, const core_matrix *matrix, const void *a,
                   const void *init, void *c, size_t from, size_t to) {
    const core_factor factor = {.matrix = matrix, .rows = core_rows_at(a, matrix->inner)};
    const core_sum sum = {.columns = &matrix->columns,
                          .factors = 1,
                          .factor = &factor,
                          .init = init,
                          .to = core_rows_at(c, matrix->columns.wide)};
    kernels->sum(&sum, from, to);
}
