/* SPDX-License-Identifier: BSD-3-Clause */
/* Left factors in the form that the context's precision asks for. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/int4.h"
#include "kernels/narrow.h"
#include "product/product.h"

/* Rows, and parts of rows, are made of whole cache lines, or groups. */
static size_t row_bytes(const attn_context *context, attni_form form, size_t depth) {
    if (form == ATTNI_SPLIT)
        return ATTNI_PARTS * attni_round_up(depth * context->bf16->size, ATTNI_LINE);
    if (form == ATTNI_GROUPED)
        return attni_round_up(depth, ATTNI_GROUP) * context->int4->size;
    return form == ATTNI_QUANTIZED ? attni_round_up(depth, ATTNI_LINE) * context->int8->size
                                   : attni_round_up(depth, 16) * sizeof(float);
}

static size_t element_bytes(const attn_context *context, attni_form form) {
    return form == ATTNI_GROUPED     ? context->int4->size
           : form == ATTNI_QUANTIZED ? context->int8->size
                                     : context->bf16->size;
}

static size_t scale_floats(attni_form form, size_t rows) {
    return form == ATTNI_QUANTIZED ? attni_round_up(rows, 16) : 0;
}

size_t attni_left_floats(const attn_context *context, attni_form form, size_t rows, size_t depth) {
    if (form == ATTNI_PLAIN)
        return 0;
    return scale_floats(form, rows) + rows * (row_bytes(context, form, depth) / sizeof(float));
}

attni_left attni_left_at(const float *x, size_t ldx) {
    return (attni_left){ATTNI_PLAIN, (const char *)x, ldx * sizeof *x, sizeof *x, NULL};
}

/* One element of a part, or of what has no parts. */
static float element_at(const char *from, size_t size) {
    uint32_t bits = 0;
    float x;
    memcpy((char *)&bits + (sizeof bits - size), from, size); /* little endian: the upper half */
    memcpy(&x, &bits, sizeof x);
    return x;
}

float attni_left_element(const attni_left *left, size_t row, size_t at) {
    const char *from = left->data + row * left->step + at * left->size;
    float x = element_at(from, left->size);
    for (size_t part = 1; part < ATTNI_PARTS && left->form == ATTNI_SPLIT; part++)
        x += element_at(from + part * (left->step / ATTNI_PARTS), left->size);
    return x;
}

attni_left attni_left_of(const attn_context *context, attni_form form, size_t rows, size_t depth, const float *x,
                         size_t ldx, float *room) {
    if (form == ATTNI_PLAIN)
        return attni_left_at(x, ldx);
    return (attni_left){.form = form,
                        .data = (const char *)(room + scale_floats(form, rows)),
                        .step = row_bytes(context, form, depth),
                        .size = element_bytes(context, form),
                        .scale = room};
}

static void make_pairs(const attn_context *context, attni_form form, size_t rows, size_t depth, const float *x,
                       size_t ldx, float *y, size_t ldy) {
    if (form == ATTNI_SPLIT)
        context->bf16->split(rows, depth, x, ldx, y, ldy);
    else
        context->bf16->round(rows, depth, x, ldx, y, ldy);
}

void attni_prepare(const attn_context *context, const attni_left *left, size_t begin, size_t end, size_t depth,
                   const float *x, size_t ldx) {
    char *y = (char *)(uintptr_t)left->data; /* in the room */
    float *scale = (float *)(uintptr_t)left->scale;
    for (size_t r = begin; r < end; r++)
        if (left->form == ATTNI_QUANTIZED)
            scale[r] = context->int8->quantize(depth, x + r * ldx, y + r * left->step);
        else if (left->form == ATTNI_GROUPED)
            context->int4->prepare(depth, x + r * ldx, y + r * left->step);
        else
            make_pairs(context, left->form, 1, depth, x + r * ldx, ldx, (float *)(void *)(y + r * left->step),
                       left->step / sizeof(float));
}

size_t attni_split_floats(const attn_context *context, attni_form form, size_t depth) {
    return form == ATTNI_SPLIT ? attni_left_floats(context, form, 1, depth) : 0;
}

attni_left attni_left_made(const attn_context *context, attni_form form, size_t rows, size_t depth, float *x,
                           size_t ldx, float *room) {
    attni_left left = attni_left_at(x, ldx);
    if (form == ATTNI_PLAIN)
        return left;
    if (form == ATTNI_SPLIT)
        left = attni_left_of(context, form, rows, depth, x, ldx, room);
    left.form = form;
    left.size = context->bf16->size;
    make_pairs(context, form, rows, depth, x, ldx, (float *)(void *)(uintptr_t)left.data, left.step / sizeof *x);
    return left;
}
