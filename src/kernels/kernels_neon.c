/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/simd_neon.h"

#include "kernels/body.h"
