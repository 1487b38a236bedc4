/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/layer.h"

#include <math.h>
#include <string.h>

#include "support/numbers.h"

static float *normal_floats(size_t n, double size) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)size * random_normal();
    return x;
}

/* Integers with the deviation 40. */
static const void *new_bytes(size_t out, size_t in, const float **scale) {
    signed char *bytes = (signed char *)new_bools(out * in);
    float *scales = new_floats(out);
    for (size_t i = 0; i < out * in; i++)
        bytes[i] = (signed char)fmax(-127, fmin(127, rint(40 * (double)random_normal())));
    for (size_t o = 0; o < out; o++)
        scales[o] = (float)((0.5 + 0.01 * (double)random_below(100)) / (40 * sqrt((double)in)));
    *scale = scales;
    return bytes;
}

static const void *new_int4(size_t out, size_t in, const float **scale) {
    const size_t bytes = weight_bytes(ATTN_INT4, out, in), groups = out * ((in + 31) / 32);
    const attn_dtype kept = random_below(2) ? ATTN_F16 : ATTN_F32;
    unsigned char *numbers = (unsigned char *)new_bools(bytes);
    float *pairs = new_floats(2 * groups);
    for (size_t i = 0; i < bytes; i++)
        numbers[i] = (unsigned char)random_below(256);
    for (size_t g = 0; g < groups; g++) {
        const double size = (0.5 + 0.01 * (double)random_below(100)) / (4.6 * sqrt((double)in));
        pairs[2 * g] = (float)rounded_to(kept, random_below(9) ? size : -size);
        pairs[2 * g + 1] = (float)rounded_to(kept, (random_below(2) ? -8 : -7.3) * (double)pairs[2 * g]);
    }
    *scale = pairs;
    return numbers;
}

size_t weight_bytes(attn_dtype dtype, size_t out, size_t in) {
    return out * (dtype == ATTN_INT4 ? (in + 1) / 2 : in * type_size(dtype));
}

attn_weight_order random_order(attn_dtype dtype) {
    return dtype == ATTN_INT4 ? ATTN_OUT_IN : (attn_weight_order)random_below(2);
}

const void *new_weights(attn_dtype dtype, size_t out, size_t in, const float **scale) {
    if (dtype == ATTN_INT8)
        return new_bytes(out, in, scale);
    if (dtype == ATTN_INT4)
        return new_int4(out, in, scale);
    char *x = new_tensor_of(dtype, BHTD, 1, 1, out, in).data;
    for (size_t i = 0; i < out * in; i++)
        write_number(dtype, x + i * type_size(dtype), (double)random_normal() / sqrt((double)in));
    *scale = NULL;
    return x;
}

static float *bias(unsigned wanted, size_t n) { return wanted ? normal_floats(n, 1) : NULL; }

attn_linear_params linear_of(attn_dtype dtype, attn_weight_order order, size_t in, size_t out, bool has_bias) {
    attn_linear_params p;
    ATTN_INIT(&p);
    p.in_width = in;
    p.out_width = out;
    p.order = order;
    p.weight_dtype = dtype;
    p.weight = new_weights(dtype, out, in, &p.weight_scale);
    p.bias = bias(has_bias, out);
    return p;
}

static size_t or_default(size_t size, size_t otherwise) { return size ? size : otherwise; }

static bool may_be_latent(const attn_mha_params *p) {
    const size_t M = p->model_width, G = or_default(p->kv_heads, p->heads), D = or_default(p->head_width, M / p->heads);
    return G == p->heads && D > 1 && !p->extra_key && !p->zero_key &&
           (p->value_input_width == 0 || p->value_input_width == or_default(p->key_input_width, M));
}

void set_layer_form(attn_mha_params *p, bool packed, unsigned form) {
    const bool gated = form & GATED;
    p->q_latent = form & LATENT_Q && !packed ? 13 : 0;
    p->kv_latent = form & LATENT_KV && !packed && may_be_latent(p) ? 11 : 0;
    p->shared_key_width = p->kv_latent ? or_default(p->head_width, p->model_width / p->heads) / 2 : 0;
    if (p->kv_latent)
        form &= ~(unsigned)CLIPPED;
    p->qkv_order = packed && (form & BY_GROUP) ? ATTN_QKV_BY_GROUP : ATTN_QKV_STACKED;
    p->clip = form & CLIPPED ? 0.8F : 0;
    p->gate_per_head = gated && (form & GATE_PER_HEAD);
    p->gate_in_q = gated && (form & GATE_IN_Q) && !packed && !p->q_latent;
    p->gate_weight = gated && !p->gate_in_q ? p : NULL; /* fill_layer makes them */
    p->out_norm = form & OUT_NORM ? (const attn_norm_params *)(void *)p : NULL;
}

