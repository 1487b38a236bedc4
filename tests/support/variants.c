/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/variants.h"

#include <float.h>
#include <math.h>

#include "support/pools.h"

const char *const OPTION_NAMES[OPTIONS] = {
    "scale",      "softcap",  "bias",       "alibi",     "callback",    "mask",         "key_mask",  "polarity",
    "pad_masks",  "causal",   "window",     "key_lens",  "q_lens",      "blocks",       "ragged",    "sinks",
    "dropout",    "in_types", "numbers",    "in_layout", "out_type",    "layout",       "no_lse",    "stage",
    "averaged",   "w_type",   "inspection", "align",     "chunk",       "causal_block", "documents", "spans",
    "first_keys", "tree",     "relative",   "q_factor",  "head_scales", "key_lists",    "sigmoid",   "poison"};

static const float SCALES[] = {0, 0.4F, -0.25F};
static const float SOFTCAPS[] = {0, 1.5F, 30};
static const attn_window WINDOWS[] = {{-1, -1}, {5, 0},   {-1, 3}, {0, 0}, {20, 40}, {70, -1}, {INT64_MAX, INT64_MAX},
                                      {4, -3},  {-2, 30}, {12, -5}};
static const float DROPOUTS[] = {0, 0.25F, 0.9F};
static const attn_dtype TYPES[][3] = {{ATTN_F32, ATTN_F32, ATTN_F32},
                                      {ATTN_F16, ATTN_F16, ATTN_F16},
                                      {ATTN_BF16, ATTN_BF16, ATTN_BF16},
                                      {ATTN_F32, ATTN_F16, ATTN_BF16},
                                      {ATTN_BF16, ATTN_F32, ATTN_F16}};
static const enum layout SHARED[] = {OUTPUT_LAYOUTS, SLIDING, SAME_TOKENS, SAME_HEADS, SAME_BATCHES};
static const size_t BLOCKS[][2] = {{0, 0}, {16, 16}, {7, 33}, {64, 64}, {1000, 1}};

static const size_t CHUNKS[] = {0, 16, 50, 1};
static const size_t CAUSAL_BLOCKS[] = {0, 4, 48, SIZE_MAX};
static const size_t FIRST_KEYS_OF[] = {0, 3, 70};
static const attn_relative_bias RELATIVES[] = {{.reach = 0},
                                               {.reach = 3},
                                               {.reach = 500},
                                               {.rows = 5, .columns = 7},
                                               {.rows = 9, .columns = 9, .prefix = 1},
                                               {.rows = 1, .columns = 200, .prefix = 5}};
static const attn_key_lists LISTS[] = {{.count = 0},
                                       {.count = 3, .queries = 1, .keys = 16},
                                       {.count = 2, .queries = 50, .keys = 64},
                                       {.count = 40, .queries = 7, .keys = 1},
                                       {.count = 0, .queries = 1, .keys = SIZE_MAX}};
static const size_t TREES[] = {0, 5, 70};

const unsigned OPTION_LEVELS[OPTIONS] = {[SCALE] = COUNT(SCALES),
                                         [SOFTCAP] = COUNT(SOFTCAPS),
                                         [BIAS] = 6,
                                         [ALIBI] = 3,
                                         [CALLBACK] = 4,
                                         [MASK] = 6,
                                         [KEY_MASK] = 3,
                                         [POLARITY] = 2,
                                         [PAD_MASKS] = 3,
                                         [CAUSAL] = CAUSALS,
                                         [WINDOW] = COUNT(WINDOWS),
                                         [KEY_LENGTHS] = 2,
                                         [QUERY_LENGTHS] = 2,
                                         [BLOCK_MAP] = COUNT(BLOCKS),
                                         [RAGGED] = 3,
                                         [SINKS] = 3,
                                         [DROPOUT] = COUNT(DROPOUTS),
                                         [INPUT_TYPES] = COUNT(TYPES),
                                         [NUMBERS] = 5,
                                         [INPUT_LAYOUT] = COUNT(SHARED),
                                         [OUT_TYPE] = 3,
                                         [LAYOUT] = OUTPUT_LAYOUTS,
                                         [LSE] = 2,
                                         [WEIGHTS] = 1 + STAGES,
                                         [AVERAGED] = 2,
                                         [WEIGHTS_TYPE] = 3,
                                         [INSPECTION] = 6,
                                         [ALIGNMENT] = CAUSALS,
                                         [CHUNK] = COUNT(CHUNKS),
                                         [CAUSAL_BLOCK] = COUNT(CAUSAL_BLOCKS),
                                         [DOCUMENTS] = 3,
                                         [SPANS] = 3,
                                         [FIRST_KEYS] = COUNT(FIRST_KEYS_OF),
                                         [TREE] = COUNT(TREES),
                                         [RELATIVE] = COUNT(RELATIVES),
                                         [QUERY_FACTOR] = 3,
                                         [HEAD_SCALES] = 2,
                                         [SIGMOID] = 2,
                                         [KEY_LISTS] = COUNT(LISTS),
                                         [POISON] = 2};

