/* SPDX-License-Identifier: BSD-3-Clause */
/* What the backward pass does row by row: before the walk it looks at what there is, after it rows are turned back. */
#include <math.h>
#include <string.h>

#include "sdpa/backward.h"

/* -- before the walk: what is known of each row -- */

enum { CHUNK = 64 };

/* Tokens [t, end) of head h; room for rows of q, d_out and out. */
typedef struct chunk {
    const attni_back_sequence *s;
    size_t h, t, end;
    float *room;
} chunk;

static float number_at(const attni_view *view, size_t b, size_t h, size_t t) {
    return view->data ? *(const float *)attni_at(view, b, h, t) : 0;
}

static bool all_finite(const chunk *c, const attni_view *view, size_t width) {
    return c->s->e.kernels->all_finite(c->end - c->t, width, view->dtype, attni_at(view, c->s->b, c->h, c->t),
                                       view->stride_t);
}

/* A row in f32, where the caller has it or in x. */
static const float *read_row(const chunk *c, const attni_view *view, size_t t, size_t width, float *x) {
    const void *row = attni_at(view, c->s->b, c->h, t);
    if (view->dtype == ATTN_F32)
        return row;
    c->s->e.kernels->copy(1, width, view->dtype, row, 0, ATTN_F32, x, 0);
    return x;
}

static void turn_query(const chunk *c, size_t t, float *x) {
    const attni_sdpa *call = &c->s->call;
    if (attni_turns(&call->q_turn))
        attni_turn_rows(c->s->e.kernels, &call->q_turn, &call->q, c->s->b, c->h, t, 1, call->D,
                        attni_first_position(call, c->s->b), x);
    else
        memcpy(x, read_row(c, &call->q, t, call->D, x + call->D), call->D * sizeof *x);
    for (size_t d = 0; attni_scales_query(call) && d < call->D; d++)
        x[d] *= call->scale;
}

/* A row into a copy, as zeros where it is not finite, which is told. */
static bool keep_row(const attni_kernels *kernels, const float *x, size_t width, float *copy) {
    const bool finite = kernels->all_finite(1, width, ATTN_F32, x, 0);
    if (finite)
        memcpy(copy, x, width * sizeof *x);
    else
        memset(copy, 0, width * sizeof *x);
    return finite;
}

/* delta = Σ out · d_out − d_lse. A row that is not finite has an lse of NaN, which makes of all that it sees NaN. */
static void note_row(const chunk *c, size_t t, const float *d_out, bool finite) {
    const attni_back_sequence *s = c->s;
    const float *out = read_row(c, &s->call.out, t, s->call.E, c->room);
    const double sum = s->e.kernels->dot(s->call.E, out, d_out);
    *attni_back_delta(s, c->h, t) = (float)(sum - (double)number_at(&s->gradients.d_lse, s->b, c->h, t));
    *attni_back_lse(s, c->h, t) = finite ? number_at(&s->call.lse, s->b, c->h, t) : NAN;
}

/* Where rows are copied, or one of them is not finite. */
static void look_at_rows(const chunk *c) {
    const attni_back_sequence *s = c->s;
    const size_t D = s->call.D, E = s->call.E;
    float *x = c->room + E, *zeros = x + 2 * D; /* which nobody reads */
    for (size_t t = c->t; t < c->end; t++) {
        float *q = attni_back_floats(s->w, s->w->at.q) + attni_back_row(s, c->h, t) * s->w->ldq;
        float *d_out = attni_back_floats(s->w, s->w->at.d_out) + attni_back_row(s, c->h, t) * s->w->ldo;
        turn_query(c, t, x);
        const bool good = keep_row(s->e.kernels, x, D, attni_back_q_is_in_place(s) ? zeros : q);
        const float *from = read_row(c, &s->gradients.d_out, t, E, x);
        const bool fine =
            keep_row(s->e.kernels, from, E, attni_back_is_in_place(s, &s->gradients.d_out, E) ? zeros : d_out);
        note_row(c, t, from, good && fine);
        if (!good || !fine)
            atomic_store(&s->w->odd, true);
    }
}

