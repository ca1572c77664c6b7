/* The types of the one product (kernels/product.inc): columns, matrices, factors, sums, gradients.
 * kernels.h explains the words. */
#ifndef CRNN_PRODUCT_H
#define CRNN_PRODUCT_H

#include "crnn.h"

enum { TILE_VECS = 4, MAX_SLOTS = 4, MAX_PHASES = 2 };

/* ---- one product (kernels/product.inc): a sum of factors, each of them rows times a matrix
 *
 * Every element of a result is one chain of multiply-adds: what the sum begins with, then factor 0,
 * factor 1 and so on, each in ascending k. The chain does not depend on how rows and columns are
 * grouped, or on the kind of a matrix. */

/* The columns of a sum: `slots` blocks of them, such as the sums of a cell's gates; a dense sum has
 * one. A panel is `units` vectors of every block, side by side: slots * units <= TILE_VECS. Only
 * the last panel may be narrower. */
typedef struct core_columns {
    size_t wide;  /* columns of a block */
    size_t pitch; /* elements from a block to the next in a row of results: wide, or that rounded up
                     to V */
    size_t slots;
    size_t vecs, units; /* vectors of a block, and how many of them a full panel has */
    size_t panels;
} core_columns;

core_columns core_dense_columns(const crnn_kernels *kernels, size_t columns);

/* Columns of a matrix (inner, ...) in memory: slot i < count of a panel is of block block[i]. */
typedef struct core_blocks {
    core_columns columns;
    size_t count, block[MAX_SLOTS];
    size_t step; /* elements from one row of the matrix to the next */
} core_blocks;

core_blocks core_dense_blocks(const crnn_kernels *kernels, size_t columns);

/* The kinds of matrix; the functions of each are in a table of kernels/product.inc. */
typedef enum core_matrix_kind {
    CORE_PACKED, /* panel by panel, [rows][count * units * V] */
    CORE_TURNED, /* the transpose of a matrix in memory, packed likewise */
    CORE_DIRECT, /* as it lies in the caller's memory; not packed */
    CORE_MATRIX_KINDS
} core_matrix_kind;

/* Units of the blocks of a matrix that are left out where they are zero: see kernels/blocks.inc.
 * The same for every table: what is left out does not depend on V, as long as a vector is narrower.
 */
enum { BLOCK_UNITS = 16 };

/* Rows of a matrix: `rows` from `at` of run `run`, as a factor reads them. */
typedef struct core_block {
    uint32_t run, at, rows;
} core_block;

/* The blocks of a group of columns that are packed: how many, how many of BLOCK_UNITS rows the list
 * begins with, the rows of all; and where they begin, in elements of the packed data. */
typedef struct core_kept {
    uint32_t count, whole, rows;
    size_t at;
} core_kept;

/* What a packed matrix keeps. A group is some vectors of a slot of a panel. */
typedef struct core_skips {
    size_t runs, run;    /* the rows of the matrix: so many runs of so many */
    size_t groups, most; /* groups of a panel; blocks of a group */
    core_kept *kept;     /* [panels][groups]; written by `pack` alone, like */
    core_block *block;   /* [panels][groups][most] */
} core_skips;

/* A matrix for a sum with such columns. It adds to slots first..first+count-1 of them. A factor
 * reads rows skip..skip+inner-1 of all its rows. */
typedef struct core_matrix {
    core_matrix_kind kind;
    core_columns columns;
    size_t first, count;
    size_t inner, skip, rows;
    const void *data;        /* packed, or row 0 in memory; written by `pack` alone */
    core_blocks source;      /* how it lies in memory; where turned, how its transpose does */
    const core_skips *skips; /* where blocks of zeros are left out; or NULL */
} core_matrix;

/* All rows of (inner, blocks); `kind` is CORE_PACKED or CORE_DIRECT. */
void core_matrix_init(core_matrix *m, core_matrix_kind kind, size_t inner,
                      const core_blocks *blocks, const void *data);

/* The transpose of (columns, blocks): its rows are the columns of the blocks, panel by panel, slot
 * by slot, the last vector of each slot padded to V lanes where there is more than one slot, or
 * `padded` says so. */
core_matrix core_turned_matrix(const crnn_kernels *kernels, size_t columns,
                               const core_blocks *blocks, bool padded, const void *data);
/* The same where there is one block, dense: of (inner, columns), or for CORE_TURNED of its
 * transpose (columns, inner). */
core_matrix core_dense_matrix(const crnn_kernels *kernels, core_matrix_kind kind, size_t inner,
                              size_t columns, const void *data);

/* Rows of elements: row i begins at list[i], or at first + i * step where list is NULL. A NULL in
 * a list stands for a row that is not there. Rows of a sum's results may lie in panels instead:
 * panel after panel of [panel_rows][slots * units * V]. */
typedef struct core_row_list {
    const void *const *list;
    const void *first;
    size_t step;
    size_t panel_rows;  /* 0: not in panels; else row i is row `row` + i of each panel, */
    size_t row;         /* or row pick[i] where pick is not NULL */
    const size_t *pick; /* in [n] */
} core_row_list;

static inline core_row_list core_rows_at(const void *first, size_t step) {
    return (core_row_list){.first = first, .step = step};
}

/* Rows times a matrix; or rows of the matrix that are looked up; or, with neither rows nor index,
 * row 0 of the matrix in every row, as a bias. Where a row is not there, the factor adds nothing.
 */
typedef struct core_factor {
    const core_matrix *matrix;
    core_row_list rows;    /* in [n], each inner elements: */
    size_t runs, run, hop; /* side by side where runs is 0; else so many runs of `run` elements,
                              `hop` apart */
    const int64_t *index;  /* in [n], or NULL: the row of the matrix that is added; -1: none */
    bool finite;           /* no row has numbers that are infinite or NaN. False: not known */
} core_factor;

/* Row i of the results = what it begins with + factor 0 + factor 1 + ... Either all factors that
 * have rows are CORE_DIRECT, or none is; then begin and to are not in panels. */
typedef struct core_sum {
    const core_columns *columns; /* of the results; NULL: those of factor[0]'s matrix */
    size_t factors;
    const core_factor *factor;  /* in [factors] */
    const void *init;           /* in [slots * pitch]: what every row begins with; NULL: */
    const core_row_list *begin; /* in [n] what each row begins with; NULL: zeros */
    core_row_list to;           /* out [n][slots * pitch]; may be the rows of begin */
} core_sum;

/* The gradient of a factor's matrix: it gains A^T D, the chain of every element from the last row
 * to the first. factor->matrix is CORE_DIRECT and lies in the gradients. */
typedef struct core_outer {
    size_t n;
    const core_factor *factor; /* rows A, all there where D lies in panels; or an index */
    core_row_list d;           /* in [n][slots * pitch] */
    void *scratch; /* [core_outer_rows][block_rows]; not that of a product at the same time */
} core_outer;

#endif
