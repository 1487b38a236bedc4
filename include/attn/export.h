/* SPDX-License-Identifier: BSD-3-Clause */
/* ATTN_API marks what libattn.so exports; everything else is hidden. */
#ifndef ATTN_EXPORT_H
#define ATTN_EXPORT_H

#if defined(__GNUC__)
#define ATTN_API __attribute__((visibility("default")))
#else
#define ATTN_API
#endif

#endif
