/* The vector vocabulary with one lane, in portable C. It is what other processors than x86-64 and
 * 64-bit ARM get, and the plainest reading of what the other headers mean. Include one, once, with
 * CRNN_REAL_IS_DOUBLE defined as 0 or 1: it gives `real`, `vec` of V lanes, `vmask` and the v_
 * functions. Rules that all keep:
 *
 * - v_load_part and v_store_part touch the memory of the first n <= V lanes only, and n may be 0;
 *   what is not loaded is 0. So do v_load_n and v_store_n (lanes.h), which cost what v_load and
 *   v_store cost where n is V.
 * - v_min and v_max return the second operand when either is NaN or both are zeros, as x86 does: so
 *   v_min(limit, x) passes on a NaN of x, v_min(x, limit) does not.
 * - v_lt and v_gt are false when either operand is NaN. v_select takes only masks.
 * - v_fma and v_fnma are fused everywhere but here, where the product is rounded first: C's fma()
 *   is a slow library call on a processor without the instruction.
 * - v_scale2(v, n) = v * 2^n, rounded once when that is subnormal, infinite when it is too large.
 *   n holds integers from -190 to 191 (float) or from -1086 to 1087 (double), 2^-60 < |v| < 2^60;
 *   or v is NaN and n is anything.
 * - v_exp2i(n) = 2^n where n holds integers and 2^n is a normal number.
 * - v_minus_abs(v) = -|v|.
 * - v_sum and v_max_lane fold the upper half onto the lower until one lane is left: one order. */
#ifndef CRNN_SIMD_SCALAR_H
#define CRNN_SIMD_SCALAR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "inline.h"

#define V 1

#if CRNN_REAL_IS_DOUBLE
typedef double real;
typedef uint64_t core_bits;
#define CRNN_SCALAR_FN(name) name
#define CRNN_EXPONENT_SHIFT 52
#define CRNN_EXP2_MAGIC (0x1.8p52 + 1023) /* adding it puts n + 1023 in the lowest bits */
#else
typedef float real;
typedef uint32_t core_bits;
#define CRNN_SCALAR_FN(name) name##f
#define CRNN_EXPONENT_SHIFT 23
#define CRNN_EXP2_MAGIC (0x1.8p23f + 127)
#endif

typedef real vec;
typedef int vmask;

static CRNN_INLINE vec v_load(const real *p) { return *p; }
static CRNN_INLINE void v_store(real *p, vec v) { *p = v; }
static CRNN_INLINE vec v_load_part(const real *p, size_t n) { return n ? *p : (real)0; }
static CRNN_INLINE void v_store_part(real *p, vec v, size_t n) {
    if (n) *p = v;
}

static CRNN_INLINE void v_prefetch(const real *p) { (void)p; }

static CRNN_INLINE vec v_set1(real s) { return s; }
static CRNN_INLINE vec v_zero(void) { return 0; }
static CRNN_INLINE vec v_add(vec a, vec b) { return a + b; }
static CRNN_INLINE vec v_sub(vec a, vec b) { return a - b; }
static CRNN_INLINE vec v_mul(vec a, vec b) { return a * b; }
static CRNN_INLINE vec v_div(vec a, vec b) { return a / b; }
static CRNN_INLINE vec v_min(vec a, vec b) { return a < b ? a : b; }
static CRNN_INLINE vec v_max(vec a, vec b) { return a > b ? a : b; }
static CRNN_INLINE vec v_abs(vec a) { return CRNN_SCALAR_FN(fabs)(a); }
static CRNN_INLINE vec v_minus_abs(vec a) { return -v_abs(a); }
static CRNN_INLINE vec v_sqrt(vec a) { return CRNN_SCALAR_FN(sqrt)(a); }
static CRNN_INLINE vec v_round(vec a) { return CRNN_SCALAR_FN(rint)(a); }
static CRNN_INLINE vec v_copysign(vec mag, vec sgn) { return CRNN_SCALAR_FN(copysign)(mag, sgn); }

/* a * b + c and c - a * b, each rounded twice: the file is compiled with -ffp-contract=off. */
static CRNN_INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }
static CRNN_INLINE vec v_fnma(vec a, vec b, vec c) { return c - a * b; }

static CRNN_INLINE vmask v_lt(vec a, vec b) { return a < b; }
static CRNN_INLINE vmask v_gt(vec a, vec b) { return a > b; }
static CRNN_INLINE vec v_select(vmask m, vec a, vec b) { return m ? a : b; }

/* The exponent is written as bits: a float-to-int conversion would be undefined for the NaN that
 * may pass by. */
static CRNN_INLINE vec v_exp2i(vec n) {
    real shifted = n + CRNN_EXP2_MAGIC;
    core_bits bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= CRNN_EXPONENT_SHIFT;
    memcpy(&shifted, &bits, sizeof bits);
    return shifted;
}

/* Two factors, because 2^n alone may be out of range: the first product is exact, only the second
 * one rounds. */
static CRNN_INLINE vec v_scale2(vec v, vec n) {
    real partial = n < 0 ? n + 64 : n - 64;
    real rest = n < 0 ? (real)0x1p-64 : (real)0x1p64;
    return v * v_exp2i(partial) * rest;
}

static CRNN_INLINE real v_sum(vec v) { return v; }
static CRNN_INLINE real v_max_lane(vec v) { return v; }

#include "lanes.h"

#endif
