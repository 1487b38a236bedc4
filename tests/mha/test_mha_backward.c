/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients of the layer against differences of the reference in double. */
#include <string.h>

#include "support/layer.h"
#include "support/slope.h"

typedef struct layer_case {
    struct mha_case c;
    attn_tensor key, value, d_out; /* key and value as the reference wants them */
    attn_relative_bias relative;
    attn_tensor bias;
    attn_sdpa_gradients shared;
    attn_mha_gradients g;
    attn_norm_gradients norms[3];
    attn_tensor d_query, d_key, d_value, d_bias;
    slopes slopes;
} layer_case;

static double loss(const void *arg) {
    const layer_case *l = arg;
    const answer a = reference_mha(&l->c.layer, l->c.query, l->key, l->value, &l->c.params);
    double sum = 0;
    for (size_t n = 0; n < element_count(l->d_out); n++)
        sum += a.out[n] * value(l->d_out, n);
    return sum;
}

static size_t or_default(size_t x, size_t otherwise) { return x ? x : otherwise; }

static void add_norms(layer_case *l, size_t H, size_t E) {
    const attn_mha_params *p = &l->c.layer;
    const attn_norm_params *const of[] = {p->out_norm, p->q_latent_norm, p->kv_latent_norm};
    const size_t widths[] = {H * E, p->q_latent, p->kv_latent};
    const attn_norm_gradients **const to[] = {&l->g.out_norm, &l->g.q_latent_norm, &l->g.kv_latent_norm};
    for (size_t i = 0; i < COUNT(of); i++) {
        if (!of[i])
            continue;
        ATTN_INIT(&l->norms[i]);
        l->norms[i].d_weight = add_slope(&l->slopes, "norm weight", of[i]->weight, widths[i]);
        l->norms[i].d_bias = add_slope(&l->slopes, "norm bias", of[i]->bias, widths[i]);
        *to[i] = &l->norms[i];
    }
}

static void add_latents(layer_case *l, size_t k, size_t up) {
    const attn_mha_params *p = &l->c.layer;
    const size_t down = p->kv_latent + p->shared_key_width;
    l->g.d_q_down_weight = add_slope(&l->slopes, "q_down_weight", p->q_down_weight, p->q_latent * p->model_width);
    l->g.d_q_down_bias = add_slope(&l->slopes, "q_down_bias", p->q_down_bias, p->q_latent);
    l->g.d_kv_down_weight = add_slope(&l->slopes, "kv_down_weight", p->kv_down_weight, down * k);
    l->g.d_kv_down_bias = add_slope(&l->slopes, "kv_down_bias", p->kv_down_bias, down);
    l->g.d_kv_up_weight = add_slope(&l->slopes, "kv_up_weight", p->kv_up_weight, up * p->kv_latent);
}

static void add_all(layer_case *l) {
    const attn_mha_params *p = &l->c.layer;
    const size_t M = p->model_width, H = p->heads, G = or_default(p->kv_heads, H), D = or_default(p->head_width, M / H);
    const size_t E = or_default(p->value_width, D), gate = H * (p->gate_per_head ? 1 : E);
    const size_t q = H * D + (p->gate_in_q ? gate : 0), k = or_default(p->key_input_width, M),
                 v = or_default(p->value_input_width, M), in = (H + G) * D + G * E;
    ATTN_INIT(&l->g);
    add_norms(l, H, E);
    add_latents(l, k, H * (D - p->shared_key_width + E));
    l->g.d_extra_key = add_slope(&l->slopes, "extra_key", p->extra_key, G * D);
    l->g.d_extra_value = add_slope(&l->slopes, "extra_value", p->extra_value, G * E);
    l->g.d_in_weight = add_slope(&l->slopes, "in_weight", p->in_weight, in * M);
    l->g.d_in_bias = add_slope(&l->slopes, "in_bias", p->in_bias, in);
    l->g.d_q_weight = add_slope(&l->slopes, "q_weight", p->q_weight, q * or_default(p->q_latent, M));
    l->g.d_k_weight = add_slope(&l->slopes, "k_weight", p->k_weight, G * D * k);
    l->g.d_v_weight = add_slope(&l->slopes, "v_weight", p->v_weight, G * E * v);
    l->g.d_q_bias = add_slope(&l->slopes, "q_bias", p->q_bias, q);
    l->g.d_k_bias = add_slope(&l->slopes, "k_bias", p->k_bias, G * D);
    l->g.d_v_bias = add_slope(&l->slopes, "v_bias", p->v_bias, G * E);
    l->g.d_out_weight = add_slope(&l->slopes, "out_weight", p->out_weight, M * H * E);
    l->g.d_out_bias = add_slope(&l->slopes, "out_bias", p->out_bias, M);
    l->g.d_gate_weight = add_slope(&l->slopes, "gate_weight", p->gate_weight, gate * M);
    l->g.d_gate_bias = add_slope(&l->slopes, "gate_bias", p->gate_bias, gate);
    l->d_query = add_slopes_of(&l->slopes, "query", l->c.query);
    l->g.d_query = &l->d_query;
    if (l->c.key.size[3])
        l->d_key = add_slopes_of(&l->slopes, "key", l->c.key);
    if (l->c.value.size[3])
        l->d_value = add_slopes_of(&l->slopes, "value", l->c.value);
    l->g.d_key = l->c.key.size[3] ? &l->d_key : NULL;
    l->g.d_value = l->c.value.size[3] ? &l->d_value : NULL;
}

