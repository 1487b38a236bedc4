/* SPDX-License-Identifier: BSD-3-Clause */
/* A tiny random LLaMA as a GGUF file: what the tests of chat run on. */
#ifndef CHAT_TESTS_TINY_H
#define CHAT_TESTS_TINY_H

#include "gguf.h"
#include "support/damage.h"

enum { TINY_LAYERS = 2, TINY_WIDTH = 64, TINY_HEADS = 4, TINY_KV_HEADS = 2, TINY_HIDDEN = 256, TINY_CONTEXT = 512 };

/* A file, written from its beginning to its end. */
void put(bytes *b, const void *data, size_t size);
void put_number(bytes *b, uint64_t value, size_t size);
void put_string(bytes *b, const char *text);
void put_key(bytes *b, const char *key, uint32_t kind); /* a value of this kind follows */
void put_header(bytes *b, size_t tensors, size_t entries);
void put_tensor(bytes *b, const char *name, size_t columns, size_t rows, uint32_t type, size_t place);

/* A random number below n: the same ones behind each tiny_make. */
size_t tiny_below(size_t n);

/* The model, to be freed. Matrices are of type `wide`, those with rows of TINY_WIDTH of type `type`; the embedding is
 * Q8_0 and tied. */
bytes tiny_make(gguf_type type, gguf_type wide);

/* The same, of Q4_1 and Q6_K, with the first `from` made `to`, of the same length; aborts where there is none. */
bytes tiny_changed(const char *from, const char *to, size_t size);

/* Writes the bytes to a file with a name of its own; the test removes it. */
void tiny_save(const bytes *b, char path[64]);

/* Opens the bytes as a file. */
gguf *tiny_open(const bytes *b, example_error *e);

#endif
