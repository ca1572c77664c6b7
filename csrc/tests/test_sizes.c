/* What stands around the kernels: sizes that must not wrap, random numbers, the choice of an
 * instruction set, the table of cells. */
#include "children.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

/* ---- sizes: never less than what must fit, as real numbers tell; refused only where what is asked
 * for comes near the whole address space */

static const size_t sizes[] = {
    0,
    1,
    17,
    (size_t)1 << 10,
    (size_t)1 << (sizeof(size_t) * 4 - 1),
    (size_t)1 << (sizeof(size_t) * 4),
    SIZE_MAX >> 20,
    SIZE_MAX >> 8,
    SIZE_MAX >> 5,
    SIZE_MAX >> 3,
    SIZE_MAX >> 2,
    SIZE_MAX / 2,
    SIZE_MAX / 2 + 1,
    SIZE_MAX - 64,
    SIZE_MAX - 1,
    SIZE_MAX,
};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* least: what must fit, right but for rounding; most: what nothing asked for here exceeds. */
static void check_size(const char *what, crnn_status status, size_t got, double least, double most,
                       const size_t at[4]) {
    if (status == CRNN_OK)
        CHECK((double)got >= least * (1 - 1e-9), "%s(%zu, %zu, %zu, %zu) = %zu, not %g", what,
              at[0], at[1], at[2], at[3], got, least);
    else
        CHECK(most > (double)(SIZE_MAX / 2), "%s(%zu, %zu, %zu, %zu) refused", what, at[0], at[1],
              at[2], at[3]);
}

/* at: I, H, B, T. */
static void check_layer_sizes(const crnn_layer *layer, const size_t at[4]) {
    const double G = (double)strlen(crnn_cell_describe(layer->cell)->gates);
    const double item = (double)crnn_dtype_size(layer->dtype), P = (double)crnn_width(layer);
    const double I = (double)at[0], H = (double)at[1], B = (double)at[2], N = B * (double)at[3];
    const crnn_kernels *k = crnn_kernels_now(layer->dtype);
    const bool reads = crnn_cell_describe(layer->cell)->multiplies_h;
    const double sides = reads ? 2 : 1; /* of gates: what x and h gave to them */
    const double copies = 1 + (layer->layer_norm ? sides : 0);
    const double weights = G * H * (I + (reads ? P : 0)) + (layer->projected ? H * P : 0);
    const double dropped = layer->weight_drop != 0 && reads ? weights : 0;
    const double most = 1e4 * (I + H + P + 64 + B + N) * (H + P + 64);
    const crnn_noise noise = {.on = true};
    crnn_layout layout = {0};
    size_t bytes = 0;
    crnn_status status = crnn_layer_layout(layer, &layout);
    check_size("layout", status, layout.total, weights, most, at);
    status = crnn_packed_size(layer, k, &bytes);
    check_size("packed", status, bytes, weights * item, most, at);

    const crnn_rows rows = {.given = {at[2], at[3]}, .places = at[2], .total = at[2] * at[3]};
    crnn_tape tape = {k, NULL};
    if (N > (double)(SIZE_MAX / 2)) return; /* crnn_rows_size has refused it */
    status = crnn_tape_size(layer, k, &rows, &bytes);
    const double kept = G > 1 ? G * H * copies + P : P;
    check_size("tape", status, bytes, (N * kept + B * P) * item, most, at);
    crnn_forward_args forward = {
        .layer = layer, .kernels = k, .rows = &rows, .tape = &tape, .noise = noise};
    status = crnn_forward_workspace(&forward, &bytes);
    check_size("forward, kept", status, bytes, (G * H + dropped) * item, most, at);
    forward.tape = NULL;
    status = crnn_forward_workspace(&forward, &bytes);
    check_size("forward", status, bytes, (B * P + dropped) * item, most, at);
    const crnn_backward_args backward = {
        .layer = layer, .rows = &rows, .tape = &tape, .dx.data = &bytes, .noise = noise};
    status = crnn_backward_workspace(&backward, &bytes);
    const double window = fmin(N, fmax(B, layer->layer_norm ? 128 : 256));
    check_size("backward", status, bytes,
               window * (G * H * item * copies + 16) + (B * P + weights + dropped) * item, most,
               at);
}

