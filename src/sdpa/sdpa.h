/* SPDX-License-Identifier: BSD-3-Clause */
/* The attention engine: door in (pack.c), score program (score.c), tile loop (tile.c), door out (output.c), further
 * looks at the scores (inspect.c), and who does what (schedule.c). */
#ifndef ATTNI_SDPA_H
#define ATTNI_SDPA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attn/backward.h"
#include "attn/sdpa.h"
#include "context/context.h"
#include "kernels/int4.h"
#include "product/product.h"

/* A view whose last stride is 1: row (b, h, t) begins stride_b·b + stride_h·h + stride_t·t elements after data. */
typedef struct attni_view {
    void *data;
    attn_dtype dtype;
    ptrdiff_t stride_b, stride_h, stride_t;
} attni_view;

static inline void *attni_at(const attni_view *view, size_t b, size_t h, size_t t) {
    const ptrdiff_t element =
        (ptrdiff_t)b * view->stride_b + (ptrdiff_t)h * view->stride_h + (ptrdiff_t)t * view->stride_t;
    return view->data ? (char *)view->data + element * (ptrdiff_t)attni_size_of(view->dtype) : NULL;
}

/* Something that goes with each score, [B,H,Tq,keys] with stride 0 where it is broadcast. */
typedef struct attni_overlay {
    bool there; /* which one of no keys, whose data may be NULL, is too */
    attni_view view;
    size_t keys; /* further ones are masked */
} attni_overlay;

/* Keys and values in the engine's own form, in pages of `tokens` each. Of one head, a page is `bytes` long: K in
 * blocks [tokens/width][depth][width], depth being D up to whole pairs, quads or groups, from `values` on V in panels
 * [panels][tokens][panel], columns beyond E being zeros; of int8, from `scales` on scales [tokens] of K and then of V.
 * Of int4 (kernels.h) K is made of groups [tokens/width][depth/32], and V [E/32][tokens] of groups of one column each,
 * which become panels behind the door. Where V is the first E elements of K (`latent`), there is nothing of V. */
typedef struct attni_page_form {
    attn_dtype dtype;
    bool latent;
    size_t width, depth, panel, panels, tokens;
    size_t values, scales, bytes;
} attni_page_form;

/* Bytes of so many elements, whole groups of int4. */
static inline size_t attni_page_bytes(attn_dtype dtype, size_t elements) {
    return dtype == ATTN_INT4 ? elements / ATTNI_GROUP * attni_group_bytes(true) : elements * attni_size_of(dtype);
}

enum { ATTNI_NO_PAGE = UINT32_MAX };

/* Page n of sequence b is number table[b·slots + n]; ATTNI_NO_PAGE where it has been forgotten. All pages of a head
 * follow each other, `count` of them: those that were taken one after the other are read as one stream. */
typedef struct attni_pages {
    const attni_page_form *form;
    char *memory;
    size_t count;
    const uint32_t *table;
    size_t slots;
} attni_pages;

static inline char *attni_page_at(const attni_pages *pages, size_t page, size_t g) {
    return pages->memory + (g * pages->count + page) * pages->form->bytes;
}

/* Sequence b has the spans [bounds[2n], bounds[2n+1]) of starts[b] ≤ n < starts[b+1], ascending, none in another;
 * starts = NULL: none. */
typedef struct attni_spans {
    const int64_t *starts, *bounds;
} attni_spans;

/* Bit n of token t of sequence b, ancestors [(b·stride + t)·words], tells whether it sees key Tk − tokens + n. */
typedef struct attni_tree {
    const uint64_t *ancestors;
    size_t tokens, words, stride;
} attni_tree;

/* Lists of blocks of keys, [batch, heads, rows, count]: one for so many queries; a stride of 0 is broadcast. */
typedef struct attni_lists {
    const int64_t *blocks;
    size_t count, queries, keys; /* keys = 0: none */
    size_t stride_b, stride_h, heads_of_list;
} attni_lists;

/* A bias by where a key is from a query: by distance, or in a window where there are rows. */
typedef struct attni_relative {
    const float *table; /* [H,width]; NULL: none */
    size_t width, rows, columns;
    ptrdiff_t reach, prefix;
} attni_relative;