const struct shape VARIANT_SHAPES[SHAPES] = {
    {2, 4, 2, 37, 70, 8, 12},    {1, 3, 1, 65, 130, 16, 16}, {3, 2, 2, 1, 100, 24, 8},    {2, 6, 3, 5, 5, 3, 5},
    {1, 2, 2, 0, 7, 8, 8},       {2, 2, 1, 9, 0, 8, 8},      {1, 4, 1, 130, 300, 64, 40}, {2, 1, 1, 1, 1, 1, 1},
    {1, 2, 1, 300, 257, 40, 64}, {1, 2, 1, 2, 2100, 8, 8},   {3, 5, 5, 70, 17, 16, 24},   {2, 7, 7, 33, 64, 64, 64}};

const attn_tensor *new_filled(attn_dtype dtype, size_t B, size_t H, size_t rows, size_t columns, double x) {
    const attn_tensor t = new_tensor_of(dtype, BHTD, B, H, rows, columns);
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, x);
    return new_view(t);
}

const int64_t *new_same_integers(int64_t x, size_t n) {
    int64_t *all = new_integers((const int64_t[64]){0}, n);
    for (size_t i = 0; i < n; i++)
        all[i] = x;
    return all;
}

/* ---- the parts ---- */

struct builder {
    struct sdpa_case c;
    struct levels levels;
    struct shape s; /* of the sequences, not of the tensors */
};

static bool chance(double p) { return (double)random_below(1000) < 1000 * p; }

/* N+1 starts of sequences, the last one of `longest` tokens, the others of fewer; something may come before them and
 * after: *total tokens in all. */
static const int64_t *random_starts(size_t N, size_t longest, size_t *total) {
    int64_t *starts = new_integers((const int64_t[64]){0}, N + 1);
    size_t end = random_below(3);
    starts[0] = (int64_t)end;
    for (size_t n = 0; n < N; n++) {
        end += n + 1 == N ? longest : random_below(longest + 1);
        starts[n + 1] = (int64_t)end;
    }
    *total = end + random_below(3);
    return starts;
}

/* Small ones have products that underflow; large ones, sums of products near the end of f32. */
static double factor_of(unsigned level, attn_dtype dtype) {
    const bool half = dtype == ATTN_F16;
    return level == SMALL_NUMBERS ? (half ? 0x1p-20 : 0x1p-80) : level == LARGE_NUMBERS ? (half ? 64 : 0x1p55) : 1;
}

/* Some elements are no numbers. Inf among values is a question of whether a weight is 0 or next to it. */
static void spoil_numbers(const struct builder *b, attn_tensor t, bool values) {
    const double spoilt = b->levels.of[NUMBERS] == SOME_NAN ? (double)NAN : (double)INFINITY;
    if (b->levels.of[NUMBERS] < SOME_NAN || (values && (b->levels.of[ALIBI] || !isnan(spoilt))))
        return;
    for (size_t n = 0; n < element_count(t); n += 1 + random_below(30 * t.size[3] + 1))
        set_value(t, n, random_below(2) ? spoilt : -spoilt);
}

static attn_tensor new_input(const struct builder *b, attn_dtype dtype, size_t heads, size_t T, size_t width,
                             bool values) {
    const unsigned shared = b->levels.of[INPUT_LAYOUT];
    const enum layout layout = shared ? SHARED[shared] : (enum layout)b->levels.of[LAYOUT];
    const attn_tensor t = new_tensor_of(dtype, layout, b->levels.of[RAGGED] ? 1 : b->s.B, heads, T, width);
    const double factor = factor_of(b->levels.of[NUMBERS], dtype);
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, factor * (double)random_normal());
    spoil_numbers(b, t, values);
    return t;
}

