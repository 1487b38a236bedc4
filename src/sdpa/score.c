/* SPDX-License-Identifier: BSD-3-Clause */
/* The score program: from products of q and k to what the softmax sees. It is a list of lines in the contract's order.
 * A line that masks can also tell from its own data what of a block may be seen, so that blocks of which nothing is
 * seen are never computed, and lines that would change nothing do not run. */
#include "context/sizes.h"
#include "sdpa/lines.h"

/* -- lines -- */

static bool is_capped(const attni_sdpa *call) { return call->softcap > 0; }

/* Where quotients may leave the floats, or lose digits among the smallest. */
static void cap_in_double(size_t n, float *s, double most) {
    for (size_t j = 0; j < n; j++)
        s[j] = (float)(most * tanh((double)s[j] / most));
}

/* Scores as they are now, for the line's derivative. */
static void keep(const attni_engine *e, const attni_area *a, float *kept) {
    if (kept)
        e->kernels->copy(a->rows, a->keys, ATTN_F32, a->s, (ptrdiff_t)a->lds, ATTN_F32, kept + a->at,
                         (ptrdiff_t)a->lds);
}

static void cap(const attni_engine *e, const attni_area *a) {
    const float most = e->call->softcap;
    for (size_t r = 0; r < a->rows; r++)
        if (most < 0x1p-100F || most > 0x1p100F)
            cap_in_double(a->keys, a->s + r * a->lds, (double)most);
        else
            e->kernels->cap(a->keys, a->s + r * a->lds, most);
    keep(e, a, e->capped);
}

static void cap_back(const attni_engine *e, const attni_area *a) {
    for (size_t r = 0; r < a->rows; r++)
        e->kernels->cap_back(a->keys, e->capped + a->at + r * a->lds, e->call->softcap, a->s + r * a->lds);
}

static const void *overlay_at(const attni_overlay *o, const attni_area *a, size_t row) {
    return (const char *)attni_at(&o->view, a->b, a->h, a->i + row) + a->key * attni_size_of(o->view.dtype);
}

/* Columns of an area that an overlay has; the others are masked. */
static size_t columns_in(const attni_overlay *o, const attni_area *a) {
    return o->keys > a->key ? attni_min(a->keys, o->keys - a->key) : 0;
}

/* Rows of an area that are not the same in an overlay. */
static size_t rows_in(const attni_overlay *o, const attni_area *a) { return o->view.stride_t == 0 ? 1 : a->rows; }

static void mask_from(const attni_area *a, size_t column) {
    for (size_t r = 0; r < a->rows; r++)
        for (size_t j = column; j < a->keys; j++)
            a->s[r * a->lds + j] = -INFINITY;
}

static bool is_biased(const attni_sdpa *call) { return call->bias.there; }

/* Rows of a bias are far apart in memory: those that come AHEAD rows later, perhaps in the next tile, are fetched
 * meanwhile. */
static void add_bias(const attni_engine *e, const attni_area *a) {
    enum { AHEAD = 16 };
    const attni_overlay *bias = &e->call->bias;
    const size_t columns = columns_in(bias, a), bytes = columns * attni_size_of(bias->view.dtype);
    for (size_t r = 0; r < a->rows && columns; r++) {
        e->kernels->prefetch(1, bytes, overlay_at(bias, a, r + AHEAD), 0);
        e->kernels->add_bias(columns, a->s + r * a->lds, bias->view.dtype, overlay_at(bias, a, r));
    }
    mask_from(a, columns);
}

/* A row of what is broadcast gets the sum of all that it was added to. */
static void add_bias_back(const attni_engine *e, const attni_area *a) {
    const attni_view *sums = &e->gradients->d_bias;
    const size_t columns = columns_in(&e->call->bias, a);
    for (size_t r = 0; sums->data && r < a->rows; r++) {
        float *row = attni_at(sums, a->b, a->h, a->i + r);
        e->kernels->mix(columns, row + a->key, 1.0F, a->s + r * a->lds, 1.0F);
    }
}

static bool is_minus_infinity(attn_dtype type, const void *x, size_t n) {
    if (type == ATTN_F32)
        return ((const float *)x)[n] == -INFINITY;
    return ((const uint16_t *)x)[n] == (type == ATTN_F16 ? 0xFC00U : 0xFF80U);
}

