/* SPDX-License-Identifier: BSD-3-Clause */
#include "bpe.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "pieces.h"

enum { NORMAL = 1, UNUSED = 5, BYTE = 6 }; /* kinds of tokens in the file; the others have a name, not bytes */

typedef struct merge {
    uint32_t left, right, to;
} merge;

/* Hash tables have a power of two of slots, at least twice what is in them; a slot is an index + 1, or 0. */
typedef struct table {
    uint32_t *slot;
    size_t mask;
} table;

/* A token of a piece on its way; those of a piece are a list. */
typedef struct symbol {
    uint32_t id;
    size_t previous, next; /* NONE: none */
    bool gone;
} symbol;

/* A merge that is possible at a place. */
typedef struct candidate {
    size_t rank, place;
    uint32_t left, right;
} candidate;

struct bpe {
    char *bytes; /* of all tokens */
    slice *token;
    bool *special;
    size_t *specials, special_count; /* their ids */
    size_t count;
    merge *merges; /* by rank */
    size_t merge_count;
    table by_text, by_pair;
    int64_t of_byte[256], unknown; /* −1: none */
    bool digits;
    symbol *symbols;
    size_t symbol_room;
    candidate *heap;
    size_t heap_room;
};

static const size_t NONE = SIZE_MAX;

bool id_list_add(id_list *list, int64_t id, example_error *e) {
    if (!reserve((void *)&list->item, &list->capacity, list->count + 1, sizeof *list->item, e))
        return false;
    list->item[list->count++] = id;
    return true;
}

void id_list_free(id_list *list) {
    free(list->item);
    *list = (id_list){0};
}

static bool table_open(table *t, size_t count, example_error *e) {
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    t->mask = slots - 1;
    t->slot = calloc(slots, sizeof *t->slot);
    return t->slot != NULL || example_fail_memory(e);
}

