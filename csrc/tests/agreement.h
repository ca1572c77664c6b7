/* What an outcome must agree with, whatever the layer, its options and its rows: central
 * differences, the scalar table, and to the last bit all other ways to the same numbers. */
#ifndef CRNN_TESTS_AGREEMENT_H
#define CRNN_TESTS_AGREEMENT_H

#include "outcome.h"

/* ---- the scalar table against central differences, the others against the scalar one */

/* The loss that dy, dh and dc are the gradients of. */
static double loss_of(const problem *p) {
    problem lean = *p;
    lean.no_tape = true;
    const size_t mark = fences_used, H = p->layer.hidden, P = crnn_width(&p->layer);
    const outcome o = run(&lean);
    const double *h = o.at[H_LAST], *c = o.at[C_LAST];
    double loss = 0;
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t t = 0; !p->no_dy && t < length_of(p, b); t++)
            for (size_t f = 0; f < P; f++)
                loss += ((const double *)from_step(&o, Y, b, t))[f] * number(p, S_DY, b, t, f);
        for (size_t f = 0; p->given && f < P; f++)
            loss += h[b * P + f] * state_number(p, S_DH, b, f);
        for (size_t f = 0; p->given && c && f < H; f++)
            loss += c[b * H + f] * state_number(p, S_DC, b, f);
    }
    fences_release(mark);
    return loss;
}

/* Half the difference of the losses with one number of a stream larger and smaller by `step`. */
static double half_difference(const problem *p, int stream, size_t at, double step) {
    problem up = *p, down = *p;
    up.nudge = (nudge){stream, at, step};
    down.nudge = (nudge){stream, at, -step};
    return (loss_of(&up) - loss_of(&down)) / 2;
}

/* One number of a stream, and the gradient found for it. Normalisation bends the loss so much that
 * the error of a second-order difference would be seen. */
static void check_slope(const problem *p, int stream, size_t at, double found) {
    const double step = 2e-6, half = half_difference(p, stream, at, step);
    double slope = half / step;
    if (p->layer.layer_norm)
        slope = (8 * half - half_difference(p, stream, at, 2 * step)) / (6 * step);
    CHECK(fabs(slope - found) <= 1e-8 * (1 + fabs(slope)), ABOUT "stream %d, %zu: %.12g, not %.12g",
          WHO(p), stream, at, found, slope);
}

/* Every n-th number of each kind. */
static void check_gradients(const problem *p, size_t every) {
    const size_t mark = fences_used, I = p->layer.inputs, T = p->steps;
    const outcome o = run(p);
    const double *grads = o.at[GRADS], *dx = o.at[DX], *dh = o.at[DH_FIRST], *dc = o.at[DC_FIRST];
    for (size_t i = 0, learned = layout_of(p).learned; i < learned; i += every)
        check_slope(p, S_WEIGHTS, i, grads[i] - sample(S_GRADS, i));
    for (size_t i = 0; dx && i < o.count[DX]; i += every)
        if (i / I % T < length_of(p, i / I / T)) check_slope(p, S_X, i, dx[i]);
    for (size_t i = 0; p->given && i < o.count[DH_FIRST]; i += every)
        check_slope(p, S_H0, i, dh[i]);
    for (size_t i = 0; p->given && i < o.count[DC_FIRST]; i += every)
        check_slope(p, S_C0, i, dc[i]);
    fences_release(mark);
}

static void check_against_scalar(const problem *p) {
    const double limit = limit_of(p);
    const size_t mark = fences_used;
    problem scalar = *p;
    scalar.kernels = core_kernels_for("scalar", p->layer.dtype);
    const outcome exact = run(&scalar), o = run(p);
    for (int i = 0; i < RESULTS; i++)
        if (o.at[i])
            CHECK(distance(p->layer.dtype, o.count[i], o.at[i], exact.at[i]) <= limit,
                  ABOUT "%s is %g from the scalar one", WHO(p), name_of(i),
                  distance(p->layer.dtype, o.count[i], o.at[i], exact.at[i]));
    check_padding(&o);
    fences_release(mark);
}

/* ---- the same bits */

