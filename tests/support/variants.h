/* SPDX-License-Identifier: BSD-3-Clause */
/* Every option of attn_sdpa at a few levels, and calls made of any combination of them. Level 0 is off, or plain. */
#ifndef ATTN_TESTS_VARIANTS_H
#define ATTN_TESTS_VARIANTS_H

#include "support/sdpa_case.h"

enum option {
    SCALE,
    SOFTCAP,
    BIAS, /* the levels below */
    ALIBI,
    CALLBACK,
    MASK,
    KEY_MASK,
    POLARITY,
    PAD_MASKS,
    CAUSAL,
    WINDOW,
    KEY_LENGTHS,
    QUERY_LENGTHS,
    BLOCK_MAP,
    RAGGED,
    SINKS,
    DROPOUT,
    INPUT_TYPES,
    NUMBERS,      /* of what size q, k and v are; NaN and Inf among those that are seen */
    INPUT_LAYOUT, /* rows that share memory */
    OUT_TYPE,
    LAYOUT,
    LSE,
    WEIGHTS,
    AVERAGED,
    WEIGHTS_TYPE,
    INSPECTION,
    ALIGNMENT, /* where `causal` is 0 */
    CHUNK,
    CAUSAL_BLOCK, /* where it is not */
    DOCUMENTS,
    SPANS,
    FIRST_KEYS,
    TREE,
    RELATIVE,
    QUERY_FACTOR,
    HEAD_SCALES,
    KEY_LISTS,
    SIGMOID, /* leaves out what it does not have */
    POISON,  /* NaN and Inf in all that no query sees; not in rows that share memory */
    OPTIONS
};

enum { MOST_LEVELS = 10 };
extern const char *const OPTION_NAMES[OPTIONS];
extern const unsigned OPTION_LEVELS[OPTIONS];

enum { BIAS_MINUS_INFINITY = 4, BIAS_SMALLEST = 5 };
enum { SMALL_NUMBERS = 1, LARGE_NUMBERS = 2, SOME_NAN = 3, SOME_INFINITY = 4 };

struct levels {
    unsigned of[OPTIONS];
};

struct shape {
    size_t B, H, G, Tq, Tk, D, E; /* B sequences, the longest of Tq and Tk tokens */
};

/* Lengths 0 and 1, multiples of nothing, decoding, grouped heads, D ≠ E, more keys than a segment. */
enum { SHAPES = 12 };
extern const struct shape VARIANT_SHAPES[SHAPES];

/* The call. All it points to lives until end_case(). `prefix` goes in front of its name. */
struct sdpa_case variant_of(const char *prefix, const struct levels *levels, const struct shape *shape);

/* A dense tensor of one value, and up to 64 times the same integer. */
const attn_tensor *new_filled(attn_dtype dtype, size_t B, size_t H, size_t rows, size_t columns, double x);
const int64_t *new_same_integers(int64_t x, size_t n);

/* The keys of the sequence that has fewest, of those with queries, in tensors of so many tokens; SIZE_MAX: of none. */
size_t fewest_keys(const attn_sdpa_params *params, size_t B, size_t Tq, size_t Tk);

/* Random spans of B sequences of so many tokens, one after the other or with gaps; a random tree, which is none. */
const attn_spans *new_spans(size_t B, size_t tokens, bool gaps);
const attn_tree *new_tree(size_t tokens, size_t queries);

/* Random lists of a shape that is said but for the numbers. */
const attn_key_lists *new_key_lists(attn_key_lists shape, size_t Tq, size_t Tk);

/* Sigmoid attention, without what it does not have. */
void set_sigmoid(struct sdpa_case *c);

/* A callback: adds something that q and k tell. */
void lean(void *data, const attn_score_tile *tile);

/* For each instruction set a context of one thread and one of three. These are of pthreads, new ones for each call:
 * threads that are more than cores and wait for each other in loops would take most of a test's time. */
size_t new_variant_contexts(attn_context *one[ISAS], attn_context *three[ISAS]);

/* The same bits on one thread and on three; and near the reference. */
void check_variant(attn_context *one, attn_context *three, const struct sdpa_case *c);

#endif
