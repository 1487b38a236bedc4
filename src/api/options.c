/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of attention: what is allowed, and what it means to the engine. */
#include <math.h>

#include "api/check.h"
#include "context/sizes.h"

static attn_status bad_value(attn_context *context, const char *field, double value, const char *rule) {
    return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is %g, expected %s", field, value, rule);
}

static attn_status bad_choice(attn_context *context, const char *field, int value, const char *rule) {
    return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is %d, expected %s", field, value, rule);
}

/* -- sequences -- */

attn_status attni_check_starts(attn_context *context, const char *name, const int64_t *starts, size_t N, size_t tokens,
                               size_t *longest) {
    *longest = 0;
    if (starts[0] < 0)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s[0] is %lld, expected at least 0", name, (long long)starts[0]);
    for (size_t n = 0; n < N; n++) {
        if (starts[n + 1] < starts[n])
            return attni_fail(context, ATTN_ERROR_VALUE, "%s[%zu] is %lld, less than the one before, %lld", name, n + 1,
                              (long long)starts[n + 1], (long long)starts[n]);
        *longest = attni_max(*longest, (size_t)(starts[n + 1] - starts[n]));
    }
    if ((uint64_t)starts[N] > tokens)
        return attni_fail(context, ATTN_ERROR_SHAPE, "%s[%zu] is %lld, but the tensor has %zu tokens", name, N,
                          (long long)starts[N], tokens);
    return ATTN_OK;
}

/* Keys of a cache are where they were appended. */
static attn_status check_key_starts(attn_context *context, const attn_sdpa_params *p, attni_sdpa *call) {
    if (call->pages)
        return p->key_starts ? attni_fail(context, ATTN_ERROR_VALUE,
                                          "params.key_starts is set, but a cache knows where its sequences are")
                             : ATTN_OK;
    call->key_starts = p->key_starts ? p->key_starts : p->query_starts;
    return attni_check_starts(context, p->key_starts ? "params.key_starts" : "params.query_starts", call->key_starts,
                              p->sequences, call->Tk, &call->Tk);
}

attn_status attni_check_ragged(attn_context *context, const char *name, const attn_tensor *q,
                               const attn_sdpa_params *p) {
    return p->query_starts ? attni_check_size(context, name, q, 0, "1 with params.query_starts, B", 1) : ATTN_OK;
}

attn_status attni_check_sequences(attn_context *context, const attn_sdpa_params *p, attni_sdpa *call) {
    if (!p->query_starts) {
        if (p->key_starts)
            return attni_fail(context, ATTN_ERROR_NULL, "params.query_starts is NULL, but params.key_starts is set");
        if (p->sequences)
            return attni_fail(context, ATTN_ERROR_NULL, "params.query_starts is NULL, but params.sequences is %zu",
                              p->sequences);
        return ATTN_OK;
    }
    if (p->sequences == 0 && call->Tq > 0)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.sequences is 0, but there are %zu tokens", call->Tq);
    call->ragged_tokens = call->Tq;
    call->ragged_keys = call->Tk;
    ATTNI_TRY(attni_check_starts(context, "params.query_starts", p->query_starts, p->sequences, call->Tq, &call->Tq));
    ATTNI_TRY(check_key_starts(context, p, call));
    call->B = p->sequences;
    call->query_starts = p->query_starts;
    call->q.stride_b = call->k.stride_b = call->v.stride_b = call->out.stride_b = 0;
    return ATTN_OK;
}

/* Of sequences of `most` tokens, or of those between their starts. */
static attn_status check_lengths(attn_context *context, const char *name, const int64_t *lengths, const int64_t *starts,
                                 size_t B, size_t most) {
    for (size_t b = 0; lengths && b < B; b++) {
        const size_t tokens = starts ? (size_t)(starts[b + 1] - starts[b]) : most;
        if (lengths[b] < 0 || (uint64_t)lengths[b] > tokens)
            return attni_fail(context, ATTN_ERROR_VALUE, "params.%s[%zu] is %lld, expected 0 to %zu", name, b,
                              (long long)lengths[b], tokens);
    }
    return ATTN_OK;
}

/* -- the score program -- */

static attn_status check_scale(attn_context *context, const attn_sdpa_params *p, attni_sdpa *call) {
    const float size = fabsf(p->scale);
    if (!(size == 0 || (0x1p-100F <= size && size <= 0x1p100F)))
        return bad_value(context, "scale", (double)p->scale, "0 or a number between 2^-100 and 2^100 in size");
    if (!(p->softcap >= 0) || isinf(p->softcap))
        return bad_value(context, "softcap", (double)p->softcap, "a finite number, 0 (off) or more");
    call->scale = p->scale != 0 ? p->scale : call->D ? (float)(1 / sqrt((double)call->D)) : 1.0F;
    call->softcap = p->softcap;
    return ATTN_OK;
}

