/* SPDX-License-Identifier: BSD-3-Clause */
/* Weights are packed once into panels that the backend's products read as one stream. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/int4.h"
#include "kernels/together.h"
#include "linear/linear.h"

size_t attni_weight_bytes(attn_dtype type, size_t rows, size_t in) {
    return rows * (type == ATTN_INT4 ? attni_ceil_div(in, 2) : in * attni_size_of(type));
}

size_t attni_count_scales(attn_dtype type, size_t rows, size_t in) {
    return type == ATTN_INT4 ? 2 * rows * attni_ceil_div(in, ATTNI_GROUP) : rows;
}

size_t attni_panel_bytes(const attni_linear *linear, size_t elements) {
    return linear->type == ATTN_INT4 ? elements / ATTNI_GROUP * attni_group_bytes(linear->half)
                                     : elements * attni_size_of(linear->type);
}

static attn_dtype kept_type(const attn_context *context, const attni_weight *w) {
    const bool integer = w->type == ATTN_INT8 || w->type == ATTN_INT4;
    return context->precision != ATTN_PRECISION_F32 && !integer ? ATTN_BF16 : w->type;
}

/* Whether f16 has all of n numbers. */
static bool are_half(const attni_kernels *kernels, size_t n, const float *x) {
    enum { PIECE = 256 };
    uint16_t half[PIECE];
    float back[PIECE];
    for (size_t i = 0, some; i < n; i += some) {
        some = attni_min(PIECE, n - i);
        kernels->copy(1, some, ATTN_F32, x + i, 0, ATTN_F16, half, 0);
        kernels->copy(1, some, ATTN_F16, half, 0, ATTN_F32, back, 0);
        for (size_t j = 0; j < some; j++)
            if (back[j] != x[i + j])
                return false;
    }
    return true;
}

/* What a weight becomes, its memory left out. */
static attni_linear form_of(const attn_context *context, const attni_weight *w) {
    attni_linear linear = {.out = w->out,
                           .in = w->in,
                           .type = kept_type(context, w),
                           .stride_out = w->stride_out,
                           .stride_in = w->stride_in};
    linear.panel = attni_panel_for_weights(context, linear.type);
    linear.depth = attni_round_up(w->in, attni_together(linear.type));
    linear.half =
        linear.type == ATTN_INT4 && are_half(context->kernels, attni_count_scales(w->type, w->out, w->in), w->scale);
    return linear;
}

/* Floats of the panels (their width rounded up to whole vectors), of the scales and of the bias, each in whole cache
 * lines. */
static size_t panel_floats(const attni_linear *l) {
    return attni_round_up(attni_ceil_div(attni_panel_bytes(l, attni_round_up(l->out, 16) * l->depth), sizeof(float)),
                          16);
}
static size_t scale_floats(const attni_weight *w) { return w->type == ATTN_INT8 ? attni_round_up(w->out, 16) : 0; }
static size_t bias_floats(const attni_weight *w) { return w->bias ? attni_round_up(w->out, 16) : 0; }

size_t attni_linear_floats(const attn_context *context, const attni_weight *w) {
    const attni_linear linear = form_of(context, w);
    return panel_floats(&linear) + scale_floats(w) + bias_floats(w);
}

/* to [columns, width] is the transpose of `from` [rows, columns], of 16 bits each, a cache line's or two of columns at
 * a time; what is behind the rows stays as it is. */
static void turn(size_t rows, size_t columns, const uint16_t *from, size_t ld, size_t width, uint16_t *to) {
    enum { STEP = 64 };
    for (size_t begin = 0; begin < columns; begin += STEP)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = begin; c < attni_min(begin + STEP, columns); c++)
                to[c * width + r] = from[r * ld + c];
}

/* Features [first, first + count) of a weight. */
typedef struct some {
    const attni_kernels *kernels;
    const attni_weight *weight;
    size_t first, count;
} some;

/* Where input i of the first of them is. */
static const void *input_at(const some *s, size_t i) {
    const attni_weight *w = s->weight;
    return (const char *)w->data + (s->first * w->stride_out + i * w->stride_in) * attni_size_of(w->type);
}

