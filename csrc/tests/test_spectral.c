/* Sums in a stated order, and eigenvalues of Hessenberg matrices. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crnn/spectral.h"

enum { COUNT = 40, N = 1500, PITCH = N + 3 };

static double numbers[COUNT * PITCH], listed[COUNT * N], factors[COUNT];
static int64_t starts[COUNT + 1], places[COUNT * N];

/* Numbers in (-1, 1) with all their bits, nine tenths of them 0 where `sparse`. */
static void draw(bool sparse) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < COUNT * PITCH + COUNT; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const double x = (double)(int64_t)state / 0x1p63;
        const bool zero = sparse && state % 10 != 0;
        if (i < COUNT * PITCH)
            numbers[i] = zero ? 0 : x;
        else
            factors[i - COUNT * PITCH] = x;
    }
}

static void list_rows(void) {
    int64_t entries = 0;
    for (size_t k = 0; k < COUNT; k++) {
        starts[k] = entries;
        for (size_t i = 0; i < N; i++) {
            if (numbers[k * PITCH + i] == 0) continue;
            places[entries] = (int64_t)i;
            listed[entries++] = numbers[k * PITCH + i];
        }
    }
    starts[COUNT] = entries;
}

/* Volatile: each product and each sum is rounded. */
static void check_sums(const char *what, const double *total) {
    size_t wrong = 0;
    for (size_t i = 0; i < N; i++) {
        volatile double sum = 0;
        for (size_t k = 0; k < COUNT; k++) {
            volatile double term = factors[k] * numbers[k * PITCH + i];
            sum = sum + term;
        }
        const double expected = sum;
        wrong += memcmp(&expected, &total[i], sizeof expected) != 0;
    }
    CHECK(wrong == 0, "%s: %zu of %d sums differ", what, wrong, N);
}

static void check_ordered_sums(void) {
    static double total[N];
    for (int sparse = 0; sparse < 2; sparse++) {
        draw(sparse);
        list_rows();
        const crnn_ordered_rows dense = {.count = COUNT, .n = N, .values = numbers, .pitch = PITCH};
        crnn_ordered_sum(&dense, factors, total);
        check_sums("dense", total);
        const crnn_ordered_rows lists = {
            .count = COUNT, .n = N, .values = listed, .starts = starts, .places = places};
        crnn_ordered_sum(&lists, factors, total);
        check_sums("listed", total);
    }
    const crnn_ordered_rows none = {.n = N, .values = numbers, .pitch = PITCH};
    crnn_ordered_sum(&none, factors, total);
    for (size_t i = 0; i < N; i++) CHECK(total[i] == 0, "element %zu of no rows", i);
}

static void check_radius(const char *what, size_t n, double *a, double expected, double tolerance) {
    const double radius = crnn_hessenberg_radius(n, a);
    CHECK(fabs(radius - expected) <= tolerance * expected, "%s: %.17g in place of %.17g", what,
          radius, expected);
}

/* x^n = r^n: eigenvalues on a circle; the shifts of the first steps do not converge. */
static void check_circles(void) {
    for (size_t n = 1; n < 60; n++) {
        double *a = calloc(n * n, sizeof *a);
        for (size_t i = 1; i < n; i++) a[i * n + i - 1] = 1;
        a[n - 1] += pow(0.9, (double)n);
        check_radius("a circle", n, a, 0.9, 1e-9);
        free(a);
    }
}

static void check_matrices(void) {
    double triangular[] = {0.5, 9, 1, 0, -0.75, 3, 0, 0, 0.25};
    check_radius("triangular", 3, triangular, 0.75, 0);
    double conjugates[] = {0.6, -0.8, 0.8, 0.6};
    check_radius("a rotation", 2, conjugates, 1, 1e-15);
    double zeros[16] = {0};
    check_radius("zeros", 4, zeros, 0, 0);
    double roots[] = {10, -35, 50, -24, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
    check_radius("the roots 1, 2, 3, 4", 4, roots, 4, 1e-13);
    double not_a_number[] = {NAN, 1, 1, 1, NAN, 1, 0, 1, 1};
    CHECK(crnn_hessenberg_radius(3, not_a_number) == -1, "NaN converges");
}

int main(void) {
    check_ordered_sums();
    check_circles();
    check_matrices();
    return check_done();
}
