/* SPDX-License-Identifier: BSD-3-Clause */
/* The gradients of embeddings. Rows of a table are summed in the order of the tokens that have them. */
#include <string.h>

#include "block/embed.h"
#include "context/sizes.h"
#include "mha/matrix.h"
#include "mha/rows.h"

typedef struct layout {
    size_t sums, norm, starts, order, end; /* bytes */
} layout;

static bool any_rows(const attni_embed_back *b) {
    return b->d_tokens || b->d_positions || b->d_types || b->d_vectors.data;
}

static size_t largest_table(const attni_embed_back *b) {
    const attn_embed_params *p = &b->embed->params;
    const size_t tokens = b->d_tokens ? p->token_count : 0, positions = b->d_positions ? p->position_count : 0;
    return attni_max(tokens, attni_max(positions, b->d_types ? p->type_count : 0));
}

/* The sums, which become their gradients, as the rows that the norm reads. */
static attni_norm_rows_back norm_rows(const attni_embed_back *b, float *sums) {
    const attni_embed *e = b->embed;
    const attni_view dense = {sums, ATTN_F32, (ptrdiff_t)(e->T * e->M), 0, (ptrdiff_t)e->M};
    return (attni_norm_rows_back){.B = e->B,
                                  .H = 1,
                                  .T = e->T,
                                  .width = e->M,
                                  .x = dense,
                                  .d_out = b->d_out,
                                  .dx = any_rows(b) ? dense : (attni_view){0},
                                  .d_weight = b->d_weight,
                                  .d_bias = b->d_bias,
                                  .add_weights = b->accumulate};
}

static layout lay(const attni_embed_back *b) {
    const size_t rows = b->embed->B * b->embed->T, count = largest_table(b);
    layout at;
    size_t used = 0;
    at.sums = attni_take(&used, b->embed->norm ? rows * b->embed->M * sizeof(float) : 0, ATTNI_LINE);
    at.norm = attni_take(&used, 0, ATTNI_LINE);
    if (b->embed->norm) {
        const attni_norm_rows_back norm = norm_rows(b, NULL);
        attni_take(&used, attni_norm_backward_scratch(&norm), ATTNI_LINE);
    }
    at.starts = attni_take(&used, count ? (count + 1) * sizeof(size_t) : 0, ATTNI_LINE);
    at.order = attni_take(&used, count ? rows * sizeof(size_t) : 0, ATTNI_LINE);
    at.end = used;
    return at;
}

size_t attni_embed_backward_scratch(const attni_embed_back *back) { return lay(back).end; }

/* -- tables -- */

/* Which row of a table each token has; ids = NULL: first + step · t. */
typedef struct table {
    const int64_t *ids;
    size_t first, step, count;
    float *gradients;
    double scale;
} table;

typedef struct job {
    const attni_embed_back *back;
    attni_view rows; /* gradients of the sums */
    table table;
    size_t *starts, *order; /* tokens order[starts[id]] … order[starts[id + 1] − 1] have row id */
    size_t pieces;
} job;

static size_t id_of(const job *j, size_t token) {
    return j->table.ids ? (size_t)j->table.ids[token] : j->table.first + j->table.step * (token % j->back->embed->T);
}

/* By counting; each row's tokens stay in their order. */
static void sort_tokens(const job *j) {
    const size_t tokens = j->back->embed->B * j->back->embed->T;
    size_t *const starts = j->starts;
    memset(starts, 0, (j->table.count + 1) * sizeof *starts);
    for (size_t n = 0; n < tokens; n++)
        starts[id_of(j, n)]++;
    for (size_t id = 0, sum = 0; id <= j->table.count; id++)
        sum = starts[id] += sum;
    for (size_t n = tokens; n-- > 0;)
        j->order[--starts[id_of(j, n)]] = n;
}

enum { IDS = 256, COLUMNS = 64 };

