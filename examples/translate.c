/* SPDX-License-Identifier: BSD-3-Clause */
/* An encoder and a decoder learn to translate: French adjectives stand behind the noun and, as articles, agree with its
 * gender. They learn until they translate sentences that they have not seen without an error. */
#include "trained.h"
#include <string.h>

static const char *const english[] = {"the",  "a",   "white", "black", "green", "cold", "heavy", "cat",
                                      "book", "sun", "dog",   "house", "table", "moon", "flower"};
static const char *const french[] = {"<s>",  "</s>",  "le",     "la",    "un",     "une",    "blanc", "blanche",
                                     "noir", "noire", "vert",   "verte", "froid",  "froide", "lourd", "lourde",
                                     "chat", "livre", "soleil", "chien", "maison", "table",  "lune",  "fleur"};

enum { ARTICLES = 2, ADJECTIVES = 5, NOUNS = 8, SENTENCES = ARTICLES * ADJECTIVES * NOUNS, UNSEEN = 20 };
enum { ENGLISH = ARTICLES + ADJECTIVES + NOUNS, FRENCH = 2 + 2 * ARTICLES + 2 * ADJECTIVES + NOUNS };
enum { SEEN = SENTENCES - UNSEEN, Te = 3, T = 4, M = 32, H = 2, MOST_STEPS = 1000, END = 1 };

static int64_t source[SENTENCES][Te], given[SENTENCES][T], wanted[SENTENCES][T]; /* the last UNSEEN are not learned */

static weights all;
static attn_embed_params embed_english = {sizeof embed_english, .token_count = ENGLISH, .position_count = Te};
static attn_embed_params embed_french = {sizeof embed_french, .token_count = FRENCH, .position_count = T};
static attn_embed_gradients d_english = {.struct_size = sizeof d_english}, d_french = {.struct_size = sizeof d_french};
static trained_block encoder, decoder;
static attn_norm_params cross_norm;
static attn_norm_gradients d_cross_norm;
static attn_mha_params cross;
static attn_mha_gradients d_cross;
static trained_head head;
static const attn_sdpa_params causal = {sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};

static void make_sentences(void) {
    size_t order[SENTENCES] = {0};
    for (size_t s = 0, other; s < SENTENCES; s++) { /* a shuffle: Fisher and Yates */
        other = (size_t)(draw(&all.random) * (double)(s + 1));
        order[s] = order[other], order[other] = s;
    }
    for (size_t s = 0; s < SENTENCES; s++) {
        const int64_t article = (int64_t)order[s] % ARTICLES, rest = (int64_t)order[s] / ARTICLES;
        const int64_t adjective = rest % ADJECTIVES, noun = rest / ADJECTIVES, feminine = noun >= NOUNS / 2;
        const int64_t le = 2, blanc = le + 2 * ARTICLES, chat = blanc + 2 * ADJECTIVES;
        const int64_t words[] = {0, le + 2 * article + feminine, chat + noun, blanc + 2 * adjective + feminine, END};
        memcpy(given[s], words, sizeof given[s]);
        memcpy(wanted[s], words + 1, sizeof wanted[s]);
        source[s][0] = article, source[s][1] = ARTICLES + adjective, source[s][2] = ARTICLES + ADJECTIVES + noun;
    }
}

static void add_embedding(attn_embed_params *p, attn_embed_gradients *g) {
    p->positions = ATTN_POSITIONS_TABLE;
    p->token_table = add_weights(&all, p->token_count * M, 0, 0.3, &g->d_token_table);
    p->position_table = add_weights(&all, p->position_count * M, 0, 0.3, &g->d_position_table);
}

static void make_translator(void) {
    add_embedding(&embed_english, &d_english);
    add_block(&all, M, H, &encoder);
    pack_block(&encoder, SEEN, Te, 0);
    add_embedding(&embed_french, &d_french);
    add_block(&all, M, H, &decoder);
    add_norm(&all, M, &cross_norm, &d_cross_norm);
    add_attention(&all, M, H, &cross, &d_cross);
    decoder.params.cross_norm = &cross_norm, decoder.gradients.cross_norm = &d_cross_norm;
    decoder.params.cross_attention = &cross, decoder.gradients.cross_attention = &d_cross;
    pack_block(&decoder, SEEN, T, Te);
    add_head(&all, M, FRENCH, &head);
}

