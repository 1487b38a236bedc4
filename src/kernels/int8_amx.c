/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_avx512vnni.h"
#include "kernels/simd_amx.h"

#define DOT_TABLE attni_int8_amx
#define DOT_NAME "amx_int8"
#define DOT_ISA (ATTN_ISA_AVX512 | ATTN_ISA_AVX512_VNNI | ATTN_ISA_AMX_INT8)
#define TILE_DOT TILE_DOT_INT8
#define PRODUCTS "kernels/tile_body.h"
#include "kernels/int8_body.h"