static void add_shared(layer_case *l) {
    ATTN_INIT(&l->shared);
    l->g.attention = &l->shared;
    l->shared.d_sinks = add_slope(&l->slopes, "sinks", l->c.params.sinks, l->c.layer.heads);
    if (l->c.params.bias)
        l->d_bias = add_slopes_of(&l->slopes, "bias", l->bias);
    l->shared.d_bias = l->c.params.bias ? &l->d_bias : NULL;
}

/* Inputs: the query alone, query and key, or all three, of other widths perhaps. */
static void set_inputs(layer_case *l, size_t B, size_t Tq, size_t Tk, bool packed, size_t kinds) {
    const size_t M = l->c.layer.model_width, kind = random_below(kinds);
    l->c.query = new_normal(BHTD, B, 1, Tq, M);
    l->c.key = l->c.value = (attn_tensor){0};
    if (kind > 0) {
        l->c.layer.key_input_width = packed ? 0 : 5;
        l->c.layer.value_input_width = packed ? 0 : kind == 1 ? 5 : 7;
        l->c.key = new_normal(BHTD, B, 1, Tk, or_default(l->c.layer.key_input_width, M));
    }
    if (kind > 1)
        l->c.value = new_normal(BHTD, B, 1, Tk, or_default(l->c.layer.value_input_width, M));
    l->key = l->c.key.size[3] ? l->c.key : l->c.query;
    l->value = l->c.value.size[3] ? l->c.value : l->key;
}

static void set_params(layer_case *l, size_t B, size_t Tq, size_t n) {
    attn_sdpa_params *p = &l->c.params;
    const size_t H = l->c.layer.heads, Tk = l->key.size[2];
    p->causal = n % 2 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    p->softcap = n % 3 ? 0 : 3;
    p->sigmoid = n % 8 == 7;
    if (n % 4 == 1)
        p->sinks = new_normal(BHTD, 1, 1, 1, H).data;
    l->bias = new_normal(BHTD, n % 3 ? B : 1, H, Tq, Tk);
    p->bias = n % 5 == 2 ? new_view(l->bias) : NULL;
    if (n % 6 == 3) {
        const int64_t lengths[] = {(int64_t)Tk, (int64_t)Tk - 2};
        p->key_lengths = new_integers(lengths, B);
    }
    p->dropout = 0;
}

/* Keys of the layer's own. */
static void set_own_keys(attn_mha_params *p) {
    const size_t G = or_default(p->kv_heads, p->heads), D = or_default(p->head_width, p->model_width / p->heads);
    const size_t E = or_default(p->value_width, D);
    if (random_below(3) == 0) {
        p->extra_key = new_normal(BHTD, 1, 1, 1, G * D).data;
        p->extra_value = new_normal(BHTD, 1, 1, 1, G * E).data;
    }
    p->zero_key = random_below(4) == 0;
}

