/* SPDX-License-Identifier: BSD-3-Clause */
#include "tiny.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const vocabulary[] = {
    "[PAD]",  "[UNK]", "[CLS]", "[SEP]",  "[MASK]", "the",  "cat", "sat", "on", "mat",
    "a",      "dog",   "##s",   "##ting", "sit",    ".",    ",",   "?",   "un", "##aff",
    "##able", "cafe",  "rain",  "##y",    "house",  "blue", "is",  "it",
};
#define VOCABULARY (sizeof vocabulary / sizeof *vocabulary)

static uint64_t state = 1;

/* Knuth's MMIX generator, its upper bits. */
static float random_weight(void) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return (float)((int)((state >> 33) % 129) - 64) / 64;
}

static size_t tensor_size(const tiny_tensor *t) { return t->shape[0] * (t->shape[1] == 0 ? 1 : t->shape[1]); }

static void add(tiny_model *m, const char *prefix, const char *name, size_t rows, size_t columns) {
    tiny_tensor *t = &m->tensor[m->count++];
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    t->shape[0] = rows;
    t->shape[1] = columns;
    t->data = calloc(tensor_size(t), sizeof *t->data);
    for (size_t i = 0; t->data != NULL && i < tensor_size(t); i++)
        t->data[i] = random_weight();
}

static void add_layer(tiny_model *m, const char *prefix) {
    static const char *const square[] = {"attention.self.query", "attention.self.key", "attention.self.value",
                                         "attention.output.dense"};
    char name[64];
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.weight", square[i]);
        add(m, prefix, name, TINY_WIDTH, TINY_WIDTH);
        snprintf(name, sizeof name, "%s.bias", square[i]);
        add(m, prefix, name, TINY_WIDTH, 0);
    }
    add(m, prefix, "attention.output.LayerNorm.weight", TINY_WIDTH, 0);
    add(m, prefix, "attention.output.LayerNorm.bias", TINY_WIDTH, 0);
    add(m, prefix, "intermediate.dense.weight", TINY_HIDDEN, TINY_WIDTH);
    add(m, prefix, "intermediate.dense.bias", TINY_HIDDEN, 0);
    add(m, prefix, "output.dense.weight", TINY_WIDTH, TINY_HIDDEN);
    add(m, prefix, "output.dense.bias", TINY_WIDTH, 0);
    add(m, prefix, "output.LayerNorm.weight", TINY_WIDTH, 0);
    add(m, prefix, "output.LayerNorm.bias", TINY_WIDTH, 0);
}

void tiny_make(tiny_model *m) {
    char prefix[64];
    m->count = 0;
    state = 1;
    add(m, "embeddings.", "word_embeddings.weight", VOCABULARY, TINY_WIDTH);
    add(m, "embeddings.", "position_embeddings.weight", TINY_POSITIONS, TINY_WIDTH);
    add(m, "embeddings.", "token_type_embeddings.weight", TINY_TYPES, TINY_WIDTH);
    add(m, "embeddings.", "LayerNorm.weight", TINY_WIDTH, 0);
    add(m, "embeddings.", "LayerNorm.bias", TINY_WIDTH, 0);
    for (int layer = 0; layer < TINY_LAYERS; layer++) {
        snprintf(prefix, sizeof prefix, "encoder.layer.%d.", layer);
        add_layer(m, prefix);
    }
}

void tiny_free(tiny_model *m) {
    for (size_t i = 0; i < m->count; i++)
        free(m->tensor[i].data);
    m->count = 0;
}

tiny_tensor *tiny_find(const tiny_model *m, const char *name) {
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->tensor[i].name, name) == 0)
            return (tiny_tensor *)&m->tensor[i];
    return NULL;
}

/* A whole number of 1/64 has no bits to round away; what is not finite stays so. */
static uint32_t to_f16(uint32_t bits) {
    const uint32_t exponent = bits >> 23 & 255;
    const uint32_t sign = bits >> 16 & 0x8000, fraction = bits >> 13 & 0x3ff;
    return sign | (exponent == 0 ? 0 : exponent == 255 ? 0x7c00 : (exponent - 127 + 15) << 10) | fraction;
}

static void put_number(FILE *file, float value, const char *dtype) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (strcmp(dtype, "F16") == 0)
        bits = to_f16(bits);
    else if (strcmp(dtype, "BF16") == 0)
        bits >>= 16;
    for (size_t i = 0; i < (strcmp(dtype, "F32") == 0 ? 4 : 2); i++)
        fputc((int)(bits >> 8 * i & 255), file);
}

static void put_header(FILE *file, const tiny_model *m, const char *dtype, const char *root) {
    size_t offset = 0;
    fputs("{\"__metadata__\": {\"format\": \"pt\"}", file);
    for (size_t i = 0; i < m->count; i++) {
        const tiny_tensor *t = &m->tensor[i];
        const size_t end = offset + tensor_size(t) * (strcmp(dtype, "F32") == 0 ? 4 : 2);
        fprintf(file, ", \"%s%s\": {\"dtype\": \"%s\", \"shape\": [%zu", root, t->name, dtype, t->shape[0]);
        if (t->shape[1] != 0)
            fprintf(file, ", %zu", t->shape[1]);
        fprintf(file, "], \"data_offsets\": [%zu, %zu]}", offset, end);
        offset = end;
    }
    fputs("}", file);
}

static FILE *create(const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "wb");
}

static void put_weights(FILE *file, const tiny_model *m, const char *dtype, const char *root) {
    char *header = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&header, &size);
    put_header(memory, m, dtype, root);
    fclose(memory);
    for (size_t i = 0; i < 8; i++)
        fputc((int)(size >> 8 * i & 255), file);
    fwrite(header, 1, size, file);
    free(header);
    for (size_t i = 0; i < m->count; i++)
        for (size_t j = 0; j < tensor_size(&m->tensor[i]); j++)
            put_number(file, m->tensor[i].data[j], dtype);
}

bool tiny_put(const char *folder, const char *name, const void *data, size_t size) {
    FILE *file = create(folder, name);
    if (file == NULL)
        return false;
    const bool good = fwrite(data, 1, size, file) == size;
    return fclose(file) == 0 && good;
}

static bool put_config(const char *folder) {
    char text[512];
    const int size = snprintf(
        text, sizeof text,
        "{\"model_type\": \"bert\", \"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
        "\"intermediate_size\": %d, \"vocab_size\": %zu, \"max_position_embeddings\": %d, \"type_vocab_size\": %d, "
        "\"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}",
        TINY_WIDTH, TINY_LAYERS, TINY_HEADS, TINY_HIDDEN, VOCABULARY, TINY_POSITIONS, TINY_TYPES);
    return tiny_put(folder, "config.json", text, (size_t)size);
}

static bool put_vocabulary(const char *folder) {
    FILE *file = create(folder, "vocab.txt");
    if (file == NULL)
        return false;
    for (size_t i = 0; i < VOCABULARY; i++)
        fprintf(file, "%s\n", vocabulary[i]);
    return fclose(file) == 0;
}

bool tiny_write(const tiny_model *m, const char *folder, const char *dtype, const char *root) {
    FILE *file = create(folder, "model.safetensors");
    if (file == NULL)
        return false;
    put_weights(file, m, dtype, root);
    return fclose(file) == 0 && put_config(folder) && put_vocabulary(folder);
}