static void make_inputs(struct builder *b) {
    const struct shape *s = &b->s;
    const attn_dtype *types = TYPES[b->levels.of[INPUT_TYPES]];
    const unsigned numbers = b->levels.of[NUMBERS];
    size_t Tq = s->Tq, Tk = s->Tk;
    if (b->levels.of[RAGGED]) {
        b->s.B += s->B == 0; /* a ragged batch has at least one */
        b->c.params.sequences = s->B;
        b->c.params.query_starts = random_starts(s->B, s->Tq, &Tq);
        if (b->levels.of[RAGGED] == 2)
            b->c.params.key_starts = random_starts(s->B, s->Tk, &Tk);
        else
            b->s.Tk = s->Tq, Tk = Tq;
    }
    b->c.q = new_input(b, types[0], s->H, Tq, s->D, false);
    b->c.k = new_input(b, types[1], s->G, Tk, s->D, false);
    b->c.v = new_input(b, types[2], s->G, Tk, s->E, true);
    b->c.score_size = fmax(1, factor_of(numbers, types[0]) * factor_of(numbers, types[1]));
    b->c.value_size = factor_of(numbers, types[2]);
    b->c.out_layout = (enum layout)b->levels.of[LAYOUT];
}

static float *random_floats(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = random_normal();
    return x;
}

/* Columns of masks and biases: fewer than keys if they are to be padded. */
static size_t columns(const struct builder *b) {
    const size_t Tk = b->s.Tk, padded[] = {Tk, Tk - Tk / 3, 0};
    return padded[b->levels.of[PAD_MASKS]];
}

static void make_bias(struct builder *b) {
    static const attn_dtype types[] = {[1] = ATTN_F32, [2] = ATTN_F16, [3] = ATTN_BF16, [4] = ATTN_F32, [5] = ATTN_F32};
    const unsigned level = b->levels.of[BIAS];
    const size_t B = level == 2 || level == 5 ? 1 : b->s.B, H = level == 3 || level == 5 ? 1 : b->s.H;
    const size_t Tq = level == 2 ? 1 : b->s.Tq;
    if (level == 0)
        return;
    const attn_tensor t = new_normal_of(types[level], level == 3 ? PADDED : BHTD, B, H, Tq, columns(b));
    const double extreme = level == BIAS_MINUS_INFINITY ? -(double)INFINITY : -(double)FLT_MAX;
    for (size_t n = 0; n < element_count(t) && level >= BIAS_MINUS_INFINITY; n++)
        if (n / t.size[3] % 5 == 1 || chance(0.4)) /* every fifth row as a whole */
            set_value(t, n, extreme);
    b->c.params.bias = new_view(t);
}

static void make_alibi(struct builder *b) {
    b->c.params.alibi = (attn_alibi)b->levels.of[ALIBI];
    if (b->c.params.alibi == ATTN_ALIBI_SLOPES)
        b->c.params.alibi_slopes = random_floats(b->s.H);
}

/* Adds a little that depends on the place, by the number that `data` points at. */
static void nudge(void *data, const attn_score_tile *t) {
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++) {
            const size_t place = t->query + i + 2 * (t->key + j) + 3 * t->head + 5 * t->batch;
            t->scores[i * t->stride + j] += *(const float *)data * (float)(place % 7);
        }
}

/* Masks by place. */
static void sieve(void *data, const attn_score_tile *t) {
    (void)data;
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++)
            if ((t->query + i + 3 * (t->key + j) + t->head + t->batch) % 5 == 0)
                t->scores[i * t->stride + j] = -INFINITY;
}

/* Adds something that the first element of q and the last one of k tell, unless the key is masked. */
void lean(void *data, const attn_score_tile *t) {
    (void)data;
    for (size_t i = 0; i < t->queries && t->q && t->width; i++)
        for (size_t j = 0; j < t->keys; j++) {
            const size_t last = (j / t->block * t->width + t->width - 1) * t->block + j % t->block;
            const float x = t->factor * t->q[i * t->width] * t->k[last];
            float *score = &t->scores[i * t->stride + j];
            *score += *score == -INFINITY ? 0 : x / (1 + fabsf(x));
        }
}

