/* The vector vocabulary on AVX-512 (F, DQ): 16 floats or 8 doubles. The rules are written at the
 * head of scalar.h. */
#ifndef CRNN_SIMD_AVX512_H
#define CRNN_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>

#include "inline.h"

#if CRNN_REAL_IS_DOUBLE
typedef double real;
typedef __m512d vec;
typedef __mmask8 vmask;
#define V 8
#define CRNN_OP(name) _mm512_##name##_pd
#define CRNN_CMP _mm512_cmp_pd_mask
#define CRNN_SIGN_BIT (-0.0)
#else
typedef float real;
typedef __m512 vec;
typedef __mmask16 vmask;
#define V 16
#define CRNN_OP(name) _mm512_##name##_ps
#define CRNN_CMP _mm512_cmp_ps_mask
#define CRNN_SIGN_BIT (-0.0f)
#endif

static CRNN_INLINE vmask core_first_lanes(size_t n) { return (vmask)((1u << n) - 1u); }

static CRNN_INLINE vec v_load(const real *p) { return CRNN_OP(loadu)(p); }
static CRNN_INLINE void v_store(real *p, vec v) { CRNN_OP(storeu)(p, v); }
static CRNN_INLINE vec v_load_part(const real *p, size_t n) {
    return CRNN_OP(maskz_loadu)(core_first_lanes(n), p);
}
static CRNN_INLINE void v_store_part(real *p, vec v, size_t n) {
    CRNN_OP(mask_storeu)(p, core_first_lanes(n), v);
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
    return CRNN_OP(roundscale)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* One instruction: 0xca takes its second input's bit where the first one's (the sign bit) is set,
 * else the third's. */
static CRNN_INLINE vec v_copysign(vec mag, vec sgn) {
#if CRNN_REAL_IS_DOUBLE
    __m512i sign = _mm512_castpd_si512(v_set1(CRNN_SIGN_BIT));
    return _mm512_castsi512_pd(
        _mm512_ternarylogic_epi64(sign, _mm512_castpd_si512(sgn), _mm512_castpd_si512(mag), 0xca));
#else
    __m512i sign = _mm512_castps_si512(v_set1(CRNN_SIGN_BIT));
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(sgn), _mm512_castps_si512(mag), 0xca));
#endif
}

static CRNN_INLINE vec v_fma(vec a, vec b, vec c) { return CRNN_OP(fmadd)(a, b, c); }
static CRNN_INLINE vec v_fnma(vec a, vec b, vec c) { return CRNN_OP(fnmadd)(a, b, c); }

static CRNN_INLINE vmask v_lt(vec a, vec b) { return CRNN_CMP(a, b, _CMP_LT_OQ); }
static CRNN_INLINE vmask v_gt(vec a, vec b) { return CRNN_CMP(a, b, _CMP_GT_OQ); }
static CRNN_INLINE vec v_select(vmask m, vec a, vec b) { return CRNN_OP(mask_blend)(m, b, a); }

/* scalef handles every n, gradual underflow and overflow by itself. */
static CRNN_INLINE vec v_scale2(vec v, vec n) { return CRNN_OP(scalef)(v, n); }
static CRNN_INLINE vec v_exp2i(vec n) { return CRNN_OP(scalef)(v_set1(1), n); }

#if CRNN_REAL_IS_DOUBLE
static CRNN_INLINE real v_sum(vec v) {
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
static CRNN_INLINE real v_max_lane(vec v) {
    __m256d four = _mm256_max_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d two = _mm_max_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}
#else
static CRNN_INLINE real v_sum(vec v) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static CRNN_INLINE real v_max_lane(vec v) {
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
#endif

#include "lanes.h"

#endif
