/* The vector vocabulary on AVX2 with FMA: 8 floats or 4 doubles. The rules are written at the head
 * of scalar.h. */
#ifndef CRNN_SIMD_AVX2_H
#define CRNN_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "inline.h"

#if CRNN_REAL_IS_DOUBLE
typedef double real;
typedef __m256d vec;
#define V 4
#define CRNN_OP(name) _mm256_##name##_pd
#define CRNN_SIGN_BIT (-0.0)
#define CRNN_EXP2_MAGIC (0x1.8p52 + 1023) /* adding it puts n + 1023 in the lowest bits */
/* A window of V entries that starts n before the middle has its first n entries set. */
static const int64_t core_lane_mask[2 * V] = {-1, -1, -1, -1, 0, 0, 0, 0};
#else
typedef float real;
typedef __m256 vec;
#define V 8
#define CRNN_OP(name) _mm256_##name##_ps
#define CRNN_SIGN_BIT (-0.0f)
#define CRNN_EXP2_MAGIC (0x1.8p23f + 127)
static const int32_t core_lane_mask[2 * V] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                              0,  0,  0,  0,  0,  0,  0,  0};
#endif

typedef vec vmask; /* all bits of a lane set where true */

static CRNN_INLINE __m256i core_first_lanes(size_t n) {
    return _mm256_loadu_si256((const __m256i *)(core_lane_mask + V - n));
}

static CRNN_INLINE vec v_load(const real *p) { return CRNN_OP(loadu)(p); }
static CRNN_INLINE void v_store(real *p, vec v) { CRNN_OP(storeu)(p, v); }
static CRNN_INLINE vec v_load_part(const real *p, size_t n) {
    return CRNN_OP(maskload)(p, core_first_lanes(n));
}
static CRNN_INLINE void v_store_part(real *p, vec v, size_t n) {
    CRNN_OP(maskstore)(p, core_first_lanes(n), v);
}

static CRNN_INLINE void v_prefetch(const real *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

static CRNN_INLINE vec v_set1(real s) { return CRNN_OP(set1)(s); }
static CRNN_INLINE vec v_zero(void) { return CRNN_OP(set1)(0); }
static CRNN_INLINE vec v_add(vec a, vec b) { return CRNN_OP(add)(a, b); }
static CRNN_INLINE vec v_sub(vec a, vec b) { return CRNN_OP(sub)(a, b); }
static CRNN_INLINE vec v_mul(vec a, vec b) { return CRNN_OP(mul)(a, b); }
static CRNN_INLINE vec v_div(vec a, vec b) { return CRNN_OP(div)(a, b); }
static CRNN_INLINE vec v_min(vec a, vec b) { return CRNN_OP(min)(a, b); }
static CRNN_INLINE vec v_max(vec a, vec b) { return CRNN_OP(max)(a, b); }
static CRNN_INLINE vec v_abs(vec a) { return CRNN_OP(andnot)(v_set1(CRNN_SIGN_BIT), a); }
static CRNN_INLINE vec v_minus_abs(vec a) { return CRNN_OP(or)(v_set1(CRNN_SIGN_BIT), a); }
static CRNN_INLINE vec v_sqrt(vec a) { return CRNN_OP(sqrt)(a); }
static CRNN_INLINE vec v_round(vec a) {
    return CRNN_OP(round)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static CRNN_INLINE vec v_copysign(vec mag, vec sgn) {
    return CRNN_OP(or)(v_abs(mag), CRNN_OP (and)(v_set1(CRNN_SIGN_BIT), sgn));
}

static CRNN_INLINE vec v_fma(vec a, vec b, vec c) { return CRNN_OP(fmadd)(a, b, c); }
static CRNN_INLINE vec v_fnma(vec a, vec b, vec c) { return CRNN_OP(fnmadd)(a, b, c); }

static CRNN_INLINE vmask v_lt(vec a, vec b) { return CRNN_OP(cmp)(a, b, _CMP_LT_OQ); }
static CRNN_INLINE vmask v_gt(vec a, vec b) { return CRNN_OP(cmp)(a, b, _CMP_GT_OQ); }
static CRNN_INLINE vec v_select(vmask m, vec a, vec b) { return CRNN_OP(blendv)(b, a, m); }

static CRNN_INLINE vec core_exponent_field(vec shifted) {
#if CRNN_REAL_IS_DOUBLE
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(shifted), 52));
#else
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23));
#endif
}

static CRNN_INLINE vec v_exp2i(vec n) {
    return core_exponent_field(v_add(n, v_set1(CRNN_EXP2_MAGIC)));
}

/* Two factors, because 2^n alone may be out of range: the first product is exact, only the second
   one rounds. blendv looks at sign bits, so n itself is the mask of its negative lanes. */
static CRNN_INLINE vec v_scale2(vec v, vec n) {
    vec shift = v_select(n, v_set1(CRNN_EXP2_MAGIC + 64), v_set1(CRNN_EXP2_MAGIC - 64));
    vec rest = v_select(n, v_set1((real)0x1p-64), v_set1((real)0x1p64));
    return v_mul(v_mul(v, core_exponent_field(v_add(n, shift))), rest);
}

#if CRNN_REAL_IS_DOUBLE
static CRNN_INLINE real v_sum(vec v) {
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
static CRNN_INLINE real v_max_lane(vec v) {
    __m128d two = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}
#else
static CRNN_INLINE real v_sum(vec v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static CRNN_INLINE real v_max_lane(vec v) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
#endif

#include "lanes.h"

#endif
