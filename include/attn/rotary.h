/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done to queries and keys before they are multiplied: normalisation (QK-norm), then rotary embedding. */
#ifndef ATTN_ROTARY_H
#define ATTN_ROTARY_H

#include <stddef.h>
#include <stdint.h>

#include "context.h"
#include "export.h"
#include "norm.h"
#include "status.h"
#include "tensor.h"

/* Which two elements of a row make pair d of the first `width` ones. */
typedef enum attn_rotary_kind {
    ATTN_ROTARY_HALF = 0,       /* d and d + width/2: GPT-NeoX, LLaMA and Qwen of Hugging Face */
    ATTN_ROTARY_INTERLEAVED = 1 /* 2d and 2d + 1: GPT-J, RoFormer, Meta's LLaMA */
} attn_rotary_kind;

/* Rotary embedding. In the row of a token at position n, pair d = (a, b) becomes
 *     (a · cos[n,d] − b · sin[n,d], b · cos[n,d] + a · sin[n,d]).
 * Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021. */
typedef struct attn_rotary {
    size_t struct_size;
    attn_rotary_kind kind;

    /* Elements of a row that are rotated, an even number up to D; those behind stay as they are. 0: D. */
    size_t width;

    /* Dense [positions, width/2], the caller's, required: made by attn_rotary_tables, or any others. */
    size_t positions;
    const float *cos, *sin;

    /* Where each token stands, from 0 to positions − 1; dense. Tokens beyond query_lengths and key_lengths are not
     * looked at. Not for attn_rotate, which has an argument for it. */
    const int64_t *query_positions; /* [B,Tq]; of a ragged batch [T], T = q.size[2]. NULL: p, as `causal` defines it */
    const int64_t *key_positions;   /* [B,Tk]; of a ragged batch [T], T = k.size[2]. NULL: key j at j */

    /* The first element that is rotated; offset + width is at most D. D − width: the last part of a head, as in
     * DeepSeek's and MiniCPM 3's. */
    size_t offset;

    /* Sections with positions of their own. Positions are [axes,B,Tq] and [axes,B,Tk] then (where they are NULL all
     * axes have the same), and pair d is rotated by the position on axis pair_axis[d]: time, row and column of
     * Qwen2-VL's and GLM-4.5V's mrope_section, interleaved in Qwen3-VL; row and column of vision models of Qwen2-VL,
     * Pixtral and Llama 4, whose tables have each frequency twice. 0 or 1: one for all. */
    size_t axes;
    const int32_t *pair_axis; /* [width/2], each from 0 to axes − 1; required with several axes, else NULL */

    int rotate_values; /* not 0: rows of v are rotated as those of k are; offset + width is at most E, too. RoFormer's
                        * rotary_value */
} attn_rotary;

/* Normalises each row of q and of k over D, before it is rotated. Model families:
 *     each head by itself  Qwen3, Gemma 3, GLM-4.5, EXAONE 4; per_head: Cohere, StableLM, Chameleon; ViT-22B
 *     all heads at once    OLMo 2, OLMo 3, OLMoE, MiniMax-M2
 *     after it is rotated  HunYuan
 *     values as well       Gemma 3n, Gemma 4: RMS_NORM, v_weight NULL */
typedef struct attn_qk_norm {
    size_t struct_size;
    attn_norm_kind kind; /* ATTN_RMS_NORM: Qwen3, Gemma 3; ATTN_LAYER_NORM: ViT-22B; ATTN_L2_NORM: Henry et al., 2020 */
    float eps;           /* 0: as in attn_norm_params */
    int per_head;        /* not 0: each head has weights of its own */
    const float *q_weight; /* [D], per head [H,D]; NULL: 1 */
    const float *k_weight; /* [D], per head [G,D]; NULL: 1 */

    int all_heads; /* not 0: over the H·D numbers of all heads of a token, the G·D of k; weights are [H,D] and [G,D] */
    int after_rotary;      /* not 0: rows are rotated first */
    int norm_values;       /* not 0: rows of v are normalised over E, too, each head by itself */
    const float *v_weight; /* [E], per head or with all_heads [G,E]; NULL: 1 */
} attn_qk_norm;

/* How the angles n · f[d], by default f[d] = base^(−2d/width), are changed so that a model trained on short sequences
 * works on long ones. With s = factor and L = original_positions: */