/* Without options, and with some of them. */
static void check_all_layer_sizes(void) {
    for (int i = 1; i < SIZES; i++)
        for (int h = 1; h < SIZES; h++)
            for (int b = 0; b < SIZES; b++)
                for (int cell = 0; cell < CRNN_CELLS; cell++) {
                    const size_t p = sizes[(3 * b + 5 * i + 2 * h + cell) % SIZES];
                    const size_t t = (size_t)(7 * b + i + h) % SIZES;
                    const size_t at[4] = {sizes[i], sizes[h], sizes[b], sizes[t]};
                    const bool has_c = crnn_cell_describe((crnn_cell)cell)->states == 2;
                    crnn_layer layer = {.cell = (crnn_cell)cell,
                                        .dtype = (crnn_dtype)(cell % CRNN_DTYPES),
                                        .inputs = sizes[i],
                                        .hidden = sizes[h],
                                        .bias = true};
                    check_layer_sizes(&layer, at);
                    layer.projected = has_c ? p : 0;
                    layer.peepholes = has_c;
                    layer.layer_norm = (i + b) % 2;
                    layer.learns_state = (h + b) % 2;
                    layer.recurrent_dropout = layer.weight_drop = (i + h) % 2 ? 0.5 : 0;
                    layer.zoneout_h = has_c ? 0 : 0.5;
                    layer.leaks = true;
                    layer.learns_leak = (i + h + b) % 2;
                    check_layer_sizes(&layer, at);
                }
}

/* Sums and products: right, or refused and nothing written. */
static void check_arithmetic(size_t a, size_t b) {
    const size_t untouched = 12345;
    size_t sum = untouched, product = untouched;
    if (crnn_size_add(a, b, &sum))
        CHECK(sum == a + b && sum >= a, "%zu + %zu = %zu", a, b, sum);
    else
        CHECK(sum == untouched && (double)a + (double)b > 0.49 * (double)SIZE_MAX, "%zu + %zu", a,
              b);
    if (crnn_size_mul(a, b, &product))
        CHECK(product == a * b && (b == 0 || product / b == a), "%zu * %zu = %zu", a, b, product);
    else
        CHECK(product == untouched && (double)a * (double)b > 0.49 * (double)SIZE_MAX, "%zu * %zu",
              a, b);
}

static void check_other_sizes(void) {
    for (int i = 0; i < SIZES; i++) {
        for (int j = 0; j < SIZES; j++) {
            const size_t at[4] = {sizes[i], sizes[j]};
            const double a = (double)sizes[i], b = (double)sizes[j];
            size_t got = 0;
            check_arithmetic(sizes[i], sizes[j]);
            crnn_status status =
                crnn_rows_size(&(crnn_steps){.batch = sizes[i], .steps = sizes[j]}, &got);
            check_size("rows", status, got, 4 * a + 2 * b + 1, 100 * (1 + a) * (1 + b), at);
            CHECK(status != CRNN_OK || a * b <= (double)SIZE_MAX, "rows(%zu, %zu)", at[0], at[1]);
            const uint8_t some = 1;
            status = crnn_rows_size(
                &(crnn_steps){.batch = sizes[i], .steps = sizes[j], .mask = &some}, &got);
            check_size("rows", status, got, 4 * a + 2 * b + 1 + a * b, 100 * (1 + a) * (1 + b), at);
            const crnn_dense dense = {crnn_kernels_now(CRNN_F64), 1, sizes[i], sizes[j]};
            status = crnn_dense_workspace(&dense, &got);
            check_size("dense", status, got, a * b * 8, 1e5 * (1 + a) * (1 + b), at);
        }
    }
}

/* ---- random numbers */

/* The known answers that come with Random123, the authors' own library. */
static void check_philox(void) {
    static const struct {
        uint32_t key[2], counter[4], out[4];
    } known[] = {
        {{0, 0}, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0xa4093822, 0x299f31d0},
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        crnn_philox(known[i].key, known[i].counter, out);
        CHECK(memcmp(out, known[i].out, sizeof out) == 0, "known answer %zu: %08x %08x %08x %08x",
              i, (unsigned)out[0], (unsigned)out[1], (unsigned)out[2], (unsigned)out[3]);
    }
}

/* Two numbers to a block of the generator, the block's number in the low half of the counter, the
 * stream in the high half; any part of a stream is what it is in the whole. */
static void check_uniform(void) {
    enum { COUNT = 41 };
    const uint64_t seed = 0x0123456789abcdef, stream = 0xfedcba9876543210, first = 0x1fffffffeu;
    const uint32_t key[2] = {0x89abcdef, 0x01234567};
    double whole[COUNT], part[COUNT];
    crnn_random_uniform(seed, stream, first, COUNT, whole);
    for (size_t i = 0; i < COUNT; i++) {
        const uint64_t block = (first + i) / 2;
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0x76543210,
                                     0xfedcba98};
        uint32_t words[4];
        crnn_philox(key, counter, words);
        const size_t at = (first + i) % 2 * 2;
        const uint64_t bits = ((uint64_t)words[at] << 32 | words[at + 1]) >> 11;
        CHECK(whole[i] == ldexp((double)bits, -53), "number %zu is %.17g", i, whole[i]);
        CHECK(whole[i] >= 0 && whole[i] < 1, "number %zu is %.17g", i, whole[i]);
        crnn_random_uniform(seed, stream, first + i, COUNT - i, part);
        CHECK(memcmp(part, whole + i, (COUNT - i) * sizeof *part) == 0, "from %zu on", i);
    }
}