static attn_status check_alibi(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call) {
    if ((int)p->alibi < ATTN_ALIBI_NONE || (int)p->alibi > ATTN_ALIBI_SLOPES)
        return bad_choice(context, "alibi", (int)p->alibi, "an attn_alibi of 0 to 2");
    if (p->alibi != ATTN_ALIBI_SLOPES && p->alibi_slopes)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.alibi_slopes is set, but params.alibi is not ATTN_ALIBI_SLOPES");
    if (p->alibi == ATTN_ALIBI_SLOPES && call->H > 0)
        ATTNI_TRY(attni_check_pointer(context, "params.alibi_slopes", p->alibi_slopes));
    for (size_t h = 0; p->alibi_slopes && data && h < call->H; h++)
        if (!isfinite(p->alibi_slopes[h]))
            return bad_value(context, "alibi_slopes", (double)p->alibi_slopes[h], "finite numbers");
    call->alibi = p->alibi;
    call->slopes = p->alibi_slopes;
    return ATTN_OK;
}

/* A tensor that is broadcast over scores; `queries` and `keys` are what the last two sizes must be. */
static attn_status check_overlay(attn_context *context, const char *name, const attn_tensor *t, unsigned types,
                                 bool data, const attni_sdpa *call, attni_overlay *overlay) {
    if (!t)
        return ATTN_OK;
    ATTNI_TRY(attni_check_typed(context, name, t, types, false, data));
    ATTNI_TRY(attni_check_axis(context, name, t, 0, "B", call->B));
    ATTNI_TRY(attni_check_axis(context, name, t, 1, "H", call->H));
    overlay->there = true;
    overlay->view = attni_view_of(t);
    overlay->keys = t->size[3];
    overlay->view.stride_b = t->size[0] == 1 ? 0 : overlay->view.stride_b;
    overlay->view.stride_h = t->size[1] == 1 ? 0 : overlay->view.stride_h;
    overlay->view.stride_t = t->size[2] == 1 ? 0 : overlay->view.stride_t;
    return ATTN_OK;
}

static attn_status check_keys(attn_context *context, const char *name, const attn_tensor *t, bool pad, size_t Tk) {
    if (t->size[3] == Tk || (pad && t->size[3] < Tk))
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "%s.size[3] is %zu, expected Tk = %zu%s", name, t->size[3], Tk,
                      pad ? ", or less" : " (params.pad_masks allows less)");
}

static attn_status check_masks(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call) {
    const bool pad = p->pad_masks != 0;
    if ((int)p->polarity < ATTN_POLARITY_UNSET || (int)p->polarity > ATTN_DROP)
        return bad_choice(context, "polarity", (int)p->polarity, "an attn_polarity of 0 to 2");
    ATTNI_TRY(check_overlay(context, "params.bias", p->bias, ATTNI_FLOATS, data, call, &call->bias));
    ATTNI_TRY(check_overlay(context, "params.mask", p->mask, ATTNI_BOOLS, data, call, &call->mask));
    ATTNI_TRY(check_overlay(context, "params.key_mask", p->key_mask, ATTNI_BOOLS, data, call, &call->key_mask));
    if (p->bias) {
        ATTNI_TRY(attni_check_axis(context, "params.bias", p->bias, 2, "Tq", call->Tq));
        ATTNI_TRY(check_keys(context, "params.bias", p->bias, pad, call->Tk));
    }
    if (p->mask) {
        ATTNI_TRY(attni_check_axis(context, "params.mask", p->mask, 2, "Tq", call->Tq));
        ATTNI_TRY(check_keys(context, "params.mask", p->mask, pad, call->Tk));
    }
    if (p->key_mask) {
        ATTNI_TRY(attni_check_size(context, "params.key_mask", p->key_mask, 1, "1", 1));
        ATTNI_TRY(attni_check_size(context, "params.key_mask", p->key_mask, 2, "1", 1));
        ATTNI_TRY(check_keys(context, "params.key_mask", p->key_mask, pad, call->Tk));
    }
    if ((p->mask || p->key_mask) && p->polarity == ATTN_POLARITY_UNSET)
        return bad_choice(context, "polarity", (int)p->polarity,
                          "ATTN_KEEP (1) or ATTN_DROP (2): there is a boolean mask, and libraries disagree");
    call->keep = p->polarity == ATTN_KEEP;
    return ATTN_OK;
}

