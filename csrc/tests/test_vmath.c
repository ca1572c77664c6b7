/* exp, tanh and the logistic function against the C library in a wider type, for every instruction
 * set of this machine: largest error in units in the last place, special values, tails of arrays.
 *
 *   test_vmath [STRIDE [POINTS]]
 * tries every STRIDE-th float there is (1: all of them), and POINTS doubles in each range. */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

enum { BLOCK = 4096, MAX_ISAS = 8, FUNCTIONS = 3 };

/* ---- the functions, and what they are measured against */

typedef void array_fn(size_t n, const void *x, void *y);

static double logistic(double x) { return 1 / (1 + exp(-x)); }
static long double logisticl(long double x) { return 1 / (1 + expl(-x)); }

static const struct {
    const char *name;
    double (*wider)(double);
    long double (*widest)(long double);
} functions[FUNCTIONS] = {
    {"exp", exp, expl}, {"tanh", tanh, tanhl}, {"logistic", logistic, logisticl}};

static array_fn *function_of(const crnn_kernels *k, int f) {
    array_fn *const all[FUNCTIONS] = {k->exp, k->tanh, k->logistic};
    return all[f];
}

static const char *const type_name[CRNN_DTYPES] = {"float", "double"};

static const crnn_kernels *tables[CRNN_DTYPES][MAX_ISAS];
static size_t isas;

static void find_tables(void) {
    for (const char *name; isas < MAX_ISAS && (name = crnn_isa_available(isas)); isas++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            tables[d][isas] = core_kernels_for(name, (crnn_dtype)d);
            CHECK(tables[d][isas] != NULL, "no table for %s", name);
        }
    }
}

/* ---- error in ULP */

static const double limit[CRNN_DTYPES] = {2, 4};
static const int digits[CRNN_DTYPES] = {FLT_MANT_DIG, DBL_MANT_DIG};
static const int lowest[CRNN_DTYPES] = {FLT_MIN_EXP, DBL_MIN_EXP};
static const int highest[CRNN_DTYPES] = {FLT_MAX_EXP, DBL_MAX_EXP};

typedef struct worst {
    double error, at;
} worst;

static worst errors[CRNN_DTYPES][MAX_ISAS][FUNCTIONS];

/* |y - exact| in ULP of the type at `exact`. Infinity counts as the power of two it stands for. */
static double ulps(crnn_dtype d, long double y, long double exact) {
    if (isnan(exact) || isnan(y)) return isnan(exact) && isnan(y) ? 0 : INFINITY;
    const long double most = ldexpl(1, highest[d]);
    int exponent;
    exact = fminl(fmaxl(exact, -most), most);
    y = fminl(fmaxl(y, -most), most);
    (void)frexpl(fminl(fabsl(exact), most / 2), &exponent);
    if (exponent < lowest[d] || exact == 0) exponent = lowest[d];
    return (double)fabsl(ldexpl(y - exact, digits[d] - exponent));
}

static void note(worst *w, double error, double at) {
    if (!(error <= w->error)) *w = (worst){error, at};
}

/* exact [n], x [n]: what each table makes of x. */
static void measure_floats(int f, size_t n, const float *x, const double *exact) {
    float y[BLOCK];
    for (size_t isa = 0; isa < isas; isa++) {
        function_of(tables[CRNN_F32][isa], f)(n, x, y);
        for (size_t i = 0; i < n; i++) {
            /* Almost all are within half a unit of the rounded reference: not worth measuring. */
            if (y[i] != (float)exact[i])
                note(&errors[CRNN_F32][isa][f], ulps(CRNN_F32, y[i], exact[i]), x[i]);
        }
    }
}

static void measure_doubles(int f, size_t n, const double *x, const long double *exact) {
    double y[BLOCK];
    for (size_t isa = 0; isa < isas; isa++) {
        function_of(tables[CRNN_F64][isa], f)(n, x, y);
        for (size_t i = 0; i < n; i++)
            note(&errors[CRNN_F64][isa][f], ulps(CRNN_F64, y[i], exact[i]), x[i]);
    }
}

/* ---- which arguments */

static void sweep_floats(uint32_t stride) {
    float x[BLOCK];
    double exact[BLOCK];
    for (uint64_t bits = 0; bits <= UINT32_MAX;) {
        size_t n = 0;
        for (; n < BLOCK && bits <= UINT32_MAX; n++, bits += stride) {
            const uint32_t pattern = (uint32_t)bits;
            memcpy(&x[n], &pattern, sizeof pattern);
        }
        for (int f = 0; f < FUNCTIONS; f++) {
            for (size_t i = 0; i < n; i++) exact[i] = functions[f].wider(x[i]);
            measure_floats(f, n, x, exact);
        }
    }
}