static layer_case make_case(size_t n) {
    static const unsigned forms[] = {0,
                                     BY_GROUP,
                                     CLIPPED,
                                     GATED,
                                     GATED | GATE_PER_HEAD,
                                     GATED | GATE_IN_Q,
                                     GATED | GATE_IN_Q | GATE_PER_HEAD,
                                     BY_GROUP | CLIPPED | GATED,
                                     OUT_NORM,
                                     LATENT_Q,
                                     LATENT_KV,
                                     OUT_NORM | GATED,
                                     LATENT_Q | CLIPPED | OUT_NORM,
                                     LATENT_KV | LATENT_Q,
                                     LATENT_KV | OUT_NORM | GATED | GATE_PER_HEAD,
                                     LATENT_KV | LATENT_Q | OUT_NORM};
    const unsigned form = forms[n % COUNT(forms)];
    const bool latent = form & LATENT_KV, packed = random_below(2) && !(form & (LATENT_Q | LATENT_KV));
    const size_t B = 1 + random_below(2), Tq = 1 + random_below(5), Tk = 3 + random_below(3);
    layer_case l = {.c = mha_case_of(12, 4, B, Tq)};
    l.c.layer.kv_heads = n % 3 && !latent ? 2 : 0;
    l.c.layer.head_width = n % 2 ? 5 : 0;
    l.c.layer.value_width = n % 4 > 1 ? 4 : 0;
    l.c.layer.order = random_order(ATTN_F32);
    set_inputs(&l, B, Tq, Tk, packed, latent ? 2 : 3);
    if (!latent)
        set_own_keys(&l.c.layer);
    set_layer_form(&l.c.layer, packed, form);
    fill_layer(&l.c.layer, packed, n % 5 ? ALL_BIASES : 0);
    set_params(&l, B, Tq, n + n / COUNT(forms));
    l.d_out = new_normal(BHTD, B, 1, Tq, 12);
    return l;
}

static const attn_tensor *given(const attn_tensor *t) { return t->size[3] ? t : NULL; }

static float *keep(attn_context *context, const attn_mha *mha, const layer_case *l, size_t *bytes) {
    const attn_tensor out = new_tensor(BHTD, l->d_out.size[0], 1, l->d_out.size[2], l->d_out.size[3]),
                      same = new_tensor(BHTD, l->d_out.size[0], 1, l->d_out.size[2], l->d_out.size[3]);
    const struct mha_case *c = &l->c;
    assert_ok(context, attn_mha_kept_size(context, mha, c->query.size[0], c->query.size[2], l->key.size[2], bytes));
    float *kept = new_floats(*bytes / sizeof(float));
    assert_ok(context, attn_mha_forward_keep(context, mha, &c->query, given(&c->key), given(&c->value), &out,
                                             &c->params, kept, *bytes));
    assert_ok(context, attn_mha_forward(context, mha, &c->query, given(&c->key), given(&c->value), &same, &c->params));
    assert_bits(out, same);
    return kept;
}

static void back(attn_context *context, const attn_mha *mha, const layer_case *l, const float *kept,
                 const attn_mha_gradients *g) {
    const struct mha_case *c = &l->c;
    assert_ok(context, attn_mha_backward(context, mha, &c->query, given(&c->key), given(&c->value), &l->d_out,
                                         &c->params, kept, g));
}

/* The same gradients without what was kept, on more threads, and twice as large where they are added. */
static void check_again(attn_context *const contexts[2], const attn_mha *mha, layer_case *l) {
    attn_tensor first[MOST_SLOPES];
    copy_slopes(&l->slopes, first);
    back(contexts[1], mha, l, NULL, &l->g);
    assert_same_slopes(&l->slopes, first);
    l->g.accumulate = 1;
    back(contexts[0], mha, l, NULL, &l->g);
    assert_twice_slopes(&l->slopes, first);
}

static void random_layers(void **state) {
    (void)state;
    enum { CASES = 32 };
    attn_context *const contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    seed(11);
    for (size_t n = 0; n < CASES; n += every()) {
        layer_case l = make_case(n);
        size_t bytes = 0;
        name_case("case %zu", n);
        add_all(&l);
        add_shared(&l);
        attn_mha *mha = new_layer(contexts[0], &l.c.layer);
        const float *kept = keep(contexts[0], mha, &l, &bytes);
        back(contexts[0], mha, &l, kept, &l.g);
        /* the reference's sums with a bias are floats, and a step may cross the limit of a clip */
        check_slopes(&l.slopes, loss, &l, l.c.params.bias ? 1e-4 : 2e-5, l.c.layer.clip > 0);
        check_again(contexts, mha, &l);
        attn_mha_destroy(mha);
        end_case();
    }
}

/* ---- what attention does to projected heads ---- */

static const float *identity(size_t n) {
    float *x = new_floats(n * n);
    for (size_t i = 0; i < n * n; i++)
        x[i] = i / n == i % n ? 1 : 0;
    return x;
}

/* Outputs of the weights of norms and of the factors of heads. */
typedef struct turn_sums {
    attn_tensor q, k, v, scales;
} turn_sums;