/* ---- instruction sets */

static void check_isas(void) {
    const char *name, *best = crnn_isa_available(0), *last = NULL;
    CHECK(best != NULL, "there is one");
    for (size_t i = 0; (name = crnn_isa_available(i)); i++, last = name) {
        CHECK(crnn_isa_select(name) && strcmp(crnn_isa_name(), name) == 0, "%s", name);
        CHECK(!crnn_isa_select("none") && strcmp(crnn_isa_name(), name) == 0, "%s stays", name);
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k = core_kernels_for(name, (crnn_dtype)d);
            CHECK(k && k == crnn_kernels_now((crnn_dtype)d), "%s", name);
            CHECK(strcmp(k->isa, name) == 0 && k->dtype == (crnn_dtype)d, "%s is %s", name, k->isa);
            CHECK(k->width > 0 && k->tile_rows > 0 && k->block_rows > 0, "%s", name);
        }
        last = name;
    }
    CHECK(strcmp(last, "scalar") == 0, "the scalar one is last, not %s", last);
    CHECK(core_kernels_for("none", CRNN_F32) == NULL, "no such table");
    crnn_isa_select(best);
}

#if CHECK_HAS_PAGES
static bool wish_for_scalar(void) {
    setenv("CRNN_ISA", "scalar", 1);
    return strcmp(crnn_isa_name(), "scalar") == 0;
}

static bool wish_for_none(void) {
    setenv("CRNN_ISA", "none", 1);
    return strcmp(crnn_isa_name(), crnn_isa_available(0)) == 0;
}

/* Before anything has asked for a table: the environment is looked at once. */
static void check_environment(void) {
    CHECK(in_child(wish_for_scalar), "CRNN_ISA=scalar");
    CHECK(in_child(wish_for_none), "CRNN_ISA=none");
}
#endif

/* ---- cells */

typedef struct cell_line {
    const char *name, *gates;
    size_t states, phases;
    const char *x[MAX_PHASES], *h[MAX_PHASES], *raw, *apart;
} cell_line;