/* Where they are read as they are. */
static bool is_easy(const chunk *c) {
    const attni_back_sequence *s = c->s;
    return attni_back_q_is_in_place(s) && attni_back_is_in_place(s, &s->gradients.d_out, s->call.E) &&
           all_finite(c, &s->call.q, s->call.D) && all_finite(c, &s->gradients.d_out, s->call.E);
}

static size_t chunks_of(const attni_backward *w) { return attni_ceil_div(w->e.call->Tq, CHUNK); }

static void look_at_chunk(void *arg, size_t unit, size_t worker) {
    attni_backward *w = arg;
    const size_t chunks = chunks_of(w), H = w->e.call->H, t = unit % chunks * CHUNK;
    attni_back_sequence s;
    attni_back_sequence_of(w, unit / chunks / H, &s);
    attni_back_desk d = attni_back_desk_of(w, worker);
    const chunk c = {&s, unit / chunks % H, t, attni_min(t + CHUNK, s.call.Tq), d.room};
    if (t >= s.call.Tq)
        return;
    const bool easy = is_easy(&c);
    for (size_t i = t; i < c.end && easy; i++)
        note_row(&c, i, attni_at(&s.gradients.d_out, s.b, c.h, i), true);
    if (!easy)
        look_at_rows(&c);
}

/* -- outputs -- */

/* Rows [count, width] of gradients, to the caller. */
static void put(const attni_kernels *kernels, const attni_view *to, size_t b, size_t h, size_t t, size_t count,
                size_t width, bool accumulate, const float *x, float *room) {
    if (!to->data)
        return;
    if (!accumulate) {
        kernels->copy(count, width, ATTN_F32, x, (ptrdiff_t)width, to->dtype, attni_at(to, b, h, t), to->stride_t);
        return;
    }
    for (size_t r = 0; r < count; r++) {
        void *row = attni_at(to, b, h, t + r);
        kernels->copy(1, width, to->dtype, row, 0, ATTN_F32, room, 0);
        kernels->mix(width, room, 1.0F, x + r * width, 1.0F);
        kernels->copy(1, width, ATTN_F32, room, 0, to->dtype, row, 0);
    }
}

void attni_back_put_queries(const attni_back_sequence *s, const attni_query_tile *t, const float *dq, float *room) {
    for (size_t h = 0; h < t->heads && !attni_turns(&s->call.q_turn); h++)
        put(s->e.kernels, &s->gradients.dq, s->b, t->head + h, t->token, t->tokens, s->call.D, s->gradients.accumulate,
            dq + h * t->tokens * s->call.D, room);
}

/* To the caller, or where they are kept until they are turned back. */
void attni_back_put_keys(const attni_back_sequence *s, const attni_key_group *group, const attni_turn *turn,
                         const attni_view *to, size_t kept, size_t width, const float *x, float *room) {
    const size_t row = s->key_rows + group->g * s->call.Tk + group->begin;
    if (attni_turns(turn))
        memcpy(attni_back_floats(s->w, kept) + row * width, x, group->count * width * sizeof *x);
    else
        put(s->e.kernels, to, s->b, group->g, group->begin, group->count, width, s->gradients.accumulate, x, room);
}

/* -- a key that every query sees -- */

/* A row's weight of it, and the gradient of its product with the row. */
typedef struct extra {
    double weight, gradient;
} extra;

static extra see_extra(const attni_back_sequence *s, size_t h, size_t t) {
    const attni_sdpa *call = &s->call;
    const attni_kernels *kernels = s->e.kernels;
    const size_t g = h / (call->H / call->G);
    const attni_back_matrix q = attni_back_q_rows(s, h, t), d_out = attni_back_d_out_rows(s, h, t);
    const double most = (double)call->softcap, lse = (double)*attni_back_lse(s, h, t);
    const double product = (double)s->e.factor * kernels->dot(call->D, q.data, call->extra_key + g * call->D);
    const double capped = most > 0 ? tanh(product / most) : 0, score = most > 0 ? most * capped : product;
    const double d = kernels->dot(call->E, d_out.data, call->extra_value + g * call->E);
    const double slope = 1 - capped * capped;
    if (call->sigmoid) {
        const double weight = isnan(lse) ? (double)NAN : 1 / (1 + exp(-score));
        return (extra){weight, weight * (1 - weight) * d * slope};
    }
    const double weight = exp(score - lse);
    return (extra){weight, weight * (d - (double)*attni_back_delta(s, h, t)) * slope};
}

