/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this room share. */
#ifndef ATTNI_ENGINE_H
#define ATTNI_ENGINE_H

#include <math.h>

#include "context/sizes.h"
#include "product/product.h"
#include "sdpa/sdpa.h"

/* The keys come in segments of this many. Each has its own online softmax, and they are merged in their order: which
 * threads walk them, and in what units of work, changes no bit. A multiple of cut.tile.keys. */
enum { ATTNI_SEGMENT = 2048 };

/* How the queries and keys of a call are cut: the query heads and tokens of one key/value head into tiles, consecutive
 * tiles into super-blocks. A tile has several heads only where each has fewer tokens than a tile has rows. Which rows
 * share a tile depends on the shape alone, never on the threads; how many tiles share a super-block changes no bit. */
typedef struct attni_cut {
    attni_tile tile;              /* tiles: of a super-block, at most */
    size_t heads, tokens;         /* of a tile, at most */
    size_t head_cuts, token_cuts; /* tiles of one key/value head */
    size_t supers;                /* super-blocks of one key/value head */
    size_t q_floats;              /* of a row of q on a desk: D, and its parts where it is split; and */
    size_t part_floats;           /* those of a row of weights */
    size_t o_width;               /* columns of o: E rounded up to a multiple of 4, and */
    size_t least_keys;            /* keys of the smallest weighted sum, so that the BLAS always sums in one way */
    size_t segments;              /* segments of the keys */
    bool packs_pairs;             /* K and V are bf16 behind the door, where pages have not brought them */
    bool apart;                   /* each segment is a unit of its own, instead of all of them one */
} attni_cut;

/* The form of q: plain where a cache keeps something else than bf16, which is multiplied as it is, and where a callback
 * looks at q and k. Where it is another, K and V are bf16. And that of the weights. */
attni_form attni_query_form(const attn_context *context, const attni_sdpa *call);
attni_form attni_weight_form(const attn_context *context, attni_form of_query);

/* The next piece of scratch, in whole cache lines; base = NULL only counts. */
static inline void *attni_piece(char *base, size_t *used, size_t bytes) {
    const size_t at = attni_take(used, bytes, ATTNI_LINE);
    return base ? base + at : NULL;
}

/* Of a call whose sequences are all alike, or of one of them; the longest has so many keys. */
attni_cut attni_cut_call(const attn_context *context, const attni_sdpa *call, size_t longest);
/* Of a call whose sequences differ: as large as that of any of them, of which the longest has the most tiles. */
attni_cut attni_cut_longest(const attn_context *context, const attni_sdpa *call);

/* The part of it that says which rows share a tile, of up to cut->tile.rows. */
void attni_cut_rows(const attni_sdpa *call, attni_cut *cut);

/* Query tokens [token, token + tokens) of heads [head, head + heads) as a dense matrix of rows = heads · tokens. */
typedef struct attni_query_tile {
    size_t batch, head, heads, token, tokens, rows;
    attni_left q;       /* [rows, D] */
    float *o;           /* [rows, o_width], Σ p·v of the current segment so far; garbage until `started` */
    attni_row *state;   /* [rows] */
    double *total;      /* the same of all segments so far, where there are several that this unit walks, */
    attni_row *sum;     /* and their states */
    attni_range *range; /* [rows], where the current group is visible only in part */
    bool started;
} attni_query_tile;

/* Values [count, E] in panels of cut.tile.columns columns: panel n begins n · step elements after data and has row
 * stride ld. */
typedef struct attni_values {
    const char *data;
    size_t step, ld;
} attni_values;

/* The state of rows that have seen no key. */
static inline void attni_forget(attni_row *state, size_t rows) {
    for (size_t r = 0; r < rows; r++)
        state[r] = (attni_row){.sum = 0, .max = -INFINITY};
}

/* Keys [begin, begin + count) of key/value head g of sequence b, and their values. */
typedef struct attni_key_group {
    size_t b, g, begin, count;
    bool packed;           /* the rest is there */
    attn_dtype dtype;      /* of k and v: f32, what the cache keeps, or bf16, which they are or are rounded to */
    size_t depth;          /* D, up to what lies together */
    const char *k;         /* [count/W][depth][W], the last block up to a multiple of 16 columns, and least_keys */
    const float *k_floats; /* k in f32, [count/W][D][W], if it is, or a callback may look */
    const float *k_scale, *v_scale; /* [count] each, factors of int8; or NULL */
    attni_values v;                 /* where the caller has them, or in v_copy */
    attni_values v_clean;           /* with zeros where a row of a panel is not finite; made only where needed */
    float *k_room;                  /* room for it, if it is not in a cache */
    float *turn_room;               /* [W, D or E], where keys or values are turned first */
    float *f32_room;                /* [W, D] or [W, columns of a panel], where they are rounded */
    float *v_copy, *v_clean_room;   /* [count, E] each, every panel as wide as the first */
    enum { ATTNI_UNKNOWN, ATTNI_FINITE, ATTNI_NOT_FINITE } finite;
} attni_key_group;

