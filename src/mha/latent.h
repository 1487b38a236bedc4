/* SPDX-License-Identifier: BSD-3-Clause */
/* Latent attention: what the heads make of latents, or of queries instead. */
#ifndef ATTNI_LATENT_H
#define ATTNI_LATENT_H

#include "mha/mha.h"

/* The maps of the heads, in memory of so many bytes, out of `up` [H·(D − R + E), L]. */
size_t attni_latent_bytes(const attn_context *context, const attn_mha *mha, const attni_weight *up);
size_t attni_latent_room(const attn_mha *mha, const attni_weight *up); /* bytes that packing needs meanwhile */
void attni_latent_pack(attn_context *context, attn_mha *mha, const attni_weight *up, char *memory, void *room);
void attni_latent_repack(attn_context *context, attn_mha *mha, const attni_weight *up, void *room);
/* What of another `up` does not fit in the place of that, or NULL. */
const char *attni_latent_misfit(const attn_context *context, const attn_mha *mha, const attni_weight *up);

/* Floats of room that these need for so many rows. */
size_t attni_latent_floats(const attn_context *context, const attn_mha *mha, size_t rows);

/* keys [rows, H·D] and values [rows, H·E] of latents [rows, L + R]. */
void attni_latent_expand(attn_context *context, const attn_mha *mha, const attni_matrix *latents,
                         const attni_matrix *keys, const attni_matrix *values, float *room);
/* y [rows, H·(L + R)] of queries [rows, H·D]. */
void attni_latent_absorb(attn_context *context, const attn_mha *mha, const attni_matrix *queries, const attni_matrix *y,
                         float *room);
/* o [rows, H·E] of sums of latents [rows, H·L]. */
void attni_latent_values(attn_context *context, const attn_mha *mha, const attni_matrix *sums, const attni_matrix *o,
                         float *room);

/* The way back of attni_latent_expand: gradients of the latents, and, unless it is NULL, of `up` as it came. */
typedef struct attni_latent_back {
    attni_matrix latents, d_keys, d_values, d_latents;
    float *d_up;
    bool accumulate; /* to d_up */
} attni_latent_back;
size_t attni_latent_back_floats(const attn_context *context, const attn_mha *mha);
void attni_latent_back_run(attn_context *context, const attn_mha *mha, const attni_latent_back *back, float *room);

#endif
