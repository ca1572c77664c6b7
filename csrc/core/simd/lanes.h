/* The first n lanes of a vector in memory, n <= V, on top of the vocabulary of one instruction set:
 * its header includes this at its end. Loops over rows use these, in which all vectors but the last
 * are whole: v_load_part and v_store_part are masked instructions on x86, and a masked store takes
 * ten times as long as a plain one (AVX2) or lets a load after it wait for the cache (AVX-512). */
#ifndef CRNN_SIMD_LANES_H
#define CRNN_SIMD_LANES_H

static CRNN_INLINE vec v_load_n(const real *p, size_t n) {
    return n == V ? v_load(p) : v_load_part(p, n);
}

static CRNN_INLINE void v_store_n(real *p, vec v, size_t n) {
    if (n == V)
        v_store(p, v);
    else
        v_store_part(p, v, n);
}

/* The first n lanes of v, and 0 in the others. */
static CRNN_INLINE vec v_first_n(vec v, size_t n) {
    real lanes[V];
    if (n == V) return v;
    v_store(lanes, v);
    return v_load_part(lanes, n);
}

#endif
