/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/simd_generic.h"

#include "kernels/body.h"