void attni_back_begin_queries(const attni_back_sequence *s, const attni_query_tile *t, float *dq) {
    const attni_sdpa *call = &s->call;
    memset(dq, 0, t->rows * call->D * sizeof *dq);
    for (size_t r = 0; r < t->rows && call->extra_key; r++) {
        const size_t h = t->head + r / t->tokens, g = h / (call->H / call->G);
        const extra x = see_extra(s, h, t->token + r % t->tokens);
        s->e.kernels->mix(call->D, dq + r * call->D, 1.0F, call->extra_key + g * call->D,
                          (float)((double)call->scale * x.gradient));
    }
}

static void add_row(double *sums, size_t n, double factor, const float *x) {
    for (size_t i = 0; sums && i < n; i++)
        sums[i] += factor * (double)x[i];
}

/* Adds what a row of q has to do with the gradients of the key and its value. */
static void add_extra(const attni_back_sequence *s, size_t h, size_t t, double *keys, double *values) {
    const attni_sdpa *call = &s->call;
    const size_t g = h / (call->H / call->G);
    const extra x = see_extra(s, h, t);
    add_row(keys ? keys + g * call->D : NULL, call->D, (double)s->e.factor * x.gradient,
            attni_back_q_rows(s, h, t).data);
    add_row(values ? values + g * call->E : NULL, call->E, x.weight, attni_back_d_out_rows(s, h, t).data);
}

/* -- after the walk -- */

/* Gradients that were kept because rows were turned. */
static void turn_token(const attni_back_sequence *s, const attni_turn *turn, const attni_view *x, const attni_view *to,
                       float *kept, size_t heads, size_t T, size_t t, size_t width, ptrdiff_t first,
                       attni_turn_sums sums, float *room) {
    float *g = kept + t * width;
    if (!attni_turns(turn) || t >= T)
        return;
    attni_turn_back(s->e.kernels, turn, x, s->b, heads, t, width, first, g, T * width, sums, room);
    for (size_t h = 0; h < heads; h++)
        put(s->e.kernels, to, s->b, h, t, 1, width, s->gradients.accumulate, g + h * T * width, room);
}

/* One of the sums of a block, if it is wanted. */
static double *sum_at(const attni_back_sums *sums, double *block, attni_back_sum_of which) {
    return sums->of[which].to ? block + sums->of[which].at : NULL;
}

/* All that is done to token t of a sequence. */
static void finish_token(const attni_back_sequence *s, size_t t, double *block, float *room) {
    const attni_backward *w = s->w;
    const attni_sdpa *call = &s->call;
    const attni_gradients *g = &s->gradients;
    const attni_turn_sums q = {sum_at(&w->sums, block, ATTNI_Q_WEIGHT), sum_at(&w->sums, block, ATTNI_HEAD_FACTORS)},
                          k = {sum_at(&w->sums, block, ATTNI_K_WEIGHT), NULL},
                          v = {sum_at(&w->sums, block, ATTNI_V_WEIGHT), NULL};
    double *const keys = sum_at(&w->sums, block, ATTNI_EXTRA_KEY);
    double *const values = sum_at(&w->sums, block, ATTNI_EXTRA_VALUE);
    for (size_t h = 0; (keys || values) && t < call->Tq && h < call->H; h++)
        add_extra(s, h, t, keys, values);
    if (attni_back_wants_q(g))
        turn_token(s, &call->q_turn, &call->q, &g->dq, attni_back_floats(w, w->at.dq) + s->query_rows * call->D,
                   call->H, call->Tq, t, call->D, attni_first_position(call, s->b), q, room);
    if (attni_back_wants_k(g))
        turn_token(s, &call->k_turn, &call->k, &g->dk, attni_back_floats(w, w->at.dk) + s->key_rows * call->D, call->G,
                   call->Tk, t, call->D, 0, k, room);
    if (attni_back_wants_v(g))
        turn_token(s, &call->v_turn, &call->v, &g->dv, attni_back_floats(w, w->at.dv) + s->key_rows * call->E, call->G,
                   call->Tk, t, call->E, 0, v, room);
}