/* Its eps keeps it from making errors more than five times as large. */
static const attn_norm_params *new_norm(size_t width, unsigned biases) {
    attn_norm_params *p = (attn_norm_params *)(void *)new_doubles(sizeof *p / sizeof(double));
    ATTN_INIT(p);
    p->kind = (attn_norm_kind)random_below(2);
    p->eps = 0.04F;
    p->weight = normal_floats(width, 1);
    p->bias = biases ? normal_floats(width, 1) : NULL;
    return p;
}

static void fill_finish(attn_mha_params *p, size_t E, unsigned biases) {
    const size_t of_gate = p->heads * (p->gate_per_head ? 1 : E);
    if (p->gate_weight) {
        p->gate_weight = new_weights(p->weight_dtype, of_gate, p->model_width, &p->gate_scale);
        p->gate_bias = bias(biases & Q_BIAS, of_gate);
    }
    p->out_norm = p->out_norm ? new_norm(p->heads * E, biases) : NULL;
}

static void fill_latents(attn_mha_params *p, size_t D, size_t E, unsigned biases) {
    const size_t L = p->kv_latent, R = p->shared_key_width, of_heads = p->heads * (D - R + E);
    if (p->q_latent) {
        p->q_down_weight = new_weights(p->weight_dtype, p->q_latent, p->model_width, &p->q_down_scale);
        p->q_down_bias = bias(biases & Q_BIAS, p->q_latent);
        p->q_latent_norm = random_below(3) ? new_norm(p->q_latent, biases) : NULL;
    }
    if (L) {
        const size_t in = or_default(p->key_input_width, p->model_width);
        p->kv_down_weight = new_weights(p->weight_dtype, L + R, in, &p->kv_down_scale);
        p->kv_down_bias = bias(biases & K_BIAS, L + R);
        p->kv_latent_norm = random_below(3) ? new_norm(L, biases) : NULL;
        p->kv_up_weight = new_weights(p->weight_dtype, of_heads, L, &p->kv_up_scale);
    }
}

void fill_layer(attn_mha_params *p, bool packed, unsigned biases) {
    const size_t M = p->model_width, H = p->heads, G = or_default(p->kv_heads, H);
    const size_t D = or_default(p->head_width, M / H), E = or_default(p->value_width, D);
    const size_t q = H * (D + (p->gate_in_q ? p->gate_per_head ? 1 : E : 0));
    if (packed) {
        p->in_weight = new_weights(p->weight_dtype, (H + G) * D + G * E, M, &p->in_scale);
        p->in_bias = bias(biases & (Q_BIAS | K_BIAS | V_BIAS), (H + G) * D + G * E);
    } else {
        p->q_weight = new_weights(p->weight_dtype, q, or_default(p->q_latent, M), &p->q_scale);
        p->q_bias = bias(biases & Q_BIAS, q);
        fill_latents(p, D, E, biases);
    }
    if (!packed && !p->kv_latent) {
        p->k_weight = new_weights(p->weight_dtype, G * D, or_default(p->key_input_width, M), &p->k_scale);
        p->v_weight = new_weights(p->weight_dtype, G * E, or_default(p->value_input_width, M), &p->v_scale);
        p->k_bias = bias(biases & K_BIAS, G * D);
        p->v_bias = bias(biases & V_BIAS, G * E);
    }
    p->out_weight = new_weights(p->weight_dtype, M, H * E, &p->out_scale);
    p->out_bias = bias(biases & OUT_BIAS, M);
    fill_finish(p, E, biases);
}

struct mha_case mha_case_of(size_t M, size_t heads, size_t B, size_t T) {
    struct mha_case c = {.lse = true, .probabilities = true};
    ATTN_INIT(&c.layer);
    ATTN_INIT(&c.params);
    c.layer.model_width = M;
    c.layer.heads = heads;
    c.query = new_normal(BHTD, B, 1, T, M);
    return c;
}

