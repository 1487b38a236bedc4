/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_sdpa with any options on any sizes. What is valid is near the reference, the same on one thread and three, and
 * in the scratch that was asked for; one field spoilt, it is refused by name, and nothing is written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "support/fault.h"
#include "support/meter.h"
#include "support/numbers.h"
#include "support/turns.h"
#include "support/variants.h"

/* ---- what it runs on ---- */

static attn_context *one[FUZZ_CONTEXTS], *three[FUZZ_CONTEXTS];

/* ---- the call ---- */

/* Most are small, and few have many scores. */
static struct shape take_shape(struct input *in) {
    static const size_t lengths[] = {1, 2, 3, 5, 7, 8, 12, 15, 16, 17, 31, 33, 0, 63, 64, 65, 70, 129, 200, 300};
    static const size_t widths[] = {8, 1, 2, 3, 4, 5, 12, 16, 17, 20, 0, 33, 40, 64, 65, 72};
    const size_t G = take_below(in, 16) ? 1 + take_below(in, 2) : take_below(in, 4),
                 most = take_below(in, 64) ? 600 : 60000;
    struct shape s = {take_below(in, 24) ? 1 + take_below(in, 3) : 0,
                      G * (take_below(in, 16) ? 1 + take_below(in, 3) : 0),
                      G,
                      take_pick(in, lengths),
                      take_pick(in, lengths),
                      take_pick(in, widths),
                      take_pick(in, widths)};
    while (s.B * s.H * s.Tq * s.Tk > most)
        *(s.Tq > s.Tk ? &s.Tq : &s.Tk) /= 2;
    return s;
}

static struct levels take_levels(struct input *in) {
    struct levels levels;
    const size_t sparse = 1 + take_below(in, 6);
    for (size_t o = 0; o < OPTIONS; o++)
        levels.of[o] = take_below(in, sparse) ? 0 : (unsigned)take_below(in, OPTION_LEVELS[o]);
    return levels;
}

/* Large and small factors. Left out are those that alone, times q, leave f32; what they make 0 is NaN beside Inf. Caps
 * of the size of large scores are too: where they saturate, scores differ by less than floats. */
static void take_factors(struct input *in, struct sdpa_case *c) {
    static const float scales[] = {0, -1e-20F, 1e-3F, -7, 100, 1e10F, -1e30F};
    static const float caps[] = {0, 0, 1e-45F, 2.9e-39F, 1e-20F, 1e-3F, 100, 1e37F, 3.4e38F};
    c->params.scale = take_pick(in, scales);
    c->params.softcap = take_pick(in, caps);
}

/* Do the tables have all positions? Those that the caller gives, they have. */
static bool positions_fit(const struct sdpa_case *c) {
    const attn_sdpa_params *p = &c->params;
    const bool given = p->rotary && p->rotary->query_positions;
    const size_t D = c->q.size[3];
    if (!p->rotary || (p->rotary->width ? p->rotary->width : D) == 0)
        return true;
    for (size_t n = 0; n < sequences_of(p, c->q.size[0]); n++) {
        const span s = span_of(p, n, c->q.size[2], c->k.size[2]);
        const long double first = first_position(p, &s, n);
        if (s.queries && !given && (first < 0 || first + (long double)s.queries > TABLE))
            return false;
    }
    return true;
}

/* As the reference knows it: q, k and v turned beforehand. */
static struct sdpa_case plain(const struct sdpa_case *c) {
    if (!c->params.rotary && !c->params.qk_norm)
        return *c;
    struct sdpa_case of = turned_case(c);
    of.score_size = fmax(8, c->score_size);
    return of;
}

/* A callback sees, and is multiplied as, f32. */
static bool rounds(attn_context *context, const struct sdpa_case *c) {
    return describe(context).precision != ATTN_PRECISION_F32 && !c->params.score;
}

/* A scale so small goes to q. */
static bool scales_query(const attn_sdpa_params *p) { return p->scale != 0 && fabs((double)p->scale) < 0x1p-32; }