/* FNV-1a. */
static uint64_t hash_text(slice text) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static uint64_t hash_pair(uint32_t left, uint32_t right) {
    const uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

/* The slot of a text, or the empty one where it belongs. */
static uint32_t *text_slot(const bpe *b, slice text) {
    for (size_t i = hash_text(text) & b->by_text.mask;; i = (i + 1) & b->by_text.mask) {
        uint32_t *slot = &b->by_text.slot[i];
        if (*slot == 0)
            return slot;
        const slice *there = &b->token[*slot - 1];
        if (there->size == text.size && memcmp(there->data, text.data, text.size) == 0)
            return slot;
    }
}

static uint32_t *pair_slot(const bpe *b, uint32_t left, uint32_t right) {
    for (size_t i = hash_pair(left, right) & b->by_pair.mask;; i = (i + 1) & b->by_pair.mask) {
        uint32_t *slot = &b->by_pair.slot[i];
        if (*slot == 0 || (b->merges[*slot - 1].left == left && b->merges[*slot - 1].right == right))
            return slot;
    }
}

/* The byte that a character of a token stands for: itself where it can be seen in Latin-1, the others have those from
 * 256 on. −1: none. */
static int byte_of(int32_t code) {
    if ((code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255))
        return code;
    const int32_t n = code - 256;
    return n < 0 || n > 67 ? -1 : n < 33 ? n : n < 67 ? n + 94 : 173;
}

/* The bytes of a token's text, no more than the text has; SIZE_MAX: it stands for none. */
static size_t to_bytes(slice text, char *to) {
    size_t size = 0;
    for (size_t at = 0; at < text.size;) {
        utf8proc_int32_t code;
        const utf8proc_ssize_t taken =
            utf8proc_iterate((const utf8proc_uint8_t *)text.data + at, (utf8proc_ssize_t)(text.size - at), &code);
        if (taken <= 0 || byte_of(code) < 0)
            return SIZE_MAX;
        to[size++] = (char)byte_of(code);
        at += (size_t)taken;
    }
    return size;
}

/* Token `id`, whose bytes go to b->bytes + *used. */
static bool read_token(bpe *b, size_t id, slice text, const unsigned char *kind, size_t *used, example_error *e) {
    char *to = b->bytes + *used;
    size_t size = text.size;
    b->special[id] = kind[0] != NORMAL && kind[0] != UNUSED && kind[0] != BYTE;
    if (b->special[id]) {
        memcpy(to, text.data, size);
        b->specials[b->special_count++] = id;
    } else
        size = to_bytes(text, to);
    if (size == SIZE_MAX || size == 0)
        return example_fail(e, "tokenizer.ggml.tokens[%zu] is no text of bytes", id);
    b->token[id] = (slice){to, size};
    *used += size;
    uint32_t *slot = text_slot(b, b->token[id]);
    if (*slot == 0) /* of tokens alike the first */
        *slot = (uint32_t)id + 1;
    if (size == 1 && !b->special[id])
        b->of_byte[(unsigned char)*to] = (int64_t)id;
    return true;
}

static bool open_tokens(bpe *b, const slice *text, const unsigned char *kinds, example_error *e) {
    size_t bytes = 1, used = 0;
    for (size_t i = 0; i < b->count; i++)
        bytes += text[i].size; /* parts of one file */
    b->bytes = malloc(bytes);
    b->token = calloc(b->count + 1, sizeof *b->token);
    b->special = calloc(b->count + 1, sizeof *b->special);
    b->specials = calloc(b->count + 1, sizeof *b->specials);
    if (b->bytes == NULL || b->token == NULL || b->special == NULL || b->specials == NULL)
        return example_fail_memory(e);
    if (!table_open(&b->by_text, b->count, e))
        return false;
    memset(b->of_byte, -1, sizeof b->of_byte);
    for (size_t i = 0; i < b->count; i++)
        if (!read_token(b, i, text[i], kinds + 4 * i, &used, e))
            return false;
    return true;
}

static bool read_tokens(bpe *b, const gguf *g, example_error *e) {
    slice *text = NULL;
    const unsigned char *kinds;
    size_t kind_count;
    if (!gguf_integers(g, "tokenizer.ggml.token_type", &kinds, &kind_count, e) ||
        !gguf_strings(g, "tokenizer.ggml.tokens", &text, &b->count, e))
        return false;
    const bool good = kind_count == b->count && b->count > 0 && b->count < UINT32_MAX / 4
                          ? open_tokens(b, text, kinds, e)
                          : example_fail(e, "%zu tokens and %zu types of tokens", b->count, kind_count);
    free(text);
    return good;
}

/* The ids of both parts, and of both together: "Ġt he". */
static bool read_merge(bpe *b, size_t rank, slice text, char *room, example_error *e) {
    const char *space = memchr(text.data, ' ', text.size);
    const size_t first = space == NULL ? 0 : (size_t)(space - text.data);
    const size_t left = to_bytes((slice){text.data, first}, room);
    if (first == 0 || left == SIZE_MAX)
        return example_fail(e, "tokenizer.ggml.merges[%zu] is no pair", rank);
    const size_t right = to_bytes((slice){space + 1, text.size - first - 1}, room + left);
    if (right == SIZE_MAX)
        return example_fail(e, "tokenizer.ggml.merges[%zu] is no pair", rank);
    const uint32_t id[3] = {*text_slot(b, (slice){room, left}), *text_slot(b, (slice){room + left, right}),
                            *text_slot(b, (slice){room, left + right})};
    if (id[0] == 0 || id[1] == 0 || id[2] == 0)
        return example_fail(e, "tokenizer.ggml.merges[%zu] is of no tokens", rank);
    b->merges[rank] = (merge){id[0] - 1, id[1] - 1, id[2] - 1};
    uint32_t *slot = pair_slot(b, id[0] - 1, id[1] - 1);
    if (*slot == 0) /* of pairs alike the first */
        *slot = (uint32_t)rank + 1;
    return true;
}

static bool open_merges(bpe *b, const slice *text, example_error *e) {
    size_t longest = 1;
    for (size_t i = 0; i < b->merge_count; i++)
        longest = text[i].size > longest ? text[i].size : longest;
    if (b->merge_count >= UINT32_MAX / 4)
        return example_fail(e, "%zu merges", b->merge_count);
    char *room = malloc(longest);
    b->merges = calloc(b->merge_count + 1, sizeof *b->merges);
    if (room == NULL || b->merges == NULL) {
        free(room);
        return example_fail_memory(e);
    }
    bool good = table_open(&b->by_pair, b->merge_count, e);
    for (size_t i = 0; good && i < b->merge_count; i++)
        good = read_merge(b, i, text[i], room, e);
    free(room);
    return good;
}

static bool read_merges(bpe *b, const gguf *g, example_error *e) {
    slice *text = NULL;
    if (!gguf_strings(g, "tokenizer.ggml.merges", &text, &b->merge_count, e))
        return false;
    const bool good = open_merges(b, text, e);
    free(text);
    return good;
}

static bool is(slice text, const char *word) {
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static bool read_rules(bpe *b, const gguf *g, example_error *e) {
    slice model, before;
    size_t unknown;
    if (!gguf_string(g, "tokenizer.ggml.model", &model, e) || !gguf_string(g, "tokenizer.ggml.pre", &before, e))
        return false;
    b->digits = is(before, "smollm");
    if (!is(model, "gpt2") || !(b->digits || is(before, "gpt-2")))
        return example_fail(e, "tokenizer '%.*s', '%.*s' is not known: gpt2 with smollm or gpt-2 is", (int)model.size,
                            model.data, (int)before.size, before.data);
    b->unknown = -1;
    if (!gguf_has(g, "tokenizer.ggml.unknown_token_id"))
        return true;
    if (!gguf_number(g, "tokenizer.ggml.unknown_token_id", &unknown, e))
        return false;
    b->unknown = (int64_t)unknown;
    return unknown < b->count || example_fail(e, "tokenizer.ggml.unknown_token_id: there is no token %zu", unknown);
}

bpe *bpe_open(const gguf *g, example_error *e) {
    bpe *b = calloc(1, sizeof *b);
    if (b == NULL) {
        example_fail_memory(e);
        return NULL;
    }
    if (read_tokens(b, g, e) && read_merges(b, g, e) && read_rules(b, g, e))
        return b;
    bpe_close(b);
    return NULL;
}

void bpe_close(bpe *b) {
    if (b == NULL)
        return;
    free(b->bytes);
    free(b->token);
    free(b->special);
    free(b->specials);
    free(b->merges);
    free(b->by_text.slot);
    free(b->by_pair.slot);
    free(b->symbols);
    free(b->heap);
    free(b);
}

size_t bpe_size(const bpe *b) { return b->count; }

slice bpe_text(const bpe *b, int64_t id) { return b->token[id]; }

bool bpe_is_special(const bpe *b, int64_t id) { return b->special[id]; }

int64_t bpe_find(const bpe *b, const char *name) { return (int64_t)*text_slot(b, (slice){name, strlen(name)}) - 1; }

static bool before(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

/* A binary heap, the candidate that comes first at its top. */
static void push(candidate *heap, size_t *count, candidate c) {
    size_t at = (*count)++;
    for (; at > 0 && before(&c, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = c;
}

static candidate pop(candidate *heap, size_t *count) {
    const candidate top = heap[0], last = heap[--*count];
    size_t at = 0;
    for (size_t child = 1; child < *count; child = 2 * at + 1) {
        if (child + 1 < *count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

/* What symbol `left` and the next one may become. */
static void consider(bpe *b, size_t left, size_t *candidates) {
    if (left == NONE || b->symbols[left].next == NONE)
        return;
    const uint32_t one = b->symbols[left].id, other = b->symbols[b->symbols[left].next].id;
    const uint32_t slot = *pair_slot(b, one, other);
    if (slot != 0)
        push(b->heap, candidates, (candidate){slot - 1, left, one, other});
}

static void join(bpe *b, size_t left, uint32_t id, size_t *candidates) {
    symbol *s = &b->symbols[left], *gone = &b->symbols[s->next];
    gone->gone = true;
    s->id = id;
    s->next = gone->next;
    if (s->next != NONE)
        b->symbols[s->next].previous = left;
    consider(b, s->previous, candidates);
    consider(b, left, candidates);
}

/* The symbols of a piece's bytes. */
static size_t lay_out(bpe *b, slice piece) {
    size_t count = 0;
    for (size_t i = 0; i < piece.size; i++) {
        const int64_t known = b->of_byte[(unsigned char)piece.data[i]], id = known < 0 ? b->unknown : known;
        if (id < 0)
            continue;
        b->symbols[count] = (symbol){(uint32_t)id, count == 0 ? NONE : count - 1, count + 1, false};
        count++;
    }
    if (count > 0)
        b->symbols[count - 1].next = NONE;
    return count;
}

/* Merges the pair of the lowest rank, the leftmost first, for as long as there is one. */
static bool encode_piece(bpe *b, slice piece, id_list *out, example_error *e) {
    size_t candidates = 0;
    if (!reserve((void *)&b->symbols, &b->symbol_room, piece.size, sizeof *b->symbols, e) ||
        !reserve((void *)&b->heap, &b->heap_room, 3 * piece.size, sizeof *b->heap, e))
        return false;
    const size_t count = lay_out(b, piece);
    for (size_t i = 0; i < count; i++)
        consider(b, i, &candidates);
    while (candidates > 0) {
        const candidate c = pop(b->heap, &candidates);
        const symbol *s = &b->symbols[c.place];
        if (!s->gone && s->next != NONE && s->id == c.left && b->symbols[s->next].id == c.right)
            join(b, c.place, b->merges[c.rank].to, &candidates);
    }
    for (size_t i = count > 0 ? 0 : NONE; i != NONE; i = b->symbols[i].next)
        if (!id_list_add(out, b->symbols[i].id, e))
            return false;
    return true;
}

static bool encode_plain(bpe *b, slice text, id_list *out, example_error *e) {
    pieces p = {text.data, text.data + text.size, b->digits};
    for (slice piece = pieces_next(&p); piece.size > 0; piece = pieces_next(&p))
        if (!encode_piece(b, piece, out, e))
            return false;
    return true;
}

/* The longest special token that text begins with; −1: none. */
static int64_t special_at(const bpe *b, slice text) {
    int64_t best = -1;
    for (size_t i = 0; i < b->special_count; i++) {
        const slice *t = &b->token[b->specials[i]];
        if (t->size <= text.size && memcmp(t->data, text.data, t->size) == 0 &&
            (best < 0 || t->size > b->token[best].size))
            best = (int64_t)b->specials[i];
    }
    return best;
}

bool bpe_encode(bpe *b, slice text, bool special, id_list *out, example_error *e) {
    const char *begin = text.data, *end = text.data + text.size;
    for (const char *at = begin; special && at < end;) {
        const int64_t id = special_at(b, (slice){at, (size_t)(end - at)});
        if (id < 0) {
            at++;
            continue;
        }
        if (!encode_plain(b, (slice){begin, (size_t)(at - begin)}, out, e) || !id_list_add(out, id, e))
            return false;
        begin = at += b->token[id].size;
    }
    return encode_plain(b, (slice){begin, (size_t)(end - begin)}, out, e);
}
