/* Inside libcrnn: the shapes the kernels agree on, and the table of functions that each number type
 * and instruction set fills (isa/). V is the vector width of the table, in elements.
 *
 * Units are handled V at a time. A phase of a cell has `slots` sums for each unit; a panel is the
 * slots of `units` vectors of units side by side: slots * units <= TILE_VECS, so that a tile of
 * some rows times one panel lives in registers. The last panel may have fewer units. */
#ifndef CRNN_KERNELS_H
#define CRNN_KERNELS_H

#include "crnn.h"

enum { TILE_VECS = 4, MAX_SLOTS = 4, MAX_PHASES = 2 };

/* One phase of a cell in a layer of a given width. A slot range is where x (or h) adds to. */
typedef struct crnn_phase {
    size_t slots;
    size_t x_first, x_count, h_first, h_count;
    size_t x_gate[MAX_SLOTS], h_gate[MAX_SLOTS]; /* gate that feeds the slot; NO_GATE: none does */
    size_t packed;       /* where its packed forward weights begin, in elements */
    size_t panel_packed; /* elements of one full panel of them */
    size_t packed_h;     /* where its packed recurrent weights for backward begin */
    size_t gates; /* elements a tape row has before this phase: where its gates begin, per row */
} crnn_phase;

#define NO_GATE ((size_t)-1)

typedef struct crnn_shape {
    crnn_layer layer;
    crnn_layout at;
    const crnn_kernels *kernels;
    size_t width;      /* V */
    size_t vecs;       /* vectors of units: ceil(H / V) */
    size_t padded;     /* V * vecs: a row of h or c */
    size_t last_lanes; /* units in the last vector */
    size_t units;      /* vectors of units in a full panel, the same in every phase */
    size_t panels;
    size_t states, phases;
    crnn_phase phase[MAX_PHASES];
    size_t packed;             /* elements of all packed forward weights */
    size_t packed_h, packed_x; /* of the packed weights of backward: to h, to x */
    size_t x_slots;            /* slots fed by x, in all phases */
    size_t row_gates;          /* elements of the gates in one tape row */
} crnn_shape;

/* One call of forward, as the kernels see it. Pointers are to elements of the table's type. */
typedef struct crnn_forward_run {
    const crnn_shape *shape;
    const crnn_rows *rows;
    const void *packed;
    crnn_input in;
    crnn_seq y;
    bool keep;
    size_t gate_rows;    /* rows of each gate panel: N when kept, else B */
    void *gates;         /* [phases][panels][gate_rows][slots * units * V] */
    void *h, *c;         /* kept: [N][padded]; else two buffers [B][padded] in turn */
    void *h0, *c0;       /* [B][padded] initial state, in place order */
    void *operand;       /* [B][padded], where there are two phases */
    const void **x_rows; /* [B] scratch: the row of x at each place in this step, */
    int64_t *x_symbols;  /* [B] or its symbol */
    void **y_rows;       /* [B] scratch */
} crnn_forward_run;

typedef struct crnn_backward_run {
    const crnn_shape *shape;
    const crnn_rows *rows;
    crnn_input in;
    crnn_seq dy, dx;
    bool add_dx;
    const void *gates, *h, *c, *h0, *c0; /* the tape */
    void *dgates;                        /* like gates: the gradient of each sum */
    void *direct;              /* [B][padded] share of dh_{t-1} past the products; at first
                                  the gradient of the final h, at last of the initial h */
    void *dc;                  /* [B][padded] likewise for c */
    void *operand;             /* [N][padded], where there are two phases */
    void *dh_total, *dc_total; /* [N][padded] or NULL */
    void *packed_h, *packed_x; /* weights for the products to h and to x */
    void *grads;               /* flat */
    void *block;               /* [I + H + 2 tile_rows][block_rows] scratch */
    const void **dy_rows;      /* [B] scratch: the row of dy at each place in this step */
    const void **x_rows;       /* [N] the row of x at each tape row, */
    int64_t *symbol_of;        /* [N] or its symbol */
    void **dx_rows;            /* [N] */
} crnn_backward_run;

/* A dense product of rows, C = init + A B, B packed in panels of TILE_VECS vectors of columns. */
typedef struct crnn_product {
    size_t n, inner, columns;
    const void *a;    /* [n][inner] dense */
    const void *b;    /* packed */
    const void *init; /* [columns] or NULL: zeros */
    void *c;          /* [n][columns] dense */
} crnn_product;