/* The case whose q has its factors in it. */
static void multiply_query(struct sdpa_case *c) {
    attn_sdpa_params *p = &c->params;
    const attn_tensor q = new_copy_of(ATTN_F32, c->q);
    const double scale = scales_query(p) ? (double)p->scale : 1;
    for (size_t n = 0; n < sequences_of(p, q.size[0]); n++) {
        const span s = span_of(p, n, q.size[2], c->k.size[2]);
        const size_t b = p->query_starts ? 0 : n;
        for (size_t at = 0; at < q.size[1] * s.queries * q.size[3]; at++) {
            const size_t d = at % q.size[3], i = at / q.size[3] % s.queries, h = at / q.size[3] / s.queries;
            const double factor = scale * query_factor(p, &s, n, h, i);
            set_value_at(q, b, h, s.q_start + i, d, factor * value_at(q, b, h, s.q_start + i, d));
        }
    }
    c->q = q;
    p->query_factor = NULL;
    p->head_scales = NULL;
    p->scale = scales_query(p) ? 1 : p->scale;
}

/* How far it may be from x rounded to bf16 to what the library has there, whose x is within a few ulps of the row. */
static double doubt(attn_tensor x, size_t row, size_t d) {
    const size_t D = x.size[3];
    double most = 0;
    for (size_t i = 0; i < D; i++)
        most = fmax(most, fabs(value(x, row * D + i)));
    const double of = value(x, row * D + d), slack = 0x1p-20 * most;
    return isfinite(most) ? rounded_to(ATTN_BF16, of + slack) - rounded_to(ATTN_BF16, of - slack) : 0;
}

/* The most that doubts about rows of x add up to in their products with rows of y. */
static double doubt_of_products(attn_tensor x, attn_tensor y) {
    const size_t D = x.size[3], rows = element_count(x) / (D ? D : 1);
    double *most = new_doubles(D), worst = 0;
    for (size_t d = 0; d < D; d++)
        most[d] = 0;
    for (size_t n = 0; n < element_count(y); n++)
        most[n % D] = isfinite(value(y, n)) ? fmax(most[n % D], fabs(value(y, n))) : most[n % D];
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t d = 0; d < D; d++)
            sum += doubt(x, r, d) * most[d];
        worst = fmax(worst, sum);
    }
    return worst;
}

/* What is turned, or multiplied by a factor, in f32 first is there what the library rounds but for its last bits: where
 * these decide, scores and values differ by ulps of bf16. */
static void allow_doubts(struct sdpa_case *c, const attn_sdpa_params *of) {
    const bool turned = of->rotary || of->qk_norm;
    double products = 0;
    if (turned || of->query_factor || of->head_scales || scales_query(of))
        products += doubt_of_products(c->q, c->k);
    if (turned)
        products += doubt_of_products(c->k, c->q);
    c->score_error = products * fabs(effective_scale(&c->params, c->q.size[3]));
    for (size_t n = 0; n < element_count(c->v) && turned && c->weight_error == 0; n++)
        c->weight_error = doubt(c->v, n / c->v.size[3], n % c->v.size[3]) > 0 ? 0x1p-7 : 0;
}

/* ---- valid ones ---- */

static void check_near_reference(attn_context *context, const struct sdpa_case *c) {
    struct sdpa_case of = plain(c);
    const struct sdpa_result r = run_sdpa(context, c);
    if (rounds(context, c)) {
        multiply_query(&of);
        allow_doubts(&of, &c->params);
        fuzz_round(&of);
    }
    if (of.score_error < 0.1) /* else which is largest is chance */
        assert_sdpa_near(&of, &r);
}

static void check_threads(size_t which, const struct sdpa_case *c) {
    const struct sdpa_result want = run_sdpa(one[which], c), got = run_sdpa(three[which], c);
    assert_same_result(&got, &want);
}

/* With the scratch that it says it needs it allocates nothing; without memory it says so. */
static void check_memory(size_t which, const struct sdpa_case *c) {
    struct meter meter = {0};
    attn_context_options options = fuzz_options(which, 1);
    const struct sdpa_result r = new_sdpa_result(c);
    attn_top_keys top;
    const attn_sdpa_params params = params_for(c, &r, &top);
    attn_context *context = NULL;
    size_t bytes = 0;
    options.allocator = metered(&meter, 1).allocator;
    assert_ok(NULL, attn_context_create(&options, &context));
    meter.fail_at = meter.calls + 1;
    assert_ok(context, attn_sdpa_scratch_size(context, &c->q, &c->k, &c->v, &r.out, &params, &bytes));
    const attn_status status = attn_sdpa(context, &c->q, &c->k, &c->v, &r.out, &params);
    assert_true(status == ATTN_OK ? meter.calls + 1 == meter.fail_at : status == ATTN_ERROR_MEMORY);
    if (status != ATTN_OK) {
        assert_true(bytes > 0);
        assert_untouched(r.out);
        assert_untouched(r.lse);
        assert_ok(context, attn_context_reserve(context, bytes));
        meter.fail_at = meter.calls + 1;
        assert_ok(context, attn_sdpa(context, &c->q, &c->k, &c->v, &r.out, &params));
    }
    const struct sdpa_result want = run_sdpa(one[which], c);
    assert_same_result(&r, &want);
    attn_context_destroy(context);
    assert_int_equal(meter.live, 0);
}

