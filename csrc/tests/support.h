/* What the tests of the kernels and of whole layers share: memory between a red zone and a page
 * that cannot be touched, numbers of either type, the instruction sets of this machine. */
#ifndef CRNN_TESTS_SUPPORT_H
#define CRNN_TESTS_SUPPORT_H

#include "check.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

/* ---- runners: an emulator and the thread sanitizer are many times as slow, the address sanitizer
 * is several times */

static inline bool slow_runner(void) {
#if defined(__SANITIZE_THREAD__)
    return true;
#else
    return getenv("CRNN_NO_FORKS") != NULL;
#endif
}

/* One of so many problems of a long row is taken. */
static inline int thinned(void) {
#if defined(__SANITIZE_ADDRESS__)
    return 3;
#else
    return slow_runner() ? 7 : 1;
#endif
}

/* ---- fenced memory: reading or writing past the end stops the test, what is read from before the
 * start or was never written is NaN, what is written there is noticed. A buffer is handed out until
 * fences_release is called with what fences_used was before. */

enum { FENCES = 4096, FENCE_ZONE = 128, FENCE_BYTE = 0xff /* makes a NaN of either type */ };

typedef struct fence {
    unsigned char *end;
    size_t capacity, bytes;
} fence;

static fence fences[FENCES];
static size_t fences_used;
static unsigned char fence_fill = FENCE_BYTE; /* what new memory is filled with */

static inline void *fenced(size_t bytes) {
    if (fences_used == FENCES) {
        fputs("too many fences\n", stderr);
        exit(2);
    }
    fence *f = &fences[fences_used++];
    if (f->capacity < bytes + FENCE_ZONE) {
        f->capacity = 2 * (bytes + FENCE_ZONE);
        f->end = (unsigned char *)check_memory(f->capacity) + f->capacity;
    }
    f->bytes = bytes;
    memset(f->end - bytes - FENCE_ZONE, FENCE_BYTE, FENCE_ZONE);
    memset(f->end - bytes, fence_fill, bytes);
    return f->end - bytes;
}

static inline bool fence_holds(const fence *f) {
    const unsigned char *zone = f->end - f->bytes - FENCE_ZONE;
    for (size_t i = 0; i < FENCE_ZONE; i++)
        if (zone[i] != FENCE_BYTE) return false;
    return true;
}

static inline void fences_release(size_t used_before) {
    bool hold = true;
    while (fences_used > used_before) hold = fence_holds(&fences[--fences_used]) && hold;
    CHECK(hold, "wrote before the start of a buffer");
}

/* ---- numbers */

static const char *const type_name[CRNN_DTYPES] = {"float", "double"};

static inline double real_at(crnn_dtype dtype, const void *p, size_t i) {
    return dtype == CRNN_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static inline void real_put(crnn_dtype dtype, void *p, size_t i, double value) {
    if (dtype == CRNN_F64)
        ((double *)p)[i] = value;
    else
        ((float *)p)[i] = (float)value;
}

/* In [-1, 1), a function of where it is asked for: the same number for the same place, whatever the
 * problem it is part of. */
static inline double sample(size_t stream, size_t i) {
    enum { SAMPLES = 65521 };
    static double noise[SAMPLES];
    static bool filled;
    if (!filled) crnn_random_uniform(1, 0, 0, SAMPLES, noise);
    filled = true;
    return 2 * noise[(stream * 7001 + i) % SAMPLES] - 1;
}

/* New memory with n samples of a stream. */
static inline void *sampled(crnn_dtype dtype, size_t stream, size_t n) {
    void *p = fenced(n * crnn_dtype_size(dtype));
    for (size_t i = 0; i < n; i++) real_put(dtype, p, i, sample(stream, i));
    return p;
}

static inline void *copied(const void *from, size_t bytes) {
    return memcpy(fenced(bytes), from, bytes);
}

/* Largest |a - b| over the largest |b|, which counts for 1 at least; infinite where there is a NaN.
 */
static inline double distance(crnn_dtype dtype, size_t n, const void *a, const void *b) {
    double most = 0, size = 1;
    for (size_t i = 0; i < n; i++) {
        const double x = real_at(dtype, a, i), y = real_at(dtype, b, i), error = fabs(x - y);
        if (isnan(error)) return INFINITY;
        most = fmax(most, error);
        size = fmax(size, fabs(y));
    }
    return most / size;
}

/* Number (row, step, unit) of a kind of noise, as crnn.h has it. */
static inline uint32_t drawn(const crnn_noise *noise, crnn_noise_kind kind, uint64_t row,
                             size_t step, size_t unit) {
    const uint32_t counter[4] = {(uint32_t)(unit / 4), (uint32_t)step, (uint32_t)row,
                                 (uint32_t)(row >> 32)};
    uint32_t key[2], words[4];
    crnn_noise_key(noise, kind, key);
    crnn_philox(key, counter, words);
    return words[unit % 4];
}

/* ---- the tables of this machine, best first; NULL past the last, the scalar one */

static inline const crnn_kernels *table_at(size_t i, crnn_dtype dtype) {
    const char *name = crnn_isa_available(i);
    return name ? core_kernels_for(name, dtype) : NULL;
}

/* A slow runner leaves out the costly tests of scalar code where there is any other. */
static inline bool left_out(const crnn_kernels *k) {
    return slow_runner() && k->width == 1 && k != table_at(0, k->dtype);
}

#endif