/* What looks at the probabilities, in a walk of its own; NULL: not wanted. */
typedef struct attni_inspection {
    bool weights_wanted; /* data may be NULL all the same: where there are none, or only a size is asked for */
    bool averaged;       /* over the heads */
    attni_view weights;
    attn_stage stage;
    float *key_mass, *entropy, *largest;
    attn_top_keys top;
} attni_inspection;

/* What is done to rows of q, k or v at the door: they are normed, then rotated, then multiplied. */
typedef struct attni_turn {
    bool normed, after; /* after it is rotated */
    attni_norm norm;
    size_t heads;        /* over whose rows the norm runs; 0: each by itself */
    size_t head_weights; /* floats from the weights of a head to those of the next */
    attn_rotary_kind kind;
    size_t offset, pairs, table; /* the first element; tables [table, pairs]; pairs = 0: not rotated */
    const float *cos, *sin;
    const int64_t *positions; /* of token t of sequence b: positions[b·stride + t]; NULL: the first one's plus t */
    size_t stride;
    const float *head_factors; /* [heads], or NULL */
    attn_query_factor factor;  /* by position; period = 0 and table = NULL: none */
    size_t axes, axis_stride;  /* pair d has position [axis[d]·axis_stride + b·stride + t] */
    const int32_t *axis;       /* [pairs], or NULL: 0 */
    const float *channels;     /* [heads/sharers, D], factors of the elements of head h at h/sharers; or NULL */
    size_t sharers;
} attni_turn;

static inline bool attni_has_factor(const attni_turn *turn) { return turn->factor.table || turn->factor.period; }
static inline bool attni_turns(const attni_turn *turn) {
    return turn->normed || turn->pairs || turn->head_factors || turn->channels || attni_has_factor(turn);
}

/* x [count, D] = rows (b, h, t) and following of a view, D wide, in f32, normed, rotated and multiplied. `first` is the
 * position of token 0, where the turn has no positions. */
void attni_turn_rows(const attni_kernels *kernels, const attni_turn *turn, const attni_view *view, size_t b, size_t h,
                     size_t t, size_t count, size_t D, ptrdiff_t first, float *x);

/* Numbers that the weights of a norm over rows of so many heads are. */
static inline size_t attni_count_weights(const attni_turn *turn, size_t heads, size_t D) {
    return turn->head_weights ? heads * D : D;
}

/* Gradients of the turned rows of all heads of a token, head h's at g + h·stride, become those of the rows as the view
 * has them; those of the norm's weights and of the heads' factors are added to sums, where these are there. Room for
 * [2, heads, D]. */
typedef struct attni_turn_sums {
    double *weights, *factors;
} attni_turn_sums;
void attni_turn_back(const attni_kernels *kernels, const attni_turn *turn, const attni_view *view, size_t b,
                     size_t heads, size_t t, size_t D, ptrdiff_t first, float *g, size_t stride, attni_turn_sums sums,
                     float *room);

/* One call of attention: validated, defaults resolved. */
typedef struct attni_sdpa {
    size_t B, H, G, Tq, Tk, D, E; /* Tq and Tk of the longest sequence */
    attni_view q, k, v, out;
    attni_view lse;                    /* [B,H,Tq], rows of width 1; data = NULL: not wanted */
    const attni_pages *pages;          /* K and V, instead of k and v; or NULL */
    attni_turn q_turn, k_turn, v_turn; /* K and V in pages have had their turn */

    /* Where sequences differ; NULL: in nothing. Ragged ones share tensors of so many query and key tokens. */
    size_t ragged_tokens, ragged_keys;
    const int64_t *query_starts, *key_starts, *query_lengths, *key_lengths;

    /* The score program (score.c). */
    float scale, softcap;
    attni_overlay bias, mask, key_mask, block_map;
    attni_relative relative;
    attni_lists lists;
    size_t block_queries, block_keys;
    bool keep; /* what is true in a mask may be seen */
    attn_alibi alibi;
    const float *slopes;
    const size_t *reach; /* [B,H]: distance at which ALiBi leaves nothing; or NULL */
    attn_score_fn score;
    void *score_data;
    attn_causal alignment; /* where queries stand; NONE: as BOTTOM_RIGHT */
    const int64_t *causal_offset;
    bool causal;
    ptrdiff_t causal_block;       /* causal by blocks of so many keys; 1: by keys */
    ptrdiff_t left, right;        /* of the window, −1: unbounded */
    ptrdiff_t chunk;              /* keys of a chunk, which see each other only; or 0 */
    attni_spans documents, spans; /* which see nothing else, and which see themselves whole */
    size_t first_keys;            /* that are seen however late the others begin */
    attni_tree tree;
    const size_t *forgotten; /* [B]: keys below, but for the first, are gone; or NULL */
    bool sigmoid;            /* of scores are the weights, instead of the softmax */
    const float *sinks;
    const float *extra_key, *extra_value; /* [G,D] and [G,E] of a key that every query sees; or NULL */
    bool zero_key;                        /* another one, of zeros */
    attni_dropout dropout;                /* threshold = 0: none */

    attni_inspection inspection;
} attni_sdpa;