/* Some columns of one row. */
static void sum_row(const job *j, size_t id, size_t at, size_t columns) {
    const size_t T = j->back->embed->T;
    float *const to = j->table.gradients + id * j->back->embed->M + at;
    double sum[COLUMNS] = {0};
    if (j->starts[id] == j->starts[id + 1]) {
        if (!j->back->accumulate)
            memset(to, 0, columns * sizeof *to);
        return;
    }
    for (size_t n = j->starts[id]; n < j->starts[id + 1]; n++) {
        const float *x = (const float *)attni_at(&j->rows, j->order[n] / T, 0, j->order[n] % T) + at;
        for (size_t c = 0; c < columns; c++)
            sum[c] += (double)x[c];
    }
    for (size_t c = 0; c < columns; c++)
        to[c] = (float)(j->table.scale * sum[c] + (j->back->accumulate ? (double)to[c] : 0));
}

static void sum_ids(void *arg, size_t unit, size_t worker) {
    const job *j = arg;
    const size_t at = unit % j->pieces * COLUMNS, first = unit / j->pieces * IDS;
    const size_t end = attni_min(j->table.count, first + IDS), columns = attni_min(COLUMNS, j->back->embed->M - at);
    (void)worker;
    for (size_t id = first; id < end; id++)
        sum_row(j, id, at, columns);
}

static void sum_table(attn_context *context, job *j, table t) {
    enum { FLOPS = 16 };
    const attni_embed *e = j->back->embed;
    j->table = t;
    j->pieces = attni_ceil_div(e->M, COLUMNS);
    if (!t.gradients)
        return;
    sort_tokens(j);
    attni_parallel(context, attni_ceil_div(t.count, IDS) * j->pieces,
                   FLOPS * (double)e->M * ((double)e->B * (double)e->T + (double)t.count), sum_ids, j);
}

/* -- vectors -- */

static void put_vectors(void *arg, size_t begin, size_t end) {
    const job *j = arg;
    const attni_embed *e = j->back->embed;
    for (; begin < end; begin++) {
        const float *x = attni_at(&j->rows, begin / e->T, 0, begin % e->T);
        float *y = attni_at(&j->back->d_vectors, begin / e->T, 0, begin % e->T);
        for (size_t c = 0; c < e->M; c++)
            y[c] = e->params.scale * x[c] + (j->back->accumulate ? y[c] : 0);
    }
}

/* What the norm, or the sum alone, hands on to its terms. */
static attni_view gradients_of_sums(attn_context *context, const attni_embed_back *b, const layout *at, char *scratch) {
    if (!b->embed->norm)
        return b->d_out;
    const attni_norm_rows_back norm = norm_rows(b, (float *)(void *)(scratch + at->sums));
    attni_embed sums = *b->embed;
    sums.norm = NULL;
    sums.out = norm.x;
    attni_embed_run(context, &sums);
    attni_norm_backward(context, b->embed->norm, &norm, scratch + at->norm);
    return norm.x;
}

/* The vectors come last: their gradients may take the place of d_out. */
void attni_embed_backward(attn_context *context, const attni_embed_back *back, char *scratch) {
    const attn_embed_params *p = &back->embed->params;
    const layout at = lay(back);
    job j = {.back = back,
             .rows = gradients_of_sums(context, back, &at, scratch),
             .starts = (size_t *)(void *)(scratch + at.starts),
             .order = (size_t *)(void *)(scratch + at.order)};
    sum_table(context, &j, (table){p->ids, 0, 0, p->token_count, back->d_tokens, (double)p->scale});
    sum_table(context, &j, (table){p->position_ids, p->first_position, 1, p->position_count, back->d_positions, 1});
    sum_table(context, &j, (table){p->type_ids, 0, 0, p->type_count, back->d_types, 1});
    if (back->d_vectors.data)
        attni_share_rows(context, back->embed->B * back->embed->T, back->embed->M, 4, put_vectors, &j);
}
