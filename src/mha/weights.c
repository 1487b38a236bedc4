/* SPDX-License-Identifier: BSD-3-Clause */
/* The linear maps of a layer, in one piece of memory. */
#include <string.h>

#include "context/sizes.h"
#include "mha/latent.h"
#include "mha/mha.h"

/* -- weights in runs -- */

/* x [out, each] */
static void gather_floats(const attni_mha_weight *from, size_t each, const float *x, float *to) {
    for (size_t o = 0; o < from->weight.out && x; o++)
        memcpy(to + o * each, x + attni_feature_of(&from->origin, o) * each, each * sizeof *x);
}

/* Rows of [out, in], or pieces of the rows of its transpose. */
static void gather_matrix(const attni_mha_weight *from, char *to) {
    const attni_weight *w = &from->weight;
    const size_t row = attni_weight_bytes(w->type, 1, w->in), size = attni_size_of(w->type);
    for (size_t o = 0; o < w->out; o++) {
        const char *feature =
            (const char *)w->data + attni_weight_bytes(w->type, attni_feature_of(&from->origin, o), w->stride_out);
        if (w->stride_in == 1)
            memcpy(to + o * row, feature, row);
        for (size_t i = 0; i < w->in && w->stride_in != 1; i++)
            memcpy(to + (i * w->out + o) * size, feature + i * w->stride_in * size, size);
    }
}

/* Bytes that a weight with all its features one after the other takes: 0 where it is so already. */
static size_t gathered_bytes(const attni_mha_weight *from) {
    const attni_weight *w = &from->weight;
    const size_t each = attni_count_scales(w->type, 1, w->in);
    return from->origin.run ? (1 + each) * w->out * sizeof(float) + attni_weight_bytes(w->type, w->out, w->in) : 0;
}

/* That weight: itself, or a copy in `memory`. */
static attni_weight gather(const attni_mha_weight *from, char *memory) {
    const attni_weight *w = &from->weight;
    const size_t each = attni_count_scales(w->type, 1, w->in);
    attni_weight to = *w;
    if (from->origin.run == 0)
        return to;
    float *scale = (float *)(void *)memory, *bias = scale + each * w->out;
    gather_floats(from, each, w->scale, scale);
    gather_floats(from, 1, w->bias, bias);
    gather_matrix(from, (char *)(bias + w->out));
    to.data = bias + w->out;
    to.scale = w->scale ? scale : NULL;
    to.bias = w->bias ? bias : NULL;
    to.stride_out = w->stride_in == 1 ? w->in : 1;
    to.stride_in = w->stride_in == 1 ? 1 : w->out;
    return to;
}

/* -- the layer -- */

static attni_linear *own_linear(attn_mha *m, attni_role role) {
    attni_linear *const linears[ATTNI_PACKED] = {&m->q, &m->k, &m->v, &m->out, &m->gate, &m->q_down};
    return linears[role];
}

static attni_activation clip_of(const attn_mha_params *p) {
    return (attni_activation){.kind = ATTN_IDENTITY, .clips = p->clip > 0, .limit = p->clip};
}

static attn_mha *new_layer(const attn_context *context, const attn_mha_params *p, size_t floats) {
    attn_mha *mha = attni_allocate(&context->allocator, sizeof *mha);
    void *memory = mha ? attni_allocate(&context->allocator, floats * sizeof(float)) : NULL;
    if (!memory) {
        attni_release(&context->allocator, mha);
        return NULL;
    }
    *mha = (attn_mha){.allocator = context->allocator,
                      .memory = memory,
                      .M = p->model_width,
                      .H = p->heads,
                      .G = p->kv_heads,
                      .D = p->head_width,
                      .E = p->value_width,
                      .L = p->kv_latent,
                      .R = p->shared_key_width,
                      .zero_key = p->zero_key != 0,
                      .fused = p->in_weight != NULL,
                      .gate_in_q = p->gate_in_q != 0,
                      .clip = clip_of(p)};
    return mha;
}

static attn_mha *pack(attn_context *context, const attn_mha_params *p, const attni_weight weights[ATTNI_WEIGHTS],
                      const attni_norm *const norms[ATTNI_NORMS]) {
    const size_t key = p->kv_heads * p->head_width, value = p->kv_heads * p->value_width;
    const size_t widths[ATTNI_NORMS] = {p->heads * p->value_width, p->q_latent, p->kv_latent};
    size_t floats = attni_round_up(key, 16) + attni_round_up(value, 16);
    for (size_t i = 0; i < ATTNI_NORMS; i++)
        floats += 2 * attni_round_up(widths[i], 16);
    for (size_t i = 0; i < ATTNI_PACKED; i++)
        floats += attni_linear_floats(context, &weights[i]);
    attn_mha *mha = new_layer(context, p, floats);
    if (!mha)
        return NULL;
    float *next = mha->memory;
    for (attni_role i = 0; i < ATTNI_PACKED; i++) {
        *own_linear(mha, i) = attni_linear_pack(context, &weights[i], next);
        next += attni_linear_floats(context, &weights[i]);
    }
    mha->extra_key = attni_keep(p->extra_key, key, &next);
    mha->extra_value = attni_keep(p->extra_value, value, &next);
    for (size_t i = 0; i < ATTNI_NORMS; i++) {
        mha->norms[i].there = norms[i] != NULL;
        if (norms[i])
            mha->norms[i].norm = attni_keep_norm(norms[i], widths[i], &next);
    }
    return mha;
}

