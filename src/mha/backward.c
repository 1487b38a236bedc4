/* SPDX-License-Identifier: BSD-3-Clause */
/* The way back of the layer: the output projection, attention, the projections of its inputs. */
#include <math.h>
#include <string.h>

#include "context/sizes.h"
#include "mha/latent.h"
#include "mha/matrix.h"
#include "mha/mha.h"
#include "mha/rows.h"

/* -- the scratch -- */

/* In floats from its start. */
typedef struct layout {
    size_t query, key, value, d_out, d_query, d_key, d_value; /* dense copies of what a BLAS cannot use in place */
    size_t kept;                                              /* what the forward pass did not keep */
    size_t gated, finished;                                   /* what was normed, and what the output projection read */
    size_t d_o, d_gate, dq, dk, dv;
    size_t d_q_down, d_latents; /* of what q is made of, and of [c, r] */
    size_t gathered;            /* gradients of weights whose features are in runs */
    size_t rest;                /* scratch of linear maps, attention and the forward pass, to the end */
} layout;

static attni_mha_call forward_of(const attni_mha_back *b, float *kept) {
    attni_mha_call call = b->call;
    call.keeps = true;
    call.kept = kept;
    return call;
}

static size_t gathered_floats(const attn_mha *m) {
    size_t most = 0;
    for (attni_role i = 0; i < ATTNI_PACKED; i++)
        if (m->origins[i].run)
            most = attni_max(most, (attni_linear_of(m, i)->in + 1) * attni_linear_of(m, i)->out);
    return most;
}

static layout lay(const attni_mha_back *b) {
    const attni_mha_call *c = &b->call;
    const attn_mha *m = c->mha;
    const size_t B = c->B, Tq = c->Tq, Tk = c->Tk;
    const attni_mha_call forward = forward_of(b, NULL);
    size_t used = 0;
    layout at;
    at.query = attni_reserve(&used, attni_matrix_floats(&c->query, B, Tq, m->M));
    at.key = attni_reserve(&used, attni_matrix_floats(&c->key, B, Tk, m->k.in));
    at.value = attni_reserve(&used, attni_matrix_floats(&c->value, B, Tk, m->v.in));
    at.d_out = attni_reserve(&used, attni_matrix_floats(&b->d_out, B, Tq, m->M));
    at.d_query = attni_reserve(&used, attni_matrix_floats(&b->d_query, B, Tq, m->M));
    at.d_key = attni_reserve(&used, attni_matrix_floats(&b->d_key, B, Tk, m->k.in));
    at.d_value = attni_reserve(&used, attni_matrix_floats(&b->d_value, B, Tk, m->v.in));
    at.kept = attni_reserve(&used, b->call.kept ? 0 : attni_mha_lay_kept(&forward).end);
    at.gated = attni_reserve(&used, m->gate.out ? B * Tq * m->out.in : 0);
    at.finished = attni_reserve(&used, m->norms[ATTNI_OUT_NORM].there ? B * Tq * m->out.in : 0);
    at.d_o = attni_reserve(&used, B * Tq * m->out.in);
    at.d_gate = attni_reserve(&used, B * Tq * m->gate.out);
    at.dq = attni_reserve(&used, B * Tq * m->q.out);
    at.dk = attni_reserve(&used, B * Tk * m->G * m->D);
    at.dv = attni_reserve(&used, B * Tk * m->G * m->E);
    at.d_q_down = attni_reserve(&used, B * Tq * m->q_down.out);
    at.d_latents = attni_reserve(&used, m->L ? B * Tk * m->k.out : 0);
    at.gathered = attni_reserve(&used, gathered_floats(m));
    at.rest = used;
    return at;
}

/* -- attention -- */

typedef struct run {
    attn_context *context;
    const attni_mha_back *back;
    const attn_mha *m;
    layout at;
    attni_mha_kept kept_at;
    float *scratch, *kept;
    attni_matrix query, key, value, d_out;
} run;

