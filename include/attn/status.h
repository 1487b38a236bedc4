/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_STATUS_H
#define ATTN_STATUS_H

#include "export.h"

/* What every function of libattn that can fail returns. Each X is (name, value, text). */
#define ATTN_STATUS_TABLE(X)                                                                                           \
    X(ATTN_OK, 0, "success")                                                                                           \
    X(ATTN_ERROR_NULL, 1, "a required pointer is NULL")                                                                \
    X(ATTN_ERROR_SHAPE, 2, "sizes are wrong or do not agree")                                                          \
    X(ATTN_ERROR_STRIDE, 3, "strides are not allowed here")                                                            \
    X(ATTN_ERROR_DTYPE, 4, "the element type is not supported here")                                                   \
    X(ATTN_ERROR_VALUE, 5, "an option has a value outside its range")                                                  \
    X(ATTN_ERROR_STRUCT, 6, "a parameter struct was not initialised or is newer than the library")                     \
    X(ATTN_ERROR_OVERFLOW, 7, "a product of sizes overflows")                                                          \
    X(ATTN_ERROR_ALIAS, 8, "an output overlaps itself or an input")                                                    \
    X(ATTN_ERROR_MEMORY, 9, "memory could not be allocated")                                                           \
    X(ATTN_ERROR_BACKEND, 10, "the BLAS backend is missing, of the wrong kind or unsafe")                              \
    X(ATTN_ERROR_FULL, 11, "the cache, or the pool of its pages, is full")

#define ATTN_STATUS_ENUM(name, value, text) name = (value),
typedef enum attn_status { ATTN_STATUS_TABLE(ATTN_STATUS_ENUM) } attn_status;
#undef ATTN_STATUS_ENUM

#ifdef __cplusplus
extern "C" {
#endif

/* The text of a status: static storage, never NULL, also for values that are no status. */
ATTN_API const char *attn_status_text(attn_status status);

#ifdef __cplusplus
}
#endif

#endif
