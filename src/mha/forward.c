/* SPDX-License-Identifier: BSD-3-Clause */
/* Forward of the layer: project, attend, project. Heads are split and joined by views alone. */
#include <string.h>

#include "context/sizes.h"
#include "mha/latent.h"
#include "mha/matrix.h"
#include "mha/mha.h"
#include "mha/rows.h"

/* The buffers of a call, in floats from the start of the scratch; 0 floats where the caller's memory serves. */
typedef struct layout {
    size_t query, key, value, out; /* dense copies of inputs and output that a BLAS cannot use in place */
    attni_mha_kept kept;           /* projected heads */
    size_t finished;               /* what attention made, gated and normed, where it must not be written over */
    size_t queries, sums;          /* of latents in a cache, what the heads make of q, [B·Tq, H·(L + R)], and what
                                      attention makes of it, [B·Tq, H·L] */
    size_t rest;                   /* scratch of the cache, then of attention, to the end */
} layout;

static bool same(const attni_view *x, const attni_view *y) {
    return x->data == y->data && x->dtype == y->dtype && x->stride_b == y->stride_b && x->stride_t == y->stride_t;
}

/* -- latents -- */

static bool is_empty(const attn_cache *cache) {
    for (size_t b = 0; b < cache->B; b++)
        if (cache->lengths[b])
            return false;
    return true;
}

/* What attention is over: keys and values of heads that are made of the call's own latents, or latents in a cache. */
typedef enum manner { PLAIN, EXPANDED, ABSORBED } manner;

/* A prompt is its own keys. */
static manner manner_of(const attni_mha_call *call) {
    const bool own = !call->attention.pages || (call->cache && is_empty(call->cache));
    return call->mha->L == 0 ? PLAIN : own ? EXPANDED : ABSORBED;
}

static attni_mha_kept lay_kept(const attni_mha_call *call, manner way) {
    const attn_mha *m = call->mha;
    const size_t queries = call->B * call->Tq, keys = call->B * call->Tk;
    const bool keeps_q = call->keeps && m->norms[ATTNI_Q_NORM].there,
               keeps_k = call->keeps && m->norms[ATTNI_KV_NORM].there;
    size_t used = 0;
    attni_mha_kept at;
    at.q = attni_reserve(&used, queries * m->q.out);
    at.k = attni_reserve(&used, keys * m->k.out);
    at.v = attni_reserve(&used, keys * m->v.out);
    at.o = attni_reserve(&used, queries * m->out.in);
    at.gate = attni_reserve(&used, queries * m->gate.out);
    at.keys = way == EXPANDED ? attni_reserve(&used, keys * m->H * m->D) : at.k;
    at.values = way == EXPANDED ? attni_reserve(&used, keys * m->H * m->E) : at.v;
    at.q_down = attni_reserve(&used, queries * m->q_down.out);
    at.q_plain = attni_reserve(&used, keeps_q ? queries * m->q_down.out : 0);
    at.k_plain = attni_reserve(&used, keeps_k ? keys * m->k.out : 0);
    at.lse = attni_reserve(&used, call->keeps ? queries * m->H : 0);
    at.end = used;
    return at;
}

attni_mha_kept attni_mha_lay_kept(const attni_mha_call *call) { return lay_kept(call, manner_of(call)); }

attni_view attni_mha_lse(const attni_mha_call *call, float *lse) {
    const ptrdiff_t T = (ptrdiff_t)call->Tq, H = (ptrdiff_t)call->mha->H;
    return (attni_view){lse, ATTN_F32, call->attention.query_starts ? 0 : H * T, T, 1};
}

static const attni_norm *out_norm(const attn_mha *m) {
    return m->norms[ATTNI_OUT_NORM].there ? &m->norms[ATTNI_OUT_NORM].norm : NULL;
}

static bool finishes(const attn_mha *m) { return m->gate.out || out_norm(m); }

/* Where the projected heads are: first in the scratch, if they are not to be kept. */
static float *kept_of(const attni_mha_call *call, float *scratch) { return call->keeps ? call->kept : scratch; }