static attni_gradients gradients_of(const attni_mha_back *b, const layout *at, float *scratch) {
    const attni_mha_call *c = &b->call;
    const attn_mha *m = c->mha;
    attni_gradients g = b->attention;
    g.d_out = attni_heads_of(c, scratch + at->d_o, c->Tq, m->H, m->E);
    g.dq = attni_heads_of(c, scratch + at->dq, c->Tq, m->H, m->D);
    g.dk = attni_heads_of(c, scratch + at->dk, c->Tk, m->G, m->D);
    g.dv = attni_heads_of(c, scratch + at->dv, c->Tk, m->G, m->E);
    return g;
}

static attni_sdpa attention_of(const attni_mha_back *b, const attni_mha_kept *at, float *kept) {
    const attni_mha_call *c = &b->call;
    const attn_mha *m = c->mha;
    attni_sdpa s = c->attention;
    s.q = attni_heads_of(c, kept + at->q, c->Tq, m->H, m->D);
    s.k = attni_heads_of(c, kept + at->keys, c->Tk, m->G, m->D);
    s.v = attni_heads_of(c, kept + at->values, c->Tk, m->G, m->E);
    s.out = attni_heads_of(c, kept + at->o, c->Tq, m->H, m->E);
    s.lse = attni_mha_lse(c, s.sigmoid ? NULL : kept + at->lse);
    s.extra_key = m->extra_key;
    s.extra_value = m->extra_value;
    s.zero_key = m->zero_key;
    return s;
}

/* Tokens of no sequence have gradients of 0, which attention does not write; and it may add to what is there. */
static void clear(const run *r) {
    const attni_mha_call *c = &r->back->call;
    const layout *at = &r->at;
    const size_t queries = c->B * c->Tq, keys = c->B * c->Tk;
    if (!c->attention.query_starts && !r->back->accumulate)
        return;
    memset(r->scratch + at->dq, 0, queries * r->m->q.out * sizeof(float));
    memset(r->scratch + at->dk, 0, keys * r->m->G * r->m->D * sizeof(float));
    memset(r->scratch + at->dv, 0, keys * r->m->G * r->m->E * sizeof(float));
}

/* -- row by row -- */

/* From the gradient of what is normed, in place, to that of x. */
static attni_norm_rows_back norm_rows(const attni_mha_back *b, attni_norm_of which, const attni_matrix *x,
                                      const attni_matrix *d) {
    return attni_norm_matrix_back(attni_norm_width(b->call.mha, which), x, d, d, b->norms[which], false, b->accumulate);
}

static void norm_back(const run *r, attni_norm_of which, const attni_matrix *x, const attni_matrix *d) {
    const attni_norm_rows_back rows = norm_rows(r->back, which, x, d);
    if (r->m->norms[which].there)
        attni_norm_backward(r->context, &r->m->norms[which].norm, &rows, r->scratch + r->at.rest);
}

static size_t norm_scratch(const attni_mha_back *b) {
    size_t most = 0;
    for (attni_norm_of i = 0; i < ATTNI_NORMS; i++) {
        const attni_matrix x = {NULL, b->call.B * (i == ATTNI_KV_NORM ? b->call.Tk : b->call.Tq), 0};
        const attni_norm_rows_back rows = norm_rows(b, i, &x, &x);
        most = attni_max(most, attni_norm_backward_scratch(&rows));
    }
    return most;
}

/* From the gradient of what is gated, in place, to that of o, and of what the gate is the sigmoid of. */
static void gate_back(const attn_mha *m, const float *gate, const float *o, float *d_o, float *d_gate) {
    const size_t each = m->out.in / m->gate.out;
    for (size_t g = 0; g < m->gate.out; g++) {
        float sum = 0;
        for (size_t i = g * each; i < (g + 1) * each; i++) {
            sum += d_o[i] * o[i];
            d_o[i] *= gate[g];
        }
        d_gate[g] = sum * gate[g] * (1 - gate[g]);
    }
}

