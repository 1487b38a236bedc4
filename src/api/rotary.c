/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/rotary.h"

#include <math.h>

#include "api/parts.h"
#include "context/sizes.h"

/* -- rotary embedding and norm of attention -- */

static attn_status check_width(attn_context *context, const char *name, const attn_rotary *p, size_t D,
                               attni_turn *turn) {
    const size_t rotated = p->width ? p->width : D;
    if (rotated > D || rotated % 2 != 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "%s.width is %zu%s, expected an even number up to D = %zu", name,
                          p->width, p->width ? "" : ", which means D", D);
    if (p->offset > D - rotated)
        return attni_fail(context, ATTN_ERROR_SHAPE, "%s.offset is %zu, expected up to D = %zu less the width, %zu",
                          name, p->offset, D, rotated);
    turn->pairs = rotated / 2;
    turn->offset = p->offset;
    return ATTN_OK;
}

static attn_status check_axes(attn_context *context, const char *name, const attn_rotary *p, bool data,
                              attni_turn *turn) {
    turn->axes = p->axes > 1 ? p->axes : 1;
    turn->axis = p->pair_axis;
    if (p->axes <= 1)
        return p->pair_axis
                   ? attni_fail(context, ATTN_ERROR_VALUE, "%s.pair_axis is set, but axes is %zu", name, p->axes)
                   : ATTN_OK;
    if (turn->pairs && !p->pair_axis)
        return attni_fail(context, ATTN_ERROR_NULL, "%s.pair_axis is NULL, but axes is %zu", name, p->axes);
    for (size_t d = 0; d < turn->pairs && data; d++)
        if (p->pair_axis[d] < 0 || (size_t)p->pair_axis[d] >= p->axes)
            return attni_fail(context, ATTN_ERROR_VALUE, "%s.pair_axis[%zu] is %d, expected 0 to less than axes = %zu",
                              name, d, (int)p->pair_axis[d], p->axes);
    return ATTN_OK;
}

/* The tables; positions are the caller's business. */
static attn_status check_rotary(attn_context *context, const char *name, const attn_rotary *rotary, size_t D, bool data,
                                attn_rotary *copy, attni_turn *turn) {
    size_t elements;
    ATTNI_TRY(attni_check_params(context, name, rotary, sizeof *copy, copy));
    if (copy->kind != ATTN_ROTARY_HALF && copy->kind != ATTN_ROTARY_INTERLEAVED)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s.kind is %d, expected an attn_rotary_kind of 0 or 1", name,
                          (int)copy->kind);
    ATTNI_TRY(check_width(context, name, copy, D, turn));
    if (__builtin_mul_overflow(copy->positions, turn->pairs, &elements) || elements > PTRDIFF_MAX / sizeof(float))
        return attni_fail(context, ATTN_ERROR_OVERFLOW, "%s.positions is %zu, too many for tables of %zu columns", name,
                          copy->positions, turn->pairs);
    if (elements && !(copy->cos && copy->sin))
        return attni_fail(context, ATTN_ERROR_NULL, "%s.%s is NULL", name, copy->cos ? "sin" : "cos");
    turn->kind = copy->kind;
    turn->table = copy->positions;
    turn->cos = copy->cos;
    turn->sin = copy->sin;
    return check_axes(context, name, copy, data, turn);
}

/* The norm of one of q, k and v; width `D` of so many heads. */
static attni_turn normed(attni_turn turn, const attni_norm *norm, const attn_qk_norm *p, const float *weight, size_t D,
                         size_t heads) {
    turn.normed = true;
    turn.after = p->after_rotary != 0;
    turn.norm = *norm;
    turn.norm.weight = weight;
    turn.heads = heads;
    turn.head_weights = p->per_head || p->all_heads ? D : 0;
    return turn;
}