static double *block_at(const attni_backward *w, size_t n) {
    return (double *)(void *)(w->scratch + w->at.blocks) + n * w->sums.all;
}

/* Chunks of tokens that are a block. */
static void finish_block(void *arg, size_t unit, size_t worker) {
    attni_backward *w = arg;
    const attni_sdpa *call = w->e.call;
    const size_t chunks = attni_back_chunks(call), blocks = attni_back_blocks(call, &w->sums),
                 of_one = chunks / call->B;
    attni_back_desk d = attni_back_desk_of(w, worker);
    memset(block_at(w, unit), 0, w->sums.all * sizeof(double));
    for (size_t n = unit * chunks / blocks; n < (unit + 1) * chunks / blocks; n++) {
        const size_t first = n % of_one * ATTNI_BACK_CHUNK;
        attni_back_sequence s;
        attni_back_sequence_of(w, n / of_one, &s);
        for (size_t t = first; t < first + ATTNI_BACK_CHUNK; t++)
            finish_token(&s, t, block_at(w, unit), d.room);
    }
}

/* Tokens [from, to) of a sequence that are beyond its end. */
static void blank(const attni_view *view, size_t b, size_t heads, size_t from, size_t to, size_t width) {
    for (size_t h = 0; h < heads && view->data; h++)
        for (size_t t = from; t < to && width; t++)
            memset(attni_at(view, b, h, t), 0, width * attni_size_of(view->dtype));
}

static void blank_beyond(void *arg, size_t b, size_t worker) {
    attni_backward *w = arg;
    const attni_sdpa *call = w->e.call;
    attni_back_sequence s;
    attni_back_sequence_of(w, b, &s);
    size_t q, k;
    const size_t Tq = attni_tokens_of(call->query_starts, NULL, b, call->Tq, &q);
    const size_t Tk = attni_tokens_of(call->key_starts, NULL, b, call->Tk, &k);
    (void)worker;
    blank(&s.gradients.dq, b, call->H, s.call.Tq, Tq, call->D);
    blank(&s.gradients.dk, b, call->G, s.call.Tk, Tk, call->D);
    blank(&s.gradients.dv, b, call->G, s.call.Tk, Tk, call->E);
}

static void add_to(float *sum, bool accumulate, double x) { *sum = (float)(accumulate ? (double)*sum + x : x); }

/* What a row adds to the gradient of its sink. Of one that is not finite nothing is known, but of an empty one. */
static double of_sink(const attni_back_sequence *s, size_t h, size_t t, float sink) {
    const float lse = *attni_back_lse(s, h, t);
    if (isnan(lse) && number_at(&s->call.lse, s->b, h, t) == sink)
        return (double)number_at(&s->gradients.d_lse, s->b, h, t);
    return -exp((double)sink - (double)lse) * (double)*attni_back_delta(s, h, t);
}

/* A sink takes its share of each row's weights, and has no value. It is the lse of queries beyond a sequence's end. */
static void add_sinks(void *arg, size_t h, size_t worker) {
    attni_backward *w = arg;
    const float sink = w->e.call->sinks[h];
    double sum = 0;
    (void)worker;
    for (size_t b = 0; b < w->e.call->B && sink != -INFINITY; b++) {
        attni_back_sequence s;
        size_t start;
        const size_t Tq = attni_tokens_of(w->e.call->query_starts, NULL, b, w->e.call->Tq, &start);
        attni_back_sequence_of(w, b, &s);
        for (size_t t = 0; t < s.call.Tq; t++)
            sum += of_sink(&s, h, t, sink);
        for (size_t t = s.call.Tq; t < Tq; t++)
            sum += (double)number_at(&s.gradients.d_lse, b, h, t);
    }
    add_to(&w->gradients->d_sinks[h], w->gradients->accumulate, sum);
}

static void write_sums(const attni_backward *w, const double *sums, size_t n, float *to) {
    for (size_t i = 0; to && i < n; i++)
        add_to(&to[i], w->gradients->accumulate, sums[i]);
}