static void gate_rows(void *arg, size_t begin, size_t end) {
    const run *r = arg;
    const attn_mha *m = r->m;
    for (size_t i = begin; i < end; i++)
        gate_back(m, r->kept + r->kept_at.gate + i * m->gate.out, r->kept + r->kept_at.o + i * m->out.in,
                  r->scratch + r->at.d_o + i * m->out.in, r->scratch + r->at.d_gate + i * m->gate.out);
}

/* What was clipped has a gradient of 0. */
typedef struct clipping {
    size_t width;
    float limit;
    const float *x;
    float *dx;
} clipping;

static void clip_rows(void *arg, size_t begin, size_t end) {
    const clipping *c = arg;
    for (size_t i = begin * c->width; i < end * c->width; i++)
        c->dx[i] = fabsf(c->x[i]) >= c->limit ? 0 : c->dx[i];
}

static void clip_back(const run *r, size_t rows, size_t width, size_t x, size_t dx) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    clipping c = {width, r->m->clip.limit, r->kept + x, r->scratch + dx};
    if (r->m->clip.clips)
        attni_share_rows(r->context, rows, width, FLOPS, clip_rows, &c);
}

/* -- linear maps -- */

/* From a dense gradient [out, in], as the weight is, and its bias's to the features of the caller's. */
static void scatter(const run *r, attni_role role, const float *dense) {
    const attni_linear *l = attni_linear_of(r->m, role);
    const attni_origin *from = &r->m->origins[role];
    const bool by_out = l->stride_in == 1, add = r->back->accumulate;
    float *weight = r->back->weights[role], *bias = r->back->biases[role];
    for (size_t o = 0; o < l->out; o++) {
        const size_t feature = from->first + attni_feature_of(from, o);
        for (size_t i = 0; i < l->in && weight; i++) {
            float *to = weight + feature * from->stride_out + i * from->stride_in;
            *to = (add ? *to : 0) + dense[by_out ? o * l->in + i : i * l->out + o];
        }
        if (bias)
            bias[feature] = (add ? bias[feature] : 0) + dense[l->in * l->out + o];
    }
}

static void linear_back(const run *r, attni_role role, const attni_matrix *x, const attni_matrix *dy,
                        const attni_matrix *dx, const attni_matrix *residual) {
    const attni_linear *l = attni_linear_of(r->m, role);
    const attni_origin *from = &r->m->origins[role];
    float *weight = r->back->weights[role], *bias = r->back->biases[role], *dense = r->scratch + r->at.gathered;
    attni_linear_back back = {.linear = l, .x = *x, .dy = *dy, .dx = *dx, .residual = residual};
    if (from->run) {
        back.d_weight = weight ? dense : NULL;
        back.d_bias = bias ? dense + l->in * l->out : NULL;
    } else {
        back.d_weight = weight ? weight + from->first * from->stride_out : NULL;
        back.d_bias = bias ? bias + from->first : NULL;
        back.accumulate = r->back->accumulate;
    }
    attni_linear_back_run(r->context, &back, r->scratch + r->at.rest);
    if (from->run && (weight || bias))
        scatter(r, role, dense);
}

/* A gradient that maps add to, one after the other. */
typedef struct target {
    attni_matrix matrix;
    bool begun;
} target;

static target target_of(const run *r, const attni_view *view, size_t T, size_t width, bool add, size_t room) {
    const size_t B = r->back->call.B;
    if (!view->data)
        return (target){.begun = false};
    return (target){add ? attni_matrix_read(r->context, view, B, T, width, r->scratch + room)
                        : attni_matrix_of(view, B, T, width, r->scratch + room),
                    add};
}

static void back_to_input(const run *r, attni_role role, const attni_matrix *x, size_t dy, target *to) {
    const attni_matrix d = {r->scratch + dy, x->rows, attni_linear_of(r->m, role)->out};
    linear_back(r, role, x, &d, &to->matrix, to->begun ? &to->matrix : NULL);
    to->begun = true;
}

