/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of attention that go by place: where queries stand, and which keys they see from there. */
#include "api/check.h"
#include "context/sizes.h"

static attn_status check_choice(attn_context *context, const char *field, attn_causal choice) {
    if ((int)choice >= ATTN_CAUSAL_NONE && (int)choice <= ATTN_CAUSAL_OFFSET)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is %d, expected an attn_causal of 0 to 3", field,
                      (int)choice);
}

static attn_status check_alignment(attn_context *context, const attn_sdpa_params *p, attni_sdpa *call) {
    ATTNI_TRY(check_choice(context, "causal", p->causal));
    ATTNI_TRY(check_choice(context, "alignment", p->alignment));
    if (p->causal != ATTN_CAUSAL_NONE && p->alignment != ATTN_CAUSAL_NONE)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.alignment is %d, but where queries stand is told by params.causal",
                          (int)p->alignment);
    call->causal = p->causal != ATTN_CAUSAL_NONE;
    call->alignment = call->causal ? p->causal : p->alignment;
    return ATTN_OK;
}

static attn_status check_offset(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                                attni_extras *extras) {
    const bool wanted = call->alignment == ATTN_CAUSAL_OFFSET;
    if (!wanted && p->causal_offset)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.causal_offset is set, but neither params.causal nor params.alignment is "
                          "ATTN_CAUSAL_OFFSET");
    if (wanted && !p->causal_offset && data && call->B > 0)
        return attni_fail(context, ATTN_ERROR_NULL, "params.causal_offset is NULL, but params.%s is ATTN_CAUSAL_OFFSET",
                          call->causal ? "causal" : "alignment");
    call->causal_offset = p->causal_offset;
    attni_add_array(extras, "params.causal_offset", p->causal_offset, 2 * call->B);
    return ATTN_OK;
}

/* As a ptrdiff_t whose negative is one too. */
static ptrdiff_t end_of(int64_t distance) { return distance < -PTRDIFF_MAX ? -PTRDIFF_MAX : (ptrdiff_t)distance; }

static ptrdiff_t tokens_of(size_t count) { return (ptrdiff_t)attni_min(count, PTRDIFF_MAX); }

static attn_status check_bounds(attn_context *context, const attn_sdpa_params *p, attni_sdpa *call) {
    if (p->causal_block > 1 && !call->causal)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.causal_block is %zu, but params.causal is ATTN_CAUSAL_NONE", p->causal_block);
    call->left = p->window ? end_of(p->window->left) : -1;
    call->right = p->window ? end_of(p->window->right) : -1;
    call->chunk = tokens_of(p->chunk);
    call->causal_block = tokens_of(p->causal_block);
    call->first_keys = p->first_keys;
    return ATTN_OK;
}

static attn_status check_bounds_of_spans(attn_context *context, const char *name, const attn_spans *spans, size_t b) {
    int64_t end = 0;
    for (int64_t n = spans->starts[b]; n < spans->starts[b + 1]; n++) {
        const int64_t *bounds = spans->bounds + 2 * n;
        if (bounds[0] < end || bounds[1] < bounds[0])
            return attni_fail(context, ATTN_ERROR_VALUE,
                              "params.%s->bounds[%lld] is [%lld, %lld), expected to begin at %lld or later, and to end "
                              "no earlier",
                              name, (long long)n, (long long)bounds[0], (long long)bounds[1], (long long)end);
        end = bounds[1];
    }
    return ATTN_OK;
}

static attn_status check_starts(attn_context *context, const char *name, const int64_t *starts, size_t B) {
    for (size_t b = 0; b <= B; b++) {
        const int64_t least = b ? starts[b - 1] : 0;
        if (starts[b] < least)
            return attni_fail(context, ATTN_ERROR_VALUE, "params.%s->starts[%zu] is %lld, expected at least %lld", name,
                              b, (long long)starts[b], (long long)least);
    }
    return ATTN_OK;
}

