/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_avx512bf16.h"

#define DOT_TABLE attni_bf16_avx512_bf16
#define DOT_NAME "avx512_bf16"
#define DOT_ISA (ATTN_ISA_AVX512 | ATTN_ISA_AVX512_BF16)
#define SPLIT NULL
#define PRODUCTS "kernels/dot_body.h"
#include "kernels/bf16_body.h"