/* One unit of work: tiles [first, first + count) of key/value head g of sequence b, and keys [begin, end). */
typedef struct attni_unit {
    size_t b, g, first, count, segment, begin, end;
} attni_unit;

/* Scratch of one worker. */
typedef struct attni_desk {
    attni_query_tile *tiles; /* [cut.tile.tiles] */
    attni_key_group group;
    float *q, *o;     /* [tiles][rows, D] and [tiles][rows, o_width] */
    float *scores;    /* [rows, keys], */
    float *parts;     /* and what they are split into, once they are weights */
    uint8_t *alive;   /* [rows, keys], for values that are not finite */
    attni_row *state; /* [tiles][rows] */
    double *total;    /* [tiles][rows, o_width], where there are several segments, */
    attni_row *sum;   /* [tiles][rows] */
    attni_range *range;
    /* For inspections. */
    float *weights, *average; /* [rows, keys] */
    double *sums;             /* [H·rows, 2], or [H/G, keys] */
    float *best;              /* [H·rows, k], the most probable keys' probabilities, and how many there are */
    size_t *found;            /* [H·rows] */
} attni_desk;

typedef struct attni_engine {
    const attn_context *context;
    const attni_sdpa *call;
    const attni_kernels *kernels;
    unsigned lines, masking; /* of the score program: those in use, and of these the ones that mask */
    attni_form form;         /* of q, */
    attni_form weight_form;  /* and of the weights */
    float factor;            /* of the products: the scale, if q does not have it already */
    attni_weight_fn *weight; /* what makes weights of scores */
    attni_cut cut;           /* of the call, or of the sequence at hand */
    attni_cut room;          /* what the scratch is laid out for */
    bool varied;             /* sequences differ: each has a cut of its own, */
    size_t *starts;          /* [B+1], and its units begin here */
    bool far;                /* inputs come from further than the L2 cache, and are fetched ahead */
    char *desks;             /* a desk for each worker */
    size_t desk_bytes;
    char *parts;       /* o and state of each segment that is a unit */
    attni_row *states; /* [B,H,states_tokens], kept for the inspections; or NULL */
    float *tops;       /* [B,H,states_tokens], the largest score of each row, if they are wanted */
    size_t states_tokens;

    /* For gradients (backward.c): of what, and, of the tile at hand, scores as they were after the soft cap and before
     * the callback, [rows, keys] each, and sums of what all rows share, [H] and [H, width]; or NULL. */
    const attni_gradients *gradients;
    float *capped, *uncalled;
    const float *weights; /* of them, [rows, keys] */
    double *slopes, *table;
} attni_engine;

/* schedule.c: tile n of a key/value head, without its buffers. */
attni_query_tile attni_tile_at(const attni_engine *e, size_t b, size_t g, size_t n);

/* sequence.c: whether sequences differ, and in `one` the call that sequence b alone is, with an engine for it; for
 * calls whose sequences are alike, the engine itself. */
bool attni_is_varied(const attni_sdpa *call);
const attni_engine *attni_engine_of(const attni_engine *e, size_t b, attni_engine *local, attni_sdpa *one);
/* Tokens of sequence b, beginning at *start, of up to `most`; and a view from there on. */
size_t attni_tokens_of(const int64_t *starts, const int64_t *lengths, size_t b, size_t most, size_t *start);
void attni_advance(attni_view *view, size_t tokens);
/* Writes what is known of tokens beyond the ends of sequences. */
void attni_blank_beyond(attn_context *context, const attni_sdpa *call);

/* cut.c. Lays a desk out at `base` and returns its size in bytes, a multiple of a cache line. */
size_t attni_desk_lay(const attni_cut *cut, const attni_sdpa *call, char *base, attni_desk *desk);
/* What segments that are units of their own keep until they are merged, in bytes, and where one keeps it. */
size_t attni_parts_bytes(const attni_cut *cut, const attni_sdpa *call);
void attni_part_at(const attni_engine *e, size_t head, size_t segment, float **o, attni_row **state);
/* Whether a unit walks several segments, and merges them. */
static inline bool attni_merges(const attni_cut *cut) { return cut->segments > 1 && !cut->apart; }

/* visible.c. The keys that query token i of head h of sequence b may see, as far as that is one range, and those that
 * any query of a tile may see. */
attni_range attni_visible(const attni_sdpa *call, size_t b, size_t h, size_t i);
attni_range attni_bounds(const attni_sdpa *call, const attni_query_tile *t);
/* Whether queries do not see all keys, as far as options tell. */
bool attni_is_bounded(const attni_sdpa *call);
/* Where the first keys are seen too, those that come too early for query token i are not before a range, but in a hole
 * that ends where the other keys that it sees begin. */