static attn_status check_spans(attn_context *context, const char *const names[3], const attn_spans *spans, bool data,
                               attni_sdpa *call, attni_extras *extras, attni_spans *to) {
    if (!spans || call->B == 0)
        return ATTN_OK;
    to->starts = spans->starts;
    to->bounds = spans->bounds;
    ATTNI_TRY(attni_check_pointer(context, names[1], spans->starts));
    if (!data)
        return ATTN_OK;
    ATTNI_TRY(check_starts(context, names[0], spans->starts, call->B));
    if (spans->starts[call->B] > 0)
        ATTNI_TRY(attni_check_pointer(context, names[2], spans->bounds));
    for (size_t b = 0; b < call->B; b++)
        ATTNI_TRY(check_bounds_of_spans(context, names[0], spans, b));
    attni_add_array(extras, names[1], spans->starts, 2 * (call->B + 1));
    attni_add_array(extras, names[2], spans->bounds, 4 * (size_t)spans->starts[call->B]);
    return ATTN_OK;
}

static attn_status check_tree(attn_context *context, const attn_tree *tree, attni_sdpa *call, attni_extras *extras) {
    const size_t tokens = call->query_starts ? call->ragged_tokens : call->Tq, B = call->query_starts ? 1 : call->B;
    size_t words;
    if (!tree || tree->tokens == 0)
        return ATTN_OK;
    call->tree = (attni_tree){.ancestors = tree->ancestors,
                              .tokens = tree->tokens,
                              .words = tree->tokens / 64 + (tree->tokens % 64 != 0),
                              .stride = call->query_starts ? 0 : tokens};
    ATTNI_TRY(attni_check_product(context, "params.tree->tokens", call->tree.words, B, &words));
    ATTNI_TRY(attni_check_product(context, "params.tree->tokens", words, 2 * tokens, &words));
    if (words)
        ATTNI_TRY(attni_check_pointer(context, "params.tree->ancestors", tree->ancestors));
    attni_add_array(extras, "params.tree->ancestors", tree->ancestors, words);
    return ATTN_OK;
}

attn_status attni_check_tree_fits(attn_context *context, const attni_sdpa *one, size_t b) {
    if (one->tree.tokens <= one->Tk || one->Tq == 0)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "params.tree->tokens is %zu, but sequence %zu has %zu keys",
                      one->tree.tokens, b, one->Tk);
}

/* Floats of the table for each head. */
static attn_status check_table(attn_context *context, const attn_relative_bias *bias, attni_sdpa *call) {
    size_t floats, rows;
    attni_relative *to = &call->relative;
    if ((bias->rows == 0) != (bias->columns == 0))
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.relative_bias->%s is 0, but %s is not",
                          bias->rows ? "columns" : "rows", bias->rows ? "rows" : "columns");
    if (bias->rows == 0 && bias->prefix)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.relative_bias->prefix is %zu, but there are no rows",
                          bias->prefix);
    if (bias->rows && bias->reach)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.relative_bias->reach is %zu, but there are rows",
                          bias->reach);
    ATTNI_TRY(attni_check_product(context, "params.relative_bias->reach", bias->reach, 2 * call->H + 8, &floats));
    ATTNI_TRY(attni_check_product(context, "params.relative_bias->rows", bias->rows, bias->columns, &rows));
    ATTNI_TRY(
        attni_check_product(context, "params.relative_bias->rows", rows + bias->prefix, 4 * call->H + 8, &floats));
    *to = (attni_relative){.rows = bias->rows,
                           .columns = bias->columns,
                           .reach = (ptrdiff_t)bias->reach,
                           .prefix = (ptrdiff_t)bias->prefix};
    to->width =
        bias->rows ? (2 * bias->rows - 1) * (2 * bias->columns - 1) + (bias->prefix ? 3 : 0) : 2 * bias->reach + 1;
    return ATTN_OK;
}

static attn_status check_relative(attn_context *context, const attn_relative_bias *bias, bool data, attni_sdpa *call,
                                  attni_extras *extras) {
    attni_relative *to = &call->relative;
    if (!bias)
        return ATTN_OK;
    ATTNI_TRY(check_table(context, bias, call));
    if (call->H == 0)
        return ATTN_OK;
    ATTNI_TRY(attni_check_pointer(context, "params.relative_bias->table", bias->table));
    to->table = bias->table;
    attni_add_array(extras, "params.relative_bias->table", bias->table, call->H * to->width);
    if (!data || context->kernels->all_finite(call->H, to->width, ATTN_F32, bias->table, (ptrdiff_t)to->width))
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "params.relative_bias->table has Inf or NaN, expected finite numbers");
}

