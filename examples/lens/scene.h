/* SPDX-License-Identifier: BSD-3-Clause */
/* What `show` shows: a sentence, its words and who attends to whom. */
#ifndef LENS_SCENE_H
#define LENS_SCENE_H

#include <stdio.h>

#include "encoder.h"
#include "words.h"

typedef struct scene {
    const model *model;
    const char *text;
    view view;
    tokens tokens;
    words words;
    trace trace;
    size_t first, last; /* the words shown are [first, last) */
    size_t source;      /* the word of the picture of arcs; SIZE_MAX: none */
    float *scores;      /* [words,words] of `view` */
    float *all;         /* [L,H,words,words], each head of each layer by itself */
} scene;

/* `word` may be NULL. To be given to scene_close after success. */
bool scene_open(scene *s, attn_context *context, const model *m, const char *text, const view *v, const char *word,
                example_error *e);
void scene_close(scene *s);

float scene_score(const scene *s, size_t from, size_t to);

/* "layer 3, head 5" and the like. */
void scene_describe(const scene *s, char *text, size_t size);

/* Columns that a text takes in a terminal; the number of its first bytes that take at most `limit`. */
size_t text_width(const char *text);
size_t text_fitting(const char *text, size_t limit);

/* Writers of the scene; `data` is a scene. */
void table_write(const void *data, FILE *file);
void json_write(const void *data, FILE *file);
void svg_write(const void *data, FILE *file); /* arcs, or heat maps without a source */
void html_write(const void *data, FILE *file);

#endif