static attn_status check_qk_norm(attn_context *context, const attn_qk_norm *params, attni_sdpa *call,
                                 attni_extras *extras) {
    attn_qk_norm p;
    attn_norm_params of_row;
    attni_norm norm;
    ATTNI_TRY(attni_check_params(context, "params.qk_norm", params, sizeof p, &p));
    ATTN_INIT(&of_row);
    of_row.kind = p.kind;
    of_row.eps = p.eps;
    ATTNI_TRY(attni_check_norm(context, "params.qk_norm", &of_row, &norm));
    if (p.v_weight && !p.norm_values)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.qk_norm.v_weight is set, but norm_values is not");
    const bool apart = p.per_head || p.all_heads;
    call->q_turn = normed(call->q_turn, &norm, &p, p.q_weight, call->D, p.all_heads ? call->H : 0);
    call->k_turn = normed(call->k_turn, &norm, &p, p.k_weight, call->D, p.all_heads ? call->G : 0);
    if (p.norm_values)
        call->v_turn = normed(call->v_turn, &norm, &p, p.v_weight, call->E, 0);
    attni_add_array(extras, "params.qk_norm.q_weight", p.q_weight, apart ? call->H * call->D : call->D);
    attni_add_array(extras, "params.qk_norm.k_weight", p.k_weight, apart ? call->G * call->D : call->D);
    attni_add_array(extras, "params.qk_norm.v_weight", p.v_weight, apart ? call->G * call->E : call->E);
    return ATTN_OK;
}

/* Positions of `tokens` tokens of each sequence; of a ragged batch, of all together; on each axis. */
static attn_status set_positions(attn_context *context, attni_extras *extras, const char *name,
                                 const int64_t *positions, const attni_sdpa *call, size_t tokens, attni_turn *turn) {
    size_t all;
    turn->positions = positions;
    turn->stride = call->query_starts ? 0 : tokens;
    turn->axis_stride = tokens * (call->query_starts ? 1 : call->B);
    ATTNI_TRY(attni_check_product(context, "params.rotary.axes", turn->axes, 2 * turn->axis_stride, &all));
    attni_add_array(extras, name, positions, all);
    return ATTN_OK;
}

static attn_status check_rotated_values(attn_context *context, const attn_rotary *p, attni_sdpa *call) {
    if (!p->rotate_values)
        return ATTN_OK;
    call->v_turn = call->k_turn;
    if (call->k_turn.offset + 2 * call->k_turn.pairs <= call->E)
        return ATTN_OK;
    return attni_fail(
        context, ATTN_ERROR_SHAPE,
        "params.rotary.rotate_values is set, but its offset and width, %zu and %zu, are more than E = %zu",
        call->k_turn.offset, 2 * call->k_turn.pairs, call->E);
}

static attn_status check_factor_table(attn_context *context, const attn_query_factor *factor, bool data) {
    size_t floats;
    if (factor->amount != 0 || factor->period || factor->shift)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.query_factor->%s is set, but so is its table",
                          factor->amount != 0 ? "amount"
                          : factor->period    ? "period"
                                              : "shift");
    ATTNI_TRY(attni_check_product(context, "params.query_factor->positions", factor->positions, 1, &floats));
    if (!data || context->kernels->all_finite(1, floats, ATTN_F32, factor->table, (ptrdiff_t)floats))
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "params.query_factor->table has Inf or NaN, expected finite numbers");
}

static attn_status check_query_factor(attn_context *context, const attn_query_factor *factor, bool data) {
    if (factor->table ? factor->positions == 0 : factor->period == 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.query_factor->%s is 0, expected at least 1",
                          factor->table ? "positions" : "period");
    if (factor->table)
        return check_factor_table(context, factor, data);
    if (factor->positions)
        return attni_fail(context, ATTN_ERROR_NULL, "params.query_factor->table is NULL, but positions is %zu",
                          factor->positions);
    if (!isfinite(factor->amount))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.query_factor->amount is %g, expected a finite number",
                          (double)factor->amount);
    return ATTN_OK;
}