/* C += A^T D over rows, last to first: the gradient of a dense map's weights. */
typedef struct crnn_outer {
    size_t n, inner, columns;
    const void *a; /* [n][inner] dense */
    const void *d; /* [n][columns] dense */
    void *c;       /* (inner, columns) dense */
    void *block;   /* [block_rows][inner rounded up to tiles] scratch */
} crnn_outer;

struct crnn_kernels {
    const char *isa;
    crnn_dtype dtype;
    size_t width;      /* V */
    size_t tile_rows;  /* rows of a tile */
    size_t block_rows; /* rows that a product over rows takes at a time */

    void (*pack_panel)(const crnn_shape *shape, size_t phase, size_t panel, const void *params,
                       void *packed);
    void (*pack_h)(const crnn_shape *shape, size_t phase, size_t panel, const void *params,
                   void *packed);
    void (*pack_x)(const crnn_shape *shape, size_t panel, const void *params, void *packed);
    /* rows [from, to) in place order, over all their steps */
    void (*forward)(const crnn_forward_run *run, size_t from, size_t to);
    void (*backward)(const crnn_backward_run *run, size_t from, size_t to);
    /* after backward of all rows: share `part` of `parts` of dW_x, dW_h, db; and of dx */
    void (*weight_grads)(const crnn_backward_run *run, size_t part, size_t parts);
    void (*input_grad)(const crnn_backward_run *run, size_t from, size_t to);
    void (*view_gate)(const crnn_shape *shape, const crnn_rows *rows, const void *gates,
                      size_t phase, size_t slot, bool raw, void *out);

    void (*pack_dense)(size_t inner, size_t columns, const void *w, void *packed);
    void (*pack_dense_transposed)(size_t inner, size_t columns, const void *w, void *packed);
    void (*product)(const crnn_product *p, size_t from, size_t to);
    void (*outer)(const crnn_outer *p, size_t part, size_t parts);
    /* table[index[i]] += d[i], i from last to first; index NULL: all go to row 0 */
    void (*add_rows)(size_t n, size_t columns, const int64_t *index, const void *d, void *table);

    double (*cross_entropy)(size_t n, size_t classes, const void *logits, const int64_t *targets,
                            double scale, void *dlogits);
    double (*squared_error)(size_t n, const void *y, const void *target, double scale, void *dy);
    double (*sum_squares)(size_t n, const void *g);
    void (*sgd)(const crnn_optim_step *s, double momentum, void *velocity);
    void (*rmsprop)(const crnn_optim_step *s, double alpha, double eps, void *square);
    void (*adam)(const crnn_optim_step *s, double beta1, double beta2, double eps, uint64_t step,
                 void *m, void *v);

    void (*exp)(size_t n, const void *x, void *y);
    void (*tanh)(size_t n, const void *x, void *y);
    void (*logistic)(size_t n, const void *x, void *y);
};

/* The table of a named instruction set, or NULL where it was not built or cannot run here. */
const crnn_kernels *crnn_kernels_for(const char *isa, crnn_dtype dtype);
crnn_status crnn_shape_init(crnn_shape *shape, const crnn_layer *layer,
                            const crnn_kernels *kernels);

/* ---- threads.c */

/* Runs task(context, 0) ... task(context, parts - 1), on the pool where parts > 1. Returns when all
 * have ended. Which thread runs a part changes nothing in what it computes. */
void crnn_parallel(size_t parts, void (*task)(void *context, size_t part), void *context);
/* How many parts a job of so many multiply-adds is worth. */
size_t crnn_parts(double multiply_adds, size_t at_most);

/* The phase and slot of the tape that show a gate; raw: kept as a sum. False: no such gate. */
bool crnn_find_gate(const crnn_layer *layer, char letter, size_t *phase, size_t *slot, bool *raw);

/* ---- sizes.c */

/* Adds up the bytes of buffers that lie one behind the other, each on a boundary of CRNN_ALIGN. */
typedef struct crnn_measure {
    size_t bytes;
    bool fits; /* true at first */
} crnn_measure;

void crnn_measure_add(crnn_measure *m, size_t a, size_t b, size_t c); /* a * b * c bytes */

#endif