/* One step on all sentences but the unseen; returns the loss before it. */
static double learn(void) {
    static float data[SEEN * (4 * Te * M + 5 * T * M + T * FRENCH)];
    enum { X, ENCODED, DX, D_ENCODED, Y, OUT, NORMED, DY, D_OUT, LOGITS, TENSORS };
    attn_tensor t[TENSORS];
    float *next = data;
    for (int i = 0; i < TENSORS; next += SEEN * t[i].size[2] * t[i].size[3], i++)
        t[i] = attn_tensor_btm(next, ATTN_F32, SEEN, i < Y ? Te : T, i == LOGITS ? FRENCH : M);
    const attn_block_inputs inputs = {sizeof inputs, .self_params = &causal, .encoded = &t[ENCODED]};
    embed_english.ids = source[0], embed_french.ids = given[0], embed_french.first_position = 0;
    check(attn_embed(context, &embed_english, &t[X]));
    block_forward(&encoder, &t[X], &t[ENCODED], NULL);
    check(attn_embed(context, &embed_french, &t[Y]));
    block_forward(&decoder, &t[Y], &t[OUT], &inputs);
    head_forward(&head, &t[OUT], &t[NORMED], &t[LOGITS]);
    const double loss = head_backward(&head, &t[OUT], &t[NORMED], &t[LOGITS], wanted[0], &t[D_OUT]);
    decoder.gradients.d_encoded = &t[D_ENCODED];
    block_backward(&decoder, &t[Y], &t[D_OUT], &inputs, &t[DY]);
    check(attn_embed_backward(context, &embed_french, &t[DY], &d_french));
    block_backward(&encoder, &t[X], &t[D_ENCODED], NULL, &t[DX]);
    check(attn_embed_backward(context, &embed_english, &t[DX], &d_english));
    adamw(&all, 3e-3);
    check(attn_block_update(context, encoder.block, &encoder.params));
    check(attn_block_update(context, decoder.block, &decoder.params));
    check(attn_linear_update(context, head.linear, &head.params));
    return loss;
}

/* Translates the unseen sentences, all at once, word by word. */
static void translate(int64_t got[UNSEEN][T]) {
    static float x[UNSEEN * Te * M], y[UNSEEN * (M + FRENCH)];
    const attn_tensor encoded = attn_tensor_btm(x, ATTN_F32, UNSEEN, Te, M);
    const attn_tensor step = attn_tensor_btm(y, ATTN_F32, UNSEEN, 1, M);
    const attn_tensor logits = attn_tensor_btm(y + UNSEEN * M, ATTN_F32, UNSEEN, 1, FRENCH);
    const attn_cache_params p = {sizeof p, .batch = UNSEEN, .capacity = T, .kv_heads = H, .head_width = M / H};
    attn_block_inputs inputs = {sizeof inputs, .self_params = &causal};
    attn_cache *cache;
    int64_t words[UNSEEN] = {0};
    check(attn_cache_create(context, &p, &inputs.cache));
    check(attn_cache_create(context, &p, &cache));
    embed_english.ids = source[SEEN], embed_french.ids = words;
    check(attn_embed(context, &embed_english, &encoded));
    check(attn_block_forward(context, encoder.block, &encoded, &encoded, NULL));
    check(attn_block_encode(context, decoder.block, &encoded, cache, NULL));
    inputs.encoded_cache = cache;
    for (size_t t = 0; t < T; t++) {
        embed_french.first_position = t;
        check(attn_embed(context, &embed_french, &step));
        check(attn_block_forward(context, decoder.block, &step, &step, &inputs));
        head_forward(&head, &step, &step, &logits);
        for (int64_t s = 0; s < UNSEEN; got[s][t] = words[s], s++) {
            const float *row = y + UNSEEN * M + s * FRENCH;
            for (int64_t i = words[s] = 0; i < FRENCH; i++)
                words[s] = row[i] > row[words[s]] ? i : words[s];
        }
    }
    attn_cache_destroy(cache);
    attn_cache_destroy(inputs.cache);
}

int main(void) {
    int64_t got[UNSEEN][T];
    int wrong = UNSEEN;
    check(attn_context_create(NULL, &context));
    all = weights_create((ENGLISH + Te + 2 * FRENCH + T) * M + 28 * M * M + 34 * M, 1);
    make_sentences();
    make_translator();
    for (int step = 1; step <= MOST_STEPS && wrong > 0; step++) {
        const double loss = learn();
        if (step % 20 != 0)
            continue;
        translate(got);
        wrong = 0;
        for (int s = 0; s < UNSEEN; s++)
            wrong += memcmp(got[s], wanted[SEEN + s], sizeof got[s]) != 0;
        printf("step %3d: loss %.4f, %d of %d unseen sentences are wrong\n", step, loss, wrong, UNSEEN);
    }
    for (int s = 0; s < UNSEEN; s++)
        printf("%s %s %s: %s %s %s\n", english[source[SEEN + s][0]], english[source[SEEN + s][1]],
               english[source[SEEN + s][2]], french[got[s][0]], french[got[s][1]], french[got[s][2]]);
    destroy_block(&encoder);
    destroy_block(&decoder);
    attn_linear_destroy(head.linear);
    attn_context_destroy(context);
    free(all.value);
    return wrong != 0;
}
