/* SPDX-License-Identifier: BSD-3-Clause */
/* A decoder with a cache: greedy, as a beam of 1, and with a beam of 8, which finds a better text. The vector of a
 * letter brings the logits of what comes after it; the attention, in which place t asks for place t − 1, adds those of
 * what comes after the letter before. A beam so wide that it gives nothing up tries all texts: 8 found the best. */
#include <attn/attn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LETTERS = 3, PROMPT = 2, LENGTH = 8, ALL = 729, LOGITS = LETTERS + LENGTH, M = LOGITS + LETTERS };

typedef struct beam {
    char text[LENGTH + 1];
    double score; /* log probability */
} beam;

static attn_context *context;
static float tokens[LETTERS * M], q[M * M], v[M * M], one[M * M];

static void check(attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "generate: %s\n", attn_context_last_error(context)) != 0);
}

/* The beams become their best continuations by the logits, rows of p; returns the best. A beam's first one goes on in
 * its sequence of the cache, others become forks, in the sequences of beams that are given up. */
static beam grow(attn_cache *cache, size_t beams, beam *now, float *p, size_t stride, size_t at) {
    static double scores[ALL * LETTERS];
    static beam next[ALL];
    size_t from[ALL], wanted[ALL] = {0}, taken[ALL] = {0};
    check(attn_softmax(context, beams, LETTERS, p, stride, p, stride, NULL));
    for (size_t i = 0; i < beams * LETTERS; i++)
        scores[i] = now[i / LETTERS].score + log((double)p[i / LETTERS * stride + i % LETTERS]);
    for (size_t n = 0, best = 0; n < beams; n++) {
        for (size_t i = 0; i < beams * LETTERS; i++)
            best = scores[i] > scores[best] ? i : best;
        wanted[from[n] = best / LETTERS] = 1;
        next[n] = now[from[n]];
        next[n].text[at] = "abc"[best % LETTERS];
        next[n].score = scores[best];
        scores[best] = -INFINITY;
    }
    for (size_t n = 0, to; n < beams; n++) {
        for (to = from[n]; taken[to] || (to != from[n] && wanted[to]);)
            to = (to + 1) % beams;
        check(attn_cache_fork(context, cache, from[n], to));
        taken[to] = 1, now[to] = next[n];
    }
    return next[0];
}

static double search(const attn_block *block, size_t beams) {
    static float x[ALL * PROMPT * M];
    static int64_t ids[ALL * PROMPT];
    static beam now[ALL];
    beam best = {"ab", 0};
    attn_cache_params p = {sizeof p, .batch = beams, .capacity = LENGTH, .kv_heads = 1, .head_width = M};
    attn_embed_params embed = {sizeof embed, .ids = ids, .token_table = tokens, .token_count = LETTERS};
    attn_sdpa_params causal = {sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
    attn_block_inputs inputs = {sizeof inputs, .self_params = &causal};
    check(attn_cache_create(context, &p, &inputs.cache));
    embed.positions = ATTN_POSITIONS_TABLE, embed.position_table = one + LETTERS * M, embed.position_count = LENGTH;
    for (size_t n = 0; n < beams; n++, best.score = -1e30) /* all begin alike: one is enough */
        now[n] = best;
    for (size_t T = PROMPT; embed.first_position + T < LENGTH; T = 1) { /* the prompt at once, then letter by letter */
        const attn_tensor stream = attn_tensor_btm(x, ATTN_F32, beams, T, M);
        for (size_t i = 0; i < beams * T; i++)
            ids[i] = now[i / T].text[embed.first_position + i % T] - 'a';
        check(attn_embed(context, &embed, &stream));
        check(attn_block_forward(context, block, &stream, &stream, &inputs));
        embed.first_position += T;
        best = grow(inputs.cache, beams, now, x + (T - 1) * M + LOGITS, T * M, embed.first_position);
    }
    attn_cache_destroy(inputs.cache);
    printf("%3zu beams: %s, log p = %.4f\n", beams, best.text, best.score);
    return best.score;
}

int main(void) {
    attn_mha_params attention = {sizeof attention, .model_width = M, .heads = 1};
    const attn_block_params params = {sizeof params, .self_attention = &attention};
    attn_block *block;
    for (int i = 0; i < M; i++) {
        one[i * M + i] = 1;
        q[i * M + (i + 1) % M] = i >= LETTERS && i + 1 < LOGITS ? 400 : 0;
    }
    for (int i = 0; i < LETTERS * LETTERS; i++) {
        tokens[i / LETTERS * (M + 1)] = 1;
        tokens[i / LETTERS * M + LOGITS + i % LETTERS] = 3 * sinf((float)(5 * i * i));
        v[(LOGITS + i / LETTERS) * M + i % LETTERS] = 3 * sinf((float)(5 * i * i + 5));
    }
    attention.q_weight = q, attention.k_weight = attention.out_weight = one, attention.v_weight = v;
    check(attn_context_create(NULL, &context));
    check(attn_block_create(context, &params, &block));
    const double greedy = search(block, 1), beam_of_8 = search(block, 8), all = search(block, ALL);
    attn_block_destroy(block);
    attn_context_destroy(context);
    return greedy < beam_of_8 - 0.1 && fabs(beam_of_8 - all) < 1e-4 ? 0 : 1;
}