/* Only whether all of it is masked is worth knowing: the first element that is not ends the search. */
static unsigned bias_seen(const attni_engine *e, const attni_area *a) {
    const attni_overlay *bias = &e->call->bias;
    const size_t columns = columns_in(bias, a);
    for (size_t r = 0; r < rows_in(bias, a) && columns; r++)
        for (size_t j = 0; j < columns; j++)
            if (!is_minus_infinity(bias->view.dtype, overlay_at(bias, a, r), j))
                return ATTNI_SEEN_TRUE | ATTNI_SEEN_FALSE;
    return ATTNI_SEEN_FALSE;
}

static bool is_sloped(const attni_sdpa *call) { return call->alibi != ATTN_ALIBI_NONE; }

/* The slopes of n heads, n a power of two, are 2^(−8(h+1)/n); further heads take every second one of 2n heads. */
float attni_slope(const attni_sdpa *call, size_t h) {
    size_t n = 1;
    if (call->alibi == ATTN_ALIBI_SLOPES)
        return call->slopes[h];
    while (2 * n <= call->H)
        n *= 2;
    return (float)(h < n ? exp2(-8.0 * (double)(h + 1) / (double)n)
                         : exp2(-4.0 * (double)(2 * (h - n) + 1) / (double)n));
}

/* Where floats do not count from key to key any more. */
static void add_far_slope(size_t n, float *s, double slope, double distance) {
    for (size_t j = 0; j < n; j++)
        s[j] = (float)((double)s[j] - slope * fabs(distance + (double)j));
}

static void add_slope(const attni_engine *e, const attni_area *a) {
    const float slope = attni_slope(e->call, a->h);
    const double counted = 0x1p24 - (double)(a->rows + a->keys);
    double distance = (double)a->key - (double)attni_first_position(e->call, a->b) - (double)a->i;
    const bool far = fabs(distance) > counted;
    for (size_t r = 0; r < a->rows; r++, distance -= 1)
        if (far)
            add_far_slope(a->keys, a->s + r * a->lds, (double)slope, distance);
        else
            e->kernels->add_slope(a->keys, a->s + r * a->lds, slope, (float)distance);
}

static void add_slope_back(const attni_engine *e, const attni_area *a) {
    const double first = (double)attni_first_position(e->call, a->b) + (double)a->i;
    double sum = 0;
    for (size_t r = 0; e->slopes && r < a->rows; r++)
        for (size_t j = 0; j < a->keys; j++)
            sum += (double)a->s[r * a->lds + j] * fabs(first + (double)r - (double)(a->key + j));
    if (e->slopes)
        e->slopes[a->h] -= sum;
}

static bool has_callback(const attni_sdpa *call) { return call->score; }

static attn_score_tile tile_of(const attni_engine *e, const attni_area *a, float *scores) {
    return (attn_score_tile){.batch = a->b,
                             .head = a->h,
                             .query = a->i,
                             .queries = a->rows,
                             .key = a->key,
                             .keys = a->keys,
                             .scores = scores,
                             .stride = a->lds,
                             .q = a->q,
                             .k = a->k,
                             .width = e->call->D,
                             .block = e->cut.tile.width,
                             .factor = e->factor};
}

static void call_back(const attni_engine *e, const attni_area *a) {
    const attn_score_tile tile = tile_of(e, a, a->s);
    keep(e, a, e->uncalled);
    e->call->score(e->call->score_data, &tile);
}

/* What the function makes of scores that are masked counts as little as they do. */
static void call_back_back(const attni_engine *e, const attni_area *a) {
    const attn_score_tile tile = tile_of(e, a, e->uncalled + a->at);
    e->gradients->score(e->call->score_data, &tile, a->s);
    for (size_t r = 0; r < a->rows; r++)
        for (size_t j = r * a->lds; j < r * a->lds + a->keys; j++)
            a->s[j] = e->weights[a->at + j] == 0 ? 0 : a->s[j];
}

static void apply_mask(const attni_engine *e, const attni_overlay *mask, const attni_area *a) {
    const size_t columns = columns_in(mask, a);
    for (size_t r = 0; r < a->rows && columns; r++)
        e->kernels->mask(columns, a->s + r * a->lds, overlay_at(mask, a, r), e->call->keep);
    mask_from(a, columns);
}