/* Where query token 0 of sequence b stands among the keys; token i stands i further. */
ptrdiff_t attni_first_position(const attni_sdpa *call, size_t b);

/* Of a call whose sequences differ, the call that sequence b alone is. */
attni_sdpa attni_sequence_of(const attni_sdpa *call, size_t b);

/* Columns of the output that the engine computes: E rounded up. */
size_t attni_output_width(size_t E);

/* Whether a call writes anything. One that does not returns at once, whatever its sizes are. */
bool attni_sdpa_writes(const attni_sdpa *call);

/* Whether it walks over the scores again, and keeps something for each row and head meanwhile. */
bool attni_inspects(const attni_sdpa *call);

/* Bytes of scratch that attni_sdpa_run needs. */
size_t attni_sdpa_scratch(const attn_context *context, const attni_sdpa *call);

/* Does it. `scratch` begins a cache line. */
void attni_sdpa_run(attn_context *context, const attni_sdpa *call, void *scratch);

/* What gradients there are of the results of a call, and which are wanted of its inputs; data = NULL: none. */
typedef struct attni_gradients {
    attni_view d_out, d_lse; /* as call->out and call->lse, which are inputs now */
    attni_view dq, dk, dv;
    attni_view d_bias;                           /* f32; a stride of 0 is broadcast */
    float *d_sinks, *d_slopes, *d_table;         /* [H], [H] and [H,width] */
    float *d_q_weight, *d_k_weight, *d_v_weight; /* of the norms of turns */
    float *d_head_factors;                       /* [H] */
    float *d_extra_key, *d_extra_value;          /* [G,D] and [G,E] */
    bool accumulate;
    attn_score_backward_fn score;
} attni_gradients;
size_t attni_backward_scratch(const attn_context *context, const attni_sdpa *call, const attni_gradients *gradients);
void attni_backward_run(attn_context *context, const attni_sdpa *call, const attni_gradients *gradients, void *scratch);

/* out [B,H,T,E] and lse [B,H,T] become those over the keys of both. */
typedef struct attni_merge {
    size_t B, H, T, E;
    attni_view out, part;
    float *lse;
    const float *part_lse;
} attni_merge;
void attni_merge_run(attn_context *context, const attni_merge *call);

/* out = x, [B,H,T,D], each row turned; with so many bytes of scratch. */
size_t attni_rotate_scratch(const attn_context *context, size_t D);
void attni_rotate_run(attn_context *context, const attni_turn *turn, const attni_view *x, const attni_view *out,
                      const size_t size[4], void *scratch);

/* cos, sin [positions, width/2]; defaults resolved; the base as the scaling changes it is finite and above 1. */
double attni_rotary_base(size_t positions, size_t width, const attn_rotary_tables_params *params);
void attni_rotary_tables_run(size_t positions, size_t width, const attn_rotary_tables_params *params, float *cosines,
                             float *sines);

/* table [H, 2·max_distance + 1] from weights [buckets, H]. */
void attni_bucket_table_run(size_t H, size_t buckets, size_t max_distance, bool bidirectional, const float *weights,
                            float *table);

/* mask [B,H,Tq,Tk] = whether a weight is kept. */
void attni_dropout_mask_run(attn_context *context, const attni_dropout *dropout, const attni_view *mask,
                            const size_t size[4]);

#endif
