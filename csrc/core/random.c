/* A counter-based random generator: every number is a function of (seed, stream, position), so any
 * of them can be had alone, in any order, on any thread. Philox4x32-10, Salmon et al. (SC 2011). */
#include "crnn.h"

void crnn_philox(const uint32_t key_[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t key[2] = {key_[0], key_[1]};
    uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53 * x[0], b = (uint64_t)0xCD9E8D57 * x[2];
        const uint32_t y[4] = {(uint32_t)(b >> 32) ^ x[1] ^ key[0], (uint32_t)b,
                               (uint32_t)(a >> 32) ^ x[3] ^ key[1], (uint32_t)a};
        for (int i = 0; i < 4; i++) x[i] = y[i];
        key[0] += 0x9E3779B9; /* the golden ratio, and sqrt(3) - 1, as the paper has them */
        key[1] += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++) out[i] = x[i];
}

/* 53 bits of two words, as a number in [0, 1). */
static double unit_interval(uint32_t high, uint32_t low) {
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

void crnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, double *out) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (size_t i = 0; i < n; i++) {
        const uint64_t number = first + i, block = number / 2;
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream,
                                     (uint32_t)(stream >> 32)};
        uint32_t words[4];
        crnn_philox(key, counter, words);
        out[i] = number % 2 ? unit_interval(words[2], words[3]) : unit_interval(words[0], words[1]);
    }
}

void crnn_noise_key(const crnn_noise *noise, crnn_noise_kind kind, uint32_t key[2]) {
    const uint32_t seed[2] = {(uint32_t)noise->seed, (uint32_t)(noise->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)noise->call, (uint32_t)(noise->call >> 32), noise->layer,
                                 (uint32_t)kind};
    uint32_t words[4];
    crnn_philox(seed, counter, words);
    key[0] = words[0];
    key[1] = words[1];
}

uint32_t crnn_below(double p) {
    const double bound = p * 0x1p32;
    return bound >= 0x1p32 ? UINT32_MAX : (uint32_t)bound;
}