static unsigned mask_seen(const attni_engine *e, const attni_overlay *mask, const attni_area *a) {
    const size_t columns = columns_in(mask, a), size = attni_size_of(mask->view.dtype);
    const unsigned beyond = columns < a->keys ? ATTNI_SEEN_FALSE : 0U;
    const unsigned seen = columns ? e->kernels->seen(rows_in(mask, a), columns, overlay_at(mask, a, 0),
                                                     mask->view.stride_t * (ptrdiff_t)size)
                                  : 0;
    if (e->call->keep)
        return seen | beyond;
    return (seen & ATTNI_SEEN_TRUE ? ATTNI_SEEN_FALSE : 0U) | (seen & ATTNI_SEEN_FALSE ? ATTNI_SEEN_TRUE : 0U) | beyond;
}

static bool is_masked(const attni_sdpa *call) { return call->mask.there; }
static void apply_query_mask(const attni_engine *e, const attni_area *a) { apply_mask(e, &e->call->mask, a); }
static unsigned query_mask_seen(const attni_engine *e, const attni_area *a) { return mask_seen(e, &e->call->mask, a); }

static bool is_padded(const attni_sdpa *call) { return call->key_mask.there; }
static void apply_key_mask(const attni_engine *e, const attni_area *a) { apply_mask(e, &e->call->key_mask, a); }
static unsigned key_mask_seen(const attni_engine *e, const attni_area *a) {
    return mask_seen(e, &e->call->key_mask, a);
}

static bool is_sparse(const attni_sdpa *call) { return call->block_map.there; }

static bool block_is_on(const attni_sdpa *call, const attni_area *a, size_t row, size_t column) {
    const uint8_t *blocks = attni_at(&call->block_map.view, a->b, a->h, (a->i + row) / call->block_queries);
    return blocks[(a->key + column) / call->block_keys] != 0;
}

/* The first row or column of the next block. */
static size_t next_block(size_t first, size_t at, size_t block) { return (first + at) / block * block + block - first; }

static void apply_block_map(const attni_engine *e, const attni_area *a) {
    const attni_sdpa *call = e->call;
    for (size_t r = 0; r < a->rows; r++)
        for (size_t j = 0, end; j < a->keys; j = end) {
            end = attni_min(a->keys, next_block(a->key, j, call->block_keys));
            for (size_t n = j; n < end && !block_is_on(call, a, r, j); n++)
                a->s[r * a->lds + n] = -INFINITY;
        }
}

static unsigned block_map_seen(const attni_engine *e, const attni_area *a) {
    const attni_sdpa *call = e->call;
    unsigned seen = 0;
    for (size_t r = 0; r < a->rows; r = next_block(a->i, r, call->block_queries))
        for (size_t j = 0; j < a->keys; j = next_block(a->key, j, call->block_keys))
            seen |= block_is_on(call, a, r, j) ? ATTNI_SEEN_TRUE : ATTNI_SEEN_FALSE;
    return seen;
}

/* Keys of the area that row r does not see, [begin, end) from its first key on. */
static attni_range hole_of(const attni_sdpa *call, const attni_area *a, size_t r) {
    const size_t end = attni_hole_end(call, a->b, a->i + r);
    return attni_within_columns((attni_range){call->first_keys, end}, a->key, a->keys);
}

static void cut_hole(const attni_engine *e, const attni_area *a) {
    for (size_t r = 0; r < a->rows; r++) {
        const attni_range hole = hole_of(e->call, a, r);
        for (size_t j = hole.begin; j < hole.end; j++)
            a->s[r * a->lds + j] = -INFINITY;
    }
}

static unsigned hole_seen(const attni_engine *e, const attni_area *a) {
    unsigned seen = 0;
    for (size_t r = 0; r < a->rows; r++) {
        const attni_range hole = hole_of(e->call, a, r);
        seen |= hole.end - hole.begin < a->keys ? ATTNI_SEEN_TRUE : 0U;
        seen |= hole.end > hole.begin ? ATTNI_SEEN_FALSE : 0U;
    }
    return seen;
}

static bool has_tree(const attni_sdpa *call) { return call->tree.tokens > 0; }

/* Columns of the area before the tree. */
static size_t columns_before_tree(const attni_sdpa *call, const attni_area *a) {
    const size_t first = call->Tk > call->tree.tokens ? call->Tk - call->tree.tokens : 0;
    return first > a->key ? attni_min(first - a->key, a->keys) : 0;
}

static bool is_ancestor(const attni_sdpa *call, const attni_area *a, size_t row, size_t column) {
    const attni_tree *tree = &call->tree;
    const size_t n = a->key + column + tree->tokens - call->Tk;
    return tree->ancestors[(a->b * tree->stride + a->i + row) * tree->words + n / 64] >> n % 64 & 1U;
}