/* ---- spoilt ones ---- */

/* A call whose every part can be changed. */
struct call {
    struct sdpa_result result;
    attn_tensor q, k, v, out, weights, bias, mask, key_mask, block_map;
    const attn_tensor *q_argument, *k_argument, *v_argument, *out_argument;
    WITH_TAIL(attn_sdpa_params) params;
    attn_window window;
    attn_top_keys top;
    attn_rotary rotary;
    attn_qk_norm norm;
    size_t B, H, Tq, Tk; /* as in shapes of masks */
};

static const attn_tensor *own(const attn_tensor *t, attn_tensor *copy) {
    if (t)
        *copy = *t;
    return t ? copy : NULL;
}

static void make_call(const struct sdpa_case *c, struct call *to) {
    attn_sdpa_params *p = &to->params.known;
    memset(to, 0, sizeof *to);
    to->result = new_sdpa_result(c);
    *p = params_for(c, &to->result, &to->top);
    to->q = c->q;
    to->k = c->k;
    to->v = c->v;
    to->out = to->result.out;
    to->q_argument = &to->q;
    to->k_argument = &to->k;
    to->v_argument = &to->v;
    to->out_argument = &to->out;
    p->weights = own(p->weights, &to->weights);
    p->bias = own(p->bias, &to->bias);
    p->mask = own(p->mask, &to->mask);
    p->key_mask = own(p->key_mask, &to->key_mask);
    p->block_map = own(p->block_map, &to->block_map);
    if (p->window)
        to->window = *p->window, p->window = &to->window;
    if (p->rotary)
        to->rotary = *p->rotary, p->rotary = &to->rotary;
    if (p->qk_norm)
        to->norm = *p->qk_norm, p->qk_norm = &to->norm;
    to->B = sequences_of(p, c->q.size[0]);
    to->H = c->q.size[1];
}

/* A fault: spoils the call and returns which words the message may name; NULL where the call has no such part. */
typedef const char *(*fault)(struct call *c, struct input *in);

struct part {
    const char *name;
    attn_tensor *tensor;
    const attn_tensor **argument;
    bool is_output;
    unsigned types; /* by bits */
};

/* One of the tensors that are there. */
static struct part take_part(struct call *c, struct input *in) {
    attn_sdpa_params *p = &c->params.known;
    const struct part parts[] = {{"q", &c->q, &c->q_argument, false, 7},
                                 {"k", &c->k, &c->k_argument, false, 7},
                                 {"v", &c->v, &c->v_argument, false, 7},
                                 {"out", &c->out, &c->out_argument, true, 7},
                                 {"weights", &c->weights, &p->weights, true, 7},
                                 {"bias", &c->bias, &p->bias, false, 7},
                                 {"mask", &c->mask, &p->mask, false, 8},
                                 {"key_mask", &c->key_mask, &p->key_mask, false, 8},
                                 {"block_map", &c->block_map, &p->block_map, false, 8}};
    const struct part part = take_pick(in, parts);
    return *part.argument ? part : parts[3];
}

static bool is_empty(const attn_tensor *t) { return element_count(*t) == 0; }

static const char *no_argument(struct call *c, struct input *in) {
    const attn_tensor **const all[] = {&c->q_argument, &c->k_argument, &c->v_argument, &c->out_argument};
    *take_pick(in, all) = NULL;
    return "q k v out";
}

static const char *no_data(struct call *c, struct input *in) {
    const struct part part = take_part(c, in);
    if (is_empty(part.tensor))
        return NULL;
    part.tensor->data = NULL;
    return part.name;
}

static const char *type(struct call *c, struct input *in) {
    const struct part part = take_part(c, in);
    const int64_t x = take_integer(in);
    part.tensor->dtype = (attn_dtype)(int)x;
    return (int)x >= 0 && (int)x < 4 && part.types >> (int)x & 1 ? NULL : part.name;
}

