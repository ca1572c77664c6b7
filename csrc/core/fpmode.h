/* The floating-point mode that teams of threads work in: results and operands too
 * small for a normal number count as zero. Processors take up to a hundred times longer for such
 * numbers, and there are millions of them where gradients vanish over a long sequence. It also sets
 * rounding to nearest and masks exceptions, so that results do not depend on what the caller has
 * set. */
#ifndef CRNN_FPMODE_H
#define CRNN_FPMODE_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
typedef unsigned core_fpmode;
static inline core_fpmode core_fpmode_enter(void) {
    const core_fpmode caller = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* flush to zero, all exceptions masked, denormals are zeros */
    return caller;
}
static inline void core_fpmode_leave(core_fpmode caller) { _mm_setcsr(caller); }
#elif defined(__aarch64__)
typedef uint64_t core_fpmode;
static inline core_fpmode core_fpmode_enter(void) {
    core_fpmode caller;
    __asm__ volatile("mrs %0, fpcr" : "=r"(caller));
    const core_fpmode flush = (core_fpmode)1 << 24; /* of operands and results */
    __asm__ volatile("msr fpcr, %0" : : "r"(flush));
    return caller;
}
static inline void core_fpmode_leave(core_fpmode caller) {
    __asm__ volatile("msr fpcr, %0" : : "r"(caller));
}
#else
typedef int core_fpmode;
static inline core_fpmode core_fpmode_enter(void) { return 0; }
static inline void core_fpmode_leave(core_fpmode caller) { (void)caller; }
#endif

#endif
