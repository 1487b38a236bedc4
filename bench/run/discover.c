/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/discover.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define DEBIAN "/usr/lib/" ATTN_LIBRARY_ARCHITECTURE "/"

/* What a backend is called on the command line and in tables: a name that libattn knows, or a file that must be there.
 * The serial OpenBLAS is here to be refused, in words. */
static const struct {
    const char *label, *file, *blas;
} catalogue[] = {
    {"linked", NULL, "linked"},
    {"builtin", NULL, "builtin"},
    {"openblas-pthread", DEBIAN "openblas-pthread/libopenblas.so.0", DEBIAN "openblas-pthread/libopenblas.so.0"},
    {"openblas-openmp", DEBIAN "openblas-openmp/libopenblas.so.0", DEBIAN "openblas-openmp/libopenblas.so.0"},
    {"openblas-serial", DEBIAN "openblas-serial/libopenblas.so.0", DEBIAN "openblas-serial/libopenblas.so.0"},
    {"blis-pthread", DEBIAN "blis-pthread/libblis.so.4", DEBIAN "blis-pthread/libblis.so.4"},
    {"blis-openmp", DEBIAN "blis-openmp/libblis.so.4", DEBIAN "blis-openmp/libblis.so.4"},
    {"atlas", DEBIAN "libcblas.so.3", DEBIAN "libcblas.so.3"},
    {"mkl", NULL, "mkl"},
    {"reference", DEBIAN "blas/libblas.so.3", DEBIAN "blas/libblas.so.3"},
};

const char *discover_named(const char *name) {
    for (size_t i = 0; i < sizeof catalogue / sizeof *catalogue; i++)
        if (strcmp(catalogue[i].label, name) == 0)
            return catalogue[i].blas;
    return name;
}

/* Where pip puts scipy-openblas32, below these folders. */
static const char *const python_folders[] = {"$VIRTUAL_ENV/lib/python3*/site-packages",
                                             "$HOME/.local/lib/python3*/site-packages",
                                             "/usr/local/lib/python3*/dist-packages"};
#define WHEEL_FILE "/scipy_openblas32/lib/libscipy_openblas.so"

/* The pattern with the variable at its beginning replaced; "" where that is not set. */
static void expand(const char *pattern, char *to, size_t size) {
    const char *rest = strchr(pattern + 1, '/');
    char variable[32];
    *to = '\0';
    if (*pattern != '$') {
        text_print(to, size, "%s" WHEEL_FILE, pattern);
        return;
    }
    text_print(variable, sizeof variable, "%.*s", (int)(rest - pattern - 1), pattern + 1);
    const char *value = getenv(variable);
    if (value != NULL && *value != '\0')
        text_print(to, size, "%s%s" WHEEL_FILE, value, rest);
}

static bool find_wheels(discover_found found, void *data) {
    bool more = true;
    for (size_t i = 0; more && i < sizeof python_folders / sizeof *python_folders; i++) {
        char pattern[400];
        glob_t files;
        expand(python_folders[i], pattern, sizeof pattern);
        if (*pattern == '\0' || glob(pattern, 0, NULL, &files) != 0)
            continue;
        for (size_t n = 0; more && n < files.gl_pathc; n++)
            more = found(data, "scipy-openblas32", files.gl_pathv[n]);
        globfree(&files);
    }
    return more;
}

void discover(discover_found found, void *data) {
    const char *wish = getenv("ATTN_BLAS");
    for (size_t i = 0; i < sizeof catalogue / sizeof *catalogue; i++)
        if (catalogue[i].file == NULL || access(catalogue[i].file, R_OK) == 0)
            if (!found(data, catalogue[i].label, catalogue[i].blas))
                return;
    if (find_wheels(found, data) && wish != NULL && strchr(wish, '/') != NULL)
        found(data, strrchr(wish, '/') + 1, wish);
}
