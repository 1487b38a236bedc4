/* SPDX-License-Identifier: BSD-3-Clause */
/* attn-bench's reader of JSON: a report is damaged, or deep and nothing else, and what is told of it is inside the
 * text. Whole, it is read to its end, with all its values. */
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "fuzz.h"
#include "support/damage.h"

enum { MOST_DEEP = 32, VALUES = 11, DEEP = 1 << 18 };

static char report[] =
    "{\"context\": {\"date\": \"\", \"caches\": [{\"level\": 1}, {}], \"load_avg\": []},\n\"benchmarks\": [\n"
    "{\"name\": \"sdpa/T:8\\\"\\u00e9\\n\", \"run_type\": \"iteration\", \"real_time\": 1.5e-3, \"time_unit\": "
    "\"us\"}, {\"name\": \"\", \"error_occurred\": true, \"nested\": [[1, 2], null]}]}\n";

struct seen {
    const char *begin, *end;
    size_t values;
    bool escapes; /* as they are meant */
};

static void assert_inside(const struct seen *seen, const char *text) {
    assert_true(*text == '\0' || (text >= seen->begin && text + strlen(text) < seen->end));
}

static void see(void *data, const parse_value *value) {
    struct seen *seen = data;
    assert_inside(seen, value->key);
    assert_inside(seen, value->array);
    assert_true(value->depth <= MOST_DEEP);
    if (value->text) {
        assert_inside(seen, value->text);
        seen->values++;
        seen->escapes = seen->escapes || strcmp(value->text, "sdpa/T:8\"?\n") == 0;
    }
}

static void read_text(const bytes *b, bool is_whole) {
    char *text = malloc(b->size + 1); /* so that reading beyond is seen */
    assert_non_null(text);
    memcpy(text, b->data, b->size);
    text[b->size] = '\0';
    struct seen seen = {.begin = text, .end = text + b->size + 1};
    const char *wrong = parse_json(text, see, &seen);
    assert_true(wrong == NULL || (wrong >= text && wrong <= text + b->size));
    assert_true(!is_whole || (wrong == NULL && seen.values == VALUES && seen.escapes));
    free(text);
}

/* Arrays in arrays, or objects in objects. */
static bytes make_deep(bool arrays) {
    static const char opening[] = "{\"a\":";
    bytes b = {.data = malloc(DEEP), .size = DEEP};
    assert_non_null(b.data);
    for (size_t i = 0; i < DEEP; i++)
        b.data[i] = (unsigned char)(arrays ? '[' : opening[i % (sizeof opening - 1)]);
    return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const bytes whole = {(unsigned char *)report, sizeof report - 1, sizeof report};
    struct input in = {data, size};
    bytes b;
    bool is_whole = false;
    if (take_below(&in, 256) == 1)
        b = make_deep(take_below(&in, 2));
    else
        is_whole = damage_copy(&in, &whole, &b);
    read_text(&b, is_whole);
    free(b.data);
    return 0;
}
