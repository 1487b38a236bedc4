/* SPDX-License-Identifier: BSD-3-Clause */
enum { GROUP_BYTES = 4 }; /* of a panel's groups */

/* Rows by some columns of a panel, and where they go. */
typedef struct task {
    size_t rows, depth;
    const element *a;
    size_t lda;
    const char *b;
    size_t step; /* bytes from one row of groups to the next */
    scaling by;
    size_t column; /* the first one's number */
    bool add;
    float *c;
    size_t ldc;
} task;
