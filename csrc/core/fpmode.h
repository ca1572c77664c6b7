/* The floating-point mode that teams of threads work in: results and operands too
 * small for a normal number count as zero. Processors take up to a hundred times longer for such
 * numbers, and there are millions of them where gradients vanish over a long sequence. It also sets
 * rounding to nearest and masks exceptions, so that results do not depend on what the caller has
 * set. Where all digits count, work is done in the exact mode, which has small numbers. */
#ifndef CRNN_FPMODE_H
#define CRNN_FPMODE_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
typedef unsigned core_fpmode;
/* Flush to zero, all exceptions masked, denormals are zeros. */
static const core_fpmode CORE_FLUSHING = 0x9fc0, CORE_EXACT = 0x1f80;
static inline core_fpmode core_fpmode_now(void) { return _mm_getcsr(); }
static inline void core_fpmode_set(core_fpmode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
typedef uint64_t core_fpmode;
static const core_fpmode CORE_FLUSHING = (core_fpmode)1 << 24; /* operands and results */
static const core_fpmode CORE_EXACT = 0;
static inline core_fpmode core_fpmode_now(void) {
    core_fpmode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void core_fpmode_set(core_fpmode mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
typedef int core_fpmode;
static const core_fpmode CORE_FLUSHING = 0, CORE_EXACT = 0;
static inline core_fpmode core_fpmode_now(void) { return CORE_FLUSHING; }
static inline void core_fpmode_set(core_fpmode mode) { (void)mode; }
#endif

/* Returns the mode before. */
static inline core_fpmode core_fpmode_enter(core_fpmode mode) {
    const core_fpmode before = core_fpmode_now();
    core_fpmode_set(mode);
    return before;
}

#endif
