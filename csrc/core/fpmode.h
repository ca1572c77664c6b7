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
typedef unsigned crnn_fpmode;
static inline crnn_fpmode crnn_fpmode_enter(void) {
    const crnn_fpmode caller = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* flush to zero, all exceptions masked, denormals are zeros */
    return caller;
}
static inline void crnn_fpmode_leave(crnn_fpmode caller) { _mm_setcsr(caller); }
#elif defined(__aarch64__)
typedef uint64_t crnn_fpmode;
static inline crnn_fpmode crnn_fpmode_enter(void) {
    crnn_fpmode caller;
    __asm__ volatile("mrs %0, fpcr" : "=r"(caller));
    const crnn_fpmode flush = (crnn_fpmode)1 << 24; /* of operands and results */
    __asm__ volatile("msr fpcr, %0" : : "r"(flush));
    return caller;
}
static inline void crnn_fpmode_leave(crnn_fpmode caller) {
    __asm__ volatile("msr fpcr, %0" : : "r"(caller));
}
#else
typedef int crnn_fpmode;
static inline crnn_fpmode crnn_fpmode_enter(void) { return 0; }
static inline void crnn_fpmode_leave(crnn_fpmode caller) { (void)caller; }
#endif

#endif