static const char *inner_stride(struct call *c, struct input *in) {
    const struct part part = take_part(c, in);
    const int64_t x = take_integer(in);
    if (x == 1 || part.tensor->size[3] < 2)
        return NULL;
    part.tensor->stride[3] = (ptrdiff_t)x;
    return part.name;
}

/* Two elements in one place. */
static const char *shared_output(struct call *c, struct input *in) {
    const struct part part = take_part(c, in);
    const size_t axis = take_below(in, 3);
    if (!part.is_output || is_empty(part.tensor) || part.tensor->size[axis] < 2)
        return NULL;
    part.tensor->stride[axis] = (ptrdiff_t)take_below(in, part.tensor->size[3]);
    return part.name;
}

static const char *far_stride(struct call *c, struct input *in) {
    static const ptrdiff_t far[] = {PTRDIFF_MAX, PTRDIFF_MIN, PTRDIFF_MAX / 4 + 1, -PTRDIFF_MAX / 2};
    const struct part part = take_part(c, in);
    const size_t axis = take_below(in, 3);
    if (part.tensor->size[axis] < 2)
        return NULL;
    part.tensor->stride[axis] = take_pick(in, far);
    return part.name;
}

/* Of the four tensors no size can change alone. */
static const char *size(struct call *c, struct input *in) {
    const struct part part = take_part(c, in);
    const size_t axis = take_below(in, 4), was = part.tensor->size[axis], x = (size_t)take_integer(in);
    const bool mask = part.types == 8 || part.argument == &c->params.known.bias;
    if (x == was || (mask && (x == 1 || (axis == 3 && c->params.known.pad_masks && x < was))) ||
        (part.argument == &c->params.known.weights && axis == 1 && (x == 1 || x == c->H)))
        return NULL;
    if (mask && was == 1 && axis < 3) /* what it may be is not known here */
        return NULL;
    if (mask && axis == 3 && c->params.known.pad_masks)
        return NULL;
    part.tensor->size[axis] = x;
    return part.name[1] ? part.name : "q k v out";
}

static const char *overlap(struct call *c, struct input *in) {
    const struct part from = take_part(c, in);
    struct call *of = c;
    float **const outputs[] = {&of->params.known.lse, &of->params.known.key_mass, &of->params.known.entropy,
                               &of->params.known.largest_scores};
    const size_t which = take_below(in, 5);
    if (is_empty(from.tensor) || is_empty(&c->out) || (which == 4 && from.tensor == &c->out))
        return NULL;
    if (which < 4 && !*outputs[which])
        return NULL;
    if (which < 4)
        *outputs[which] = from.tensor->data;
    else
        c->out.data = from.tensor->data;
    return "out lse key_mass entropy largest_scores weights";
}

static const char *number(struct call *c, struct input *in) {
    attn_sdpa_params *p = &c->params.known;
    const float x = (float)take_number(in);
    const bool finite = isfinite(x);
    switch (take_below(in, 4)) {
    case 0:
        p->scale = x;
        return x == 0 || (0x1p-100F <= fabsf(x) && fabsf(x) <= 0x1p100F) ? NULL : "scale";
    case 1:
        p->softcap = x;
        return finite && x >= 0 ? NULL : "softcap";
    case 2:
        p->dropout = x;
        return finite && x >= 0 && x < 1 ? NULL : "dropout";
    default:
        c->norm.eps = x;
        return !p->qk_norm || (finite && x >= 0) ? NULL : "eps";
    }
}

static const char *choice(struct call *c, struct input *in) {
    attn_sdpa_params *p = &c->params.known;
    const int x = (int)take_integer(in);
    switch (take_below(in, 7)) {
    case 0:
        p->causal = (attn_causal)x;
        return x >= 0 && x < CAUSALS ? NULL : "causal";
    case 1:
        p->alibi = (attn_alibi)x;
        return x >= 0 && x < 3 ? NULL : "alibi";
    case 2:
        p->polarity = (attn_polarity)x;
        return x == ATTN_KEEP || x == ATTN_DROP || !(p->mask || p->key_mask) ? NULL : "polarity";
    case 3:
        p->weights_stage = (attn_stage)x;
        return x >= 0 && x < STAGES ? NULL : "weights_stage";
    case 4:
        p->alignment = (attn_causal)x;
        return x == ATTN_CAUSAL_NONE ? NULL : x < 0 || x >= CAUSALS || p->causal ? "alignment" : NULL;
    case 5:
        c->rotary.kind = (attn_rotary_kind)x;
        return !p->rotary || x == 0 || x == 1 ? NULL : "kind";
    default:
        c->norm.kind = (attn_norm_kind)x;
        return !p->qk_norm || (x >= 0 && x < 3) ? NULL : "kind";
    }
}

