/* What a cell's functions see: one vector of units of one row, at one step. Included by the kernels
 * after the vector vocabulary; every function of a cell is inlined into a loop over rows, once for
 * layers without options (`rich` is false, and a constant) and once for those that have some. */

enum { PEEP_I, PEEP_F, PEEP_O, PEEPS };

/* What the options say, for one vector of units. Only looked at where rich. */
typedef struct unit_options {
    crnn_activation gate, candidate, output;
    bool clips, peeps, leaks;
    bool squashes_apart; /* h' = o o squashed, where c' is normalised in between */
    vec clip;
    vec peephole[PEEPS];
    vec leak; /* a, where it leaks */
} unit_options;

/* Forward. s[slots]: in, the sums; out, what the tape keeps of them, if it does. */
typedef struct forward_unit {
    bool rich;
    unit_options o;     /* in */
    vec h, c;           /* in: the state before the step */
    vec beta;           /* in: the cell's constant */
    const vec *earlier; /* in, phase 1: what phase 0 kept */
    vec part;           /* out, phase 0 of two: the second product reads part o h in place of h */
    vec h_next, c_next; /* out, last phase: the state after the step */
} forward_unit;

/* Backward, the last phase first. s[slots]: in, what the tape keeps; out, the gradient of each sum.
 */
typedef struct backward_unit {
    bool rich;
    unit_options o;     /* in */
    vec h, c;           /* in: the states before the step, */
    vec c_next;         /* and after it */
    vec beta;           /* in */
    vec d;              /* in: dL/dh_t in the last phase, dL/d(operand) in an earlier one */
    vec dc;             /* in: dL/dc_t as later steps gave it; out: the total */
    vec dc_prev;        /* out: dL/dc_{t-1} */
    vec squashed;       /* in, where it is made apart; dL/dc' through it is in dc already */
    vec dh_bypass;      /* in/out: the share of dL/dh_{t-1} that passes by the products */
    vec d_leak;         /* out, where it leaks: dL/dl of a = logistic(l) */
    const vec *earlier; /* in, phase 1: what phase 0 kept */
    vec *d_earlier;     /* out, phase 1; in/out s of phase 0: gradients phase 1 knows already */
    vec d_part, part;   /* in and out, phase 0 of two: dL/d(part), and the part once more */
} backward_unit;