static const cell_line lines[CRNN_CELLS] = {
#define CRNN_CELL(id, cell, type, gates, states, phases, x0, h0, x1, h1, raw, apart, ...) \
    [CRNN_##id] = {#cell, gates, states, phases, {x0, x1}, {h0, h1}, raw, apart},
#include "cells.def"
#undef CRNN_CELL
};

static size_t times_in(const char *const *letters, char letter) {
    size_t times = 0;
    for (size_t phase = 0; phase < MAX_PHASES; phase++)
        for (const char *s = letters[phase]; *s; s++) times += *s == letter;
    return times;
}

/* A line itself: what the kernels take for granted. */
static void check_line(const cell_line *c) {
    CHECK(c->states == 1 || c->states == 2, "%s: states", c->name);
    CHECK(c->phases >= 1 && c->phases <= MAX_PHASES, "%s: phases", c->name);
    for (size_t i = 0; i < MAX_PHASES; i++) {
        const size_t slots = strlen(c->x[i]);
        CHECK((slots == strlen(c->h[i]) || !c->h[0][0]) && slots <= MAX_SLOTS, "%s: slots",
              c->name);
        CHECK((slots > 0) == (i < c->phases), "%s: slots of phase %zu", c->name, i);
    }
    for (const char *g = c->gates; *g; g++) {
        CHECK(strchr(g + 1, *g) == NULL, "%s: %c twice", c->name, *g);
        CHECK(times_in(c->x, *g) == 1 && times_in(c->h, *g) == (c->h[0][0] ? 1 : 0), "%s: %c",
              c->name, *g);
    }
    for (const char *r = c->raw; *r; r++) CHECK(strchr(c->gates, *r), "%s: raw %c", c->name, *r);
    for (const char *a = c->apart; *a; a++)
        CHECK(strchr(c->gates, *a), "%s: apart %c", c->name, *a);
    CHECK(times_in(c->x, '.') <= 1, "%s: one gate's recurrent sum stands apart", c->name);
}

static void check_facts(crnn_cell cell) {
    const cell_line *c = &lines[cell];
    const crnn_cell_facts *facts = crnn_cell_describe(cell);
    const crnn_layer layer = {.cell = cell, .inputs = 1, .hidden = 1};
    core_gate_slots at;
    CHECK(strcmp(facts->name, c->name) == 0 && strcmp(facts->gates, c->gates) == 0 &&
              facts->states == c->states && facts->multiplies_h == (c->h[0][0] != 0),
          "%s", c->name);
    for (const char *g = c->gates; *g; g++)
        CHECK(core_find_gate(&layer, *g, &at) && c->x[at.phase][at.slot] == *g &&
                  (facts->multiplies_h ? c->h[at.phase][at.slot_h] == *g : at.slot_h == NO_GATE) &&
                  at.raw == (strchr(c->raw, *g) != NULL),
              "%s: where %c is", c->name, *g);
    CHECK(!core_find_gate(&layer, '?', &at), "%s has no gate ?", c->name);
    const char *apart = strchr(c->x[0], '.');
    CHECK(crnn_cell_b_h(cell) == (apart ? c->h[0][apart - c->x[0]] : 0), "%s: b_h", c->name);
}

/* Options add parameters behind the matrix, in their order, side by side. */
static void check_layout(const crnn_layer *layer) {
    const cell_line *c = &lines[layer->cell];
    const size_t H = layer->hidden, P = crnn_width(layer), columns = H * strlen(c->gates);
    const size_t peep = layer->peepholes ? H : 0, gain = layer->layer_norm ? columns : 0;
    const size_t norm_c = layer->layer_norm && c->states == 2 ? H : 0;
    const size_t learned = layer->learns_state ? P : 0;
    const size_t sizes_of[CRNN_EXTRAS] = {
        [CRNN_B_H] = layer->bias && crnn_cell_b_h(layer->cell) ? H : 0,
        [CRNN_P_I] = strchr(c->gates, 'i') ? peep : 0,
        [CRNN_P_F] = strchr(c->gates, 'f') ? peep : 0,
        [CRNN_P_O] = strchr(c->gates, 'o') ? peep : 0,
        [CRNN_GAIN_X] = gain,
        [CRNN_GAIN_H] = c->h[0][0] ? gain : 0,
        [CRNN_GAIN_C] = norm_c,
        [CRNN_B_C] = layer->bias ? norm_c : 0,
        [CRNN_W_P] = layer->projected * H,
        [CRNN_H0] = learned,
        [CRNN_C0] = learned && c->states == 2 ? H : 0,
        [CRNN_LEAK] = layer->leaks && strcmp(c->gates, "h") == 0 ? H : 0,
    };
    crnn_layout at;
    CHECK(crnn_layer_layout(layer, &at) == CRNN_OK, "%s", c->name);
    CHECK(at.columns == columns && at.b_size == (layer->bias ? columns : 0), "%s: sizes", c->name);
    CHECK(at.b == 0 && at.w_x == at.b_size && at.w_h == at.w_x + layer->inputs * columns,
          "%s: places", c->name);
    CHECK(crnn_reads(layer) == (c->h[0][0] ? P : 0), "%s: reads", c->name);
    size_t end = at.w_h + crnn_reads(layer) * columns;
    for (size_t e = 0; e < CRNN_EXTRAS; end += sizes_of[e++])
        CHECK(at.extra[e] == end && at.extra_size[e] == sizes_of[e], "%s: extra %zu", c->name, e);
    CHECK(at.total == end, "%s: total", c->name);
    const size_t fixed = layer->learns_leak ? 0 : sizes_of[CRNN_LEAK];
    CHECK(at.learned == end - fixed, "%s: learned", c->name);
}

static void check_layouts(crnn_cell cell) {
    for (int bits = 0; bits < 64; bits++) {
        const bool has_c = lines[cell].states == 2;
        const crnn_layer layer = {.cell = cell,
                                  .inputs = 5,
                                  .hidden = 7,
                                  .bias = bits & 1,
                                  .layer_norm = bits & 2,
                                  .learns_state = bits & 4,
                                  .peepholes = has_c && bits & 8,
                                  .projected = has_c && bits & 8 ? 3 : 0,
                                  .leaks = bits & 16,
                                  .learns_leak = bits & 32};
        check_layout(&layer);
    }
}

int main(void) {
    check_deadline(120);
#if CHECK_HAS_PAGES
    check_environment();
#endif
    check_all_layer_sizes();
    check_other_sizes();
    check_philox();
    check_uniform();
    check_isas();
    for (int cell = 0; cell < CRNN_CELLS; cell++) {
        check_line(&lines[cell]);
        check_facts((crnn_cell)cell);
        check_layouts((crnn_cell)cell);
    }
    return check_done();
}
