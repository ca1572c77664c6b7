/* How a small function is forced inline, for GCC, Clang and MSVC alike; write `static CRNN_INLINE`.
 * A vector function that is not inlined passes its arguments through memory, and a file compiled
 * for one instruction set must not leave a copy behind that the linker could pick for another:
 * hence static as well as forced. */
#ifndef CRNN_SIMD_INLINE_H
#define CRNN_SIMD_INLINE_H

#if defined(_MSC_VER)
#define CRNN_INLINE __forceinline
#elif defined(__GNUC__)
#define CRNN_INLINE inline __attribute__((always_inline))
#else
#define CRNN_INLINE inline
#endif

#endif
