/* The vector vocabulary on NEON of 64-bit ARM: 4 floats or 2 doubles. The rules are written at the
 * head of scalar.h. */
#ifndef CRNN_SIMD_NEON_H
#define CRNN_SIMD_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "inline.h"

#if CRNN_REAL_IS_DOUBLE
typedef double real;
typedef float64x2_t vec;
typedef uint64x2_t vmask;
#define V 2
#define CRNN_OP(name) name##_f64
#define CRNN_BITS_OP(name) name##_u64
#define CRNN_TO_BITS vreinterpretq_u64_f64
#define CRNN_FROM_BITS vreinterpretq_f64_u64
#define CRNN_SIGN_BIT ((uint64_t)1 << 63)
#define CRNN_EXPONENT_SHIFT 52
#define CRNN_EXP2_MAGIC (0x1.8p52 + 1023) /* adding it puts n + 1023 in the lowest bits */
#else
typedef float real;
typedef float32x4_t vec;
typedef uint32x4_t vmask;
#define V 4
#define CRNN_OP(name) name##_f32
#define CRNN_BITS_OP(name) name##_u32
#define CRNN_TO_BITS vreinterpretq_u32_f32
#define CRNN_FROM_BITS vreinterpretq_f32_u32
#define CRNN_SIGN_BIT ((uint32_t)1 << 31)
#define CRNN_EXPONENT_SHIFT 23
#define CRNN_EXP2_MAGIC (0x1.8p23f + 127)
#endif

static CRNN_INLINE vec v_load(const real *p) { return CRNN_OP(vld1q)(p); }
static CRNN_INLINE void v_store(real *p, vec v) { CRNN_OP(vst1q)(p, v); }

static CRNN_INLINE vec v_load_part(const real *p, size_t n) {
    real lanes[V] = {0};
    for (size_t i = 0; i < n; i++) lanes[i] = p[i];
    return v_load(lanes);
}

static CRNN_INLINE void v_store_part(real *p, vec v, size_t n) {
    real lanes[V];
    v_store(lanes, v);
    for (size_t i = 0; i < n; i++) p[i] = lanes[i];
}

static CRNN_INLINE void v_prefetch(const real *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

static CRNN_INLINE vec v_set1(real s) { return CRNN_OP(vdupq_n)(s); }
static CRNN_INLINE vec v_zero(void) { return CRNN_OP(vdupq_n)(0); }
static CRNN_INLINE vec v_add(vec a, vec b) { return CRNN_OP(vaddq)(a, b); }
static CRNN_INLINE vec v_sub(vec a, vec b) { return CRNN_OP(vsubq)(a, b); }
static CRNN_INLINE vec v_mul(vec a, vec b) { return CRNN_OP(vmulq)(a, b); }
static CRNN_INLINE vec v_div(vec a, vec b) { return CRNN_OP(vdivq)(a, b); }
static CRNN_INLINE vec v_abs(vec a) { return CRNN_OP(vabsq)(a); }
static CRNN_INLINE vec v_minus_abs(vec a) { return CRNN_OP(vnegq)(CRNN_OP(vabsq)(a)); }
static CRNN_INLINE vec v_sqrt(vec a) { return CRNN_OP(vsqrtq)(a); }
static CRNN_INLINE vec v_round(vec a) { return CRNN_OP(vrndnq)(a); }

static CRNN_INLINE vec v_fma(vec a, vec b, vec c) { return CRNN_OP(vfmaq)(c, a, b); }
static CRNN_INLINE vec v_fnma(vec a, vec b, vec c) { return CRNN_OP(vfmsq)(c, a, b); }

static CRNN_INLINE vmask v_lt(vec a, vec b) { return CRNN_OP(vcltq)(a, b); }
static CRNN_INLINE vmask v_gt(vec a, vec b) { return CRNN_OP(vcgtq)(a, b); }
static CRNN_INLINE vec v_select(vmask m, vec a, vec b) { return CRNN_OP(vbslq)(m, a, b); }

/* The processor's own minimum treats NaN in another way. */
static CRNN_INLINE vec v_min(vec a, vec b) { return v_select(v_lt(a, b), a, b); }
static CRNN_INLINE vec v_max(vec a, vec b) { return v_select(v_gt(a, b), a, b); }

static CRNN_INLINE vec v_copysign(vec mag, vec sgn) {
    return v_select(CRNN_BITS_OP(vdupq_n)(CRNN_SIGN_BIT), sgn, mag);
}

static CRNN_INLINE vec core_exponent_field(vec shifted) {
    return CRNN_FROM_BITS(CRNN_BITS_OP(vshlq_n)(CRNN_TO_BITS(shifted), CRNN_EXPONENT_SHIFT));
}

static CRNN_INLINE vec v_exp2i(vec n) {
    return core_exponent_field(v_add(n, v_set1(CRNN_EXP2_MAGIC)));
}

/* Two factors, because 2^n alone may be out of range: the first product is exact, only the second
   one rounds. */
static CRNN_INLINE vec v_scale2(vec v, vec n) {
    const vmask negative = v_lt(n, v_zero());
    vec shift = v_select(negative, v_set1(CRNN_EXP2_MAGIC + 64), v_set1(CRNN_EXP2_MAGIC - 64));
    vec rest = v_select(negative, v_set1((real)0x1p-64), v_set1((real)0x1p64));
    return v_mul(v_mul(v, core_exponent_field(v_add(n, shift))), rest);
}

static CRNN_INLINE real core_larger(real a, real b) { return a > b ? a : b; }

static CRNN_INLINE real v_sum(vec v) {
    real a[V];
    v_store(a, v);
#if CRNN_REAL_IS_DOUBLE
    return a[0] + a[1];
#else
    return (a[0] + a[2]) + (a[1] + a[3]);
#endif
}

static CRNN_INLINE real v_max_lane(vec v) {
    real a[V];
    v_store(a, v);
#if CRNN_REAL_IS_DOUBLE
    return core_larger(a[0], a[1]);
#else
    return core_larger(core_larger(a[0], a[2]), core_larger(a[1], a[3]));
#endif
}

#include "lanes.h"

#endif
