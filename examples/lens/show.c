/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands.h"
#include "file.h"
#include "scene.h"

static bool put(const scene *s, const char *path, void (*write)(const void *data, FILE *file), example_error *e) {
    return path == NULL || file_write(path, write, s, e);
}

bool command_show(const options *o, attn_context *context, const model *m, example_error *e) {
    scene s;
    if (!scene_open(&s, context, m, o->text, &o->view, o->word, e))
        return false;
    table_write(&s, stdout);
    bool good = put(&s, o->json, json_write, e) && put(&s, o->svg, svg_write, e) && put(&s, o->html, html_write, e);
    scene_close(&s);
    return good;
}