static attn_status check_factors(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                                 attni_extras *extras) {
    for (size_t h = 0; p->head_scales && data && h < call->H; h++)
        if (!isfinite(p->head_scales[h]))
            return attni_fail(context, ATTN_ERROR_VALUE, "params.head_scales[%zu] is %g, expected finite numbers", h,
                              (double)p->head_scales[h]);
    call->q_turn.head_factors = p->head_scales;
    attni_add_array(extras, "params.head_scales", p->head_scales, call->H);
    if (!p->query_factor)
        return ATTN_OK;
    ATTNI_TRY(check_query_factor(context, p->query_factor, data));
    call->q_turn.factor = *p->query_factor;
    call->q_turn.factor.shift = attni_min(p->query_factor->shift, PTRDIFF_MAX);
    attni_add_array(extras, "params.query_factor->table", p->query_factor->table, p->query_factor->positions);
    return ATTN_OK;
}

attn_status attni_check_turns(attn_context *context, const attn_sdpa_params *params, size_t keys, bool data,
                              attni_sdpa *call, attni_extras *extras) {
    attn_rotary p;
    attni_turn turn = {0};
    if (params->rotary) {
        ATTNI_TRY(check_rotary(context, "params.rotary", params->rotary, call->D, data, &p, &turn));
        attni_add_array(extras, "params.rotary.cos", p.cos, p.positions * turn.pairs);
        attni_add_array(extras, "params.rotary.sin", p.sin, p.positions * turn.pairs);
        attni_add_array(extras, "params.rotary.pair_axis", p.pair_axis, turn.pairs);
        call->q_turn = call->k_turn = turn;
        ATTNI_TRY(set_positions(context, extras, "params.rotary.query_positions", p.query_positions, call,
                                call->query_starts ? call->ragged_tokens : call->Tq, &call->q_turn));
        ATTNI_TRY(
            set_positions(context, extras, "params.rotary.key_positions", p.key_positions, call, keys, &call->k_turn));
        ATTNI_TRY(check_rotated_values(context, &p, call));
    }
    ATTNI_TRY(check_factors(context, params, data, call, extras));
    return params->qk_norm ? check_qk_norm(context, params->qk_norm, call, extras) : ATTN_OK;
}

static attn_status outside(attn_context *context, const char *name, const attni_turn *turn, size_t b, size_t t,
                           int64_t position) {
    return attni_fail(context, ATTN_ERROR_VALUE,
                      "%s%s: token %zu of sequence %zu is at %lld, expected 0 to less than "
                      "rotary.positions = %zu",
                      name, turn->positions ? "" : " is NULL", t, b, (long long)position, turn->table);
}

attn_status attni_check_positions(attn_context *context, const char *name, const attni_turn *turn, size_t b,
                                  size_t tokens, ptrdiff_t first) {
    const int64_t *positions = turn->positions ? turn->positions + b * turn->stride : NULL;
    if (turn->pairs == 0 || tokens == 0)
        return ATTN_OK;
    for (size_t i = 0; i < turn->axes * tokens && positions; i++) {
        const int64_t position = positions[i / tokens * turn->axis_stride + i % tokens];
        if (position < 0 || (uint64_t)position >= turn->table)
            return outside(context, name, turn, b, i % tokens, position);
    }
    if (positions)
        return ATTN_OK;
    if (first < 0 || (size_t)first >= turn->table)
        return outside(context, name, turn, b, 0, first);
    const size_t most = turn->table - (size_t)first;
    return tokens > most ? outside(context, name, turn, b, most, (int64_t)turn->table) : ATTN_OK;
}

attn_status attni_check_all_positions(attn_context *context, const attni_sdpa *call) {
    for (size_t b = 0; b < call->B && call->q_turn.pairs; b++) {
        const attni_sdpa one = attni_sequence_of(call, b);
        ATTNI_TRY(attni_check_positions(context, "params.rotary.query_positions", &one.q_turn, b, one.Tq,
                                        attni_first_position(&one, b)));
        ATTNI_TRY(attni_check_positions(context, "params.rotary.key_positions", &one.k_turn, b, one.Tk, 0));
    }
    return ATTN_OK;
}

