/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the backward pass share: backward_lay.c says where everything is, backward_rows.c does what is done
 * row by row before and after the walk, which is backward.c's. */
#ifndef ATTNI_BACKWARD_H
#define ATTNI_BACKWARD_H

#include <stdatomic.h>

#include "context/sizes.h"
#include "sdpa/engine.h"

/* Rows that the caller has, or a copy of them. */
typedef struct attni_back_matrix {
    const float *data;
    size_t ld;
} attni_back_matrix;

/* What a call keeps beside the desks: rows are those of all query tokens, heads and sequences, one after the other. */
typedef struct attni_back_layout {
    size_t q, d_out;         /* copies, [rows, width] */
    size_t lse, delta;       /* [rows] */
    size_t dq, dk, dv;       /* [rows, D], [rows, D] and [rows, E] */
    size_t passed;           /* [B,G,tiles]: how many groups of keys have passed each tile */
    size_t slopes, table;    /* sums */
    size_t blocks;           /* doubles, [blocks, sums.all], where they are summed block by block */
    size_t desk, desks, all; /* bytes of a desk, where they begin, bytes of all */
} attni_back_layout;

/* Sums over rows that are made after the walk, in doubles from where those of a block begin. */
typedef enum attni_back_sum_of {
    ATTNI_Q_WEIGHT,
    ATTNI_K_WEIGHT,
    ATTNI_V_WEIGHT,
    ATTNI_HEAD_FACTORS,
    ATTNI_EXTRA_KEY,
    ATTNI_EXTRA_VALUE,
    ATTNI_BACK_SUMS
} attni_back_sum_of;
typedef struct attni_back_sums {
    struct {
        float *to; /* or NULL: not wanted */
        size_t count, at;
    } of[ATTNI_BACK_SUMS];
    size_t all;
} attni_back_sums;

typedef struct attni_backward {
    attni_engine e;
    const attni_gradients *gradients;
    attni_cut room; /* the largest that any sequence has */
    attni_back_layout at;
    attni_back_sums sums;
    char *scratch;
    size_t tiles;                              /* of a key/value head, at most */
    size_t groups;                             /* of keys, at most */
    size_t ldq, ldo;                           /* of copies */
    bool whole_batch, whole_heads, whole_keys; /* a unit has all of them: they add to the same sums */
    atomic_bool odd;                           /* something of q or d_out is not finite */
} attni_backward;

/* One sequence of the call, as a call of its own. */
typedef struct attni_back_sequence {
    attni_backward *w;
    attni_engine e;
    attni_sdpa call;
    attni_gradients gradients;
    size_t b, groups;
    size_t query_rows, key_rows; /* of the sequences before it */
    bool odd;
} attni_back_sequence;

/* Scratch of one worker. */
typedef struct attni_back_desk {
    attni_key_group group;
    float *k;       /* [keys, D] in panels, zeros where rows are not finite */
    float *v;       /* [keys/W][E][W] */
    float *dk, *dv; /* [keys, D] and [keys, E] */
    float *p, *g;   /* [rows, keys]: weights, and gradients of them and of scores */
    float *kept;    /* weights after dropout */
    float *capped, *uncalled;
    float *turned;      /* [keys, rows] */
    float *room;        /* rows on their way */
    attni_range *range; /* [rows], as is */
    attni_row *state;
} attni_back_desk;

/* -- backward_lay.c -- */

attni_back_layout attni_back_lay(const attn_context *context, const attni_sdpa *call, const attni_gradients *g,
                                 const attni_cut *cut);
size_t attni_back_lay_desk(const attni_cut *cut, const attni_sdpa *call, char *base, attni_back_desk *d);
attni_back_desk attni_back_desk_of(const attni_backward *w, size_t worker);
/* As large as the cut of any sequence. */
attni_cut attni_back_room_for(const attn_context *context, const attni_sdpa *call);
size_t attni_back_count_groups(const attni_cut *cut, size_t Tk);

attni_back_sums attni_back_lay_sums(const attni_sdpa *call, const attni_gradients *g);
/* The rows of all tokens are worked at in so many chunks, and where they are summed in so many blocks of these. */
enum { ATTNI_BACK_CHUNK = 16 }; /* tokens */
size_t attni_back_chunks(const attni_sdpa *call);
size_t attni_back_blocks(const attni_sdpa *call, const attni_back_sums *sums);

/* Gradients that something needs, the caller or what is summed of them. */
static inline bool attni_back_wants_q(const attni_gradients *g) {
    return g->dq.data || g->d_q_weight || g->d_head_factors;
}
static inline bool attni_back_wants_k(const attni_gradients *g) { return g->dk.data || g->d_k_weight; }
static inline bool attni_back_wants_v(const attni_gradients *g) { return g->dv.data || g->d_v_weight; }

/* Sequence b in *s, which must not move any more. */
void attni_back_sequence_of(attni_backward *w, size_t b, attni_back_sequence *s);

/* Floats between the rows of a copy, and of weights that are transposed. */
size_t attni_back_padded(const attni_sdpa *call, size_t width);
size_t attni_back_turned_step(const attni_cut *cut);

/* Whether rows are read where the caller has them; and where rows of q and d_out are read. */
bool attni_back_is_in_place(const attni_back_sequence *s, const attni_view *view, size_t width);
bool attni_back_q_is_in_place(const attni_back_sequence *s);
attni_back_matrix attni_back_q_rows(const attni_back_sequence *s, size_t h, size_t t);
attni_back_matrix attni_back_d_out_rows(const attni_back_sequence *s, size_t h, size_t t);

static inline float *attni_back_floats(const attni_backward *w, size_t at) {
    return (float *)(void *)(w->scratch + at);
}

/* Where row t of query head h is among all, and what is known of it. */
static inline size_t attni_back_row(const attni_back_sequence *s, size_t h, size_t t) {
    return s->query_rows + h * s->call.Tq + t;
}
static inline float *attni_back_lse(const attni_back_sequence *s, size_t h, size_t t) {
    return attni_back_floats(s->w, s->w->at.lse) + attni_back_row(s, h, t);
}
static inline float *attni_back_delta(const attni_back_sequence *s, size_t h, size_t t) {
    return attni_back_floats(s->w, s->w->at.delta) + attni_back_row(s, h, t);
}

/* -- backward_rows.c -- */

/* What the walk has to know of each row, and what outputs have to be before it. */
void attni_back_begin(attn_context *context, attni_backward *w);
/* Sums of what rows share that are not there. */
void attni_back_clear(attn_context *context, attni_backward *w);

/* The gradients of a tile's queries before the first group of keys. */
void attni_back_begin_queries(const attni_back_sequence *s, const attni_query_tile *t, float *dq);

/* The gradients of a tile's queries, and of a group's keys or values, to the caller, or where they are kept until they
 * are turned back; room for a row. */
void attni_back_put_queries(const attni_back_sequence *s, const attni_query_tile *t, const float *dq, float *room);
void attni_back_put_keys(const attni_back_sequence *s, const attni_key_group *group, const attni_turn *turn,
                         const attni_view *to, size_t kept, size_t width, const float *x, float *room);

/* What remains: rows that are turned back, and sums over rows. */
void attni_back_end(attn_context *context, attni_backward *w);

#endif
