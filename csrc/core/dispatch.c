/* Which table of kernels runs. The processor and the operating system say which can; the first
 * call chooses the best, or what CRNN_ISA in the environment names, crnn_isa_select another. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

extern const crnn_kernels core_kernels_scalar_f32, core_kernels_scalar_f64;
extern const crnn_kernels core_kernels_avx2_f32, core_kernels_avx2_f64;
extern const crnn_kernels core_kernels_avx512_f32, core_kernels_avx512_f64;
extern const crnn_kernels core_kernels_neon_f32, core_kernels_neon_f64;

static bool cpu_always(void) { return true; }

#if defined(CRNN_HAVE_AVX2) || defined(CRNN_HAVE_AVX512)
#if defined(_MSC_VER)
#include <intrin.h>
#define MAYBE_XSAVE
static void cpuid(unsigned leaf, unsigned out[4]) { __cpuidex((int *)out, (int)leaf, 0); }
#else
#include <cpuid.h>
#include <immintrin.h>
#define MAYBE_XSAVE __attribute__((target("xsave")))
static void cpuid(unsigned leaf, unsigned out[4]) {
    if (!__get_cpuid_count(leaf, 0, &out[0], &out[1], &out[2], &out[3])) memset(out, 0, 16);
}
#endif

/* The register state that the operating system saves: 6 for AVX, 0xE6 for AVX-512. */
MAYBE_XSAVE static bool os_saves(unsigned long long state) {
    unsigned one[4];
    cpuid(1, one);
    return (one[2] >> 27 & 1) && (_xgetbv(0) & state) == state;
}

static bool has_bits(unsigned word, unsigned bits) { return (word & bits) == bits; }

static bool cpu_avx2(void) {
    unsigned one[4], seven[4];
    cpuid(1, one);
    cpuid(7, seven);
    return os_saves(6) && has_bits(one[2], 1u << 12 | 1u << 28) && has_bits(seven[1], 1u << 5);
}

/* F, DQ, BW, VL: what isa/avx512 is compiled for. */
static bool cpu_avx512(void) {
    unsigned seven[4];
    cpuid(7, seven);
    return cpu_avx2() && os_saves(0xE6) &&
           has_bits(seven[1], 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);
}
#endif

typedef struct isa {
    const char *name;
    bool (*runs_here)(void);
    const crnn_kernels *table[CRNN_DTYPES];
} isa;

/* Best first. */
static const isa levels[] = {
#ifdef CRNN_HAVE_AVX512
    {"avx512", cpu_avx512, {&core_kernels_avx512_f32, &core_kernels_avx512_f64}},
#endif
#ifdef CRNN_HAVE_AVX2
    {"avx2", cpu_avx2, {&core_kernels_avx2_f32, &core_kernels_avx2_f64}},
#endif
#ifdef CRNN_HAVE_NEON /* part of every 64-bit ARM */
    {"neon", cpu_always, {&core_kernels_neon_f32, &core_kernels_neon_f64}},
#endif
    {"scalar", cpu_always, {&core_kernels_scalar_f32, &core_kernels_scalar_f64}},
};

enum { LEVELS = sizeof(levels) / sizeof(levels[0]) };

static _Atomic(const isa *) chosen;

static const isa *find(const char *name) {
    for (size_t i = 0; i < LEVELS; i++)
        if (levels[i].runs_here() && (!name || strcmp(levels[i].name, name) == 0))
            return &levels[i];
    return NULL;
}

/* Two threads may both get here first: they find the same. */
static const isa *current(void) {
    const isa *now = atomic_load_explicit(&chosen, memory_order_acquire);
    if (now) return now;
    const char *wish = getenv("CRNN_ISA");
    now = wish && *wish ? find(wish) : NULL;
    if (!now) now = find(NULL);
    atomic_store_explicit(&chosen, now, memory_order_release);
    return now;
}

const char *crnn_isa_available(size_t i) {
    for (size_t k = 0; k < LEVELS; k++)
        if (levels[k].runs_here() && i-- == 0) return levels[k].name;
    return NULL;
}

const char *crnn_isa_name(void) { return current()->name; }

bool crnn_isa_select(const char *name) {
    const isa *level = find(name);
    if (level) atomic_store_explicit(&chosen, level, memory_order_release);
    return level != NULL;
}

const crnn_kernels *core_kernels_for(const char *name, crnn_dtype dtype) {
    const isa *level = find(name);
    return level ? level->table[dtype] : NULL;
}

const crnn_kernels *crnn_kernels_now(crnn_dtype dtype) { return current()->table[dtype]; }