/* Some of the blocks, in their order. */
static void fill_list(int64_t *list, size_t count, size_t blocks) {
    size_t next = 0, n = 0;
    for (; n < count && next < blocks && !chance(0.1); n++) {
        list[n] = (int64_t)(next + random_below((blocks - next + count - 1) / count));
        next = (size_t)list[n] + 1;
    }
    for (; n < count; n++)
        list[n] = n % 2 ? -1 : INT64_MIN;
}

const attn_key_lists *new_key_lists(attn_key_lists shape, size_t Tq, size_t Tk) {
    const size_t rows = Tq / shape.queries + (Tq % shape.queries != 0), blocks = (Tk - 1) / shape.keys + 1;
    const size_t all = shape.batch * shape.heads * rows;
    attn_key_lists *lists = (attn_key_lists *)(void *)new_integers((const int64_t[6]){0}, 6);
    int64_t *list = (int64_t *)(void *)new_doubles(all * shape.count);
    for (size_t n = 0; n < all; n++)
        fill_list(list + n * shape.count, shape.count, Tk ? blocks : 0);
    *lists = shape;
    lists->blocks = list;
    return lists;
}

static void make_lists(struct builder *b) {
    const unsigned level = b->levels.of[KEY_LISTS];
    attn_key_lists shape = LISTS[level];
    shape.batch = random_below(2) ? b->s.B : 1;
    shape.heads = level == 1 ? b->s.H : level == 2 ? b->s.G : 1;
    b->c.params.key_lists = level ? new_key_lists(shape, b->s.Tq, b->s.Tk) : NULL;
}

static void make_relative(struct builder *b) {
    const unsigned level = b->levels.of[RELATIVE];
    attn_relative_bias *bias = (attn_relative_bias *)(void *)new_integers((const int64_t[5]){0}, 5);
    *bias = RELATIVES[level];
    const size_t places = (2 * bias->rows - 1) * (2 * bias->columns - 1) + 3;
    bias->table = random_floats(b->s.H * (bias->rows ? places : 2 * bias->reach + 1));
    b->c.params.relative_bias = level ? bias : NULL;
}

static void make_query_factors(struct builder *b) {
    const unsigned level = b->levels.of[QUERY_FACTOR];
    attn_query_factor *factor = (attn_query_factor *)(void *)new_integers((const int64_t[5]){0}, 5);
    if (level == 1)
        *factor = (attn_query_factor){.table = random_floats(40), .positions = 40};
    else
        *factor = (attn_query_factor){.amount = 0.3F, .period = 16, .shift = 1};
    b->c.params.query_factor = level ? factor : NULL;
    b->c.params.head_scales = b->levels.of[HEAD_SCALES] ? random_floats(b->s.H) : NULL;
    b->c.score_size *= level ? 3 : 1;
    b->c.score_size *= b->levels.of[HEAD_SCALES] ? 3 : 1;
}

static void make_callback(struct builder *b) {
    const attn_score_fn functions[] = {NULL, nudge, sieve, lean};
    static float step = 0.25F;
    b->c.params.score = functions[b->levels.of[CALLBACK]];
    b->c.params.score_data = b->levels.of[CALLBACK] == 1 ? &step : NULL;
}

/* Is (i, j) to be attended to? */
static bool wanted(unsigned level, size_t i, size_t j) {
    switch (level) {
    case 1:
        return chance(0.7);
    case 2:
        return i % 4 != 2 && chance(0.5);
    case 3:
        return j % 3 != 1;
    case 4:
        return true;
    default:
        return (i / 48 + j / 64) % 2 == 0; /* whole tiles */
    }
}

static void fill_mask(const struct builder *b, attn_tensor t, unsigned level) {
    const bool keep = b->levels.of[POLARITY] == 0;
    for (size_t n = 0; n < element_count(t); n++) {
        const bool is_true = wanted(level, n / t.size[3] % t.size[2], n % t.size[3]) == keep;
        set_value(t, n, is_true ? (double)(1 + random_below(255)) : 0);
    }
}

