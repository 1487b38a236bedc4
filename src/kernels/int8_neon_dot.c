/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_neon.h"

#include "kernels/int8_body.h"
