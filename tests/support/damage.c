/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 1;

void damage_seed(uint64_t seed) { state = seed; }

size_t damage_below(size_t n) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return (size_t)(state >> 33) % n;
}

static bytes make(size_t size, size_t room) {
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
    bytes b = make(size, size + 64);
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

static void change_digit(bytes *b, size_t at) {
    for (size_t i = at; i < b->size && i < at + 200; i++) {
        if (b->data[i] >= '0' && b->data[i] <= '9') {
            b->data[i] = (unsigned char)('0' + damage_below(10));
            return;
        }
    }
}

static void insert(bytes *b, size_t at) {
    static const char *const text[] = {"9", "[", "{", "\"", "-", "e9", "\\u0000", "]", "0", ",", "\xff", "null"};
    const char *added = text[damage_below(sizeof text / sizeof *text)];
    const size_t size = strlen(added);
    if (b->size + size > b->room)
        return;
    memmove(b->data + at + size, b->data + at, b->size - at);
    memcpy(b->data + at, added, size);
    b->size += size;
}

static void damage(bytes *b) {
    if (b->size == 0)
        return;
    const size_t at = damage_below(damage_below(2) == 0 || b->size < 16 ? b->size : b->size < 4096 ? b->size : 4096);
    switch (damage_below(6)) {
    case 0:
        b->data[at] = (unsigned char)damage_below(256);
        break;
    case 1:
        b->data[at] ^= (unsigned char)(1U << damage_below(8));
        break;
    case 2:
        b->size = at;
        break;
    case 3:
        insert(b, at);
        break;
    case 4:
        memmove(b->data + at, b->data + at + 1, b->size - at - 1);
        b->size--;
        break;
    default:
        change_digit(b, at);
    }
}

bytes damage_copy(const bytes *whole) {
    bytes b = make(whole->size, whole->room);
    memcpy(b.data, whole->data, whole->size);
    for (size_t n = 1 + damage_below(4); n > 0; n--)
        damage(&b);
    return b;
}
