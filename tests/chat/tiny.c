/* SPDX-License-Identifier: BSD-3-Clause */
#include "tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quants.h"

enum { TENSORS = 2 + 9 * TINY_LAYERS, ENTRIES = 19 };

static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

/* Of the longer tokens both halves; "_" is the space. */
static const char *const merges[] = {"_ t",   "h e", "_t he", "i n",   "_ a", "r e",  "o n",    "e r",    "a t",
                                     "_ s",   "l l", "_a n",  "_an d", "a n", "_ _",  "s t",    "in g",   "_the re",
                                     "_c at", "_ c", "u s",   "us er", "s y", "st e", "sy ste", "syste m"};

enum { SPECIALS = sizeof special / sizeof *special, MERGES = sizeof merges / sizeof *merges };
enum { VOCABULARY = SPECIALS + 255 + MERGES }; /* without the byte 0xff */

static uint64_t state;

size_t tiny_below(size_t n) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return (size_t)(state >> 33) % n;
}

void put(bytes *b, const void *data, size_t size) {
    if (b->size + size + 64 > b->room) {
        b->room = 2 * b->room + size + 64;
        b->data = realloc(b->data, b->room);
        if (b->data == NULL)
            abort();
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void put_number(bytes *b, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)(i < 8 ? value >> 8 * i & 255 : 0);
        put(b, &byte, 1);
    }
}

void put_string(bytes *b, const char *text) {
    put_number(b, strlen(text), 8);
    put(b, text, strlen(text));
}

void put_key(bytes *b, const char *key, uint32_t kind) {
    put_string(b, key);
    put_number(b, kind, 4);
}

void put_header(bytes *b, size_t tensors, size_t entries) {
    put(b, "GGUF", 4);
    put_number(b, 3, 4);
    put_number(b, tensors, 8);
    put_number(b, entries, 8);
}

void put_tensor(bytes *b, const char *name, size_t columns, size_t rows, uint32_t type, size_t place) {
    put_string(b, name);
    put_number(b, rows == 0 ? 1 : 2, 4);
    put_number(b, columns, 8);
    if (rows > 0)
        put_number(b, rows, 8);
    put_number(b, type, 4);
    put_number(b, place, 8);
}

static void put_u32(bytes *b, const char *key, size_t value) {
    put_key(b, key, 4);
    put_number(b, value, 4);
}

static void put_f32(bytes *b, const char *key, float value) {
    put_key(b, key, 6);
    put(b, &value, sizeof value);
}

static void put_text(bytes *b, const char *key, const char *value) {
    put_key(b, key, 8);
    put_string(b, value);
}

static void put_list(bytes *b, const char *key, uint32_t kind, size_t count) {
    put_key(b, key, 9);
    put_number(b, kind, 4);
    put_number(b, count, 8);
}

/* The character of a byte in the texts of tokens. */
static void character(unsigned byte, char to[3]) {
    const unsigned hidden = byte < 33 ? byte : byte == 173 ? 67 : byte - 94;
    const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    const unsigned code = seen ? byte : 256 + hidden;
    if (code < 128)
        snprintf(to, 3, "%c", (int)code);
    else
        snprintf(to, 3, "%c%c", (int)(192 | code >> 6), (int)(128 | (code & 63)));
}

/* A merge as the file has it, or with halves joined what it makes. */
static void merge_text(const char *merge, bool joined, char to[64]) {
    size_t n = 0;
    for (; *merge != '\0'; merge++) {
        if (*merge == '_') {
            to[n++] = (char)0xc4; /* Ġ */
            to[n++] = (char)0xa0;
        } else if (*merge != ' ' || !joined)
            to[n++] = *merge;
    }
    to[n] = '\0';
}

static void put_vocabulary(bytes *b) {
    char text[64];
    put_list(b, "tokenizer.ggml.tokens", 8, VOCABULARY);
    for (size_t i = 0; i < SPECIALS; i++)
        put_string(b, special[i]);
    for (unsigned byte = 0; byte < 255; byte++) {
        character(byte, text);
        put_string(b, text);
    }
    for (size_t i = 0; i < MERGES; i++) {
        merge_text(merges[i], true, text);
        put_string(b, text);
    }
    put_list(b, "tokenizer.ggml.token_type", 5, VOCABULARY);
    for (size_t i = 0; i < VOCABULARY; i++)
        put_number(b, i < SPECIALS ? 3 : 1, 4);
    put_list(b, "tokenizer.ggml.merges", 8, MERGES);
    for (size_t i = 0; i < MERGES; i++) {
        merge_text(merges[i], false, text);
        put_string(b, text);
    }
}

static void put_entries(bytes *b) {
    put_text(b, "general.architecture", "llama");
    put_u32(b, "general.alignment", 32);
    put_u32(b, "llama.block_count", TINY_LAYERS);
    put_u32(b, "llama.context_length", TINY_CONTEXT);
    put_u32(b, "llama.embedding_length", TINY_WIDTH);
    put_u32(b, "llama.feed_forward_length", TINY_HIDDEN);
    put_u32(b, "llama.attention.head_count", TINY_HEADS);
    put_u32(b, "llama.attention.head_count_kv", TINY_KV_HEADS);
    put_f32(b, "llama.rope.freq_base", 10000);
    put_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    put_text(b, "tokenizer.ggml.model", "gpt2");
    put_text(b, "tokenizer.ggml.pre", "smollm");
    put_u32(b, "tokenizer.ggml.bos_token_id", 1);
    put_u32(b, "tokenizer.ggml.eos_token_id", 2);
    put_u32(b, "tokenizer.ggml.unknown_token_id", 0);
    put_text(b, "tokenizer.chat_template", "{{ '<|im_start|>system\nYou are tiny<|im_end|>\n' }}");
    put_vocabulary(b);
}

