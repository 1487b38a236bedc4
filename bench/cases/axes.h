/* SPDX-License-Identifier: BSD-3-Clause */
/* What can vary besides sizes, one line of a table each: operations, variants of the mask, storage types. */
#ifndef ATTN_BENCH_AXES_H
#define ATTN_BENCH_AXES_H

#include <attn/attn.h>
#include <stdbool.h>
#include <stddef.h>

#include "machine/peak.h"

/* In the order of the table below. */
typedef enum bench_op { OP_SDPA, OP_BACKWARD, OP_LAYER, OP_DECODE, OP_PROJECTIONS, OP_SOFTMAX, OP_SGEMM } bench_op;

/* Which sizes change what an operation does; the others take only their first value. */
enum {
    USES_T = 1,
    USES_H = 2,
    USES_B = 4,
    USES_THREADS = 8,
    USES_SIZES = 15,
    USES_VARIANT = 16,
    USES_DTYPE = 32,
    USES_PRECISION = 64,
    USES_ALL = 127
};

typedef struct op_spec {
    const char *name;
    unsigned uses;
    bool by_bytes;     /* its speed is told in GB/s, as memory is what holds it up; else in GFLOP/s */
    peak_type roof[4]; /* what it multiplies in each precision */
} op_spec;

/* Keys [low, high) that query i of T may see. */
typedef struct key_range {
    size_t low, high;
} key_range;

/* A mask, or another change of the scores: how the library is told, and what is true. */
typedef struct variant_spec {
    const char *name;
    void (*set)(attn_sdpa_params *params); /* NULL: nothing to set */
    key_range (*sees)(size_t i, size_t T);
    /* Of a scaled product of query i of head h of H and key j, in place of `s`; NULL: s. */
    double (*score)(double s, size_t h, size_t H, size_t i, size_t j);
    double (*slope)(double s); /* its derivative by s; NULL: 1 */
} variant_spec;

/* A binary format: sign, exponent and mantissa bits make its width. */
typedef struct dtype_spec {
    const char *name;
    attn_dtype type;
    int exponent, mantissa;
    double tolerance; /* of |x - y| / (1 + |y|) in an output: rounding makes a tenth of it, a wrong product far more */
} dtype_spec;

/* What products multiply, and how the weights of a layer and the keys and values of a decoder are kept for that. */
typedef struct precision_spec {
    const char *name;
    attn_precision precision;
    attn_dtype stored;
    double stored_size; /* bytes */
    /* Of |x - y| / (r + |y|), r being the root mean square of a row: rounding makes a third at most; 0: the dtype's.
     * The latter of what comes out of a cache, for which the truth is what went in. */
    double tolerance, cache_tolerance;
} precision_spec;

extern const op_spec op_table[];
extern const variant_spec variant_table[];
extern const dtype_spec dtype_table[];
extern const precision_spec precision_table[];

/* The names of a table, separated by commas, as the command line takes them. */
#define OP_NAMES "sdpa,backward,layer,decode,projections,softmax,sgemm"
#define VARIANT_NAMES "full,causal,window,alibi,softcap"
#define DTYPE_NAMES "f32,f16,bf16"
#define PRECISION_NAMES "f32,bf16,int8,int4"

size_t dtype_size(const dtype_spec *type);

/* Element i of an array, rounded to nearest even, read as what it is. */
void dtype_put(const dtype_spec *type, void *array, size_t i, double value);
double dtype_get(const dtype_spec *type, const void *array, size_t i);

#endif
