/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/philox.h"

/* One round, section 3.3 and figure 3 of the paper: two products, their halves crossed, the upper ones with the keys.
 */
static void philox_round(uint32_t x[4], const uint32_t key[2]) {
    const uint64_t p0 = (uint64_t)0xD2511F53 * x[0], p1 = (uint64_t)0xCD9E8D57 * x[2];
    const uint32_t x1 = x[1], x3 = x[3];
    x[0] = (uint32_t)(p1 >> 32) ^ x1 ^ key[0];
    x[1] = (uint32_t)p1;
    x[2] = (uint32_t)(p0 >> 32) ^ x3 ^ key[1];
    x[3] = (uint32_t)p0;
}

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
    uint32_t k[2] = {key[0], key[1]};
    for (int n = 0; n < 4; n++)
        words[n] = counter[n];
    for (int round = 0; round < 10; round++) {
        philox_round(words, k);
        k[0] += 0x9E3779B9; /* Weyl sequences of the golden ratio and of √3 − 1 */
        k[1] += 0xBB67AE85;
    }
}

bool dropout_keeps(float dropout, uint64_t seed, size_t b, size_t h, size_t i, size_t j) {
    const uint32_t counter[4] = {(uint32_t)(j / 4), (uint32_t)i, (uint32_t)h, (uint32_t)b};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4];
    philox4x32_10(counter, key, words);
    return (double)words[j % 4] >= (double)dropout * 0x1p32;
}