/* An array that is there, or is not, where it should not be, or should. */
static const char *array(struct call *c, struct input *in) {
    static const float slopes[16];
    attn_sdpa_params *p = &c->params.known;
    switch (take_below(in, 7)) {
    case 0:
        p->causal_offset = p->causal_offset ? NULL : new_integers((const int64_t[64]){0}, c->B);
        return c->B ? "causal_offset" : NULL;
    case 1:
        p->alibi_slopes = p->alibi == ATTN_ALIBI_SLOPES ? NULL : slopes;
        return c->H ? "alibi_slopes" : NULL;
    case 2:
        *(p->block_map && take_below(in, 2) ? &p->block_queries : &p->block_keys) = p->block_map ? 0 : 1;
        return "block_map block_queries block_keys";
    case 3:
        p->query_starts = NULL;
        return p->key_starts || p->sequences ? "query_starts" : NULL;
    case 4:
        c->top.keys = NULL;
        return p->top_keys && c->top.k && !is_empty(&c->out) ? "top_keys" : NULL;
    case 5:
        *(take_below(in, 2) ? &c->rotary.cos : &c->rotary.sin) = NULL;
        return p->rotary && (c->rotary.width ? c->rotary.width : c->q.size[3]) ? "cos sin" : NULL;
    default:
        p->query_starts = new_integers((const int64_t[64]){0}, c->B + 1);
        p->sequences = c->B;
        return c->q.size[0] != 1 && !p->key_starts ? "q query_starts" : NULL;
    }
}

/* One of an array's integers: out of the range that it must be in. */
static const int64_t *with_one(const int64_t *was, size_t n, size_t at, int64_t x) {
    int64_t *values = new_integers(was, n);
    values[at] = x;
    return values;
}

static bool outside(int64_t x, size_t most) { return x < 0 || (uint64_t)x > most; }

static const char *integer(struct call *c, struct input *in) {
    attn_sdpa_params *p = &c->params.known;
    const int64_t x = take_integer(in);
    const size_t at = take_below(in, c->B);
    switch (take_below(in, 8)) {
    case 0:
        if (!p->key_lengths || c->B == 0)
            return NULL;
        p->key_lengths = with_one(p->key_lengths, c->B, at, x);
        return outside(x, c->k.size[2]) ? "key_lengths" : NULL;
    case 1:
        if (!p->query_lengths || c->B == 0)
            return NULL;
        p->query_lengths = with_one(p->query_lengths, c->B, at, x);
        return outside(x, c->q.size[2]) ? "query_lengths" : NULL;
    case 2:
        if (!p->query_starts)
            return NULL;
        p->query_starts = with_one(p->query_starts, c->B + 1, at, x);
        return outside(x, c->q.size[2]) ? "query_starts" : NULL;
    case 3:
        if (!p->key_starts)
            return NULL;
        p->key_starts = with_one(p->key_starts, c->B + 1, at, x);
        return outside(x, c->k.size[2]) ? "key_starts" : NULL;
    case 4:
        *(take_below(in, 2) ? &c->window.left : &c->window.right) = x;
        return NULL;
    case 5:
        c->rotary.width = (size_t)x;
        return p->rotary && (x % 2 || (size_t)x > c->q.size[3]) ? "width rotary" : NULL;
    default: {
        if (!p->rotary || !p->rotary->key_positions || p->query_starts || p->key_lengths || c->k.size[2] == 0 ||
            c->B * c->H == 0 || (c->rotary.width ? c->rotary.width : c->q.size[3]) == 0 || is_empty(&c->out))
            return NULL;
        const size_t positions = (c->rotary.axes > 1 ? c->rotary.axes : 1) * c->B * c->k.size[2];
        c->rotary.key_positions = with_one(p->rotary->key_positions, positions, take_below(in, positions), x);
        return outside(x, TABLE - 1) ? "key_positions" : NULL;
    }
    }
}