static uint64_t random_bits(void) { /* splitmix64, Steele et al. (2014) */
    static uint64_t state;
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double random_in(double low, double high) {
    return low + (high - low) * ldexp((double)(random_bits() >> 11), -53);
}

/* Of either sign, any exponent from low to high equally often. */
static double random_magnitude(int low, int high) {
    const uint64_t bits = random_bits();
    const int exponent = low + (int)(bits % (uint64_t)(high - low + 1));
    const double size = ldexp(random_in(1, 2), exponent);
    return bits >> 63 ? -size : size;
}

/* Where the functions bend, saturate, underflow and overflow; the second kind reaches the tiniest
 * numbers and the largest. */
static const struct {
    double low, high;
} ranges[] = {{-0.36, 0.36}, {-1, 1},      {-3, 3},      {-20, 20},   {-40, 40},
              {-750, 750},   {709, 709.8}, {-709, -707}, {-746, -708}};
static const struct {
    int low, high;
} magnitudes[] = {{-1074, 1023}, {-60, 10}};

static void sweep_doubles(size_t points, double (*draw)(size_t), size_t kinds) {
    double x[BLOCK];
    static long double exact[BLOCK];
    for (size_t kind = 0; kind < kinds; kind++) {
        for (size_t done = 0; done < points; done += BLOCK) {
            for (size_t i = 0; i < BLOCK; i++) x[i] = draw(kind);
            for (int f = 0; f < FUNCTIONS; f++) {
                for (size_t i = 0; i < BLOCK; i++) exact[i] = functions[f].widest(x[i]);
                measure_doubles(f, BLOCK, x, exact);
            }
        }
    }
}

static double draw_range(size_t kind) { return random_in(ranges[kind].low, ranges[kind].high); }
static double draw_magnitude(size_t kind) {
    return random_magnitude(magnitudes[kind].low, magnitudes[kind].high);
}

static void check_errors(void) {
    printf("\n%-8s %-7s %-9s %9s   at\n", "isa", "type", "function", "max ULP");
    for (size_t isa = 0; isa < isas; isa++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            for (int f = 0; f < FUNCTIONS; f++) {
                const worst w = errors[d][isa][f];
                printf("%-8s %-7s %-9s %9.4f   %.17g (%a)\n", tables[d][isa]->isa, type_name[d],
                       functions[f].name, w.error, w.at, w.at);
                CHECK(w.error <= limit[d], "%s in %s", functions[f].name, type_name[d]);
            }
        }
    }
}

/* ---- special values */

/* One number through a table, whatever its type. */
static double apply(const crnn_kernels *k, int f, double x) {
    if (k->dtype == CRNN_F64) {
        double y;
        function_of(k, f)(1, &x, &y);
        return y;
    }
    const float narrow = (float)x;
    float y;
    function_of(k, f)(1, &narrow, &y);
    return y;
}

/* Equal, zeros by their sign too; any NaN is like any other. */
static bool same(double a, double b) {
    return isnan(a) ? isnan(b) != 0 : a == b && !signbit(a) == !signbit(b);
}

static void check_specials(const crnn_kernels *k) {
    const double tiny = k->dtype == CRNN_F64 ? 0x1p-1074 : 0x1p-149;
    const double most = k->dtype == CRNN_F64 ? DBL_MAX : FLT_MAX;
    const struct {
        double x, y[FUNCTIONS];
    } cases[] = {
        {0.0, {1, 0.0, 0.5}},        {-0.0, {1, -0.0, 0.5}},         {tiny, {1, tiny, 0.5}},
        {-tiny, {1, -tiny, 0.5}},    {3 * tiny, {1, 3 * tiny, 0.5}}, {0x1p-100, {1, 0x1p-100, 0.5}},
        {most, {INFINITY, 1, 1}},    {-most, {0.0, -1, 0.0}},        {INFINITY, {INFINITY, 1, 1}},
        {-INFINITY, {0.0, -1, 0.0}}, {NAN, {NAN, NAN, NAN}},         {-NAN, {NAN, NAN, NAN}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int f = 0; f < FUNCTIONS; f++) {
            const double y = apply(k, f, cases[i].x);
            CHECK(same(y, cases[i].y[f]), "%s %s %s(%a) = %a, not %a", k->isa, type_name[k->dtype],
                  functions[f].name, cases[i].x, y, cases[i].y[f]);
        }
    }
}

/* Bounds that the callers rely on, near the places where the results reach them; and odd symmetry.
 */
