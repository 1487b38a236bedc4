/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/dot_generic.h"

#include "kernels/int8_body.h"
