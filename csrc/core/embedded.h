/* Symbols that have vectors, in front of a recurrent layer: what a vector gives to the sums of the
 * gates is computed once for each symbol that occurs, and looked up at every step. Backward adds
 * the gradients of all steps of a symbol first. */
#ifndef CORE_EMBEDDED_H
#define CORE_EMBEDDED_H

#include "run.h"

typedef struct core_embedded {
    const crnn_kernels *kernels;
    const crnn_rows *rows;
    const int64_t *symbols;      /* [B][T] */
    const void *vectors;         /* [K][E] */
    const void *w;               /* (E, G*H): the first E rows of W_x, transposed */
    size_t count, size, columns; /* K, E, G*H */
    bool distinct;     /* each symbol has one row of products; else each step has its own */
    const void *ready; /* W, packed for many calls, or NULL */
    /* scratch: */
    size_t products;          /* S: rows of products */
    int64_t *index, *symbol;  /* [B][T] row of each step, [S] symbol of each row */
    int64_t *row_of;          /* [K] row of each symbol, -1: it does not occur */
    const void **row;         /* [S] its vector */
    void *product, *packed;   /* [S][G*H]; W, packed, or of backward its transpose */
    void *dvectors, *scratch; /* of backward: [S][E]; of the product to W */
} core_embedded;

void core_lay_embedded(core_embedded *e, bool back, core_arena *a);
/* Finds the symbols that occur. */
void core_open_embedded(core_embedded *e, bool back);
/* Products; a task of a team, which meets inside. */
void core_run_embedded(const core_embedded *e, const core_member *me);
/* From the gradient of the products to dw (E, G*H) and dvectors [K][E], both added to, or NULL
 * where it is not wanted; likewise. */
void core_embedded_back(const core_embedded *e, void *dw, void *dvectors, const core_member *me);
/* Memory on the arena for what many calls share, and, where it has memory, the content: products of
 * all symbols [K][G*H] where these are few, else W, packed. */
void *core_pack_embedded(const core_embedded *e, core_arena *a);
bool core_has_few_symbols(const core_embedded *e);
double core_embedded_work(const core_embedded *e);

#endif
