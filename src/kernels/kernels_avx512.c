/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/simd_avx512.h"

#include "kernels/body.h"
