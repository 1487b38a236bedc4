/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/quad_neon.h"

#define GROUP_TABLE attni_int4_int8_neon_dot
#include "kernels/int4_int8.h"

#include "kernels/int4_body.h"