/* Through the map of q, and that of what it is made of. */
static void back_to_query(const run *r, target *to) {
    const attn_mha *m = r->m;
    const size_t rows = r->query.rows, width = m->q_down.out;
    if (width == 0) {
        back_to_input(r, ATTNI_W_Q, &r->query, r->at.dq, to);
        return;
    }
    const attni_matrix x = attni_dense(r->kept + r->kept_at.q_down, rows, width),
                       plain = attni_dense(r->kept + r->kept_at.q_plain, rows, width),
                       dq = attni_dense(r->scratch + r->at.dq, rows, m->q.out),
                       d = attni_dense(r->scratch + r->at.d_q_down, rows, width);
    linear_back(r, ATTNI_W_Q, &x, &dq, &d, NULL);
    norm_back(r, ATTNI_Q_NORM, &plain, &d);
    back_to_input(r, ATTNI_W_Q_DOWN, &r->query, r->at.d_q_down, to);
}

static void back_to_latents(const run *r) {
    const attn_mha *m = r->m;
    const size_t rows = r->key.rows;
    const attni_matrix plain = attni_dense(r->kept + r->kept_at.k_plain, rows, m->k.out);
    const attni_latent_back back = {.latents = attni_dense(r->kept + r->kept_at.k, rows, m->k.out),
                                    .d_keys = attni_dense(r->scratch + r->at.dk, rows, m->H * m->D),
                                    .d_values = attni_dense(r->scratch + r->at.dv, rows, m->H * m->E),
                                    .d_latents = attni_dense(r->scratch + r->at.d_latents, rows, m->k.out),
                                    .d_up = r->back->kv_up,
                                    .accumulate = r->back->accumulate};
    attni_latent_back_run(r->context, m, &back, r->scratch + r->at.rest);
    norm_back(r, ATTNI_KV_NORM, &plain, &back.d_latents);
}

static void back_to_keys(const run *r, target *of_key, target *of_value) {
    if (r->m->L)
        back_to_latents(r);
    back_to_input(r, ATTNI_W_K, &r->key, r->m->L ? r->at.d_latents : r->at.dk, of_key);
    if (r->m->v.out)
        back_to_input(r, ATTNI_W_V, &r->value, r->at.dv, of_value);
}

static void back_to_inputs(const run *r) {
    const attni_mha_back *b = r->back;
    const attn_mha *m = r->m;
    const size_t B = b->call.B, Tq = b->call.Tq, Tk = b->call.Tk;
    target query = target_of(r, &b->d_query, Tq, m->M, b->add_query, r->at.d_query), key = {0}, value = {0};
    if (!b->self)
        key = target_of(r, &b->d_key, Tk, m->k.in, b->add_key, r->at.d_key);
    if (!b->same_value)
        value = target_of(r, &b->d_value, Tk, m->v.in, b->add_value, r->at.d_value);
    target *of_key = b->self ? &query : &key, *of_value = b->same_value ? of_key : &value;
    back_to_query(r, &query);
    if (m->gate.out)
        back_to_input(r, ATTNI_W_GATE, &r->query, r->at.d_gate, &query);
    back_to_keys(r, of_key, of_value);
    if (b->d_query.data)
        attni_matrix_write(r->context, &b->d_query, B, Tq, m->M, r->scratch + r->at.d_query);
    if (b->d_key.data)
        attni_matrix_write(r->context, &b->d_key, B, Tk, m->k.in, r->scratch + r->at.d_key);
    if (b->d_value.data)
        attni_matrix_write(r->context, &b->d_value, B, Tk, m->v.in, r->scratch + r->at.d_value);
}

/* -- the whole -- */