/* Ascending up to its end, and no further than there are blocks. */
static attn_status check_list(attn_context *context, const attn_key_lists *lists, size_t n, size_t blocks) {
    const int64_t *list = lists->blocks + n * lists->count;
    for (size_t i = 0; i < lists->count && list[i] >= 0; i++)
        if ((size_t)list[i] >= blocks || (i > 0 && list[i] <= list[i - 1]))
            return attni_fail(
                context, ATTN_ERROR_VALUE,
                "params.key_lists->blocks: entry %zu of list %zu is %lld, expected ascending numbers below "
                "⌈Tk/keys⌉ = %zu",
                i, n, (long long)list[i], blocks);
    return ATTN_OK;
}

static attn_status check_list_sizes(attn_context *context, const attn_key_lists *lists, const attni_sdpa *call) {
    if (lists->queries == 0 || lists->keys == 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.key_lists->%s is 0, expected at least 1",
                          lists->queries ? "keys" : "queries");
    if (lists->batch != 1 && lists->batch != call->B)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.key_lists->batch is %zu, expected B = %zu, or 1",
                          lists->batch, call->B);
    if (lists->heads != 1 && lists->heads != call->G && lists->heads != call->H)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.key_lists->heads is %zu, expected H = %zu, G = %zu, or 1",
                          lists->heads, call->H, call->G);
    return ATTN_OK;
}

static attn_status check_lists(attn_context *context, const attn_key_lists *lists, bool data, attni_sdpa *call,
                               attni_extras *extras) {
    size_t all, entries;
    if (!lists)
        return ATTN_OK;
    ATTNI_TRY(check_list_sizes(context, lists, call));
    const size_t rows = call->Tq / lists->queries + (call->Tq % lists->queries != 0);
    const size_t blocks = call->Tk / lists->keys + (call->Tk % lists->keys != 0);
    ATTNI_TRY(attni_check_product(context, "params.key_lists->count", lists->batch, lists->heads, &all));
    ATTNI_TRY(attni_check_product(context, "params.key_lists->count", all, rows, &all));
    ATTNI_TRY(attni_check_product(context, "params.key_lists->count", all, 2 * attni_min(lists->count, SIZE_MAX / 4),
                                  &entries));
    call->lists = (attni_lists){.blocks = lists->blocks,
                                .count = lists->count,
                                .queries = lists->queries,
                                .keys = lists->keys,
                                .stride_b = lists->batch == 1 ? 0 : lists->heads * rows * lists->count,
                                .stride_h = lists->heads == 1 ? 0 : rows * lists->count,
                                .heads_of_list = attni_max(1, call->H / attni_max(1, lists->heads))};
    if (entries == 0)
        return ATTN_OK;
    ATTNI_TRY(attni_check_pointer(context, "params.key_lists->blocks", lists->blocks));
    for (size_t n = 0; n < all && data; n++)
        ATTNI_TRY(check_list(context, lists, n, blocks));
    attni_add_array(extras, "params.key_lists->blocks", lists->blocks, entries);
    return ATTN_OK;
}

attn_status attni_check_places(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                               attni_extras *extras) {
    static const char *const documents[] = {"documents", "params.documents->starts", "params.documents->bounds"};
    static const char *const spans[] = {"spans", "params.spans->starts", "params.spans->bounds"};
    ATTNI_TRY(check_alignment(context, p, call));
    ATTNI_TRY(check_offset(context, p, data, call, extras));
    ATTNI_TRY(check_bounds(context, p, call));
    ATTNI_TRY(check_spans(context, documents, p->documents, data, call, extras, &call->documents));
    ATTNI_TRY(check_spans(context, spans, p->spans, data, call, extras, &call->spans));
    ATTNI_TRY(check_tree(context, p->tree, call, extras));
    ATTNI_TRY(check_lists(context, p->key_lists, data, call, extras));
    return check_relative(context, p->relative_bias, data, call, extras);
}
