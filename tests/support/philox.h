/* SPDX-License-Identifier: BSD-3-Clause */
/* Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011), and the dropout
 * mask that attn_dropout_mask is documented to make of it. */
#ifndef ATTN_TESTS_PHILOX_H
#define ATTN_TESTS_PHILOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

/* Is the weight of key j for query i of head h in sequence b kept? */
bool dropout_keeps(float dropout, uint64_t seed, size_t b, size_t h, size_t i, size_t j);

#endif