attn_tensor run_linear(attn_context *context, const attn_linear_params *p, attn_tensor x, enum layout layout) {
    attn_linear *linear = NULL;
    const attn_tensor out = new_tensor(layout, x.size[0], 1, x.size[2], p->out_width);
    assert_ok(context, attn_linear_create(context, p, &linear));
    assert_ok(context, attn_linear_forward(context, linear, &x, &out));
    attn_linear_destroy(linear);
    assert_gaps_untouched(out);
    return out;
}

void check_linear_bits(attn_context *one, attn_context *three, const attn_linear_params *p, attn_tensor x, size_t count,
                       const size_t *rows) {
    enum { STEP = 53 };
    const attn_tensor all = run_linear(one, p, x, BHTD);
    assert_bits(run_linear(three, p, x, PADDED), all);
    for (size_t i = 0; i < count; i++)
        for (size_t first = 0; first + rows[i] <= x.size[2]; first += STEP)
            assert_bits(run_linear(one, p, tokens_of(x, first, rows[i]), PADDED), tokens_of(all, first, rows[i]));
}

attn_mha *new_layer(attn_context *context, const attn_mha_params *layer) {
    attn_mha *mha = NULL;
    assert_ok(context, attn_mha_create(context, layer, &mha));
    assert_non_null(mha);
    return mha;
}

static attn_tensor key_of(const struct mha_case *c) { return c->key.size[3] ? c->key : c->query; }
static attn_tensor value_of(const struct mha_case *c) { return c->value.size[3] ? c->value : key_of(c); }

static void name_mha(const struct mha_case *c) {
    const attn_mha_params *p = &c->layer;
    name_case("mha M=%zu H=%zu G=%zu D=%zu E=%zu in=%zu,%zu order=%d %s,%d clip=%g gate=%d%d%d norm=%d latent=%zu,%zu "
              "type=%d B=%zu Tq=%zu "
              "Tk=%zu causal=%d",
              p->model_width, p->heads, p->kv_heads, p->head_width, p->value_width, p->key_input_width,
              p->value_input_width, (int)p->order, p->in_weight ? "packed" : "separate", (int)p->qkv_order,
              (double)p->clip, p->gate_weight != NULL, p->gate_in_q, p->gate_per_head, p->out_norm != NULL, p->q_latent,
              p->kv_latent, (int)p->weight_dtype, c->query.size[0], c->query.size[2], key_of(c).size[2],
              (int)c->params.causal);
}

struct mha_result run_mha(attn_context *context, const attn_mha *mha, const struct mha_case *c) {
    const size_t B = c->query.size[0], H = c->layer.heads, Tq = c->query.size[2], Tk = key_of(c).size[2];
    const struct mha_result r = {new_tensor(c->out_layout, B, 1, Tq, c->layer.model_width),
                                 new_tensor(BHTD, B, c->lse ? H : 0, Tq, 1),
                                 new_tensor(c->out_layout, B, c->probabilities ? H : 0, Tq, Tk)};
    attn_sdpa_params params = c->params;
    params.lse = r.lse.data;
    params.weights = c->probabilities ? &r.probabilities : NULL;
    name_mha(c);
    assert_ok(context, attn_mha_forward(context, mha, &c->query, c->key.size[3] ? &c->key : NULL,
                                        c->value.size[3] ? &c->value : NULL, &r.out, &params));
    assert_gaps_untouched(r.out);
    assert_gaps_untouched(r.lse);
    assert_gaps_untouched(r.probabilities);
    return r;
}

/* Projections are sums of M products: their errors reach the scores, and so the weights, as those of q·k do. */
void assert_mha_near(const struct mha_case *c, const struct mha_result *r) {
    const answer want = reference_mha(&c->layer, c->query, key_of(c), value_of(c), &c->params);
    const double size = c->layer.q_latent || c->layer.kv_latent ? 8 : 1; /* norms of latents, and one more product */
    const tolerance of_weights = {.absolute = 1e-9, .relative = promised(2 * size).absolute};
    assert_near(r->out, want.out, promised(size * (c->layer.out_norm ? 5 : 1)));
    assert_near(r->lse, want.lse, promised(size));
    assert_near(r->probabilities, want.probabilities, of_weights);
    if (c->lse && c->probabilities && !c->layer.extra_key && !c->layer.zero_key)
        assert_rows_sum_to_one(r->probabilities, r->lse.data);
}

void check_mha(attn_context *context, const struct mha_case *c) {
    attn_mha *mha = new_layer(context, &c->layer);
    const struct mha_result r = run_mha(context, mha, c);
    attn_mha_destroy(mha);
    assert_mha_near(c, &r);
}