static void check_bounds(const crnn_kernels *k) {
    bool inside = true, odd = true;
    for (int i = 0; i < 20000; i++) {
        const double x = random_in(-50, 50), t = apply(k, 1, x), s = apply(k, 2, x);
        inside = inside && t >= -1 && t <= 1 && s >= 0 && s <= 1;
        odd = odd && apply(k, 1, -x) == -t;
    }
    CHECK(inside, "%s: tanh or logistic out of its bounds", k->isa);
    CHECK(odd, "%s: tanh(-x) is not -tanh(x)", k->isa);
}

/* The last results that are not zero are subnormal, the first infinite one stands at its place. */
static void check_tails(const crnn_kernels *k) {
    const bool wide = k->dtype == CRNN_F64;
    const double tiny = wide ? 0x1p-1074 : 0x1p-149;
    const double zero_below = wide ? -745.14 : -103.98, tiny_above = wide ? -745.13 : -103.97;
    const double finite_below = wide ? 709.78 : 88.72, infinite_above = wide ? 709.79 : 88.73;
    for (int f = 0; f < FUNCTIONS; f += 2) {
        CHECK(same(apply(k, f, zero_below), 0), "%s %s", k->isa, functions[f].name);
        CHECK(apply(k, f, tiny_above) == tiny, "%s %s", k->isa, functions[f].name);
    }
    CHECK(isfinite(apply(k, 0, finite_below)), "%s", k->isa);
    CHECK(isinf(apply(k, 0, infinite_above)), "%s", k->isa);
}

/* ---- arrays of any length */

enum { ZONE = 64, ZONE_BYTE = 0x5a };

static bool is_zone(const unsigned char *p) {
    for (size_t i = 0; i < ZONE; i++)
        if (p[i] != ZONE_BYTE) return false;
    return true;
}

/* n numbers that end at a forbidden page: the same bits as one by one, in place too, and nothing
 * written on either side. */
static void check_length(const crnn_kernels *k, int f, size_t n, unsigned char *x_end,
                         unsigned char *y_end) {
    const size_t item = k->dtype == CRNN_F64 ? sizeof(double) : sizeof(float);
    unsigned char *x = x_end - n * item, *y = y_end - ZONE - n * item;
    memset(y - ZONE, ZONE_BYTE, n * item + 2 * ZONE);
    for (size_t i = 0; i < n; i++) {
        const double wide = random_in(-5, 5);
        const float narrow = (float)wide;
        memcpy(x + i * item, item == sizeof wide ? (const void *)&wide : &narrow, item);
    }
    function_of(k, f)(n, x, y);
    CHECK(is_zone(y - ZONE) && is_zone(y + n * item), "%s %s n=%zu wrote outside", k->isa,
          functions[f].name, n);
    bool equal = true;
    for (size_t i = 0; i < n; i++) {
        unsigned char one[sizeof(double)];
        function_of(k, f)(1, x + i * item, one);
        equal = equal && memcmp(one, y + i * item, item) == 0;
    }
    function_of(k, f)(n, x, x);
    CHECK(equal, "%s %s n=%zu differs from one by one", k->isa, functions[f].name, n);
    CHECK(memcmp(x, y, n * item) == 0, "%s %s n=%zu in place", k->isa, functions[f].name, n);
}

static void check_lengths(const crnn_kernels *k) {
    const size_t most = 3 * k->width + 1, bytes = most * sizeof(double) + 2 * ZONE;
    unsigned char *x_end = (unsigned char *)check_memory(bytes) + bytes;
    unsigned char *y_end = (unsigned char *)check_memory(bytes) + bytes;
    for (int f = 0; f < FUNCTIONS; f++)
        for (size_t n = 0; n <= most; n++) check_length(k, f, n, x_end, y_end);
}

int main(int argc, char **argv) {
    const uint32_t stride = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 997;
    const size_t points = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 200000;
    find_tables();
    for (size_t isa = 0; isa < isas; isa++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            check_specials(tables[d][isa]);
            check_bounds(tables[d][isa]);
            check_tails(tables[d][isa]);
            check_lengths(tables[d][isa]);
        }
    }
    sweep_floats(stride ? stride : 1);
    if (LDBL_MANT_DIG > DBL_MANT_DIG) {
        sweep_doubles(points, draw_range, sizeof ranges / sizeof *ranges);
        sweep_doubles(points, draw_magnitude, sizeof magnitudes / sizeof *magnitudes);
    } else {
        puts("long double is no wider than double here: double is not measured");
    }
    check_errors();
    return check_done();
}
