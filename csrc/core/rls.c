/* Recursive least squares: the factor of P, and steps in groups that kernels/rls.inc makes. A
 * factor is D, then U, in groups of rows of equal length. */
#include <string.h>

#include "fpmode.h"
#include "kernels.h"

enum { GROUP = CRNN_ALIGN / sizeof(double) };

static size_t groups_of(const crnn_rls *rls) { return (rls->features - 1) / GROUP + 1; }

crnn_status crnn_rls_sizes(const crnn_rls *rls, size_t *elements, size_t *workspace) {
    const size_t groups = groups_of(rls), item = sizeof(double);
    core_measure factor = {.fits = true}, own = {.fits = true};
    core_measure_add(&factor, groups + 1, groups * GROUP / 2, GROUP * item);
    core_measure_add(&factor, groups, GROUP, item);
    core_measure_add(&own, groups * GROUP, (size_t)2 * RLS_STEPS, item);
    *elements = factor.bytes / item;
    *workspace = own.bytes;
    return factor.fits && own.fits ? CRNN_OK : CRNN_OVERFLOW;
}

void crnn_rls_begin(const crnn_rls *rls, double alpha, double *factor) {
    const size_t pitch = groups_of(rls) * GROUP;
    double *row = factor + pitch;
    for (size_t i = 0, length = GROUP; i < pitch; i++, row += length) {
        length = (i / GROUP + 1) * GROUP;
        factor[i] = i < rls->features ? 1 / alpha : 0;
        memset(row, 0, length * sizeof *row);
        row[i] = 1;
    }
}

/* Makes a few steps of a call, in rows that are padded to its pitch. */
static double few_steps(const crnn_rls *rls, const rls_call *call, const double *z, double *gains) {
    const size_t n = rls->features;
    double *to = (double *)call->z;
    for (size_t t = 0; t < call->steps; t++, to += call->pitch) {
        memcpy(to, z + t * n, n * sizeof *to);
        memset(to + n, 0, (call->pitch - n) * sizeof *to);
    }
    const double trace = rls->kernels->rls_steps(call), *from = call->gains;
    for (size_t t = 0; t < call->steps; t++, from += call->pitch)
        memcpy(gains + t * n, from, n * sizeof *gains);
    return trace;
}

crnn_rls_extent crnn_rls_gains(const crnn_rls *rls, size_t steps, const double *z, double *factor,
                               double *gains, void *workspace) {
    const core_fpmode caller = core_fpmode_enter(CORE_FLUSHING);
    const size_t n = rls->features, pitch = groups_of(rls) * GROUP;
    rls_call call = {.pitch = pitch,
                     .forgetting = rls->forgetting,
                     .z = workspace,
                     .d = factor,
                     .u = factor + pitch,
                     .gains = (double *)workspace + RLS_STEPS * pitch};
    crnn_rls_extent extent = {0};
    for (; steps > 0; steps -= call.steps, z += call.steps * n, gains += call.steps * n) {
        call.steps = steps < RLS_STEPS ? steps : RLS_STEPS;
        extent.trace = few_steps(rls, &call, z, gains);
    }
    extent.least = factor[0];
    for (size_t i = 1; i < n; i++)
        if (!(factor[i] >= extent.least)) extent.least = factor[i];
    core_fpmode_set(caller);
    return extent;
}