static void apply_tree(const attni_engine *e, const attni_area *a) {
    for (size_t r = 0; r < a->rows; r++)
        for (size_t j = columns_before_tree(e->call, a); j < a->keys; j++)
            if (!is_ancestor(e->call, a, r, j))
                a->s[r * a->lds + j] = -INFINITY;
}

static unsigned tree_seen(const attni_engine *e, const attni_area *a) {
    const size_t before = columns_before_tree(e->call, a);
    unsigned seen = before ? ATTNI_SEEN_TRUE : 0U;
    for (size_t r = 0; r < a->rows; r++)
        for (size_t j = before; j < a->keys; j++)
            seen |= is_ancestor(e->call, a, r, j) ? ATTNI_SEEN_TRUE : ATTNI_SEEN_FALSE;
    return seen;
}

/* -- the program -- */

typedef struct line {
    attn_stage stage; /* the line's result is part of */
    bool (*is_on)(const attni_sdpa *call);
    void (*apply)(const attni_engine *e, const attni_area *a);
    unsigned (*seen)(const attni_engine *e,
                     const attni_area *a);                    /* ATTNI_SEEN_TRUE: something visible, ATTNI_SEEN_FALSE:
                                                               something masked; NULL: all visible */
    void (*back)(const attni_engine *e, const attni_area *a); /* from gradients of what the line makes to those of what
                                                                 it is given, in place; NULL: they are the same */
} line;

static const line program[] = {
    {ATTN_STAGE_CAPPED, is_capped, cap, NULL, cap_back},
    {ATTN_STAGE_BIASED, is_biased, add_bias, bias_seen, add_bias_back},
    {ATTN_STAGE_BIASED, attni_is_relative, attni_add_relative, NULL, attni_add_relative_back},
    {ATTN_STAGE_BIASED, is_sloped, add_slope, NULL, add_slope_back},
    {ATTN_STAGE_BIASED, has_callback, call_back, NULL, call_back_back},
    {ATTN_STAGE_BIASED, is_masked, apply_query_mask, query_mask_seen, NULL},
    {ATTN_STAGE_BIASED, is_padded, apply_key_mask, key_mask_seen, NULL},
    {ATTN_STAGE_BIASED, is_sparse, apply_block_map, block_map_seen, NULL},
    {ATTN_STAGE_BIASED, attni_is_listed, attni_apply_lists, attni_lists_seen, NULL},
    {ATTN_STAGE_BIASED, attni_has_hole, cut_hole, hole_seen, NULL},
    {ATTN_STAGE_BIASED, has_tree, apply_tree, tree_seen, NULL},
};
enum { LINES = sizeof program / sizeof *program };

void attni_read_program(attni_engine *e) {
    e->lines = e->masking = 0;
    for (unsigned n = 0; n < LINES; n++)
        if (program[n].is_on(e->call)) {
            e->lines |= 1U << n;
            e->masking |= program[n].seen ? 1U << n : 0U;
        }
}

/* The head that row-block h of a tile is. */
static attni_area area_of(const attni_query_tile *t, size_t h, size_t key, size_t keys) {
    return (attni_area){.b = t->batch, .h = t->head + h, .i = t->token, .rows = t->tokens, .key = key, .keys = keys};
}

/* What line n sees of keys [key, key + keys), for all heads of the tile. */
static unsigned line_seen(const attni_engine *e, const attni_query_tile *t, unsigned n, size_t key, size_t keys) {
    unsigned seen = 0;
    for (size_t h = 0; h < t->heads; h++) {
        const attni_area a = area_of(t, h, key, keys);
        seen |= program[n].seen(e, &a);
    }
    return seen;
}

/* Whether the lines leave something of a block visible; adds to *partial those that mask something. */
static bool block_seen(const attni_engine *e, const attni_query_tile *t, size_t key, size_t keys, unsigned *partial) {
    unsigned masking = 0;
    for (unsigned n = 0; e->masking >> n; n++) {
        const unsigned seen = e->masking >> n & 1U ? line_seen(e, t, n, key, keys) : (unsigned)ATTNI_SEEN_TRUE;
        if (!(seen & ATTNI_SEEN_TRUE))
            return false;
        if (seen & ATTNI_SEEN_FALSE)
            masking |= 1U << n;
    }
    *partial |= masking;
    return true;
}

