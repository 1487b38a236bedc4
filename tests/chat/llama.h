/* SPDX-License-Identifier: BSD-3-Clause */
/* A LLaMA in double precision, one loop after the other, straight from the file: what the decoder is compared with. */
#ifndef CHAT_TESTS_LLAMA_H
#define CHAT_TESTS_LLAMA_H

#include "gguf.h"

/* Logits [tokens, vocabulary] of the tiny model, to be freed. */
double *llama_logits(const gguf *g, const int64_t *ids, size_t tokens, size_t vocabulary);

#endif