attn_status attni_check_shift(attn_context *context, const attn_rotary *rotary, size_t D, size_t count,
                              attni_turn *turn) {
    attn_rotary p;
    ATTNI_TRY(check_rotary(context, "rotary", rotary, D, true, &p, turn));
    if (p.key_positions || p.axes > 1 || p.rotate_values)
        return attni_fail(context, ATTN_ERROR_VALUE, "rotary.%s is set: only keys by their places can be shifted",
                          p.key_positions ? "key_positions"
                          : p.axes > 1    ? "axes"
                                          : "rotate_values");
    if (turn->pairs && count >= p.positions)
        return attni_fail(context, ATTN_ERROR_VALUE, "rotary.positions is %zu, expected more than count, %zu",
                          p.positions, count);
    for (size_t d = 0; d < turn->pairs; d++)
        if (!(p.cos[d] > 0) || p.sin[d] > 0 || p.sin[d] < 0)
            return attni_fail(context, ATTN_ERROR_VALUE,
                              "rotary.%s[%zu] is %g, but the angles of position 0 are expected to be 0",
                              p.cos[d] > 0 ? "sin" : "cos", d, (double)(p.cos[d] > 0 ? p.sin[d] : p.cos[d]));
    return ATTN_OK;
}

/* -- rows of the caller's -- */

static attn_status check_rows(attn_context *context, const attn_tensor *x, const attn_tensor *out) {
    ATTNI_TRY(attni_check_typed(context, "x", x, ATTNI_FLOATS, false, true));
    ATTNI_TRY(attni_check_like(context, "out", out, "x", x, ATTNI_FLOATS, true, true));
    if (x->dtype == out->dtype && attni_same_view(x, out))
        return ATTN_OK;
    return attni_check_disjoint(context, "out", out, "x", x);
}

/* Nothing that is read is in `out`. */
static attn_status check_read(attn_context *context, const attn_tensor *out, const attni_turn *turn,
                              const size_t size[4]) {
    const size_t table = turn->table * turn->pairs, positions = 2 * turn->axes * size[0] * size[2];
    const attn_tensor cosines = attn_tensor_bhtd(turn->cos, ATTN_F32, 1, 1, 1, table);
    const attn_tensor sines = attn_tensor_bhtd(turn->sin, ATTN_F32, 1, 1, 1, table);
    const attn_tensor axes = attn_tensor_bhtd(turn->axis, ATTN_F32, 1, 1, 1, turn->pairs);
    const attn_tensor places = attn_tensor_bhtd(turn->positions, ATTN_F32, 1, 1, 1, positions);
    ATTNI_TRY(attni_check_disjoint(context, "out", out, "rotary.cos", &cosines));
    ATTNI_TRY(attni_check_disjoint(context, "out", out, "rotary.sin", &sines));
    ATTNI_TRY(attni_check_disjoint(context, "out", out, "rotary.pair_axis", &axes));
    return attni_check_disjoint(context, "out", out, "positions", &places);
}

attn_status attn_rotate(attn_context *context, const attn_tensor *x, const attn_tensor *out, const attn_rotary *rotary,
                        const int64_t *positions) {
    attni_turn turn = {0};
    attn_rotary p;
    size_t elements;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "rotary", rotary));
    ATTNI_TRY(check_rows(context, x, out));
    ATTNI_TRY(check_rotary(context, "rotary", rotary, x->size[3], true, &p, &turn));
    if (attni_is_empty(out))
        return ATTN_OK;
    ATTNI_TRY(attni_check_int(context, "x.size[3]", x->size[3]));
    ATTNI_TRY(attni_check_product(context, "rotary.axes", turn.axes, 2 * x->size[0] * x->size[2], &elements));
    turn.positions = positions;
    turn.stride = x->size[2];
    turn.axis_stride = x->size[0] * x->size[2];
    for (size_t b = 0; b < x->size[0]; b++)
        ATTNI_TRY(attni_check_positions(context, "positions", &turn, b, x->size[2], 0));
    ATTNI_TRY(check_read(context, out, &turn, x->size));
    ATTNI_TRY(attni_scratch_reserve(context, attni_rotate_scratch(context, x->size[3])));
    const attni_view from = attni_view_of(x), to = attni_view_of(out);
    attni_rotate_run(context, &turn, &from, &to, x->size, context->scratch);
    return ATTN_OK;
}