static attni_sight sight_of(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                            size_t begin, size_t end, unsigned lines, unsigned masking) {
    attni_sight seen = {.begin = begin, .columns = attni_max(end - begin, e->cut.least_keys), .lines = lines};
    seen.range = attni_ranges(e, t, group->begin + begin, seen.columns);
    seen.partial = seen.range || masking || has_callback(e->call);
    return seen;
}

/* Runs begin at multiples of so many keys, so that the softmax pass sums the same keys in the same lanes wherever a
 * tile begins to see. */
enum { LANES = 64 };

bool attni_next_run(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group, size_t from,
                    attni_sight *seen) {
    const attni_range all = attni_within_columns(attni_bounds(e->call, t), group->begin, group->count);
    const size_t W = attni_max(e->cut.tile.width, LANES);
    size_t begin = attni_max(from, all.begin / W * W), end = begin;
    unsigned partial = 0;
    if (e->masking == 0)
        end = attni_max(end, all.end);
    while (end < all.end) {
        const size_t keys = attni_min(W, all.end - end);
        const bool visible = block_seen(e, t, group->begin + end, keys, &partial);
        if (!visible && end > begin)
            break;
        end += keys;
        begin = visible ? begin : end;
    }
    if (begin >= attni_min(end, all.end))
        return false;
    *seen = sight_of(e, t, group, begin, end, (e->lines & ~e->masking) | partial, partial);
    return true;
}

attni_sight attni_see_all(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group) {
    return sight_of(e, t, group, 0, group->count, e->lines, e->masking);
}

/* -- the product and the lines -- */

/* How deep one product is: the rounding errors of long sums grow with them, those of sums of sums much less. The next
 * one begins with whole quads. */
static size_t depth_of(size_t D) {
    enum { LONGEST = 192, PIECE = 128 };
    return D <= LONGEST ? D : attni_round_up(attni_ceil_div(D, attni_ceil_div(D, PIECE)), 4);
}

static void multiply(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                     const attni_sight *seen, float *s) {
    const size_t W = e->cut.tile.width, D = e->call->D, step = depth_of(D), depth = group->depth,
                 size = attni_size_of(group->dtype);
    const size_t columns = attni_round_up(seen->columns, 16);
    attni_panels k = {.type = group->dtype,
                      .data = group->k + seen->begin * depth * size,
                      .width = W,
                      .ld = W,
                      .step = W * depth,
                      .scale = group->k_scale ? group->k_scale + seen->begin : NULL};
    size_t d = 0;
    do {
        attni_multiply_left(e->context, t->rows, columns, attni_min(step, D - d), e->factor, &t->q, 0, d, &k, d > 0, s,
                            e->cut.tile.keys);
        k.data += step * W * size;
        d += step;
    } while (d < D);
}

/* The order of the stages, which are named for what they are. */
static bool belongs(attn_stage of_line, attn_stage wanted) {
    return wanted != ATTN_STAGE_RAW && (wanted != ATTN_STAGE_CAPPED || of_line == ATTN_STAGE_CAPPED);
}

/* Head h of a tile, against what of a group it sees: its part of s [rows, columns]. */
static attni_area part_of(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                          const attni_sight *seen, size_t h, float *s) {
    attni_area a = area_of(t, h, group->begin + seen->begin, attni_min(seen->columns, group->count - seen->begin));
    a.lds = e->cut.tile.keys;
    a.at = h * t->tokens * a.lds;
    a.s = s + a.at;
    a.q = (const float *)(const void *)t->q.data + h * t->tokens * e->call->D;
    a.k = group->k_floats + seen->begin * e->call->D;
    return a;
}

void attni_score(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                 const attni_sight *seen, attn_stage stage, float *s) {
    multiply(e, t, group, seen, s);
    for (unsigned n = 0; n < LINES && seen->lines >> n; n++)
        for (size_t h = 0; h < t->heads && seen->lines >> n & 1U && belongs(program[n].stage, stage); h++) {
            const attni_area a = part_of(e, t, group, seen, h, s);
            program[n].apply(e, &a);
        }
}

void attni_score_back(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                      const attni_sight *seen, float *g) {
    for (unsigned n = LINES; n-- > 0;)
        for (size_t h = 0; h < t->heads && seen->lines >> n & 1U && program[n].back; h++) {
            const attni_area a = part_of(e, t, group, seen, h, g);
            program[n].back(e, &a);
        }
}
