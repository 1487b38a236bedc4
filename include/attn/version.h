/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_VERSION_H
#define ATTN_VERSION_H

#include "export.h"

#define ATTN_VERSION_MAJOR 0
#define ATTN_VERSION_MINOR 1
#define ATTN_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that runs, "major.minor.patch"; the macros above tell what was compiled against. */
ATTN_API const char *attn_version(void);

#ifdef __cplusplus
}
#endif

#endif