static void make_masks(struct builder *b) {
    const unsigned level = b->levels.of[MASK], key_level = b->levels.of[KEY_MASK];
    const size_t B = level == 2 ? 1 : b->s.B, H = level == 1 || level == 4 ? b->s.H : 1;
    if (level) {
        const attn_tensor t = new_tensor_of(ATTN_BOOL, BHTD, B, H, level == 3 ? 1 : b->s.Tq, columns(b));
        fill_mask(b, t, level);
        b->c.params.mask = new_view(t);
    }
    if (key_level) {
        const attn_tensor t = new_tensor_of(ATTN_BOOL, PADDED, key_level == 1 ? b->s.B : 1, 1, 1, b->s.Tk);
        fill_mask(b, t, 1);
        b->c.params.key_mask = new_view(t);
    }
    if (level || key_level)
        b->c.params.polarity = b->levels.of[POLARITY] ? ATTN_DROP : ATTN_KEEP;
    b->c.params.pad_masks = (int)b->levels.of[PAD_MASKS];
}

static void make_bounds(struct builder *b) {
    static const int64_t offsets[] = {0, 3, -16, 17, 70, -1, 40, INT64_MIN, INT64_MAX};
    attn_window *window = (attn_window *)(void *)new_integers((const int64_t[]){0, 0}, 2);
    int64_t *offset = new_integers((const int64_t[64]){0}, b->s.B);
    for (size_t n = 0; n < b->s.B; n++)
        offset[n] = random_pick(offsets);
    set_causal(&b->c, (attn_causal)b->levels.of[CAUSAL], offset);
    *window = WINDOWS[b->levels.of[WINDOW]];
    b->c.params.window = b->levels.of[WINDOW] ? window : NULL;
    if (b->c.params.causal == ATTN_CAUSAL_NONE) {
        b->c.params.alignment = (attn_causal)b->levels.of[ALIGNMENT];
        b->c.params.causal_offset = b->c.params.alignment == ATTN_CAUSAL_OFFSET ? offset : NULL;
    } else {
        b->c.params.causal_block = CAUSAL_BLOCKS[b->levels.of[CAUSAL_BLOCK]];
    }
    b->c.params.chunk = CHUNKS[b->levels.of[CHUNK]];
    b->c.params.first_keys = FIRST_KEYS_OF[b->levels.of[FIRST_KEYS]];
}

/* The last ones go beyond the tokens. */
const attn_spans *new_spans(size_t B, size_t tokens, bool gaps) {
    enum { MOST = 200 };
    int64_t bounds[2 * MOST], starts[65] = {0};
    size_t n = 0;
    for (size_t b = 0; b < B; b++) {
        int64_t at = 0;
        for (size_t last = n + MOST / B; n < last && at <= (int64_t)tokens; n++) {
            bounds[2 * n] = at += gaps ? (int64_t)random_below(9) : 0;
            bounds[2 * n + 1] = at += (int64_t)random_below(1 + tokens / 2);
        }
        if (random_below(4) == 0 && n > (size_t)starts[b])
            bounds[2 * n - 1] = INT64_MAX;
        starts[b + 1] = (int64_t)n;
    }
    attn_spans *spans = (attn_spans *)(void *)new_integers((const int64_t[2]){0}, 2);
    *spans = (attn_spans){new_integers(starts, B + 1), new_integers(bounds, 2 * n)};
    return spans;
}

size_t fewest_keys(const attn_sdpa_params *params, size_t B, size_t Tq, size_t Tk) {
    size_t fewest = SIZE_MAX;
    for (size_t n = 0; n < B; n++) {
        const span s = span_of(params, n, Tq, Tk);
        fewest = s.queries > 0 && s.keys < fewest ? s.keys : fewest;
    }
    return fewest;
}

const attn_tree *new_tree(size_t tokens, size_t queries) {
    const size_t words = (tokens + 63) / 64 * queries;
    attn_tree *tree = (attn_tree *)(void *)new_integers((const int64_t[2]){0}, 2);
    uint64_t *ancestors = (uint64_t *)(void *)new_doubles(words);
    for (size_t n = 0; n < words; n++)
        ancestors[n] = random_below(3) ? random_below(SIZE_MAX) & random_below(SIZE_MAX) : random_below(2) * UINT64_MAX;
    *tree = (attn_tree){tokens, ancestors};
    return tree;
}

static void make_spans(struct builder *b) {
    const unsigned documents = b->levels.of[DOCUMENTS], spans = b->levels.of[SPANS];
    const size_t fewest = fewest_keys(&b->c.params, b->s.B, b->c.q.size[2], b->c.k.size[2]);
    const size_t wanted = TREES[b->levels.of[TREE]], tokens = wanted < fewest ? wanted : fewest;
    b->c.params.documents = documents ? new_spans(b->s.B, b->s.Tk, documents == 2) : NULL;
    b->c.params.spans = spans ? new_spans(b->s.B, b->s.Tk, spans == 2) : NULL;
    b->c.params.tree = tokens ? new_tree(tokens, b->c.q.size[0] * b->c.q.size[2]) : NULL;
}