/* A few inputs at a time are made rows of f32, and those pairs. */
static void pack_bf16(const some *s, size_t width, uint16_t *panel) {
    enum { ROWS = 16, WIDEST = 64 };
    const attni_weight *w = s->weight;
    float rows[ROWS * WIDEST];
    for (size_t i = 0; i < w->in; i += ROWS) {
        const size_t count = attni_min(ROWS, w->in - i);
        if (w->stride_in == 1)
            s->kernels->transpose(w->type, s->count, count, input_at(s, i), (ptrdiff_t)w->stride_out, width, rows,
                                  width);
        else
            s->kernels->copy(count, s->count, w->type, input_at(s, i), (ptrdiff_t)w->stride_in, ATTN_F32, rows,
                             (ptrdiff_t)width);
        s->kernels->pair(count, s->count, rows, (ptrdiff_t)width, width, panel + i * width, width);
    }
}

/* Numbers of one feature, two a byte, as those of column c of a panel of whole groups. A word has numbers 0 to 3 of
 * eight in the lower halves of its bytes, and 4 to 7 in the upper ones. */
static void put_numbers(size_t in, const uint8_t *from, size_t width, size_t c, size_t step, uint8_t *numbers) {
    for (size_t i = 0; i < in; i += 8, from += 4) {
        uint8_t b[4] = {0}, *to = numbers + i / ATTNI_GROUP * step + (i % ATTNI_GROUP / 8 * width + c) * 4;
        memcpy(b, from, attni_min(4, (in - i + 1) / 2));
        for (size_t half = 0; half < 2; half++) {
            to[2 * half] = (uint8_t)((b[half] & 0xF) | (b[half + 2] & 0xF) << 4);
            to[2 * half + 1] = (uint8_t)(b[half] >> 4 | (b[half + 2] & 0xF0));
        }
    }
}

static void put_scales(const some *s, size_t c, size_t groups, bool half, size_t width, size_t step, char *panel) {
    const float *from = s->weight->scale + (s->first + c) * groups * 2;
    const attn_dtype type = half ? ATTN_F16 : ATTN_F32;
    const size_t size = attni_size_of(type);
    for (size_t n = 0; n < 2 * groups; n++)
        s->kernels->copy(1, 1, ATTN_F32, from + n, 0, type, panel + n / 2 * step + (n % 2 * width + c) * size, 0);
}

static void pack_int4(const some *s, bool half, size_t width, char *panel) {
    const attni_weight *w = s->weight;
    const size_t groups = attni_ceil_div(w->in, ATTNI_GROUP), step = width * attni_group_bytes(half);
    uint8_t *numbers = (uint8_t *)panel + 2 * width * (half ? sizeof(uint16_t) : sizeof(float));
    memset(panel, 0, groups * step);
    for (size_t c = 0; c < s->count; c++) {
        const size_t row = attni_weight_bytes(ATTN_INT4, s->first + c, w->in);
        put_numbers(w->in, (const uint8_t *)w->data + row, width, c, step, numbers);
        put_scales(s, c, groups, half, width, step, panel);
    }
}

static void pack_panel(const some *s, const attni_linear *l, size_t width, char *panel) {
    const attni_weight *w = s->weight;
    if (s->count < width)
        memset(panel, 0, attni_panel_bytes(l, l->depth * width));
    if (l->type == ATTN_INT4)
        pack_int4(s, l->half, width, panel);
    else if (l->type == ATTN_BF16)
        pack_bf16(s, width, (uint16_t *)(void *)panel);
    else if (w->type == ATTN_INT8)
        attni_put_int8(w->in, s->count, input_at(s, 0), w->stride_in, w->stride_out, 0, (uint8_t *)panel, width);
    else if (w->stride_in != 1)
        s->kernels->copy(w->in, s->count, w->type, input_at(s, 0), (ptrdiff_t)w->stride_in, w->type, panel,
                         (ptrdiff_t)width);
    else if (w->type == ATTN_F32)
        s->kernels->transpose(ATTN_F32, s->count, w->in, input_at(s, 0), (ptrdiff_t)w->stride_out, width,
                              (float *)(void *)panel, width);
    else
        turn(s->count, w->in, input_at(s, 0), w->stride_out, width, (uint16_t *)(void *)panel);
}