bool attni_has_hole(const attni_sdpa *call);
size_t attni_hole_end(const attni_sdpa *call, size_t b, size_t i);
/* The part of [0, columns) that is visible, seen from key `begin`. */
attni_range attni_within_columns(attni_range visible, size_t begin, size_t columns);
/* The ranges of a tile's rows, seen from key `begin`, in t->range; NULL if each is [0, columns). */
const attni_range *attni_ranges(const attni_engine *e, const attni_query_tile *t, size_t begin, size_t columns);

/* score.c, the score program. Which of its lines the call uses. */
void attni_read_program(attni_engine *e);

/* ALiBi's slope of a head. */
float attni_slope(const attni_sdpa *call, size_t h);

/* What of a group a tile sees: columns [begin, begin + columns), begin being a multiple of W. */
typedef struct attni_sight {
    size_t begin, columns;
    const attni_range *range; /* of the rows, from `begin` on; NULL: every row sees all columns */
    unsigned lines;           /* of the program, that have something to do */
    bool partial;             /* something may be masked */
} attni_sight;

/* The next run of blocks of which something is visible, from column `from` of the group on; false: there is none. */
bool attni_next_run(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group, size_t from,
                    attni_sight *seen);
/* Everything, whether visible or not. */
attni_sight attni_see_all(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group);
/* s [rows, columns] = the scores after `stage`; what is masked by lines is −∞ (not what is out of range). */
void attni_score(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                 const attni_sight *seen, attn_stage stage, float *s);

/* From gradients of the last stage's scores to those of the products, in place; gradients of biases on the way. */
void attni_score_back(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                      const attni_sight *seen, float *g);

/* alibi.c: whether there may be a distance beyond which ALiBi leaves nothing; for each head, reach [B,H], norms [B,G]
 * being room. */
bool attni_alibi_ends(const attni_sdpa *call);
void attni_alibi_reach(attn_context *context, const attni_sdpa *call, size_t *reach, float *norms);

/* pack.c, the door in. Whether q is multiplied by the scale there. */
bool attni_scales_query(const attni_sdpa *call);
void attni_pack_query(const attni_engine *e, attni_query_tile *tile, float *room);
/* Says which keys a group has, and brings them, for one tile only or for several. */
void attni_open_group(attni_key_group *group, size_t b, size_t g, size_t begin, size_t count);
void attni_pack_keys(const attni_engine *e, size_t tiles, attni_key_group *group);
/* Whether all values of the group are finite; if not, v_clean is made. */
bool attni_values_finite(const attni_engine *e, attni_key_group *group);
/* Key j's values in the panel that begins at column c, as f32, at most so many; returns how many. */
enum { ATTNI_WIDEST_PANEL = 256 };
size_t attni_read_values(const attni_engine *e, const attni_key_group *group, size_t c, size_t j,
                         float row[ATTNI_WIDEST_PANEL]);

/* Begins to bring part i of n of the first keys and values of a unit, or a tile's queries, into the cache. */
void attni_prefetch_keys(const attni_engine *e, const attni_unit *unit, size_t i, size_t n);
void attni_prefetch_query(const attni_engine *e, const attni_query_tile *tile);

/* Row j of the panel that begins at column c, or where the rows that lie together with it begin. */
static inline const char *attni_panel_of(const attni_engine *e, const attni_key_group *group,
                                         const attni_values *values, size_t c, size_t j) {
    const size_t first = j / attni_together(group->dtype) * attni_together(group->dtype);
    const size_t at = c / e->cut.tile.columns * values->step + first * values->ld;
    return values->data + at * attni_size_of(group->dtype);
}

/* The values of a group from key `begin` on, as a factor. */
static inline attni_panels attni_values_from(const attni_engine *e, const attni_key_group *group,
                                             const attni_values *values, size_t begin) {
    return (attni_panels){.type = group->dtype,
                          .data = attni_panel_of(e, group, values, 0, begin),
                          .width = e->cut.tile.columns,
                          .ld = values->ld,
                          .step = values->step};
}

/* tile.c, the tile loop: the desk's tiles walk the keys of their unit. `next` is the unit that this worker will
 * probably do next, or NULL. */
void attni_walk(const attni_engine *e, const attni_unit *unit, const attni_unit *next, attni_desk *desk);

/* What dropout leaves of weights [rows, keys] from key `key` on, in place or elsewhere. */
void attni_drop_out(const attni_engine *e, const attni_query_tile *t, size_t key, size_t keys, const float *p,
                    float *kept);

/* output.c, the door out. What o and state of a tile are once its segments are merged; and the results. */
void attni_settle(const attni_engine *e, attni_query_tile *tile);
void attni_write_output(const attni_engine *e, const attni_query_tile *tile);

/* inspect.c: walks over the scores again, now that each row's maximum and sum are known. */
void attni_inspect(attn_context *context, attni_engine *e);

#endif