/* NULL: no memory, and the layer is gone. */
static attn_mha *add_latent(attn_context *context, attn_mha *mha, const attni_weight *up) {
    const attn_allocator *allocator = &context->allocator;
    char *memory = attni_allocate(allocator, attni_latent_bytes(context, mha, up));
    char *room = memory ? attni_allocate(allocator, attni_latent_room(mha, up)) : NULL;
    if (room) {
        attni_latent_pack(context, mha, up, memory, room);
        attni_release(allocator, room);
        return mha;
    }
    attni_release(allocator, memory);
    attni_mha_delete(mha);
    return NULL;
}

attn_mha *attni_mha_new(attn_context *context, const attn_mha_params *p, const attni_mha_weight weights[ATTNI_WEIGHTS],
                        const attni_norm *const norms[ATTNI_NORMS]) {
    const attn_allocator *allocator = &context->allocator;
    attni_weight gathered[ATTNI_WEIGHTS];
    char *memory[ATTNI_WEIGHTS] = {0};
    bool fits = true;
    for (size_t i = 0; i < ATTNI_WEIGHTS && fits; i++) {
        const size_t bytes = gathered_bytes(&weights[i]);
        memory[i] = bytes ? attni_allocate(allocator, bytes) : NULL;
        fits = memory[i] || bytes == 0;
        if (fits)
            gathered[i] = gather(&weights[i], memory[i]);
    }
    attn_mha *mha = fits ? pack(context, p, gathered, norms) : NULL;
    for (size_t i = 0; mha && i < ATTNI_PACKED; i++)
        mha->origins[i] = weights[i].origin;
    for (size_t i = 0; i < ATTNI_WEIGHTS; i++)
        attni_release(allocator, memory[i]);
    return mha && mha->L ? add_latent(context, mha, &weights[ATTNI_W_KV_UP].weight) : mha;
}

/* -- other weights in the place of those -- */

const char *attni_mha_misfit(const attn_mha *m, const attn_mha_params *p) {
    if (m->M != p->model_width || m->H != p->heads || m->G != p->kv_heads || m->D != p->head_width ||
        m->E != p->value_width || m->L != p->kv_latent || m->R != p->shared_key_width)
        return "a width or a number of heads";
    if (m->fused != (p->in_weight != NULL) || m->gate_in_q != (p->gate_in_q != 0))
        return "which matrices there are";
    if (m->zero_key != (p->zero_key != 0) || !m->extra_key != !p->extra_key)
        return "zero_key, or whether there are extra_key and extra_value,";
    return NULL;
}

const char *attni_mha_weight_misfit(const attn_context *context, const attn_mha *m, attni_role role,
                                    const attni_mha_weight *from, void *room) {
    if (role == ATTNI_W_KV_UP)
        return m->L ? attni_latent_misfit(context, m, &from->weight) : NULL;
    if (from->origin.run != m->origins[role].run)
        return "qkv_order";
    const attni_weight w = gather(from, room);
    return attni_linear_misfit(context, &w, attni_linear_of(m, role));
}

size_t attni_mha_repack_bytes(const attn_mha *m, const attni_mha_weight weights[ATTNI_WEIGHTS]) {
    size_t most = m->L ? attni_latent_room(m, &weights[ATTNI_W_KV_UP].weight) : 0;
    for (size_t i = 0; i < ATTNI_PACKED; i++)
        most = attni_max(most, gathered_bytes(&weights[i]));
    return most;
}

void attni_mha_repack(attn_context *context, attn_mha *m, const attn_mha_params *p,
                      const attni_mha_weight weights[ATTNI_WEIGHTS], const attni_norm *const norms[ATTNI_NORMS],
                      void *room) {
    float *key = m->extra_key, *value = m->extra_value;
    for (attni_role i = 0; i < ATTNI_PACKED; i++) {
        const attni_weight w = gather(&weights[i], room);
        attni_linear_repack(context, &w, own_linear(m, i));
    }
    if (m->L)
        attni_latent_repack(context, m, &weights[ATTNI_W_KV_UP].weight, room);
    attni_keep(p->extra_key, m->G * m->D, &key);
    attni_keep(p->extra_value, m->G * m->E, &value);
    m->clip = clip_of(p);
    for (attni_norm_of i = 0; i < ATTNI_NORMS; i++)
        if (norms[i])
            attni_norm_renew(norms[i], attni_norm_width(m, i), &m->norms[i].norm);
}

void attni_mha_delete(attn_mha *mha) {
    const attn_allocator allocator = mha->allocator;
    attni_release(&allocator, mha->of_heads);
    attni_release(&allocator, mha->memory);
    attni_release(&allocator, mha);
}
