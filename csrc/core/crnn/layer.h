/* A recurrent layer: its cell, its sizes and options, and the layout of its parameters. */
#ifndef CRNN_LAYER_H
#define CRNN_LAYER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The equations of a layer. */
typedef enum crnn_cell {
    CRNN_RNN_TANH = 0,
    CRNN_RNN_RELU = 1,
    CRNN_LSTM = 2,
    CRNN_LSTM_COUPLED = 3, /* f = 1 - i */
    CRNN_GRU_AFTER = 4,    /* The reset gate multiplies W_h h + b_h. */
    CRNN_GRU_BEFORE = 5,   /* The reset gate multiplies h, before the product with W_h. */
    CRNN_JANET = 6,
    CRNN_MIN_GRU = 7, /* This and the next one have no W_h. */
    CRNN_MIN_LSTM = 8,
    CRNN_CELLS = 9 /* How many cells there are. */
} crnn_cell;

/* A function of one number. */
typedef enum crnn_activation {
    CRNN_USUAL = 0, /* That of the cell's equations: logistic for gates; crnn_cell_facts. */
    CRNN_TANH = 1,
    CRNN_LOGISTIC = 2,
    CRNN_HARD_SIGMOID = 3, /* max(0, min(1, 0.2 s + 0.5)) */
    CRNN_RELU = 4,
    CRNN_SOFTSIGN = 5, /* s / (1 + |s|) */
    CRNN_IDENTITY = 6,
    CRNN_ACTIVATIONS = 7, /* How many a recurrent layer may have. */
    /* Others of rowwise operations, whose slope is no function of their value: */
    CRNN_GELU = 7,                /* s logistic(2 sqrt(2 / pi) (s + 0.044715 s^3)) */
    CRNN_GELU_EXACT = 8,          /* s Phi(s), with the distribution function of the normal law */
    CRNN_SILU = 9,                /* s logistic(s) */
    CRNN_ROWWISE_ACTIVATIONS = 10 /* How many there are. */
} crnn_activation;

enum {
    CRNN_DELAYS = 16,            /* The most delays that a layer may have, */
    CRNN_LONGEST_DELAY = 1048576 /* and the longest that the module accepts: a state has so many. */
};

/* A layer: sizes and options, without parameters. A field that is 0 turns its option off, so a
 * program sets cell, dtype, inputs and hidden, and the options that it wants. */
typedef struct crnn_layer {
    crnn_cell cell;
    crnn_dtype dtype;
    size_t inputs;        /* I, at least 1. */
    size_t hidden;        /* H, at least 1. */
    size_t projected;     /* P, where h is W_p times the output of the cell. 0: h is the output. */
    bool bias;            /* The sums have biases. */
    bool reverse;         /* Each row is read from its last step to its first. */
    bool learns_state;    /* The initial state is a parameter. */
    bool layer_norm;      /* The sums, and c' before its activation, are normalised. */
    bool peepholes;       /* The gates read c. For cells that have c. */
    crnn_activation gate; /* Of the gates. */
    crnn_activation candidate; /* Of the candidate. */
    crnn_activation output;    /* Of c', where h is computed from it. */
    double beta;               /* For JANET: what the input gate subtracts from the sum. */
    double clip;               /* Each complete sum is limited to -clip ... clip. 0: no limit. */
    double recurrent_dropout;  /* Probability that a unit of h is dropped where products read it. */
    double weight_drop;        /* Probability that an element of W_h is dropped in a call. */
    double zoneout_h;          /* Probability that a unit of h keeps its value. */
    double zoneout_c;          /* Probability that a unit of c keeps its value. */
    bool leaks;       /* h' is a mean of h and the output of the cell: (1 - a) o h + a o output,
                         with a of CRNN_LEAK. For CRNN_RNN_TANH and CRNN_RNN_RELU. */
    bool learns_leak; /* CRNN_LEAK is a parameter. Only read where the layer leaks. */
    double noise;     /* In training, numbers that are uniform in (-noise, noise) are added to the
                         sums. For CRNN_RNN_TANH and CRNN_RNN_RELU. */
    size_t delays[CRNN_DELAYS]; /* The earlier steps whose h is multiplied by W_h, as numbers of
                                   steps: all different, the first 0 ends them. None: 1. The state
                                   that a cell keeps, c and h beside the products, is that of the
                                   shortest. */
} crnn_layer;

/* Returns K, the number of delays, at least 1. */
static inline size_t crnn_delay_count(const crnn_layer *layer) {
    size_t count = 0;
    while (count < CRNN_DELAYS && layer->delays[count]) count++;
    return count ? count : 1;
}

/* Returns delay k < K. */
static inline size_t crnn_delay(const crnn_layer *layer, size_t k) {
    return layer->delays[k] ? layer->delays[k] : 1;
}

