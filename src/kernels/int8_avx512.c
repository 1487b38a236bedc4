/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_avx512vnni.h"

#define DOT_TABLE attni_int8_avx512
#define DOT_NAME "avx512_vnni"
#define DOT_ISA (ATTN_ISA_AVX512 | ATTN_ISA_AVX512_VNNI)
#define PRODUCTS "kernels/dot_body.h"
#include "kernels/int8_body.h"