/* Also: T = a row's length, and so its padding is nothing to it. */
static void check_rows_alone(const outcome *a) {
    for (size_t b = 0; b < a->p->batch; b++) {
        problem alone = *a->p;
        const size_t mark = fences_used;
        alone.batch = 1;
        alone.first_row = b;
        alone.steps = length_of(a->p, b);
        alone.lengths = NULL;
        const outcome o = run(&alone);
        check_row("alone", a, b, &o, 0);
        fences_release(mark);
    }
}

static bool drops_weights(const problem *p) { return p->training && p->layer.weight_drop != 0; }

/* Noise that goes by time is another the other way round; and a row cut before its first step has
 * no counterpart: there, nothing is read before. */
static bool can_turn(const problem *p) {
    const bool by_time =
        p->training && (p->layer.zoneout_h != 0 || p->layer.zoneout_c != 0 || p->layer.noise != 0);
    return !by_time && (p->cuts == 0 || p->layer.reverse);
}

static void check_variants(const outcome *a) {
    problem q = *a->p;
    q.no_tape = true;
    check_same("without a tape", a, &q);
    q = *a->p;
    q.strided = !q.strided;
    q.no_traces = true;
    check_same("strided", a, &q);
    q = *a->p;
    q.turned = true;
    q.layer.reverse = !q.layer.reverse;
    if (can_turn(a->p)) (q.cuts == 0 ? check_same : check_same_rows)("turned around", a, &q);
    q = *a->p;
    q.packed = true;
    if (!drops_weights(a->p)) check_same("with packed weights", a, &q);
    q = *a->p;
    q.twice = true;
    check_same("backward twice", a, &q);
    fence_fill = 0;
    check_same("in clean memory", a, a->p);
    fence_fill = FENCE_BYTE;
}

static void check_symbols(const problem *p) {
    problem one_hot = *p, symbols = *p;
    one_hot.one_hot = symbols.symbols = true;
    const size_t mark = fences_used;
    const outcome a = run(&one_hot);
    check_same("symbols", &a, &symbols);
    fences_release(mark);
    if (p->layer.inputs < 2) return;
    one_hot.table = symbols.table = p->layer.inputs / 2;
    const outcome b = run(&one_hot);
    check_same("symbols beside floats", &b, &symbols);
    fences_release(mark);
}

/* dx is added to, and its padding left alone. */
static void check_add_dx(const outcome *a) {
    const crnn_dtype d = a->p->layer.dtype;
    const size_t mark = fences_used, I = a->p->layer.inputs, T = a->p->steps;
    problem q = *a->p;
    q.add_dx = true;
    const outcome b = run(&q);
    bool added = true;
    for (size_t i = 0; i < a->count[DX]; i++) {
        const size_t row = i / I / T, t = i / I % T;
        const double now = real_at(d, b.at[DX], i), before = number(&q, S_DX, row, t, i % I);
        if (t < length_of(a->p, row))
            added = added && fabs(now - before - real_at(d, a->at[DX], i)) < 1e-5;
        else
            added = added && isnan(now);
    }
    CHECK(added, ABOUT "dx added to", WHO(a->p));
    check_grads("dx added to", a, &b);
    fences_release(mark);
}

/* Whether the steps are added up in the order of time, and nothing is done with the sum. */
static bool adds_in_time(const problem *p) {
    return p->holes == 0 && p->cuts == 0 && !drops_weights(p);
}

/* In two pieces, the state carried on forward and its gradient back: the pieces' gradients add up,
 * mostly in the same order as well. */
static void check_split(const outcome *a, size_t at) {
    const size_t mark = fences_used, T = a->p->steps;
    problem first = *a->p, second = *a->p;
    first.steps = at;
    second.steps = T - at;
    second.first_step = at;
    const outcome begin = run(&first);
    second.h0 = begin.at[H_LAST];
    second.c0 = begin.at[C_LAST];
    const outcome end = run(&second);
    first.dh = end.at[DH_FIRST];
    first.dc = end.at[DC_FIRST];
    first.grads = end.at[GRADS];
    const outcome whole = run(&first);
    for (size_t b = 0; b < a->p->batch; b++) {
        check_steps("first piece", a, b, 0, &whole, b, at);
        check_steps("second piece", a, b, at, &end, b, T - at);
        for (int i = H_LAST; i <= C_LAST; i++) check_state("second piece", i, a, b, &end, b);
        for (int i = DH_FIRST; i <= DC_FIRST; i++) check_state("first piece", i, a, b, &whole, b);
    }
    (adds_in_time(a->p) ? check_grads : check_grads_near)("two pieces", a, &whole);
    fences_release(mark);
}