/* A float of an array. */
static const char *element_of(struct call *c, struct input *in) {
    attn_sdpa_params *p = &c->params.known;
    const bool of_sinks = take_below(in, 2);
    const float x = (float)take_number(in), *was = of_sinks ? p->sinks : p->alibi_slopes;
    if (!was || c->H == 0)
        return NULL;
    float *values = new_floats(c->H);
    memcpy(values, was, c->H * sizeof *values);
    values[take_below(in, c->H)] = x;
    *(of_sinks ? &p->sinks : &p->alibi_slopes) = values;
    return isnan(x) || x == INFINITY || (!of_sinks && isinf(x)) ? (of_sinks ? "sinks" : "alibi_slopes") : NULL;
}

static const char *version(struct call *c, struct input *in) {
    attn_sdpa_params *p = &c->params.known;
    const size_t x = (size_t)take_integer(in);
    switch (take_below(in, 4)) {
    case 0:
        p->struct_size = sizeof c->params;
        c->params.tail[take_below(in, sizeof c->params.tail)] = 1;
        return "struct_size";
    case 1:
        c->rotary.struct_size = x;
        return p->rotary && x < offsetof(attn_rotary, offset) ? "struct_size" : NULL;
    case 2:
        c->norm.struct_size = x;
        return p->qk_norm && x < offsetof(attn_qk_norm, all_heads) ? "struct_size" : NULL;
    default:
        p->struct_size = x;
        return x < offsetof(attn_sdpa_params, alignment) || x > sizeof *p + 8192 ? "struct_size" : NULL;
    }
}

static const fault FAULTS[] = {no_argument, no_data, type,   inner_stride, shared_output, far_stride, size,
                               overlap,     number,  choice, array,        integer,       element_of, version};

static bool mentions_any(const char *message, const char *words) {
    char word[32];
    while (*words) {
        const size_t length = strcspn(words, " ");
        memcpy(word, words, length);
        word[length] = '\0';
        if (strstr(message, word))
            return true;
        words += length + (words[length] == ' ');
    }
    return false;
}

static void assert_nothing_written(const struct sdpa_result *r) {
    const attn_tensor all[] = {r->out,     r->lse,     r->probabilities, r->key_mass,
                               r->entropy, r->largest, r->top_keys,      r->top_probabilities};
    for (size_t i = 0; i < COUNT(all); i++)
        assert_untouched(all[i]);
}

static void refuse(attn_context *context, const struct call *c, const char *words) {
    const attn_status status =
        attn_sdpa(context, c->q_argument, c->k_argument, c->v_argument, c->out_argument, &c->params.known);
    const char *message = attn_context_last_error(context);
    if (status == ATTN_OK || !mentions_any(message, words))
        check_mentions(message, words, __FILE__, __LINE__);
    assert_true(status != ATTN_OK);
    assert_nothing_written(&c->result);
}

/* Faults that the data show are none where nothing is computed. */
static void check_fault(attn_context *context, const struct sdpa_case *of, struct input *in) {
    struct call c;
    make_call(of, &c);
    const char *words = take_pick(in, FAULTS)(&c, in);
    if (words && !is_empty(&c.result.out) && !is_empty(&of->k))
        refuse(context, &c, words);
}

static void check_positions(attn_context *context, const struct sdpa_case *of) {
    struct call c;
    make_call(of, &c);
    if (!is_empty(&c.result.out))
        refuse(context, &c, "query_positions");
}

/* ---- an input ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct turns turns;
    const size_t contexts = fuzz_contexts(one, 1);
    seed(take_bits(&in));
    (void)fuzz_contexts(three, 3);
    const size_t which = take_below(&in, contexts), kind = take_below(&in, 8);
    const struct levels levels = take_levels(&in);
    const struct shape shape = take_shape(&in);
    struct sdpa_case c = variant_of("fuzz", &levels, &shape);
    if (take_below(&in, 4) == 0 && levels.of[NUMBERS] != LARGE_NUMBERS && shape.H > 0)
        set_random_turns(one[which], &c, &turns);
    if (take_below(&in, 8) == 0 && (levels.of[NUMBERS] == 0 || levels.of[NUMBERS] == SOME_NAN))
        take_factors(&in, &c);
    name_sdpa(&c);
    if (!positions_fit(&c))
        check_positions(one[which], &c);
    else if (kind < 2)
        check_fault(one[which], &c, &in);
    else if (kind == 2)
        check_threads(which, &c);
    else if (kind == 3)
        check_memory(which, &c);
    else
        check_near_reference(one[which], &c);
    end_case();
    return 0;
}
