/* Sample paths of forecasts: a plan of one step whose outputs are the parameters of a distribution,
 * run again and again. The number that is drawn at a step is an input of later steps. */
#ifndef CRNN_FORECAST_H
#define CRNN_FORECAST_H

#include "likelihood.h"
#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* S paths of T steps of each of n series. The last L of the F inputs of step t are z_(t-l) / nu for
 * each lag l; with indicators, the L before them are 1 where z_(t-l) is there. The caller owns all
 * buffers. */
typedef struct crnn_paths {
    crnn_likelihood likelihood;
    size_t samples;         /* S, at least 1. */
    size_t steps;           /* T. */
    size_t gap;             /* The first `gap` steps are drawn, but not written to `paths`. */
    size_t lags;            /* L. */
    const int64_t *lag;     /* in [L]: in steps, at least 1, in descending order. */
    bool indicators;        /* There are indicators. */
    crnn_seq x;             /* in (n, T, F), of the type of the plan: all inputs. Where a lag leads
                               to a number that is drawn, the input is not read. */
    const double *scales;   /* in [n]: nu. */
    uint64_t seed;          /* Of the draws. */
    const uint64_t *series; /* in [n]: what stands for a series in random numbers. */
    float *paths;           /* out [n][S][T - gap]: z. */
} crnn_paths;

/* Some of the n S paths, of which path i S + s is path s of series i, and a plan for them. */
typedef struct crnn_forecast {
    const crnn_paths *paths; /* in. */
    size_t first;            /* in: the first path. There are as many as the plan has rows. */
    const crnn_plan *plan;   /* in: of one step, with packed weights; `initial` and `final` of each
                                layer are the same buffers. Node 0 is the input, (rows, F), the last
                                one has the outputs. */
    crnn_node *node;         /* in: the nodes of the plan. Written to: the value of node 0; what
                                `begun` of node 1 is. */
    void *scratch; /* [crnn_forecast_scratch] bytes, aligned to CRNN_ALIGN, from the first step to
                      the last: the numbers that later steps read. */
    size_t step;   /* in and out: the next step, at first 0. */
    bool finite;   /* in and out, at first true. False: a number was not finite. */
    size_t bad;    /* out: the first path with such a number, */
    size_t when;   /* out: and its first step with one. The steps go on. */
} crnn_forecast;

/* Writes the size of `scratch`. */
CRNN_API crnn_status crnn_forecast_scratch(const crnn_forecast *part, size_t *bytes);
/* Runs so many steps of each of the parts. Each of them may run on a thread of its own; they may
 * share packed weights. A number is a function of the outputs of the plan, seed, series, sample and
 * step (crnn_draw). parts: in and out [count]. */
CRNN_API void crnn_sample_paths(crnn_forecast *parts, size_t count, size_t steps);

#ifdef __cplusplus
}
#endif

#endif
