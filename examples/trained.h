/* SPDX-License-Identifier: BSD-3-Clause */
/* What the examples that train share. All weights are in one array and their gradients in another of the same order, so
 * that AdamW is one loop; what libattn packed of them is then packed anew. */
#ifndef EXAMPLES_TRAINED_H
#define EXAMPLES_TRAINED_H

#include <attn/attn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct weights {
    float *value, *gradient, *mean, *square; /* [room]; mean and square are AdamW's, of gradients */
    size_t room, count, steps;
    uint64_t random;
} weights;

/* Pre-norm, with a feed-forward 4·M wide. */
typedef struct trained_block {
    attn_norm_params norms[2];
    attn_mha_params attention;
    attn_feed_params feed;
    attn_block_params params;
    attn_norm_gradients d_norms[2];
    attn_mha_gradients d_attention;
    attn_feed_gradients d_feed;
    attn_block_gradients gradients;
    attn_block *block;
    void *kept; /* by the forward pass for the backward pass */
    size_t kept_bytes;
} trained_block;

/* A norm, and the logits of V tokens. */
typedef struct trained_head {
    attn_norm_params norm;
    attn_linear_params params;
    attn_norm_gradients d_norm;
    attn_linear_gradients gradients;
    attn_linear *linear;
} trained_head;

static attn_context *context;

static inline void check(attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "%s\n", attn_context_last_error(context)) != 0);
}

static inline void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        exit(fputs("out of memory\n", stderr) != EOF);
    return memory;
}

/* `array`, of `count` elements, with place for at least one more. */
static inline void *grow(void *array, size_t count, size_t size) {
    const int full = (count & (count + 1)) == 0; /* at 0, 1, 3, 7, … */
    void *grown = full ? realloc(array, 2 * (count + 1) * size) : array;
    if (grown == NULL)
        exit(fputs("out of memory\n", stderr) != EOF);
    return grown;
}

static inline double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* From [0, 1): the generator of Knuth's MMIX. */
static inline double draw(uint64_t *state) {
    *state = *state * 6364136223846793005 + 1442695040888963407;
    return (double)(*state >> 11) / 9007199254740992; /* 2^53 */
}

static inline weights weights_create(size_t room, size_t seed) {
    float *all = allocate(4 * room, sizeof *all);
    return (weights){all, all + room, all + 2 * room, all + 3 * room, .room = room, .random = seed};
}

/* The next n weights, drawn evenly from around `centre`; *gradient is where their gradients are. */
static inline float *add_weights(weights *w, size_t n, double centre, double deviation, float **gradient) {
    float *added = w->value + w->count;
    if (n > w->room - w->count)
        exit(fputs("more weights than there is room for\n", stderr) != EOF);
    for (size_t i = 0; i < n; i++)
        added[i] = (float)(centre + deviation * sqrt(3) * (2 * draw(&w->random) - 1));
    *gradient = w->gradient + w->count;
    w->count += n;
    return added;
}

static inline void add_norm(weights *w, size_t M, attn_norm_params *p, attn_norm_gradients *g) {
    ATTN_INIT(p), ATTN_INIT(g);
    p->weight = add_weights(w, M, 1, 0, &g->d_weight);
    p->bias = add_weights(w, M, 0, 0, &g->d_bias);
}

/* Inputs of deviation 1 have outputs of deviation `gain`. */
static inline const float *add_linear(weights *w, size_t in, size_t out, double gain, const float **bias,
                                      float **d_weight, float **d_bias) {
    *bias = add_weights(w, out, 0, 0, d_bias);
    return add_weights(w, in * out, 0, gain / sqrt((double)in), d_weight);
}

static inline void add_attention(weights *w, size_t M, size_t H, attn_mha_params *p, attn_mha_gradients *g) {
    ATTN_INIT(p), ATTN_INIT(g);
    p->model_width = M, p->heads = H;
    p->in_weight = add_linear(w, M, 3 * M, 1, &p->in_bias, &g->d_in_weight, &g->d_in_bias);
    p->out_weight = add_linear(w, M, M, 0.3, &p->out_bias, &g->d_out_weight, &g->d_out_bias);
}

static inline void add_feed(weights *w, size_t M, attn_feed_params *p, attn_feed_gradients *g) {
    ATTN_INIT(p), ATTN_INIT(g);
    p->hidden_width = 4 * M;
    p->up_weight = add_linear(w, M, 4 * M, 1, &p->up_bias, &g->d_up_weight, &g->d_up_bias);
    p->down_weight = add_linear(w, 4 * M, M, 0.3, &p->down_bias, &g->d_down_weight, &g->d_down_bias);
}