static void back_through_output(const run *r) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    const attn_mha *m = r->m;
    const size_t rows = r->back->call.B * r->back->call.Tq;
    const bool normed = m->norms[ATTNI_OUT_NORM].there;
    float *o = r->kept + r->kept_at.o, *gated = m->gate.out ? r->scratch + r->at.gated : o;
    const attni_matrix plain = attni_dense(gated, rows, m->out.in),
                       x = attni_dense(normed ? r->scratch + r->at.finished : gated, rows, m->out.in),
                       d_o = attni_dense(r->scratch + r->at.d_o, rows, m->out.in);
    if (m->gate.out)
        attni_mha_finish(r->context, m, NULL, rows, o, r->kept + r->kept_at.gate, gated);
    if (normed)
        attni_norm_matrix(r->context, &m->norms[ATTNI_OUT_NORM].norm, m->out.in, &plain, &x);
    linear_back(r, ATTNI_W_OUT, &x, &r->d_out, &d_o, NULL);
    norm_back(r, ATTNI_OUT_NORM, &plain, &d_o);
    if (m->gate.out)
        attni_share_rows(r->context, rows, m->out.in, FLOPS, gate_rows, (void *)(uintptr_t)r);
}

static void back_through_attention(const run *r) {
    const attni_mha_call *c = &r->back->call;
    const attni_sdpa attention = attention_of(r->back, &r->kept_at, r->kept);
    const attni_gradients gradients = gradients_of(r->back, &r->at, r->scratch);
    clear(r);
    attni_backward_run(r->context, &attention, &gradients, r->scratch + r->at.rest);
    clip_back(r, c->B * c->Tq, r->m->q.out, r->kept_at.q, r->at.dq);
    clip_back(r, c->B * c->Tk, r->m->k.out, r->kept_at.k, r->at.dk); /* no latents, which nothing clips */
    clip_back(r, c->B * c->Tk, r->m->v.out, r->kept_at.v, r->at.dv);
}

size_t attni_mha_back_scratch(const attn_context *context, const attni_mha_back *b) {
    const attn_mha *m = b->call.mha;
    const layout at = lay(b);
    const attni_mha_call forward = forward_of(b, NULL);
    float placeholder = 0; /* views are looked at, not what they have */
    const attni_sdpa attention = attention_of(b, &(attni_mha_kept){0}, &placeholder);
    const attni_gradients gradients = gradients_of(b, &(layout){0}, &placeholder);
    size_t most = attni_max(attni_backward_scratch(context, &attention, &gradients), norm_scratch(b));
    for (attni_role i = 0; i < ATTNI_PACKED; i++)
        if (attni_linear_of(m, i)->out)
            most = attni_max(most, attni_linear_back_floats(context, attni_linear_of(m, i)) * sizeof(float));
    most = attni_max(most, attni_latent_back_floats(context, m) * sizeof(float));
    if (!b->call.kept)
        most = attni_max(most, attni_mha_scratch(context, &forward));
    return at.rest * sizeof(float) + most;
}

void attni_mha_back_run(attn_context *context, const attni_mha_back *b, float *scratch) {
    const attni_mha_call *c = &b->call;
    const attn_mha *m = c->mha;
    run r = {.context = context, .back = b, .m = m, .at = lay(b), .scratch = scratch};
    const attni_mha_call forward = forward_of(b, c->kept ? c->kept : scratch + r.at.kept);
    r.kept_at = attni_mha_lay_kept(&forward);
    r.kept = forward.kept;
    if (!c->kept)
        attni_mha_keep(context, &forward, scratch + r.at.rest);
    r.query = attni_matrix_read(context, &c->query, c->B, c->Tq, m->M, scratch + r.at.query);
    r.key = b->self ? r.query : attni_matrix_read(context, &c->key, c->B, c->Tk, m->k.in, scratch + r.at.key);
    r.value = b->same_value ? r.key : attni_matrix_read(context, &c->value, c->B, c->Tk, m->v.in, scratch + r.at.value);
    r.d_out = attni_matrix_read(context, &b->d_out, c->B, c->Tq, m->M, scratch + r.at.d_out);
    back_through_output(&r);
    back_through_attention(&r);
    back_to_inputs(&r);
}
