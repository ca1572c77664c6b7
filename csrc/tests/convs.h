/* Causal convolutions: a problem, what plain loops in double find, which know nothing of pieces and
 * tiles, and the core's plan of it. */
#ifndef CRNN_TESTS_CONVS_H
#define CRNN_TESTS_CONVS_H

#include "single.h"

typedef struct problem {
    const crnn_kernels *kernels;
    size_t batch, steps, inputs, units, taps, dilation;
    crnn_activation activation;
    bool normed, begun, reverse; /* begun: there is an initial state */
    const int64_t *lengths;
    const uint8_t *mask, *resets;
} problem;

/* All in the type of the kernels; in, then out. */
typedef struct buffers {
    void *x, *w, *g, *b, *initial, *dy, *dfinal; /* w [J][H][I], initial [B][D][I] */
    void *y, *final, *dx, *dw, *dg, *db, *dinitial;
} buffers;

static size_t past_of(const problem *p) { return (p->taps - 1) * p->dilation; }
static size_t weights_of(const problem *p) { return p->taps * p->units * p->inputs; }
static size_t cells_of(const problem *p) { return p->batch * p->steps; }
static size_t state_of(const problem *p) { return p->batch * past_of(p) * p->inputs; }

static void *zero_reals(const problem *p, size_t n) {
    const size_t bytes = n * crnn_dtype_size(p->kernels->dtype);
    return memset(fenced(bytes), 0, bytes);
}

static buffers new_buffers(const problem *p) {
    const crnn_dtype d = p->kernels->dtype;
    const size_t item = crnn_dtype_size(d), H = p->units;
    return (buffers){.x = sampled(d, 1, cells_of(p) * p->inputs),
                     .w = sampled(d, 2, weights_of(p)),
                     .g = sampled(d, 3, H),
                     .b = sampled(d, 4, H),
                     .initial = sampled(d, 5, state_of(p)),
                     .dy = sampled(d, 6, cells_of(p) * H),
                     .dfinal = sampled(d, 7, state_of(p)),
                     .y = fenced(cells_of(p) * H * item),
                     .final = fenced(state_of(p) * item),
                     .dx = fenced(cells_of(p) * p->inputs * item),
                     .dw = zero_reals(p, weights_of(p)),
                     .dg = zero_reals(p, H),
                     .db = zero_reals(p, H),
                     .dinitial = fenced(state_of(p) * item)};
}

/* ---- plain loops */

/* The steps of a row, and where the piece of each and the last piece begin. */
typedef struct plain_row {
    plain_steps s;
    size_t begin[MOST], last;
} plain_row;

static crnn_steps steps_of(const problem *p) {
    return (crnn_steps){.batch = p->batch,
                        .steps = p->steps,
                        .lengths = p->lengths,
                        .mask = p->mask,
                        .resets = p->resets,
                        .reverse = p->reverse};
}

static void list_row(const problem *p, size_t b, plain_row *r) {
    const crnn_steps steps = steps_of(p);
    list_steps(&steps, b, &r->s);
    r->last = 0;
    for (size_t i = 0; i < r->s.count; i++) {
        if (r->s.piece[i] != r->s.piece[r->last]) r->last = i;
        r->begin[i] = r->last;
    }
    if (r->s.count > 0 && r->s.piece[r->last] != r->s.pieces) r->last = r->s.count;
}

/* What the plain loops find, in double. */
typedef struct plain {
    double *y, *final, *dx, *dw, *dg, *db, *dinitial;
} plain;

static plain new_plain(const problem *p) {
    return (plain){.y = zeros(cells_of(p) * p->units),
                   .final = zeros(state_of(p)),
                   .dx = zeros(cells_of(p) * p->inputs),
                   .dw = zeros(weights_of(p)),
                   .dg = zeros(p->units),
                   .db = zeros(p->units),
                   .dinitial = zeros(state_of(p))};
}

/* Where the input lies that is read `shift` steps before step `index` (begin of the piece and
 * number of the piece apart): in x, or in the state. False: nowhere. */
static bool find_input(const problem *p, const plain_row *r, size_t b, size_t index, size_t begin,
                       size_t piece, size_t shift, bool *in_state, size_t *at) {
    const size_t past = past_of(p);
    *in_state = index < begin + shift;
    if (!*in_state) {
        *at = (b * p->steps + r->s.time[index - shift]) * p->inputs;
        return true;
    }
    *at = (b * past + past + index - begin - shift) * p->inputs;
    return piece == 0;
}

/* 1 / |v| of unit o; 0 where v is 0. */
static double inverse_norm(const problem *p, const buffers *f, size_t o) {
    double squares = 0;
    for (size_t j = 0; j < p->taps; j++)
        for (size_t i = 0; i < p->inputs; i++)
            squares += pow(real_at(p->kernels->dtype, f->w, (j * p->units + o) * p->inputs + i), 2);
    return squares > 0 ? 1 / sqrt(squares) : 0;
}

static double *plain_weights(const problem *p, const buffers *f) {
    double *w = zeros(weights_of(p));
    for (size_t o = 0; o < p->units; o++) {
        const double factor =
            p->normed ? real_at(p->kernels->dtype, f->g, o) * inverse_norm(p, f, o) : 1;
        for (size_t j = 0; j < p->taps; j++)
            for (size_t i = 0; i < p->inputs; i++) {
                const size_t at = (j * p->units + o) * p->inputs + i;
                w[at] = factor * real_at(p->kernels->dtype, f->w, at);
            }
    }
    return w;
}

