/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With room behind for what is inserted. */
static bytes make(size_t size) {
    const size_t room = size + 64;
    bytes b = {.data = malloc(room), .size = size, .room = room};
    if (b.data == NULL)
        abort();
    return b;
}

bytes damage_load(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        abort();
    const size_t size = (size_t)ftell(file);
    bytes b = make(size);
    rewind(file);
    if (fread(b.data, 1, size, file) != size)
        abort();
    fclose(file);
    return b;
}

bool damage_save(const char *path, const bytes *b) {
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return false;
    const bool good = fwrite(b->data, 1, b->size, file) == b->size;
    return fclose(file) == 0 && good;
}

static void change_digit(struct input *in, bytes *b, size_t at) {
    for (size_t i = at; i < b->size && i < at + 200; i++) {
        if (b->data[i] >= '0' && b->data[i] <= '9') {
            b->data[i] = (unsigned char)('0' + take_below(in, 10));
            return;
        }
    }
}

static void insert(struct input *in, bytes *b, size_t at) {
    static const char *const text[] = {"9", "[", "{", "\"", "-", "e9", "\\u0000", "]", "0", ",", "\xff", "null"};
    const char *added = take_pick(in, text);
    const size_t size = strlen(added);
    if (b->size + size > b->room)
        return;
    memmove(b->data + at + size, b->data + at, b->size - at);
    memcpy(b->data + at, added, size);
    b->size += size;
}

static void damage(struct input *in, bytes *b) {
    if (b->size == 0)
        return;
    const size_t at = take_below(in, take_below(in, 2) == 0 || b->size < 4096 ? b->size : 4096);
    switch (take_below(in, 6)) {
    case 0:
        b->data[at] = (unsigned char)take_below(in, 256);
        break;
    case 1:
        b->data[at] ^= (unsigned char)(1U << take_below(in, 8));
        break;
    case 2:
        b->size = at;
        break;
    case 3:
        insert(in, b, at);
        break;
    case 4:
        memmove(b->data + at, b->data + at + 1, b->size - at - 1);
        b->size--;
        break;
    default:
        change_digit(in, b, at);
    }
}

bool damage_copy(struct input *in, const bytes *whole, bytes *copy) {
    const bool any = take_below(in, 8) == 1;
    const size_t changes = any ? 0 : take_below(in, 5);
    *copy = make(any ? in->left : whole->size);
    memcpy(copy->data, any ? in->at : whole->data, copy->size);
    for (size_t n = changes; n > 0; n--)
        damage(in, copy);
    return !any && changes == 0;
}