/* One block, whose numbers are about N(0, 0.1) as a whole: halves are small, bytes any. */
static void put_block(bytes *b, gguf_type type) {
    const size_t size = quant_find(type)->bytes, half = type == GGUF_Q6_K ? 208 : 0;
    unsigned char block[256];
    for (size_t i = 0; i < size; i++)
        block[i] = (unsigned char)tiny_below(256);
    if (type == GGUF_F32 || type == GGUF_F16 || type == GGUF_BF16) {
        const float value = ((float)tiny_below(65) - 32) / 128;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        /* F16 of the same number: its exponent is 112 less, and 13 bits of its fraction are 0 */
        const uint32_t small = value == 0 ? 0 : (bits >> 16 & 0x8000) | ((bits >> 13 & 0x3ffff) - (112 << 10));
        put_number(b, type == GGUF_F32 ? bits : type == GGUF_BF16 ? bits >> 16 : small & 0xffff, size);
        return;
    }
    block[half] = 0;
    block[half + 1] = type == GGUF_Q8_0 ? 0x12 : type == GGUF_Q6_K ? 0x08 : type == GGUF_Q4_K ? 0x0c : 0x22;
    if (type == GGUF_Q4_1 || type == GGUF_Q4_K) {
        block[2] = 0;
        block[3] = type == GGUF_Q4_1 ? 0xae : 0x18;
    }
    put(b, block, size);
}

/* What there is of tensors: columns, rows (0: a vector of F32). */
static const struct {
    const char *name;
    size_t columns, rows;
} parts[] = {{"attn_norm", TINY_WIDTH, 0},
             {"attn_q", TINY_WIDTH, TINY_WIDTH},
             {"attn_k", TINY_WIDTH, TINY_WIDTH / TINY_HEADS *TINY_KV_HEADS},
             {"attn_v", TINY_WIDTH, TINY_WIDTH / TINY_HEADS *TINY_KV_HEADS},
             {"attn_output", TINY_WIDTH, TINY_WIDTH},
             {"ffn_norm", TINY_WIDTH, 0},
             {"ffn_gate", TINY_WIDTH, TINY_HIDDEN},
             {"ffn_up", TINY_WIDTH, TINY_HIDDEN},
             {"ffn_down", TINY_HIDDEN, TINY_WIDTH}};

typedef struct plan {
    char name[64];
    size_t columns, rows;
    gguf_type type;
} plan;

static plan plan_of(size_t index, gguf_type type, gguf_type wide) {
    plan p = {.columns = TINY_WIDTH, .type = GGUF_F32};
    if (index < 2) {
        snprintf(p.name, sizeof p.name, index == 0 ? "token_embd.weight" : "output_norm.weight");
        p.rows = index == 0 ? VOCABULARY : 0;
        p.type = index == 0 ? GGUF_Q8_0 : GGUF_F32;
        return p;
    }
    const size_t part = (index - 2) % 9;
    snprintf(p.name, sizeof p.name, "blk.%zu.%s.weight", (index - 2) / 9, parts[part].name);
    p.columns = parts[part].columns;
    p.rows = parts[part].rows;
    p.type = p.rows == 0 ? GGUF_F32 : p.columns == TINY_WIDTH ? type : wide;
    return p;
}

static size_t block_count(const plan *p) {
    return p->columns * (p->rows == 0 ? 1 : p->rows) / quant_find(p->type)->numbers;
}

bytes tiny_make(gguf_type type, gguf_type wide) {
    bytes b = {0};
    size_t place = 0;
    state = 7;
    put_header(&b, TENSORS, ENTRIES);
    put_entries(&b);
    for (size_t i = 0; i < TENSORS; i++) {
        const plan p = plan_of(i, type, wide);
        put_tensor(&b, p.name, p.columns, p.rows, p.type, place);
        place += (block_count(&p) * quant_find(p.type)->bytes + 31) / 32 * 32;
    }
    for (size_t i = 0; i < TENSORS; i++) {
        const plan p = plan_of(i, type, wide);
        while (b.size % 32 != 0)
            put_number(&b, 0, 1);
        for (size_t n = block_count(&p); n > 0; n--)
            put_block(&b, p.type);
    }
    return b;
}

bytes tiny_changed(const char *from, const char *to, size_t size) {
    const bytes b = tiny_make(GGUF_Q4_1, GGUF_Q6_K);
    void *at = memmem(b.data, b.size, from, size);
    if (at == NULL)
        abort();
    memcpy(at, to, size);
    return b;
}

void tiny_save(const bytes *b, char path[64]) {
    snprintf(path, 64, "/tmp/attn-chat-XXXXXX");
    const int descriptor = mkstemp(path);
    if (descriptor < 0 || close(descriptor) != 0 || !damage_save(path, b))
        abort();
}

gguf *tiny_open(const bytes *b, example_error *e) {
    char path[64];
    tiny_save(b, path);
    gguf *g = gguf_open(path, e);
    unlink(path);
    return g;
}