static layout lay(const attni_mha_call *call, manner way) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq, Tk = call->Tk;
    layout at = {.kept = lay_kept(call, way)};
    size_t used = call->keeps ? 0 : at.kept.end;
    at.query = attni_reserve(&used, attni_matrix_floats(&call->query, B, Tq, m->M));
    at.key = attni_reserve(&used, attni_matrix_floats(&call->key, B, Tk, m->k.in));
    at.value = attni_reserve(&used, attni_matrix_floats(&call->value, B, Tk, m->v.in));
    at.out = attni_reserve(&used, attni_matrix_floats(&call->out, B, Tq, m->M));
    at.finished = attni_reserve(&used, call->keeps && finishes(m) ? B * Tq * m->out.in : 0);
    at.queries = attni_reserve(&used, way == ABSORBED ? B * Tq * m->H * (m->L + m->R) : 0);
    at.sums = attni_reserve(&used, way == ABSORBED ? B * Tq * m->H * m->L : 0);
    at.rest = used;
    return at;
}

/* Sequences of a ragged batch share one b. */
attni_view attni_heads_of(const attni_mha_call *call, float *data, size_t T, size_t heads, size_t width) {
    const bool ragged = call->attention.query_starts || call->starts;
    const ptrdiff_t row = (ptrdiff_t)(heads * width);
    return (attni_view){data, ATTN_F32, ragged ? 0 : (ptrdiff_t)T * row, (ptrdiff_t)width, row};
}

/* The call's options on what there is to attend to, without views. */
static attni_sdpa options_of(const attni_mha_call *call, manner way) {
    const attn_mha *m = call->mha;
    attni_sdpa s = call->attention;
    s.extra_key = m->extra_key;
    s.extra_value = m->extra_value;
    s.zero_key = m->zero_key;
    if (way == EXPANDED && s.pages) {
        s.pages = NULL;
        s.forgotten = NULL;
        s.key_starts = s.query_starts;
        s.ragged_keys = s.ragged_tokens;
        s.key_lengths = s.query_lengths;
    } else if (way == ABSORBED) {
        const attni_kept kept = attni_kept_of(m);
        s.G = kept.G;
        s.D = kept.D;
        s.E = kept.E;
        s.q_turn.offset += kept.D - m->D;
    }
    return s;
}

static attni_sdpa attention_of(const attni_mha_call *call, manner way, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    float *own = kept_of(call, scratch);
    attni_sdpa s = options_of(call, way);
    s.q = attni_heads_of(call, way == ABSORBED ? scratch + at->queries : own + at->kept.q, call->Tq, m->H, s.D);
    s.k = attni_heads_of(call, own + at->kept.keys, call->Tk, s.G, s.D);
    s.v = attni_heads_of(call, own + at->kept.values, call->Tk, s.G, s.E);
    s.out = attni_heads_of(call, way == ABSORBED ? scratch + at->sums : own + at->kept.o, call->Tq, m->H, s.E);
    if (call->keeps && !s.sigmoid && !s.lse.data)
        s.lse = attni_mha_lse(call, own + at->kept.lse);
    return s;
}

/* Without views; `turn` is room for that of the keys. */
static attni_append append_of(const attni_mha_call *call, attni_turn *turn) {
    const attni_turn *v_turn = &call->attention.v_turn;
    *turn = call->attention.k_turn;
    turn->offset += attni_kept_of(call->mha).D - call->mha->D;
    return (attni_append){.cache = call->cache,
                          .T = call->Tk,
                          .starts = call->starts,
                          .counts = call->counts,
                          .turn = attni_turns(turn) ? turn : NULL,
                          .v_turn = attni_turns(v_turn) ? v_turn : NULL};
}

static size_t optional_floats(const attn_context *context, const attni_linear *linear, attn_dtype type, size_t rows) {
    return linear->out ? attni_product_floats(context, linear, type, rows) : 0;
}

/* What the products make of their inputs lies where attention will work, or has worked. */
static size_t input_floats(const attn_context *context, const attni_mha_call *call) {
    const attn_mha *m = call->mha;
    const size_t queries = call->B * call->Tq, keys = call->B * call->Tk;
    const attn_dtype type = call->query.dtype;
    return attni_product_floats(context, &m->q, type, queries) + optional_floats(context, &m->gate, type, queries) +
           optional_floats(context, &m->q_down, type, queries) +
           attni_product_floats(context, &m->k, call->key.dtype, keys) +
           attni_product_floats(context, &m->v, call->value.dtype, keys);
}