static turn_sums new_turn_sums(size_t H, size_t D, attn_sdpa_gradients *g) {
    const turn_sums s = {new_tensor(BHTD, 1, 1, H, D), new_tensor(BHTD, 1, 1, H, D), new_tensor(BHTD, 1, 1, H, D),
                         new_tensor(BHTD, 1, 1, 1, H)};
    ATTN_INIT(g);
    g->d_q_norm_weight = s.q.data;
    g->d_k_norm_weight = s.k.data;
    g->d_v_norm_weight = s.v.data;
    g->d_head_scales = s.scales.data;
    return s;
}

/* A layer whose maps change nothing has the gradients that attention has. */
static void turned_heads(void **state) {
    enum { B = 2, H = 4, T = 5, D = 3, M = H * D };
    (void)state;
    attn_context *context = new_context_of(2, 0);
    struct mha_case c = mha_case_of(M, H, B, T);
    attn_qk_norm norm;
    attn_sdpa_gradients of_layer, of_attention;
    attn_mha_gradients g;
    c.layer.q_weight = c.layer.k_weight = c.layer.v_weight = c.layer.out_weight = identity(M);
    attn_mha *mha = new_layer(context, &c.layer);
    ATTN_INIT(&norm);
    ATTN_INIT(&g);
    norm.per_head = norm.norm_values = 1;
    norm.k_weight = new_normal(BHTD, 1, 1, H, D).data;
    c.params.qk_norm = &norm;
    c.params.head_scales = new_normal(BHTD, 1, 1, 1, H).data;
    c.params.lse = new_floats((size_t)B * H * T);
    const attn_tensor x = attn_tensor_bthd(c.query.data, ATTN_F32, B, T, H, D), out = new_tensor(BTHD, B, H, T, D),
                      d_out = new_normal(BHTD, B, 1, T, M),
                      d_heads = attn_tensor_bthd(d_out.data, ATTN_F32, B, T, H, D);
    const turn_sums got = new_turn_sums(H, D, &of_layer), want = new_turn_sums(H, D, &of_attention);
    g.attention = &of_layer;
    assert_ok(context, attn_mha_backward(context, mha, &c.query, NULL, NULL, &d_out, &c.params, NULL, &g));
    assert_ok(context, attn_sdpa(context, &x, &x, &x, &out, &c.params));
    assert_ok(context, attn_sdpa_backward(context, &x, &x, &x, &out, &d_heads, &c.params, &of_attention));
    assert_bits(got.q, want.q);
    assert_bits(got.k, want.k);
    assert_bits(got.v, want.v);
    assert_bits(got.scales, want.scales);
    attn_mha_destroy(mha);
}

static void assert_zero(attn_tensor x) {
    for (size_t i = 0; i < element_count(x); i++)
        assert_true(((const float *)x.data)[i] == 0);
}

/* Keys alone, and latents of them, are kept as well, and all gradients are 0. */
static void no_queries(void **state) {
    (void)state;
    enum { M = 24, TK = 5 };
    attn_context *context = new_context_of(2, 0);
    for (unsigned latent = 0; latent < 2; latent++) {
        struct mha_case c = mha_case_of(M, 6, 2, 0);
        set_layer_form(&c.layer, false, latent ? LATENT_KV | LATENT_Q : 0);
        fill_layer(&c.layer, false, ALL_BIASES);
        c.key = new_normal(BHTD, 2, 1, TK, M);
        attn_mha *mha = new_layer(context, &c.layer);
        size_t bytes = 0;
        assert_ok(context, attn_mha_kept_size(context, mha, 2, 0, TK, &bytes));
        const attn_tensor kept = new_tensor(BHTD, 1, 1, 1, bytes / sizeof(float)),
                          d_key = new_tensor(BHTD, 2, 1, TK, M),
                          d_up = new_tensor(BHTD, 1, 1, M * 3 / 2, c.layer.kv_latent);
        attn_mha_gradients g;
        ATTN_INIT(&g);
        g.d_key = &d_key;
        g.d_kv_up_weight = latent ? d_up.data : NULL;
        memset(kept.data, 0xFF, bytes);
        assert_ok(context,
                  attn_mha_forward_keep(context, mha, &c.query, &c.key, NULL, &c.query, NULL, kept.data, bytes));
        assert_ok(context, attn_mha_backward(context, mha, &c.query, &c.key, NULL, &c.query, NULL, kept.data, &g));
        assert_zero(d_key);
        assert_zero(d_up);
        attn_mha_destroy(mha);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(random_layers), TEST(turned_heads), TEST(no_queries)};
    return cmocka_run_group_tests_name("mha_backward", tests, NULL, NULL);
}
