/* SPDX-License-Identifier: BSD-3-Clause */
/* An encoder and a decoder that translate. The weights are built by hand: the encoder's feed-forward is the dictionary,
 * a row a word; the decoder's cross-attention is the word order: step t asks for the word that is t words from the end,
 * as French adjectives stand behind. A token is a vector of ones and zeros: which word it is, and its place. */
#include <attn/attn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 5, END = PAIRS, WORDS = 2 * PAIRS, PLACES = 4, M = WORDS + PLACES };

static const char *const words[] = {"<s>", "white", "black", "cat", "sun", "</s>", "blanc", "noir", "chat", "soleil"};
static attn_context *context;
static float zero[M * M], one[M * M], two[M * M], place[M * M], up[PAIRS * M], down[M * PAIRS];

static void check(attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "translate: %s\n", attn_context_last_error(context)) != 0);
}

/* No word looks at its neighbours. What the decoder attends to is louder than its own word, which the residual adds. */
static attn_block *make_block(const float *cross_q_k, const attn_feed_params *feed) {
    attn_mha_params self, cross;
    attn_block_params p;
    attn_block *block;
    ATTN_INIT(&self), ATTN_INIT(&p);
    self.model_width = M;
    self.heads = 1;
    self.q_weight = self.k_weight = self.v_weight = zero;
    self.out_weight = one;
    cross = self;
    cross.q_weight = cross.k_weight = cross_q_k;
    cross.v_weight = two;
    p.self_attention = &self;
    p.cross_attention = cross_q_k ? &cross : NULL;
    p.feed = feed;
    check(attn_block_create(context, &p, &block));
    return block;
}

static int translate(const attn_block *encoder, const attn_block *decoder, const int64_t *english, const char *french) {
    char got[64] = "";
    int64_t word = 0, from_end[] = {2, 1, 0};
    float x[3 * M] = {0}, y[M] = {0};
    const attn_tensor encoded = attn_tensor_btm(x, ATTN_F32, 1, 3, M), step = attn_tensor_btm(y, ATTN_F32, 1, 1, M);
    attn_embed_params embed;
    attn_block_inputs inputs;
    ATTN_INIT(&embed), ATTN_INIT(&inputs);
    embed.ids = english;
    embed.token_table = one;
    embed.token_count = WORDS;
    embed.positions = ATTN_POSITIONS_TABLE;
    embed.position_table = one + WORDS * M;
    embed.position_count = PLACES;
    embed.position_ids = from_end;
    inputs.encoded = &encoded;
    check(attn_embed(context, &embed, &encoded));
    check(attn_block_forward(context, encoder, &encoded, &encoded, NULL));
    embed.ids = &word;
    for (int64_t t = 0; t < PLACES && word != END; t++) {
        embed.position_ids = &t;
        check(attn_embed(context, &embed, &step));
        check(attn_block_forward(context, decoder, &step, &step, &inputs));
        for (int64_t i = word = 0; i < WORDS; i++) /* the largest: the head is the table of tokens, a unit matrix */
            word = y[i] > y[word] ? i : word;
        sprintf(got + strlen(got), "%s ", words[word]);
    }
    printf("%s %s: %s\n", words[english[1]], words[english[2]], got);
    return strcmp(got, french) != 0;
}

int main(void) {
    static const int64_t white_cat[] = {0, 1, 3}, black_sun[] = {0, 2, 4};
    attn_feed_params dictionary;
    for (int i = 0; i < M; i++) {
        one[i * M + i] = 1;
        two[i * M + i] = i < WORDS ? 2 : 0;
        place[i * M + i] = i < WORDS ? 0 : 20;
    }
    for (int i = 0; i < PAIRS; i++) { /* takes the English word away and puts the French one there */
        up[i * M + i] = 1;
        down[i * PAIRS + i] = -1;
        down[(PAIRS + i) * PAIRS + i] = 1;
    }
    check(attn_context_create(NULL, &context));
    ATTN_INIT(&dictionary);
    dictionary.hidden_width = PAIRS;
    dictionary.activation = ATTN_RELU;
    dictionary.up_weight = up;
    dictionary.down_weight = down;
    attn_block *encoder = make_block(NULL, &dictionary), *decoder = make_block(place, NULL);
    int wrong = translate(encoder, decoder, white_cat, "chat blanc </s> ");
    wrong |= translate(encoder, decoder, black_sun, "soleil noir </s> ");
    attn_block_destroy(encoder);
    attn_block_destroy(decoder);
    attn_context_destroy(context);
    return wrong;
}