static size_t product_scratch(const attn_context *context, const attni_mha_call *call) {
    const size_t out = attni_product_floats(context, &call->mha->out, ATTN_F32, call->B * call->Tq);
    const size_t heads = attni_latent_floats(context, call->mha, call->B * attni_max(call->Tq, call->Tk));
    return attni_max(input_floats(context, call), attni_max(out, heads)) * sizeof(float);
}

static size_t append_scratch(const attn_context *context, const attni_mha_call *call) {
    attni_turn turn;
    const attni_append append = append_of(call, &turn);
    return call->cache ? attni_append_scratch(context, &append) : 0;
}

static size_t others_scratch(const attn_context *context, const attni_mha_call *call) {
    return attni_max(append_scratch(context, call), product_scratch(context, call));
}

size_t attni_mha_append_scratch(const attn_context *context, const attni_mha_call *call) {
    return lay(call, PLAIN).rest * sizeof(float) + others_scratch(context, call);
}

static size_t scratch_of(const attn_context *context, const attni_mha_call *call, manner way) {
    const attni_sdpa options = options_of(call, way);
    const size_t attention = attni_sdpa_scratch(context, &options);
    return lay(call, way).rest * sizeof(float) + attni_max(attention, others_scratch(context, call));
}

/* Latents in a cache may be none yet, or some. */
size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call) {
    const size_t now = scratch_of(context, call, manner_of(call));
    return call->mha->L && call->cache
               ? attni_max(now, attni_max(scratch_of(context, call, EXPANDED), scratch_of(context, call, ABSORBED)))
               : now;
}

/* In place, what was there being kept if there is a place for it. */
static void norm_latent(attn_context *context, const attn_mha *m, attni_norm_of which, const attni_matrix *x,
                        float *plain) {
    if (!m->norms[which].there)
        return;
    if (plain)
        memcpy(plain, x->data, x->rows * x->ld * sizeof *plain);
    attni_norm_matrix(context, &m->norms[which].norm, attni_norm_width(m, which), x, x);
}

/* What the latents become: q, and c. */
static void finish_latents(attn_context *context, const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t queries = call->B * call->Tq;
    float *own = kept_of(call, scratch);
    const attni_matrix q_down = attni_dense(own + at->kept.q_down, queries, m->q_down.out);
    const attni_matrix k = attni_dense(own + at->kept.k, call->B * call->Tk, m->k.out);
    const attni_product q = {.linear = &m->q,
                             .x = q_down,
                             .y = attni_dense(own + at->kept.q, queries, m->q.out),
                             .activation = m->clip.clips ? &m->clip : NULL,
                             .room = scratch + at->rest};
    norm_latent(context, m, ATTNI_Q_NORM, &q_down, call->keeps ? own + at->kept.q_plain : NULL);
    norm_latent(context, m, ATTNI_KV_NORM, &k, call->keeps ? own + at->kept.k_plain : NULL);
    if (m->q_down.out)
        attni_project(context, &q, 1);
}