typedef enum attn_rotary_scaling {
    ATTN_ROTARY_PLAIN = 0,
    ATTN_ROTARY_LINEAR = 1, /* f[d] / s; Chen et al., "Extending context window via positional interpolation", 2023 */
    ATTN_ROTARY_NTK = 2,    /* base becomes base · s^(width/(width−2)) */
    /* The same with s · (n/L − 1) + 1 for s, n the larger of `positions` and L: Hugging Face's "dynamic", which depends
     * on how long the sequence is. */
    ATTN_ROTARY_DYNAMIC = 3,
    /* f[d] · (1 − r) + f[d]/s · r; r rises linearly from 0 to 1 between the d that turn beta_fast and beta_slow times
     * in L tokens. Both tables are multiplied by attention_factor. Peng et al., "YaRN", 2023. */
    ATTN_ROTARY_YARN = 4,
    /* f[d] where it turns at least high_turns times in L tokens, f[d]/s where at most low_turns times, in between what
     * is linear in the turns: LLaMA 3.1. */
    ATTN_ROTARY_LLAMA3 = 5,
    /* f[d] / pair_factors[d], and both tables are multiplied by attention_factor: Phi-3's short_factor or long_factor,
     * whichever the length of the sequence asks for. Ding et al., "LongRoPE", 2024. */
    ATTN_ROTARY_LONGROPE = 6,
    /* f[d] / s for the first ⌊partial_rotary_factor · width / 2⌋ pairs, the others do not turn: Gemma 4. */
    ATTN_ROTARY_PROPORTIONAL = 7
} attn_rotary_scaling;

/* Numbers that a scaling has none of are 0. */
typedef struct attn_rotary_tables_params {
    size_t struct_size;
    double base; /* 0: 10000. Finite, and more than 1. */
    attn_rotary_scaling scaling;
    double factor;             /* s: finite and positive, required; 0 with PLAIN; 0 is 1 with PROPORTIONAL */
    size_t original_positions; /* L, required by DYNAMIC, YARN, LLAMA3 and LONGROPE */
    double beta_fast;          /* of YARN; 0: 32 */
    double beta_slow;          /* of YARN; 0: 1 */
    double attention_factor;   /* YARN, LONGROPE; 0: 1 where s ≤ 1, else 0.1·ln s + 1, √(1 + ln s / ln L) */
    double low_turns;          /* of LLAMA3; 0: 1; "low_freq_factor" */
    double high_turns;         /* of LLAMA3; 0: 4; "high_freq_factor" */

    const double *pair_factors; /* LONGROPE: [width/2], finite and positive, required; else NULL */
    /* YARN, finite and positive, both or neither: where s > 1 attention_factor is by default
     * (0.1 · mscale · ln s + 1) / (0.1 · mscale_all_dim · ln s + 1): DeepSeek. */
    double mscale, mscale_all_dim;
    double partial_rotary_factor; /* PROPORTIONAL: up to 1; 0: 1 */
    int no_truncate;              /* YARN, not 0: r begins and ends between pairs, "truncate": false: GPT-OSS */
} attn_rotary_tables_params;

#ifdef __cplusplus
extern "C" {
#endif

/* Makes tables for positions 0 to positions − 1, each element computed in double and rounded once:
 *   cos, sin  dense [positions, width/2], output, the caller's; `width` is even
 *   params    NULL: all defaults
 * NTK and DYNAMIC need a width of 4 or more, and a factor that leaves the base finite and above 1. Where an angle or
 * an element would not be finite, the error is VALUE.
 * Errors: NULL, SHAPE, VALUE, STRUCT, OVERFLOW, ALIAS; nothing is written then.
 * Source: Hugging Face's modeling_rope_utils. */
ATTN_API attn_status attn_rotary_tables(attn_context *context, size_t positions, size_t width,
                                        const attn_rotary_tables_params *params, float *cos, float *sin);

/* Rotates each row, as attention does it: for caches of the caller's, whose keys are rotated once.
 *   x          [B,H,T,D], f32, f16 or bf16
 *   out        the same sizes, output; may be x itself, the same view and type
 *   positions  dense [B,T], with several axes [axes,B,T]; NULL: token t at t
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE (a position outside the tables), STRUCT, OVERFLOW, ALIAS, MEMORY; nothing
 * is written then. Scratch: 64 bytes times D (rounded up to 16) for each thread. */
ATTN_API attn_status attn_rotate(attn_context *context, const attn_tensor *x, const attn_tensor *out,
                                 const attn_rotary *rotary, const int64_t *positions);

#ifdef __cplusplus
}
#endif

#endif
