/* SPDX-License-Identifier: BSD-3-Clause */
#include "cases/models.h"

#include "cases/axes.h"

enum { FULL, CAUSAL };

/* Devlin et al. 2018; Radford et al. 2019 (124M); Meta 2024; Dosovitskiy et al. 2020: 14² patches of 16² pixels and a
 * class token; Radford et al. 2022: the encoder sees 1500 frames, 30 seconds. */
const model_spec model_table[MODEL_COUNT] = {
    {"bert-base", 12, 12, 64, {128, 384, 512}, {OP_SDPA, OP_LAYER}, 2, FULL},
    {"gpt-2", 12, 12, 64, {128, 1024}, {OP_SDPA, OP_LAYER, OP_DECODE}, 3, CAUSAL},
    {"llama-3-8b", 32, 8, 128, {512, 2048}, {OP_SDPA, OP_DECODE}, 2, CAUSAL},
    {"vit-b16", 12, 12, 64, {197}, {OP_SDPA, OP_LAYER}, 2, FULL},
    {"whisper-base", 8, 8, 64, {448, 1500}, {OP_SDPA, OP_LAYER}, 2, FULL},
};