static void project_inputs(attn_context *context, const attni_mha_call *call, const layout *at, float *scratch) {
    static const attni_activation sigmoid = {.kind = ATTN_SIGMOID};
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq, Tk = call->Tk;
    float *own = kept_of(call, scratch);
    const attni_matrix query = attni_matrix_read(context, &call->query, B, Tq, m->M, scratch + at->query);
    const attni_matrix key = attni_matrix_read(context, &call->key, B, Tk, m->k.in, scratch + at->key);
    const attni_matrix value = same(&call->value, &call->key) && m->v.in == m->k.in
                                   ? key
                                   : attni_matrix_read(context, &call->value, B, Tk, m->v.in, scratch + at->value);
    const attni_linear *q = m->q_down.out ? &m->q_down : &m->q;
    const size_t q_at = m->q_down.out ? at->kept.q_down : at->kept.q;
    const attn_dtype type = call->query.dtype;
    float *q_room = scratch + at->rest, *gate_room = q_room + attni_product_floats(context, q, type, B * Tq),
          *k_room = gate_room + optional_floats(context, &m->gate, type, B * Tq),
          *v_room = k_room + attni_product_floats(context, &m->k, call->key.dtype, B * Tk);
    const attni_activation *clip = m->clip.clips ? &m->clip : NULL;
    const attni_product products[] = {{.linear = q,
                                       .x = query,
                                       .y = attni_dense(own + q_at, B * Tq, q->out),
                                       .type = type,
                                       .activation = m->q_down.out ? NULL : clip,
                                       .room = q_room},
                                      {.linear = &m->k,
                                       .x = key,
                                       .y = attni_dense(own + at->kept.k, B * Tk, m->k.out),
                                       .type = call->key.dtype,
                                       .activation = clip,
                                       .room = k_room},
                                      {.linear = &m->v,
                                       .x = value,
                                       .y = attni_dense(own + at->kept.v, B * Tk, m->v.out),
                                       .type = call->value.dtype,
                                       .activation = clip,
                                       .room = v_room},
                                      {.linear = &m->gate,
                                       .x = query,
                                       .y = attni_dense(own + at->kept.gate, B * Tq, m->gate.out),
                                       .type = type,
                                       .activation = &sigmoid,
                                       .room = gate_room}};
    attni_project(context, products, m->gate.out ? 4 : 3);
    finish_latents(context, call, at, scratch);
}

/* What attention reads instead of q, or of k and v. */
static void make_heads(attn_context *context, const attni_mha_call *call, manner way, const layout *at,
                       float *scratch) {
    const attn_mha *m = call->mha;
    const size_t queries = call->B * call->Tq, keys = call->B * call->Tk;
    float *own = kept_of(call, scratch);
    const attni_matrix q = attni_dense(own + at->kept.q, queries, m->q.out),
                       k = attni_dense(own + at->kept.k, keys, m->k.out);
    const attni_matrix all_keys = attni_dense(own + at->kept.keys, keys, m->H * m->D);
    const attni_matrix all_values = attni_dense(own + at->kept.values, keys, m->H * m->E);
    const attni_matrix absorbed = attni_dense(scratch + at->queries, queries, m->H * (m->L + m->R));
    if (way == EXPANDED)
        attni_latent_expand(context, m, &k, &all_keys, &all_values, scratch + at->rest);
    else if (way == ABSORBED)
        attni_latent_absorb(context, m, &q, &absorbed, scratch + at->rest);
}

static attn_status append(attn_context *context, const attni_mha_call *call, const layout *at, float *scratch) {
    const attni_kept kept = attni_kept_of(call->mha);
    float *own = kept_of(call, scratch);
    attni_turn turn;
    attni_append append = append_of(call, &turn);
    append.k = attni_heads_of(call, own + at->kept.k, call->Tk, kept.G, kept.D);
    append.v = attni_heads_of(call, own + at->kept.v, call->Tk, kept.G, kept.E);
    return call->cache ? attni_append_run(context, &append, scratch + at->rest) : ATTN_OK;
}

attn_status attni_mha_append(attn_context *context, const attni_mha_call *call, float *scratch) {
    const layout at = lay(call, PLAIN);
    project_inputs(context, call, &at, scratch);
    return append(context, call, &at, scratch);
}

/* Tokens before and behind the sequences of a ragged batch, which attention does not write: rows of `width`. */
static void clear_outside(const attni_mha_call *call, size_t width, float *o) {
    const int64_t *starts = call->attention.query_starts;
    if (!starts)
        return;
    const size_t first = (size_t)starts[0], end = (size_t)starts[call->attention.B];
    memset(o, 0, first * width * sizeof *o);
    memset(o + end * width, 0, (call->Tq - end) * width * sizeof *o);
}

/* What attention made, on its way to the output projection. */
typedef struct finishing {
    const attni_kernels *kernels;
    const attn_mha *mha;
    const attni_norm *norm; /* or NULL */
    const float *x;         /* [rows, H·E] */
    const float *gate;      /* [rows, H·E or H] */
    float *y;
} finishing;