/* n sums of all blocks, in their order. */
static void write_blocks(const attni_backward *w, size_t at, size_t n, float *to) {
    const size_t blocks = attni_back_blocks(w->e.call, &w->sums);
    for (size_t i = 0; to && i < n; i++) {
        double sum = 0;
        for (size_t b = 0; b < blocks; b++)
            sum += block_at(w, b)[at + i];
        add_to(&to[i], w->gradients->accumulate, sum);
    }
}

/* -- the whole -- */

static void zero_sums(attni_backward *w) {
    const attni_sdpa *call = w->e.call;
    atomic_size_t *passed = (atomic_size_t *)(void *)(w->scratch + w->at.passed);
    for (size_t n = 0; n < call->B * call->G * w->tiles; n++)
        atomic_init(&passed[n], 0);
    for (size_t h = 0; w->e.slopes && h < call->H; h++)
        w->e.slopes[h] = 0;
    for (size_t n = 0; w->e.table && n < call->H * call->relative.width; n++)
        w->e.table[n] = 0;
}

/* Rows of a bias in one dimension: where its stride is 0 it has one, for all. */
static size_t own(ptrdiff_t stride, size_t size) { return stride ? size : 1; }

static void zero_bias(void *arg, size_t unit, size_t worker) {
    const attni_backward *w = arg;
    const attni_view *bias = &w->gradients->d_bias;
    const size_t T = own(bias->stride_t, w->e.call->Tq), H = own(bias->stride_h, w->e.call->H);
    (void)worker;
    memset(attni_at(bias, unit / T / H, unit / T % H, unit % T), 0, w->e.call->bias.keys * sizeof(float));
}

static void zero_floats(float *x, size_t n) {
    if (x && n)
        memset(x, 0, n * sizeof *x);
}

void attni_back_clear(attn_context *context, attni_backward *w) {
    const attni_gradients *g = w->gradients;
    const attni_view *bias = &g->d_bias;
    const attni_sdpa *call = w->e.call;
    if ((call->B == 0 || call->H == 0) && !g->accumulate) {
        zero_floats(g->d_sinks, call->H);
        zero_floats(g->d_slopes, call->H);
        zero_floats(g->d_table, call->H * call->relative.width);
        const attni_back_sums sums = attni_back_lay_sums(call, g);
        for (size_t i = 0; i < ATTNI_BACK_SUMS; i++)
            zero_floats(sums.of[i].to, sums.of[i].count);
    }
    if (bias->data && !w->gradients->accumulate)
        attni_parallel(context,
                       own(bias->stride_b, call->B) * own(bias->stride_h, call->H) * own(bias->stride_t, call->Tq), 0,
                       zero_bias, w);
}

void attni_back_begin(attn_context *context, attni_backward *w) {
    const attni_sdpa *call = w->e.call;
    const double floats = (double)call->B * (double)call->H * (double)call->Tq * (double)(call->D + 2 * call->E);
    const size_t chunks = call->B * call->H * chunks_of(w);
    zero_sums(w);
    attni_parallel(context, chunks, 8 * floats, look_at_chunk, w);
    if (atomic_load(&w->odd)) /* now with copies of all rows */
        attni_parallel(context, chunks, 8 * floats, look_at_chunk, w);
    if (attni_is_varied(call) && !w->gradients->accumulate)
        attni_parallel(context, call->B, 0, blank_beyond, w);
}

void attni_back_end(attn_context *context, attni_backward *w) {
    const attni_sdpa *call = w->e.call;
    const attni_back_sums *at = &w->sums;
    const double floats = (double)attni_back_chunks(call) * ATTNI_BACK_CHUNK * (double)call->H * (double)call->D;
    if (attni_turns(&call->q_turn) || attni_turns(&call->k_turn) || attni_turns(&call->v_turn) || at->all)
        attni_parallel(context, attni_back_blocks(call, at), 40 * floats, finish_block, w);
    for (size_t i = 0; i < ATTNI_BACK_SUMS; i++)
        write_blocks(w, at->of[i].at, at->of[i].count, at->of[i].to);
    if (w->gradients->d_sinks)
        attni_parallel(context, call->H, 0, add_sinks, w);
    write_sums(w, w->e.slopes, call->H, w->gradients->d_slopes);
    write_sums(w, w->e.table, call->H * call->relative.width, w->gradients->d_table);
}
