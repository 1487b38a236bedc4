/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_avx512bf16.h"
#include "kernels/simd_amx.h"

#include "kernels/basics.h"
#include "kernels/narrow.h"

#include "kernels/split_body.h"

#define DOT_TABLE attni_bf16_amx
#define DOT_NAME "amx_bf16"
#define DOT_ISA (ATTN_ISA_AVX512 | ATTN_ISA_AVX512_BF16 | ATTN_ISA_AMX_BF16)
#define TILE_DOT TILE_DOT_BF16
#define SPLIT split_bf16
#define PRODUCTS "kernels/tile_body.h"
#include "kernels/bf16_body.h"