static void gate_row(const finishing *f, const float *gate, const float *x, float *y) {
    static const attni_activation identity = {.kind = ATTN_IDENTITY};
    const attn_mha *m = f->mha;
    if (m->gate.out == m->out.in)
        f->kernels->activate(&identity, 1, m->out.in, x, 0, gate, 0, y, 0);
    for (size_t i = 0; i < m->out.in && m->gate.out != m->out.in; i++)
        y[i] = x[i] * gate[i / m->E];
}

static void finish_rows(void *arg, size_t begin, size_t end) {
    const finishing *f = arg;
    const attn_mha *m = f->mha;
    const size_t width = m->out.in;
    float *y = f->y + begin * width;
    for (size_t r = begin; r < end && m->gate.out; r++)
        gate_row(f, f->gate + r * m->gate.out, f->x + r * width, f->y + r * width);
    if (f->norm)
        f->kernels->norm(f->norm, end - begin, width, m->gate.out ? y : f->x + begin * width, (ptrdiff_t)width, y,
                         (ptrdiff_t)width);
}

void attni_mha_finish(attn_context *context, const attn_mha *m, const attni_norm *norm, size_t rows, const float *x,
                      const float *gate, float *y) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    finishing f = {context->kernels, m, norm, x, gate, y};
    attni_share_rows(context, rows, m->out.in, FLOPS, finish_rows, &f);
}

/* Where the caller wants the log-sum-exps too, they are made there. */
static void keep_lse(const attni_mha_call *call, const layout *at) {
    const float *lse = call->attention.lse.data;
    if (call->keeps && !call->attention.sigmoid && lse)
        memcpy(call->kept + at->kept.lse, lse, call->B * call->mha->H * call->Tq * sizeof *lse);
}

static void attend(attn_context *context, const attni_mha_call *call, manner way, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t rows = call->B * call->Tq;
    const attni_sdpa attention = attention_of(call, way, at, scratch);
    const attni_matrix sums = attni_dense(scratch + at->sums, rows, m->H * m->L),
                       o = attni_dense(kept_of(call, scratch) + at->kept.o, rows, m->out.in);
    clear_outside(call, m->H * attention.E, attention.out.data);
    attni_sdpa_run(context, &attention, scratch + at->rest);
    if (way == ABSORBED)
        attni_latent_values(context, m, &sums, &o, scratch + at->rest);
    keep_lse(call, at);
}

/* Projects, appends if there is a cache, and attends. */
static attn_status make_kept(attn_context *context, const attni_mha_call *call, manner way, const layout *at,
                             float *scratch) {
    project_inputs(context, call, at, scratch);
    const attn_status status = append(context, call, at, scratch);
    if (status != ATTN_OK)
        return status;
    make_heads(context, call, way, at, scratch);
    attend(context, call, way, at, scratch);
    return ATTN_OK;
}

void attni_mha_keep(attn_context *context, const attni_mha_call *call, float *scratch) {
    const manner way = manner_of(call);
    const layout at = lay(call, way);
    (void)make_kept(context, call, way, &at, scratch); /* only a cache can fail */
}

attn_status attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq;
    const manner way = manner_of(call);
    const layout at = lay(call, way);
    float *own = kept_of(call, scratch), *o = own + at.kept.o;
    float *finished = finishes(m) && call->keeps ? scratch + at.finished : o;
    const attni_matrix out = attni_matrix_of(&call->out, B, Tq, m->M, scratch + at.out);
    const attni_product product = {.linear = &m->out,
                                   .x = attni_dense(finished, B * Tq, m->out.in),
                                   .y = out,
                                   .residual = call->residual,
                                   .room = scratch + at.rest};
    const attn_status status = make_kept(context, call, way, &at, scratch);
    if (status != ATTN_OK)
        return status;
    if (finishes(m))
        attni_mha_finish(context, m, out_norm(m), B * Tq, o, own + at.kept.gate, finished);
    attni_project(context, &product, 1);
    attni_matrix_write(context, &call->out, B, Tq, m->M, scratch + at.out);
    return ATTN_OK;
}
