/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/status.h"

#include "attn/version.h"

#define QUOTE(x) #x
#define VERSION(major, minor, patch) QUOTE(major) "." QUOTE(minor) "." QUOTE(patch)

const char *attn_version(void) { return VERSION(ATTN_VERSION_MAJOR, ATTN_VERSION_MINOR, ATTN_VERSION_PATCH); }

const char *attn_status_text(attn_status status) {
#define TEXT(name, value, text)                                                                                        \
    case name:                                                                                                         \
        return text;
    switch (status) { ATTN_STATUS_TABLE(TEXT) }
#undef TEXT
    return "not a status of libattn";
}
