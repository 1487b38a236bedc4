/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/simd_avx2.h"

#define GROUP_TABLE attni_int4_f32_avx2
#include "kernels/int4_f32.h"

#include "kernels/int4_body.h"