/* A row that is cut is several rows: each piece alone, that read first with the state given, that
 * read last with its gradient. */
static void check_piece(const outcome *a, size_t b, size_t from, size_t to) {
    const bool reverse = a->p->layer.reverse, at_end = to == length_of(a->p, b);
    const bool at_begin = from == 0 && (reverse || !is_cut(a->p, b, 0));
    const bool first = reverse ? at_end : at_begin, last = reverse ? at_begin : at_end;
    const size_t mark = fences_used, item = item_of(a->p), H = a->p->layer.hidden;
    const size_t P = crnn_width(&a->p->layer);
    problem q = *a->p;
    q.batch = 1;
    q.first_row = b;
    q.first_step = from;
    q.steps = to - from;
    q.lengths = NULL;
    q.cuts = 0;
    q.given = false;
    if (a->p->given && first) {
        q.h0 = (const char *)state_of(a->p, S_H0, NULL) + b * P * item;
        q.c0 = (const char *)state_of(a->p, S_C0, NULL) + b * H * item;
    }
    if (a->p->given && last) {
        q.dh = (const char *)state_of(a->p, S_DH, NULL) + b * P * item;
        q.dc = (const char *)state_of(a->p, S_DC, NULL) + b * H * item;
    }
    const outcome o = run(&q);
    check_steps("piece", a, b, from, &o, 0, to - from);
    for (int i = H_LAST; last && i <= C_LAST; i++) check_state("last piece", i, a, b, &o, 0);
    for (int i = DH_FIRST; first && i <= DC_FIRST; i++) check_state("first piece", i, a, b, &o, 0);
    fences_release(mark);
}

static void check_pieces(const outcome *a) {
    for (size_t b = 0; b < a->p->batch; b++) {
        for (size_t from = 0, to; from < length_of(a->p, b); from = to) {
            to = from + 1;
            while (to < length_of(a->p, b) && !is_cut(a->p, b, to)) to++;
            check_piece(a, b, from, to);
        }
    }
}

/* The gradient of a state after the last step that is read of a piece: of h what dy, there and in
 * the holes behind it, and the gradient of the final state add up to. With check_split, which makes
 * any step a last one, that is every step's. Of c the latter alone, where zoneout stands between c
 * and all that a step makes of it. */
static bool last_traces_are_right(const outcome *a, bool of_c, size_t b, size_t f) {
    const problem *p = a->p;
    const size_t n = length_of(p, b);
    const int trace = of_c ? TRACE_C : TRACE_H;
    bool right = true;
    double sum = 0;
    for (size_t i = 0, last = NOTHING; i < n; i++) {
        const size_t before = last;
        last = last_read(p, b, i, before);
        if (last != before) sum = 0;
        if (!p->no_dy && !of_c) sum += number(p, S_DY, b, in_turn(p, b, i), f);
        if ((i + 1 < n && !starts_anew(p, b, i + 1)) || last == NOTHING) continue;
        if (i + 1 == n && p->given) sum += state_number(p, of_c ? S_DC : S_DH, b, f);
        right =
            right && fabs(real_at(p->layer.dtype, from_step(a, trace, b, last), f) - sum) < 1e-6;
    }
    return right;
}

/* What reaches the first c of an LSTM is dL/dc after the first step, times f. */
static bool first_trace_is_right(const outcome *a, size_t b, size_t f) {
    const problem *p = a->p;
    const crnn_dtype d = p->layer.dtype;
    const bool apart = p->holes != 0 || p->cuts != 0 || p->layer.peepholes || p->layer.zoneout_c;
    if (p->layer.cell != CRNN_LSTM || apart || length_of(p, b) == 0) return true;
    const size_t first = in_turn(p, b, 0);
    const double product = real_at(d, from_step(a, TRACE_C, b, first), f) *
                           real_at(d, from_step(a, GATES + 1, b, first), f);
    return fabs(real_at(d, a->at[DC_FIRST], b * p->layer.hidden + f) - product) <
           1e-6 * (1 + fabs(product));
}