float *attni_keep(const float *x, size_t n, float **next) {
    if (!x)
        return NULL;
    float *kept = *next;
    const size_t floats = attni_round_up(n, 16);
    memset(kept, 0, floats * sizeof *kept);
    memcpy(kept, x, n * sizeof *x);
    *next += floats;
    return kept;
}

attni_norm attni_keep_norm(const attni_norm *norm, size_t width, float **next) {
    attni_norm kept = *norm;
    kept.weight = attni_keep(norm->weight, width, next);
    kept.bias = attni_keep(norm->bias, width, next);
    return kept;
}

void attni_norm_renew(const attni_norm *norm, size_t width, attni_norm *kept) {
    float *next = (float *)(uintptr_t)(kept->weight ? kept->weight : kept->bias); /* not const there */
    *kept = attni_keep_norm(norm, width, &next);
}

void attni_linear_pack_panel(const attn_context *context, const attni_weight *w, const attni_linear *linear, size_t o) {
    const size_t width = attni_min(attni_round_up(w->out - o, 16), linear->panel.width);
    const some features = {context->kernels, w, o, attni_min(w->out - o, width)};
    pack_panel(&features, linear, width, linear->panels + attni_panel_bytes(linear, o * linear->depth));
}

const char *attni_linear_misfit(const attn_context *context, const attni_weight *w, const attni_linear *linear) {
    const attni_linear form = form_of(context, w);
    if (form.out != linear->out || form.in != linear->in)
        return "the sizes";
    if (form.stride_out != linear->stride_out || form.stride_in != linear->stride_in)
        return "the order";
    if (form.type != linear->type)
        return "weight_dtype, or the context's precision,";
    if (!w->bias != !linear->bias)
        return "whether there is a bias";
    if (linear->half && !form.half)
        return "weight_scale, which has numbers that f16 has not,";
    return form.panel.width == linear->panel.width ? NULL : "the context's backend";
}

typedef struct repacking {
    const attn_context *context;
    const attni_weight *weight;
    const attni_linear *linear;
} repacking;

static void repack_unit(void *arg, size_t unit, size_t worker) {
    const repacking *r = arg;
    (void)worker;
    attni_linear_pack_panel(r->context, r->weight, r->linear, unit * r->linear->panel.width);
}

void attni_linear_repack(attn_context *context, const attni_weight *w, attni_linear *linear) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    repacking r = {context, w, linear};
    float *scale = linear->scale, *bias = linear->bias;
    attni_parallel(context, attni_ceil_div(w->out, linear->panel.width), FLOPS * (double)w->out * (double)w->in,
                   repack_unit, &r);
    if (scale)
        attni_keep(w->scale, w->out, &scale);
    if (bias)
        attni_keep(w->bias, w->out, &bias);
}

attni_linear attni_linear_pack(attn_context *context, const attni_weight *w, float *memory) {
    attni_linear linear = form_of(context, w);
    float *next = memory + panel_floats(&linear);
    linear.panels = (char *)memory;
    linear.scale = w->type == ATTN_INT8 ? next : NULL;
    linear.bias = w->bias ? next + scale_floats(w) : NULL;
    attni_linear_repack(context, w, &linear);
    return linear;
}

attn_linear *attni_linear_new(attn_context *context, const attni_weight *w) {
    attn_linear *linear = attni_allocate(&context->allocator, sizeof *linear);
    float *memory =
        linear ? attni_allocate(&context->allocator, attni_linear_floats(context, w) * sizeof(float)) : NULL;
    if (!memory) {
        attni_release(&context->allocator, linear);
        return NULL;
    }
    *linear = (attn_linear){context->allocator, attni_linear_pack(context, w, memory)};
    return linear;
}

void attni_linear_delete(attn_linear *linear) {
    const attn_allocator allocator = linear->allocator;
    attni_release(&allocator, linear->map.panels);
    attni_release(&allocator, linear);
}
