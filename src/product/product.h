/* SPDX-License-Identifier: BSD-3-Clause */
/* Who multiplies what: f32 the backend, if there is one; libattn's own kernels what no BLAS can read, or everything.
 * The rooms above know a product, and the sizes that suit whoever makes it. */
#ifndef ATTNI_PRODUCT_H
#define ATTNI_PRODUCT_H

#include "blas/blas.h"
#include "context/context.h"
#include "kernels/kernels.h"

/* open.c: the backend that the options name, or the one that suits this CPU where they name none, in context->blas,
 * with the reason in a sentence. */
attn_status attni_product_open(attn_context *context, const attn_context_options *options);
void attni_product_close(attn_context *context);

/* c [rows, columns] = factor · a [rows, depth] · b [depth, columns] (+ c where `add`). Where b is f32, leading
 * dimensions must fit an int. */
void attni_multiply(const attn_context *context, size_t rows, size_t columns, size_t depth, float factor,
                    const float *a, size_t lda, const attni_panels *b, bool add, float *c, size_t ldc);

/* The forms of a left factor: f32 as it is, or what has been made of it once for all the products that it is in. */
typedef enum attni_form {
    ATTNI_PLAIN,
    ATTNI_ROUNDED,
    ATTNI_SPLIT, /* parts of bf16, those of a row one after the other: as exact as plain */
    ATTNI_QUANTIZED,
    ATTNI_GROUPED /* for int4; products begin and end with whole groups */
} attni_form;
typedef struct attni_left {
    attni_form form;
    const char *data;
    size_t step;        /* bytes from row to row, */
    size_t size;        /* and from element to element */
    const float *scale; /* of the rows, where they are quantised */
} attni_left;

/* The form of a left factor of a type, for a right factor of another, in the context's precision. Products of two bf16
 * numbers are exact in f32: instructions for them, where there are any, do in every precision, and fast ones with f32
 * that is split. Two parts would leave 2^−17 of each product, which is within 1e-5 where Σ|x·w| is below 1.3: mostly of
 * probabilities (0.8), not of linear maps (2600 at a depth of 4096). Three leave nothing. */
attni_form attni_form_for(const attn_context *context, attn_dtype left, attn_dtype right);

/* prepare.c. The left factor that rows [rows, depth] become in so many floats of room, and the work: rows [begin, end).
 */
size_t attni_left_floats(const attn_context *context, attni_form form, size_t rows, size_t depth);
attni_left attni_left_of(const attn_context *context, attni_form form, size_t rows, size_t depth, const float *x,
                         size_t ldx, float *room);
void attni_prepare(const attn_context *context, const attni_left *left, size_t begin, size_t end, size_t depth,
                   const float *x, size_t ldx);

/* The left factor that rows are as they are; that rows [rows, depth] become, in place or, where they are split, in so
 * many floats of room each; and one of its elements. */
attni_left attni_left_at(const float *x, size_t ldx);
size_t attni_split_floats(const attn_context *context, attni_form form, size_t depth);
attni_left attni_left_made(const attn_context *context, attni_form form, size_t rows, size_t depth, float *x,
                           size_t ldx, float *room);
float attni_left_element(const attni_left *left, size_t row, size_t at);

/* attni_multiply by columns [at, at + depth) of rows [row, row + rows) of any left factor. */
void attni_multiply_left(const attn_context *context, size_t rows, size_t columns, size_t depth, float factor,
                         const attni_left *left, size_t row, size_t at, const attni_panels *b, bool add, float *c,
                         size_t ldc);

/* Whether the bits of a row of a product, b being of a type, depend on no other row. */
bool attni_rows_are_free(const attn_context *context, attn_dtype type);

/* rules.c: the sizes for attention to so many keys, by who multiplies, */
typedef struct attni_tile {
    size_t width;    /* W: columns of a block of K, a multiple of 16 */
    size_t rows;     /* Bq: rows of a query tile */
    size_t keys;     /* keys in one step of the online softmax, a multiple of W */
    size_t columns;  /* of a panel of V */
    size_t tiles;    /* query tiles that walk the keys together, at most */
    size_t in_place; /* rows of V of up to so many columns are as good as panels where they follow each other */
} attni_tile;
attni_tile attni_tile_for_attention(const attn_context *context, size_t D, size_t E, size_t keys, bool causal,
                                    bool paged);
attni_tile attni_tile_for_pairs(const attn_context *context, size_t D, size_t E, size_t keys, bool causal);

/* Of the backward pass, where all rows walk past a group of `keys`. */
attni_tile attni_tile_for_backward(const attn_context *context, size_t D, size_t E);

/* The least depth at which a product of so many columns is summed as it is at any larger one. */
size_t attni_least_depth(const attn_context *context, size_t columns);

/* and for weights of a type. */
typedef struct attni_panel {
    size_t width; /* columns of a weight panel, a multiple of 16 */
    size_t unit;  /* columns of the product in one unit of work, a multiple of it */
    size_t rows;  /* rows of x in one product */
    size_t depth; /* inner dimension of one product */
} attni_panel;
attni_panel attni_panel_for_weights(const attn_context *context, attn_dtype type);

#endif