/* One of each sequence's: none of its tokens, all, or some. */
static const int64_t *random_lengths(const struct builder *b, bool of_keys) {
    int64_t *lengths = new_integers((const int64_t[64]){0}, b->s.B);
    for (size_t n = 0; n < b->s.B; n++) {
        const span s = span_of(&b->c.params, n, b->c.q.size[2], b->c.k.size[2]);
        const size_t all = of_keys ? s.Tk : s.Tq;
        lengths[n] = (int64_t)(chance(0.2) ? all : chance(0.1) ? 0 : random_below(all + 1));
    }
    return lengths;
}

static void make_lengths(struct builder *b) {
    const int64_t *keys = random_lengths(b, true), *queries = random_lengths(b, false);
    b->c.params.key_lengths = b->levels.of[KEY_LENGTHS] ? keys : NULL;
    b->c.params.query_lengths = b->levels.of[QUERY_LENGTHS] ? queries : NULL;
}

static void make_block_map(struct builder *b) {
    const unsigned level = b->levels.of[BLOCK_MAP];
    const size_t *block = BLOCKS[level];
    if (level == 0)
        return;
    const size_t rows = (b->s.Tq + block[0] - 1) / block[0], cols = (b->s.Tk + block[1] - 1) / block[1];
    const attn_tensor t = new_tensor_of(ATTN_BOOL, BHTD, level % 2 ? 1 : b->s.B, level == 2 ? b->s.H : 1, rows, cols);
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, chance(0.6));
    b->c.params.block_map = new_view(t);
    b->c.params.block_queries = block[0];
    b->c.params.block_keys = block[1];
}

static void make_softmax(struct builder *b) {
    if (b->levels.of[SINKS]) {
        float *sinks = random_floats(b->s.H);
        for (size_t h = 0; h < b->s.H && b->levels.of[SINKS] == 2; h++)
            sinks[h] = h % 2 ? 12 : -40;
        b->c.params.sinks = sinks;
    }
    b->c.params.dropout = DROPOUTS[b->levels.of[DROPOUT]];
    b->c.params.dropout_seed = 0x0123456789abcdefU * (1 + random_below(99));
}

void set_sigmoid(struct sdpa_case *c) {
    c->params.sigmoid = 1;
    c->params.sinks = NULL;
    c->lse = c->entropy = false;
    c->value_size *= 1 + (double)c->k.size[2] / 8; /* sums, not means */
}

static void choose_outputs(struct builder *b) {
    struct sdpa_case *c = &b->c;
    const unsigned *level = b->levels.of, inspection = level[INSPECTION];
    c->out_type = (attn_dtype)level[OUT_TYPE];
    c->lse = level[LSE] == 0;
    c->probabilities = level[WEIGHTS] > 0;
    c->params.weights_stage = level[WEIGHTS] ? (attn_stage)(level[WEIGHTS] - 1) : ATTN_STAGE_PROBABILITIES;
    c->averaged = level[WEIGHTS] && level[AVERAGED];
    c->weights_type = (attn_dtype)level[WEIGHTS_TYPE];
    c->key_mass = inspection == 1 || inspection == 4;
    c->entropy = inspection == 2 || inspection == 4;
    c->largest = inspection >= 4;
    c->top_keys = inspection == 3 ? 1 : inspection == 4 ? 5 : 0;
    if (level[SIGMOID])
        set_sigmoid(c);
}

/* ---- poison ---- */