static attn_status check_block_map(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call) {
    if (!p->block_map)
        return p->block_queries || p->block_keys
                   ? attni_fail(context, ATTN_ERROR_NULL,
                                "params.block_map is NULL, but block_queries or block_keys is set")
                   : ATTN_OK;
    if (p->block_queries == 0 || p->block_keys == 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.%s is 0, expected at least 1 with params.block_map",
                          p->block_queries == 0 ? "block_queries" : "block_keys");
    ATTNI_TRY(check_overlay(context, "params.block_map", p->block_map, ATTNI_BOOLS, data, call, &call->block_map));
    ATTNI_TRY(attni_check_size(context, "params.block_map", p->block_map, 2, "⌈Tq/block_queries⌉",
                               call->Tq / p->block_queries + (call->Tq % p->block_queries != 0)));
    ATTNI_TRY(attni_check_size(context, "params.block_map", p->block_map, 3, "⌈Tk/block_keys⌉",
                               call->Tk / p->block_keys + (call->Tk % p->block_keys != 0)));
    call->block_queries = p->block_queries;
    call->block_keys = p->block_keys;
    return ATTN_OK;
}

/* What is only where weights have a normaliser. */
static attn_status check_sigmoid(attn_context *context, const attn_sdpa_params *p, attni_sdpa *call) {
    const char *field = p->sinks ? "sinks" : p->lse ? "lse" : p->entropy ? "entropy" : NULL;
    call->sigmoid = p->sigmoid != 0;
    if (!call->sigmoid || !field)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set, but with params.sigmoid nothing is normalised",
                      field);
}

static attn_status check_sinks(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call) {
    for (size_t h = 0; p->sinks && data && h < call->H; h++)
        if (isnan(p->sinks[h]) || p->sinks[h] == INFINITY)
            return bad_value(context, "sinks", (double)p->sinks[h], "numbers below ∞");
    call->sinks = p->sinks;
    return ATTN_OK;
}

static void note_inputs(const attn_sdpa_params *p, const attni_sdpa *call, attni_extras *extras) {
    const attn_tensor *tensors[] = {p->bias, p->mask, p->key_mask, p->block_map};
    static const char *const names[] = {"params.bias", "params.mask", "params.key_mask", "params.block_map"};
    for (size_t n = 0; n < sizeof tensors / sizeof *tensors; n++)
        if (tensors[n])
            attni_add_input(extras, names[n], *tensors[n]);
    attni_add_array(extras, "params.alibi_slopes", p->alibi_slopes, call->H);
    attni_add_array(extras, "params.sinks", p->sinks, call->H);
    attni_add_array(extras, "params.query_lengths", p->query_lengths, 2 * call->B);
    attni_add_array(extras, "params.key_lengths", p->key_lengths, 2 * call->B);
    attni_add_array(extras, "params.query_starts", p->query_starts, 2 * (p->sequences + 1));
    attni_add_array(extras, "params.key_starts", p->key_starts, 2 * (p->sequences + 1));
}

attn_status attni_check_dropout(attn_context *context, const char *name, float dropout, uint64_t seed,
                                attni_dropout *to) {
    if (!(dropout >= 0 && dropout < 1))
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is %g, expected 0 (off) or more, and less than 1", name,
                          (double)dropout);
    *to = (attni_dropout){seed, (uint64_t)ceil((double)dropout * 0x1p32), (float)(1 / (1 - (double)dropout))};
    return ATTN_OK;
}

attn_status attni_check_attention(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                                  attni_extras *extras) {
    *extras = (attni_extras){0};
    ATTNI_TRY(check_lengths(context, "query_lengths", p->query_lengths, call->query_starts, call->B, call->Tq));
    ATTNI_TRY(check_lengths(context, "key_lengths", p->key_lengths, call->key_starts, call->B, call->Tk));
    call->key_lengths = p->key_lengths;
    call->query_lengths = p->query_lengths;
    ATTNI_TRY(check_scale(context, p, call));
    ATTNI_TRY(check_alibi(context, p, data, call));
    ATTNI_TRY(check_masks(context, p, data, call));
    ATTNI_TRY(attni_check_places(context, p, data, call, extras));
    ATTNI_TRY(check_block_map(context, p, data, call));
    ATTNI_TRY(check_sinks(context, p, data, call));
    ATTNI_TRY(check_sigmoid(context, p, call));
    ATTNI_TRY(attni_check_dropout(context, "params.dropout", p->dropout, p->dropout_seed, &call->dropout));
    call->score = p->score;
    call->score_data = p->score_data;
    note_inputs(p, call, extras);
    ATTNI_TRY(attni_check_extra_outputs(context, p, data, call, extras));
    if (call->pages)
        return ATTN_OK;
    for (size_t b = 0; b < call->B && call->tree.tokens; b++) {
        const attni_sdpa one = attni_sequence_of(call, b);
        ATTNI_TRY(attni_check_tree_fits(context, &one, b));
    }
    ATTNI_TRY(attni_check_turns(context, p, p->query_starts ? call->ragged_keys : call->Tk, data, call, extras));
    return data && attni_sdpa_writes(call) ? attni_check_all_positions(context, call) : ATTN_OK;
}
