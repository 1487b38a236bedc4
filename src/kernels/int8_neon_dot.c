/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_neon.h"

#define PRODUCTS "kernels/dot_body.h"
#include "kernels/int8_body.h"