static void check_traces(const outcome *a) {
    const problem *p = a->p;
    bool h = true, c = true;
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t f = 0; f < crnn_width(&p->layer); f++)
            h = h && last_traces_are_right(a, false, b, f);
        for (size_t f = 0; f < p->layer.hidden; f++)
            c = c && first_trace_is_right(a, b, f) &&
                (p->layer.zoneout_c == 0 || last_traces_are_right(a, true, b, f));
    }
    CHECK(h && c, ABOUT "traces: dh %d, dc %d", WHO(p), h, c);
}

/* Sum over rows and steps of unit u of a gradient of gate g, times what element f of W_h's row
 * multiplied; f < 0: alone. */
static double summed_trace(const outcome *a, int gradient, int g, size_t u, ptrdiff_t f) {
    const problem *p = a->p;
    const size_t steps = p->batch * p->steps, H = p->layer.hidden, P = crnn_width(&p->layer);
    const crnn_dtype d = p->layer.dtype;
    double sum = 0;
    for (size_t n = 0; n < steps; n++)
        sum += real_at(d, a->at[gradient + g], n * H + u) *
               (f < 0 ? 1 : real_at(d, a->at[TRACE_READ + g], n * P + (size_t)f));
    return sum;
}

/* What backward added to the gradient of parameter `at`. */
static double added_number(const outcome *a, const void *before, size_t at) {
    const crnn_dtype d = a->p->layer.dtype;
    return real_at(d, a->at[GRADS], at) - real_at(d, before, at);
}

/* The terms of the sums over time that a trace shows add up to the gradients of W_h and of b. Of a
 * wide row of W_h some elements are tried, other ones for other units. */
static void check_terms(const outcome *a) {
    const problem *p = a->p;
    const crnn_layout at = layout_of(p);
    const size_t H = p->layer.hidden, mark = fences_used;
    const size_t P = crnn_reads(&p->layer) > 0 ? crnn_width(&p->layer) : 0;
    const size_t apart_by = 1 + P / 8;
    const char *gates = crnn_cell_describe(p->layer.cell)->gates;
    const double near = p->layer.dtype == CRNN_F64 ? 1e-11 : 2e-3;
    const void *before = p->grads ? p->grads : sampled(p->layer.dtype, S_GRADS, a->count[GRADS]);
    double apart = 0, most = 1;
    if (p->training && p->layer.weight_drop != 0) return;
    for (int g = 0; gates[g]; g++) {
        for (size_t u = 0; u < H; u++) {
            const size_t column = (size_t)g * H + u;
            for (size_t f = u % apart_by; f < P; f += apart_by) {
                const double sum = summed_trace(a, TRACE_PRODUCTS, g, u, (ptrdiff_t)f);
                most = fmax(most, fabs(sum));
                const size_t place = at.w_h + f * at.columns + column;
                apart = fmax(apart, fabs(sum - added_number(a, before, place)));
            }
            if (!p->layer.bias) continue;
            const double sum = summed_trace(a, TRACE_SUMS, g, u, -1);
            most = fmax(most, fabs(sum));
            apart = fmax(apart, fabs(sum - added_number(a, before, at.b + column)));
        }
    }
    CHECK(apart <= near * most, ABOUT "terms are %g apart, of %g", WHO(p), apart, most);
    fences_release(mark);
}

/* The state that a piece begins with; anew: not the one read first. */
static double initial_number(const problem *p, bool of_c, size_t b, size_t f, bool anew) {
    const crnn_layout at = layout_of(p);
    if (p->given && !anew) return state_number(p, of_c ? S_C0 : S_H0, b, f);
    return p->layer.learns_state ? param_number(p, at.extra[of_c ? CRNN_C0 : CRNN_H0] + f) : 0;
}

/* A row's last state is that of the last step read of its last piece; where that has none, what
 * the piece began with. And of what has no step the gradient passes. */