static double random_poison(void) {
    const double poisons[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    return random_pick(poisons);
}

/* What is looked at, of K and V by [G][all tokens] and of the bias by its elements. */
struct seen {
    bool *keys, *bias;
};

static size_t bias_element(const attn_tensor *bias, size_t n, size_t h, size_t i, size_t j) {
    const size_t *s = bias->size;
    return (((s[0] == 1 ? 0 : n) * s[1] + (s[1] == 1 ? 0 : h)) * s[2] + (s[2] == 1 ? 0 : i)) * s[3] + j;
}

/* The score of (h, i, j) of sequence n: with the bias, which may itself mask, and without. */
static void look(const struct builder *b, const span *s, size_t n, size_t h, size_t i, size_t j, struct seen *seen) {
    const attn_sdpa_params *with = &b->c.params;
    attn_sdpa_params without = *with;
    const size_t g = h / (b->s.H / b->s.G), sequence = with->query_starts ? 0 : n;
    without.bias = NULL;
    if (sees(with, s, n, h, b->s.H, i, j))
        seen->keys[(sequence * b->s.G + g) * b->c.k.size[2] + s->k_start + j] = true;
    if (with->bias && j < with->bias->size[3] && sees(&without, s, n, h, b->s.H, i, j))
        seen->bias[bias_element(with->bias, n, h, i, j)] = true;
}

static void look_at_all(const struct builder *b, struct seen *seen) {
    for (size_t n = 0; n < b->s.B; n++) {
        const span s = span_of(&b->c.params, n, b->c.q.size[2], b->c.k.size[2]);
        for (size_t h = 0; h < b->s.H; h++)
            for (size_t i = 0; i < s.queries; i++)
                for (size_t j = 0; j < s.keys; j++)
                    look(b, &s, n, h, i, j, seen);
    }
}

/* Rows of t that are not seen: sometimes one element, sometimes all. */
static void poison_rows(attn_tensor t, const bool *seen) {
    for (size_t n = 0; n < element_count(t); n++)
        if (!seen[n / t.size[3]] && (n % t.size[3] == t.size[3] / 2 || n / t.size[3] % 2))
            set_value(t, n, random_poison());
}

static void poison(struct builder *b) {
    const attn_tensor *bias = b->c.params.bias;
    const size_t keys = b->c.k.size[0] * b->c.k.size[1] * b->c.k.size[2], biases = bias ? element_count(*bias) : 0;
    struct seen seen = {new_bools(keys), new_bools(biases)};
    look_at_all(b, &seen);
    poison_rows(b->c.k, seen.keys);
    poison_rows(b->c.v, seen.keys);
    for (size_t n = 0; n < biases; n++)
        if (!seen.bias[n])
            set_value(*bias, n, random_poison());
}

/* ---- the whole ---- */

static void name_levels(struct builder *b, const char *prefix) {
    char *name = b->c.name;
    size_t used = (size_t)snprintf(name, sizeof b->c.name, "%s", prefix);
    for (size_t o = 0; o < OPTIONS && used < sizeof b->c.name; o++)
        if (b->levels.of[o])
            used += (size_t)snprintf(name + used, sizeof b->c.name - used, " %s=%u", OPTION_NAMES[o], b->levels.of[o]);
}

struct sdpa_case variant_of(const char *prefix, const struct levels *levels, const struct shape *shape) {
    struct builder b = {.c = {.score_size = 1, .value_size = 1}, .levels = *levels, .s = *shape};
    ATTN_INIT(&b.c.params);
    name_levels(&b, prefix);
    make_inputs(&b);
    b.c.params.scale = SCALES[levels->of[SCALE]];
    b.c.params.softcap = SOFTCAPS[levels->of[SOFTCAP]];
    make_bias(&b);
    make_alibi(&b);
    make_callback(&b);
    make_masks(&b);
    make_bounds(&b);
    make_lengths(&b);
    make_spans(&b);
    make_block_map(&b);
    make_relative(&b);
    make_query_factors(&b);
    make_lists(&b);
    make_softmax(&b);
    choose_outputs(&b);
    if (levels->of[POISON] && !levels->of[INPUT_LAYOUT])
        poison(&b);
    return b.c;
}

/* ---- checks ---- */

size_t new_variant_contexts(attn_context *one[ISAS], attn_context *three[ISAS]) {
    static size_t threads = 3;
    uint32_t isas[ISAS];
    const size_t n = list_isas(isas);
    for (size_t i = 0; i < n; i++) {
        attn_context_options options;
        ATTN_INIT(&options);
        options.threads = threads;
        options.isa = isas[i];
        options.parallel_for = run_on_pthreads;
        options.parallel_for_data = &threads;
        one[i] = new_context_of(1, isas[i]);
        three[i] = new_context(&options);
    }
    return n;
}

void check_variant(attn_context *one, attn_context *three, const struct sdpa_case *c) {
    const struct sdpa_result want = run_sdpa(one, c), got = run_sdpa(three, c);
    assert_same_result(&got, &want);
    assert_sdpa_near(c, &want);
}
