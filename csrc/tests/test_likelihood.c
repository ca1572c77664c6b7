/* Special functions, losses of observed numbers and draws. Expected numbers are those of mpmath
 * with 60 digits. */
#include "check.h"

#include <math.h>
#include <string.h>

#include "crnn.h"
#include "special.h"

static void check_near(const char *what, double got, double expected, double tolerance) {
    CHECK(fabs(got - expected) <= tolerance * fabs(expected), "%s: got %.17g, expected %.17g", what,
          got, expected);
}

static void check_special(void) {
    check_near("log gamma(0.001)", core_log_gamma(0.001), 6.9071788853838535, 1e-15);
    check_near("log gamma(9.5)", core_log_gamma(9.5), 11.689333420797269, 1e-15);
    check_near("log gamma(1e6)", core_log_gamma(1e6), 12815504.569147612, 1e-15);
    CHECK(fabs(core_log_gamma(1)) < 1e-14, "log gamma(1) is 0");
    check_near("half step at 1", core_half_step(1), -0.12078223763524522, 5e-14);
    check_near("half step at 5e5", core_half_step(5e5), 6.5611814387021644, 1e-15);
    check_near("its slope at 1", core_half_step_slope(1), 0.11370563888010938, 1e-13);
    check_near("its slope at 1e4", core_half_step_slope(1e4), 1.2499999984375e-9, 1e-12);
    check_near("rising(1e12, 1000)", core_rising(1e12, 1000), 4.994999998335833e-7, 1e-6);
    check_near("log1p(1e-9) - 1e-9", core_log1p_rest(1e-9), -4.9999999966666667e-19, 1e-15);
    check_near("quantile(0.975)", core_normal_quantile(0.975), 1.9599639845400542, 1e-15);
    check_near("quantile(1e-300)", core_normal_quantile(1e-300), -37.047096299361199, 1e-14);
    check_near("Poisson(3; 2)", core_log_poisson(3, 2), -1.7123179275482191, 1e-14);
    check_near("Poisson(40; 37.5)", core_log_poisson(40, 37.5), -2.8470023957027902, 1e-13);
}

static const double outputs[CRNN_MOST_PARAMETERS] = {0.3, -0.7, 1.1};

/* The mean of the draws of each distribution is near that of the distribution. */
static void check_draws(void) {
    enum { COUNT = 20000 };
    uint32_t key[2];
    crnn_draw_key(11, 5, key);
    for (int kind = 0; kind < CRNN_LIKELIHOODS; kind++) {
        double sum = 0, again = 0;
        for (uint32_t i = 0; i < COUNT; i++)
            sum += crnn_draw((crnn_likelihood)kind, outputs, 3, key, i, 2);
        for (uint32_t i = COUNT; i-- > 0;)
            again += crnn_draw((crnn_likelihood)kind, outputs, 3, key, i, 2);
        const double mean = 3 * (kind == CRNN_NEGATIVE_BINOMIAL ? core_softplus(0.3) : 0.3);
        CHECK(fabs(sum / COUNT - mean) < 0.1, "kind %d: mean %g, not %g", kind, sum / COUNT, mean);
        CHECK(fabs(sum - again) < 1e-6, "kind %d: draws in another order differ", kind);
    }
}

static double loss_of(crnn_likelihood kind, const double *o, double z, double *d) {
    const double scale = 3;
    const crnn_observed one = {
        .kind = kind, .dtype = CRNN_F64, .n = 1, .outputs = o, .targets = &z, .scales = &scale};
    return crnn_negative_log_likelihood(&one, 1, d);
}

static void check_gradients(void) {
    for (int kind = 0; kind < CRNN_LIKELIHOODS; kind++) {
        const crnn_likelihood of = (crnn_likelihood)kind;
        double d[CRNN_MOST_PARAMETERS], unused[CRNN_MOST_PARAMETERS];
        loss_of(of, outputs, 4, d);
        for (size_t k = 0; k < crnn_likelihood_parameters(of); k++) {
            double up[CRNN_MOST_PARAMETERS], down[CRNN_MOST_PARAMETERS];
            memcpy(up, outputs, sizeof up);
            memcpy(down, outputs, sizeof down);
            up[k] += 1e-5;
            down[k] -= 1e-5;
            const double slope = (loss_of(of, up, 4, unused) - loss_of(of, down, 4, unused)) / 2e-5;
            CHECK(fabs(d[k] - slope) < 1e-8, "kind %d, output %zu: %g, not %g", kind, k, d[k],
                  slope);
        }
    }
}

int main(void) {
    check_special();
    check_draws();
    check_gradients();
    return check_done();
}