static double activated(crnn_activation activation, double a) {
    return activation == CRNN_TANH ? tanh(a) : activation == CRNN_RELU ? fmax(a, 0) : a;
}

static double slope(crnn_activation activation, double y) {
    return activation == CRNN_TANH ? 1 - y * y : activation == CRNN_RELU ? y > 0 : 1;
}

static double input_value(const problem *p, const buffers *f, bool in_state, size_t at) {
    if (in_state && !p->begun) return 0;
    return real_at(p->kernels->dtype, in_state ? f->initial : f->x, at);
}

/* Step `index` of a row, unit o: its output, and what its gradient adds. */
static void plain_unit(const problem *p, const buffers *f, const plain_row *r, size_t b,
                       size_t index, size_t o, const double *w, plain *to) {
    double sum = real_at(p->kernels->dtype, f->b, o), delta = 0;
    bool in_state;
    size_t at;
    for (size_t j = 0; j < p->taps; j++) {
        if (!find_input(p, r, b, index, r->begin[index], r->s.piece[index],
                        (p->taps - 1 - j) * p->dilation, &in_state, &at))
            continue;
        for (size_t i = 0; i < p->inputs; i++)
            sum += w[(j * p->units + o) * p->inputs + i] * input_value(p, f, in_state, at + i);
    }
    const double y = activated(p->activation, sum);
    for (size_t t = 0; t < p->steps; t++) {
        if (r->s.source[t] != (int)index) continue;
        to->y[(b * p->steps + t) * p->units + o] = y;
        delta += real_at(p->kernels->dtype, f->dy, (b * p->steps + t) * p->units + o);
    }
    delta *= slope(p->activation, y);
    to->db[o] += delta;
    for (size_t j = 0; j < p->taps; j++) {
        if (!find_input(p, r, b, index, r->begin[index], r->s.piece[index],
                        (p->taps - 1 - j) * p->dilation, &in_state, &at))
            continue;
        for (size_t i = 0; i < p->inputs; i++) {
            const size_t k = (j * p->units + o) * p->inputs + i;
            to->dw[k] += delta * input_value(p, f, in_state, at + i);
            (in_state ? to->dinitial : to->dx)[at + i] += delta * w[k];
        }
    }
}

static void plain_final(const problem *p, const buffers *f, const plain_row *r, size_t b,
                        plain *to) {
    bool in_state;
    size_t at;
    for (size_t nth = 0; nth < past_of(p); nth++) {
        if (!find_input(p, r, b, r->s.count, r->last, r->s.pieces, past_of(p) - nth, &in_state,
                        &at))
            continue;
        for (size_t i = 0; i < p->inputs; i++) {
            const size_t k = (b * past_of(p) + nth) * p->inputs + i;
            to->final[k] = input_value(p, f, in_state, at + i);
            (in_state ? to->dinitial : to->dx)[at + i] += real_at(p->kernels->dtype, f->dfinal, k);
        }
    }
}

/* From dW to the gradients of v and g. */
static void plain_norm(const problem *p, const buffers *f, plain *to) {
    const crnn_dtype d = p->kernels->dtype;
    for (size_t o = 0; p->normed && o < p->units; o++) {
        const double inverse = inverse_norm(p, f, o), g = real_at(d, f->g, o);
        for (size_t j = 0; j < p->taps; j++)
            for (size_t i = 0; i < p->inputs; i++) {
                const size_t at = (j * p->units + o) * p->inputs + i;
                to->dg[o] += to->dw[at] * real_at(d, f->w, at) * inverse;
            }
        for (size_t j = 0; j < p->taps; j++)
            for (size_t i = 0; i < p->inputs; i++) {
                const size_t at = (j * p->units + o) * p->inputs + i;
                to->dw[at] =
                    g * inverse * (to->dw[at] - to->dg[o] * inverse * real_at(d, f->w, at));
            }
    }
}

static plain run_plain(const problem *p, const buffers *f) {
    plain to = new_plain(p);
    const double *w = plain_weights(p, f);
    for (size_t b = 0; b < p->batch; b++) {
        plain_row r;
        list_row(p, b, &r);
        for (size_t index = 0; index < r.s.count; index++)
            for (size_t o = 0; o < p->units; o++) plain_unit(p, f, &r, b, index, o, w, &to);
        plain_final(p, f, &r, b, &to);
    }
    plain_norm(p, f, &to);
    return to;
}

/* ---- the core */

static void make_model(model *m, const problem *p, const buffers *f) {
    const crnn_steps steps = steps_of(p);
    make_single(m, p->kernels, &steps, CRNN_OP_CONV, f->x, p->inputs, f->y, p->units);
    m->node[1].as.conv = (crnn_conv){.rows = &m->rows,
                                     .taps = p->taps,
                                     .dilation = p->dilation,
                                     .activation = p->activation,
                                     .w = f->w,
                                     .g = p->normed ? f->g : NULL,
                                     .b = f->b,
                                     .dw = f->dw,
                                     .dg = p->normed ? f->dg : NULL,
                                     .db = f->db,
                                     .initial = p->begun ? f->initial : NULL,
                                     .final = f->final,
                                     .dfinal = f->dfinal,
                                     .dinitial = f->dinitial};
}

static void run_core(const problem *p, const buffers *f) {
    model m;
    make_model(&m, p, f);
    run_ahead(&m);
    run_back(&m, f->dy, f->dx, 1);
}

#endif