/* (12·M + 13)·M weights. */
static inline void add_block(weights *w, size_t M, size_t H, trained_block *b) {
    ATTN_INIT(&b->params), ATTN_INIT(&b->gradients);
    add_norm(w, M, &b->norms[0], &b->d_norms[0]);
    add_attention(w, M, H, &b->attention, &b->d_attention);
    add_norm(w, M, &b->norms[1], &b->d_norms[1]);
    add_feed(w, M, &b->feed, &b->d_feed);
    b->params.self_norm = &b->norms[0], b->gradients.self_norm = &b->d_norms[0];
    b->params.self_attention = &b->attention, b->gradients.self_attention = &b->d_attention;
    b->params.feed_norm = &b->norms[1], b->gradients.feed_norm = &b->d_norms[1];
    b->params.feed = &b->feed, b->gradients.feed = &b->d_feed;
}

/* Packs a block for B sequences of T tokens and, with cross-attention, Te of an encoder. */
static inline void pack_block(trained_block *b, size_t B, size_t T, size_t Te) {
    check(attn_block_create(context, &b->params, &b->block));
    check(attn_block_kept_size(context, b->block, B, T, Te, &b->kept_bytes));
    b->kept = allocate(b->kept_bytes, 1);
}

static inline void block_forward(trained_block *b, const attn_tensor *x, const attn_tensor *out,
                                 const attn_block_inputs *inputs) {
    check(attn_block_forward_keep(context, b->block, x, out, inputs, b->kept, b->kept_bytes));
}

static inline void block_backward(trained_block *b, const attn_tensor *x, const attn_tensor *d_out,
                                  const attn_block_inputs *inputs, const attn_tensor *dx) {
    b->gradients.dx = dx;
    check(attn_block_backward(context, b->block, x, d_out, inputs, b->kept, &b->gradients));
}

static inline void destroy_block(trained_block *b) {
    attn_block_destroy(b->block);
    free(b->kept);
}

static inline void add_head(weights *w, size_t M, size_t vocabulary, trained_head *h) {
    ATTN_INIT(&h->params), ATTN_INIT(&h->gradients);
    add_norm(w, M, &h->norm, &h->d_norm);
    h->params.in_width = M, h->params.out_width = vocabulary;
    h->params.weight = add_weights(w, vocabulary * M, 0, 0.3 / sqrt((double)M), &h->gradients.d_weight);
    check(attn_linear_create(context, &h->params, &h->linear));
}

static inline void head_forward(trained_head *h, const attn_tensor *x, const attn_tensor *normed,
                                const attn_tensor *logits) {
    check(attn_norm(context, x, normed, &h->norm));
    check(attn_linear_forward(context, h->linear, normed, logits));
}

/* The mean loss of all tokens of x. The logits become their gradients, dx that of x. */
static inline double head_backward(trained_head *h, const attn_tensor *x, const attn_tensor *normed,
                                   const attn_tensor *logits, const int64_t *targets, const attn_tensor *dx) {
    attn_cross_entropy_params p = {sizeof p, .d_logits = logits->data, .ldd = logits->size[3]};
    double loss;
    check(attn_cross_entropy(context, x->size[0] * x->size[2], p.ldd, p.d_logits, p.ldd, targets, &p, &loss));
    h->gradients.dx = h->d_norm.dx = dx;
    check(attn_linear_backward(context, h->linear, normed, logits, &h->gradients));
    check(attn_norm_backward(context, x, dx, &h->norm, &h->d_norm));
    return loss;
}

/* Loshchilov and Hutter, "Decoupled weight decay regularization", 2019. */
static inline void adamw(weights *w, double rate) {
    const float beta1 = 0.9F, beta2 = 0.99F, eps = 1e-8F, decay = (float)(1 - 0.01 * rate);
    const double t = (double)++w->steps;
    const float step = (float)(rate / (1 - pow(beta1, t))), unbias = (float)(1 / (1 - pow(beta2, t)));
    const float *restrict g = w->gradient;
    float *restrict x = w->value, *restrict m = w->mean, *restrict v = w->square;
    for (size_t i = 0; i < w->count; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        x[i] = decay * x[i] - step * m[i] / (sqrtf(v[i] * unbias) + eps);
    }
}

#endif