static bool states_are_right(const outcome *a, bool of_c, size_t b) {
    const problem *p = a->p;
    const crnn_dtype d = p->layer.dtype;
    const int kept = of_c ? TAPE_C : Y, end = of_c ? C_LAST : H_LAST;
    const int begin = of_c ? DC_FIRST : DH_FIRST;
    const size_t features = features_of(p, end);
    size_t last = NOTHING, pieces = 0, first_steps = 0;
    for (size_t i = 0; i < length_of(p, b); i++) {
        last = last_read(p, b, i, last);
        pieces += starts_anew(p, b, i);
        first_steps += pieces == 0 && last != NOTHING;
    }
    bool right = true;
    for (size_t f = 0; f < features; f++) {
        const double expected = last == NOTHING ? initial_number(p, of_c, b, f, pieces > 0)
                                                : real_at(d, from_step(a, kept, b, last), f);
        const double passed =
            pieces == 0 && p->given ? state_number(p, of_c ? S_DC : S_DH, b, f) : 0;
        right = right && fabs(real_at(d, a->at[end], b * features + f) - expected) < 1e-7;
        if (first_steps == 0)
            right = right && fabs(real_at(d, a->at[begin], b * features + f) - passed) < 1e-7;
    }
    return right;
}

/* The h of the tape is y. */
static void check_states(const outcome *a) {
    const problem *p = a->p;
    bool right = true;
    for (size_t b = 0; b < p->batch; b++)
        right = right && states_are_right(a, false, b) &&
                (!a->at[TAPE_C] || states_are_right(a, true, b));
    CHECK(right, ABOUT "states of rows", WHO(p));
    CHECK(memcmp(a->at[TAPE_H], a->at[Y], a->count[Y] * item_of(p)) == 0, ABOUT "tape h", WHO(p));
}

/* A gate that the tape keeps as a sum is shown through the logistic function. */
static void check_raw_gates(const outcome *a) {
    const problem *p = a->p;
    const char *gates = crnn_cell_describe(p->layer.cell)->gates;
    core_gate_slots at;
    for (int i = 0; gates[i]; i++) {
        bool inside = true;
        CHECK(core_find_gate(&p->layer, gates[i], &at), ABOUT "%c", WHO(p), gates[i]);
        for (size_t k = 0; at.raw && k < a->count[GATES + i]; k++)
            inside = inside && real_at(p->layer.dtype, a->at[GATES + i], k) >= 0;
        CHECK(inside, ABOUT "gate %c", WHO(p), gates[i]);
    }
}

static void check_bits(const problem *p) {
    const size_t mark = fences_used;
    const outcome a = run(p);
    check_padding(&a);
    check_traces(&a);
    check_terms(&a);
    check_raw_gates(&a);
    check_states(&a);
    check_rows_alone(&a);
    check_variants(&a);
    if (p->cuts > 0) check_pieces(&a);
    if (!p->symbols) check_symbols(p);
    if (!p->symbols) check_add_dx(&a);
    for (size_t at = 1; !p->lengths && !p->layer.reverse && at < p->steps; at += 1 + at / 2)
        if (p->holes == 0 || at % 3 == 1) check_split(&a, at);
    fences_release(mark);
}

/* ---- nothing to do */

/* Nothing is read: states and their gradients pass through. */
static void check_nothing(const problem *p) {
    const size_t mark = fences_used;
    const outcome o = run(p);
    check_states(&o);
    check_padding(&o);
    const void *grads = sampled(p->layer.dtype, S_GRADS, o.count[GRADS]);
    CHECK(memcmp(o.at[GRADS], grads, o.count[GRADS] * item_of(p)) == 0, ABOUT "gradients", WHO(p));
    fences_release(mark);
}

/* No row has a step, all are holes, T = 0, B = 0. */
static void check_empty(problem p, const int64_t *zeros) {
    const double cuts = p.cuts;
    p.lengths = zeros;
    check_nothing(&p);
    p.lengths = NULL;
    p.holes = 1;
    p.cuts = 0; /* else the gradient of a learned state is one of these */
    check_nothing(&p);
    p.cuts = cuts;
    p.steps = 0;
    check_nothing(&p);
    p.batch = 0;
    check_nothing(&p);
    p.steps = 4;
    check_nothing(&p);
}

#endif