/* Returns D, the longest delay: a state of the layer is that of its last D steps. */
static inline size_t crnn_longest_delay(const crnn_layer *layer) {
    size_t longest = crnn_delay(layer, 0);
    for (size_t k = 1; k < CRNN_DELAYS && layer->delays[k]; k++)
        if (layer->delays[k] > longest) longest = layer->delays[k];
    return longest;
}

/* Returns the stride of rows (crnn_steps) that are cut into strands for a layer: its delay, or 1 if
 * it has several. A layer also runs over rows without strands, with the same bits of all values but
 * the gradients of parameters. */
static inline size_t crnn_stride(const crnn_layer *layer) {
    return layer->delays[1] ? 1 : crnn_delay(layer, 0);
}

/* Returns whether two layers are the same in every field. */
CRNN_API bool crnn_layer_same(const crnn_layer *a, const crnn_layer *b);

/* Returns P, the width of h. */
static inline size_t crnn_width(const crnn_layer *layer) {
    return layer->projected ? layer->projected : layer->hidden;
}

/* Returns the number of rows of W_h transposed: K*P, or 0 if the cell does not multiply h. */
CRNN_API size_t crnn_reads(const crnn_layer *layer);

/* What follows the matrix of crnn_layout, in this order: other parameters, then a fixed leak. */
typedef enum crnn_extra {
    CRNN_B_H = 0,    /* (H,) The bias of a recurrent sum that is kept separate. */
    CRNN_P_I = 1,    /* (H,) Peepholes of the input gate. */
    CRNN_P_F = 2,    /* (H,) Peepholes of the forget gate. */
    CRNN_P_O = 3,    /* (H,) Peepholes of the output gate. */
    CRNN_GAIN_X = 4, /* (G*H,) Gains of normalised sums of x. */
    CRNN_GAIN_H = 5, /* (G*H,) Gains of normalised sums of h. */
    CRNN_GAIN_C = 6, /* (H,) Gain of the normalised c'. */
    CRNN_B_C = 7,    /* (H,) Bias of the normalised c'. */
    CRNN_W_P = 8,    /* (H, P) The projection, transposed. */
    CRNN_H0 = 9,     /* (D, P) The learned initial h, the oldest first. */
    CRNN_C0 = 10,    /* (D, H) The learned initial c. */
    CRNN_LEAK = 11,  /* (H,) The leak: a, 0 < a <= 1, which is no parameter; where it is learned, l,
                        with a = logistic(l). */
    CRNN_EXTRAS = 12 /* How many there are. */
} crnn_extra;

/* Where each parameter lies in the flat buffer of a layer, in elements. The buffer begins with one
 * matrix of G*H columns, gate after gate: row 0 is b (if the layer has biases), I rows are W_x
 * transposed, and P rows for each delay are W_h transposed, if the cell multiplies h. The extra
 * parameters follow. A leak that is not learned lies behind all parameters. Backward does not write
 * its place in a buffer of gradients, and an optimizer step must not change it. */
typedef struct crnn_layout {
    size_t b;                       /* b (G*H,) begins here. */
    size_t w_x;                     /* W_x transposed (I, G*H) begins here. */
    size_t w_h;                     /* W_h transposed (K*P, G*H), if there is one, begins here. */
    size_t b_size;                  /* G*H, or 0 without biases. */
    size_t columns;                 /* G*H. */
    size_t extra[CRNN_EXTRAS];      /* Each extra parameter begins here. */
    size_t extra_size[CRNN_EXTRAS]; /* Its elements; 0 if the layer does not have it. */
    size_t total;                   /* Elements of the whole buffer. */
    size_t learned;                 /* Elements of it that are parameters, the first ones. */
} crnn_layout;

/* Writes the layout of the parameters of a layer. */
CRNN_API crnn_status crnn_layer_layout(const crnn_layer *layer, crnn_layout *layout);

/* What a program can ask about a cell. The strings are static. */
typedef struct crnn_cell_facts {
    const char *name;
    const char *gates;         /* A letter for each gate, in the order of their H columns. */
    size_t states;             /* 1: h. 2: h and c. */
    bool activated;            /* The activation of its gates can be chosen. */
    crnn_activation candidate; /* The activation of its candidate where a layer chooses none;
                                  CRNN_USUAL: it cannot be chosen. */
    bool multiplies_h;         /* Its sums have products with W_h; else a layer has no W_h. */
} crnn_cell_facts;

/* Returns the facts of a cell. They are static. */
CRNN_API const crnn_cell_facts *crnn_cell_describe(crnn_cell cell);
/* Returns the letter of the gate whose recurrent sum has a bias of its own (CRNN_B_H), or 0. */
CRNN_API char crnn_cell_b_h(crnn_cell cell);
/* Returns whether a layer of a cell can leak: whether its one gate is the new state. */
CRNN_API bool crnn_cell_leaks(crnn_cell cell);

#ifdef __cplusplus
}
#endif

#endif
