/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this room share. */
#ifndef ATTNI_ENGINE_H
#define ATTNI_ENGINE_H

#include <math.h>

#include "sdpa/sdpa.h"

/* The keys come in segments of this many. Each has its own online softmax, and they are merged in their order: which
 * threads walk them, and in what units of work, changes no bit. A multiple of cut.tile.keys. */
enum { ATTNI_SEGMENT = 2048 };

/* How a call is cut: the query heads and tokens of one key/value head into tiles, consecutive tiles into super-blocks.
 * A tile has several heads only where each has fewer tokens than a tile has rows. Which rows share a tile depends on
 * the shape alone, never on the threads; how many tiles share a super-block changes no bit. */
typedef struct attni_cut {
    attni_tile tile;
    size_t heads, tokens;         /* of a tile, at most */
    size_t head_cuts, token_cuts; /* tiles of one key/value head */
    size_t supers;                /* super-blocks of one key/value head */
    size_t o_width;               /* columns of o: E rounded up to a multiple of 4, and */
    size_t least_keys;            /* keys of the smallest weighted sum, so that the BLAS always sums in one way */
    size_t segments;              /* segments of the keys */
    bool apart;                   /* each segment is a unit of its own, instead of all of them one */
} attni_cut;
attni_cut attni_cut_call(const attn_context *context, const attni_sdpa *call);

/* Query tokens [token, token + tokens) of heads [head, head + heads) as a dense matrix of rows = heads · tokens. */
typedef struct attni_query_tile {
    size_t batch, head, heads, token, tokens, rows;
    const float *q;   /* [rows, D] */
    float *o;         /* [rows, o_width], Σ p·v of the current segment so far; garbage until `started` */
    attni_row *state; /* [rows] */
    float *total_o;   /* the same of all segments so far; `o` where there is one */
    attni_row *total_state;
    attni_range *range; /* [rows], where the current group is visible only in part */
    bool started;
} attni_query_tile;

/* Values [count, E] in panels of cut.tile.columns columns: panel n begins at data + n · step and has row stride ld. */
typedef struct attni_values {
    const float *data;
    size_t step, ld;
} attni_values;

/* The state of rows that have seen no key. */
static inline void attni_forget(attni_row *state, size_t rows) {
    for (size_t r = 0; r < rows; r++)
        state[r] = (attni_row){.sum = 0, .max = -INFINITY};
}

/* Keys [begin, begin + count) of one key/value head, packed, and their values. */
typedef struct attni_key_group {
    size_t begin, count;
    const float *k; /* [count/W][D][W], the last block with zeros up to a multiple of 16 columns, and least_keys */
    attni_values v; /* where the caller has them, or in v_copy */
    attni_values v_clean;         /* with zeros where a row of a panel is not finite; made only where needed */
    float *k_room;                /* room for it, if it is not in a cache */
    float *v_copy, *v_clean_room; /* [count, E] each, every panel as wide as the first */
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
    float *q, *o, *total_o;         /* [tiles][rows, D], and [tiles][rows, o_width] twice */
    float *scores;                  /* [rows, keys] */
    attni_row *state, *total_state; /* [tiles][rows] */
    attni_range *range;
} attni_desk;

typedef struct attni_engine {
    const attni_sdpa *call;
    const attni_blas *blas;
    const attni_kernels *kernels;
    attni_cut cut;
    size_t workers;
    bool far;       /* inputs come from further than the L2 cache, and are fetched ahead */
    float *scratch; /* a desk for each worker */
    size_t desk_floats;
    float *parts; /* o and state of each segment that is a unit */
} attni_engine;

/* schedule.c: tile n of the unit's key/value head, without its buffers. */
attni_query_tile attni_tile_at(const attni_engine *e, const attni_unit *unit, size_t n);

/* cut.c. Lays a desk out at `base` and returns its size in floats, a multiple of a cache line. */
size_t attni_desk_lay(const attni_cut *cut, const attni_sdpa *call, float *base, attni_desk *desk);
/* What segments that are units of their own keep until they are merged, in floats, and where one keeps it. */
size_t attni_parts_floats(const attni_cut *cut, const attni_sdpa *call);
void attni_part_at(const attni_engine *e, size_t head, size_t segment, float **o, attni_row **state);

/* score.c: the keys that query token i of sequence b may see. */
attni_range attni_visible(const attni_sdpa *call, size_t b, size_t i);

/* pack.c, the door in. */
void attni_pack_query(const attni_engine *e, attni_query_tile *tile, float *room);
void attni_pack_keys(const attni_engine *e, const attni_unit *unit, size_t begin, size_t count, attni_key_group *group);
/* Whether all values of the group are finite; if not, v_clean is made. */
bool attni_values_finite(const attni_engine *e, attni_key_group *group);

/* Begins to bring part i of n of the first keys and values of a unit, or a tile's queries, into the cache. */
void attni_prefetch_keys(const attni_engine *e, const attni_unit *unit, size_t i, size_t n);
void attni_prefetch_query(const attni_engine *e, const attni_query_tile *tile);

/* The panel that begins at column c. */
static inline const float *attni_panel_of(const attni_engine *e, const attni_values *values, size_t c) {
    return values->data + c / e->cut.tile.columns * values->step;
}

/* tile.c, the tile loop: the desk's tiles walk the keys of their unit. `next` is the unit that this worker will
 * probably do next, or NULL. */
void attni_walk(const attni_engine *e, const attni_unit *unit, const attni_unit *next, attni_desk *desk);
/* Walks the scores again, now that each row's maximum and sum are known. */
void attni_walk_probabilities(const attni_engine *e, const attni_unit *unit, attni_desk *desk);

/* output.c, the door out. */
void attni_write_output(const attni_engine *e, const attni_query_tile *tile);
void attni_write_probabilities(const attni_engine *e, const attni_query_tile *tile, const attni_key_group *group,
                               const float *scores, size_t columns, const attni_range *range);

#endif
