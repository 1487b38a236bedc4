/* SPDX-License-Identifier: BSD-3-Clause */
/* The command chat: answers prompts, several at the same time, or talks. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "looks.h"
#include "sampler.h"
#include "talk.h"

/* One sequence of the decoder. */
typedef struct answer {
    id_list all;  /* what it has read, and what it will read next: it may end with tokens not yet run */
    size_t begin; /* in `all`: where the answer begins */
    bool finished;
} answer;

/* All of them, and what they cost. */
typedef struct speaker {
    session *session;
    decoder decoder;
    talk talk;
    sampler sampler;
    answer answers[PROMPTS_MAX];
    size_t count;
    size_t counts[PROMPTS_MAX];    /* tokens of the next run */
    id_list next;                  /* these */
    float *logits;                 /* [count, vocabulary] */
    size_t read, said, stepped;    /* tokens of prompts, of answers, and of these but the first, which prompts give */
    double reading, saying, first; /* seconds of prompts and steps, and when the first token came */
    bool full;                     /* an answer ended since the context did */
} speaker;

static bool speaker_open(speaker *p, session *s, size_t count, example_error *e) {
    const options *o = s->options;
    *p = (speaker){.session = s, .count = count};
    p->sampler = (sampler){o->temperature, o->top_k, o->top_p, o->seed};
    p->logits = malloc(count * s->model.vocabulary * sizeof *p->logits);
    if (p->logits == NULL)
        return example_fail_memory(e);
    return talk_open(&p->talk, s->file, s->words, e) &&
           decoder_open(&p->decoder, s->context, &s->model, count, o->cache, e);
}

static void speaker_close(speaker *p) {
    if (p->decoder.model != NULL)
        decoder_close(&p->decoder);
    for (size_t n = 0; n < p->count; n++)
        id_list_free(&p->answers[n].all);
    id_list_free(&p->next);
    free(p->logits);
}

/* Tokens that all sequences begin with; of each at least one is left. */
static size_t common_prefix(const speaker *p) {
    const id_list *first = &p->answers[0].all;
    size_t length = first->count;
    for (size_t n = 0; n < p->count; n++) {
        const id_list *other = &p->answers[n].all;
        size_t same = 0;
        while (same < length && same + 1 < other->count && first->item[same] == other->item[same])
            same++;
        length = same;
    }
    return length;
}

/* What of each sequence has not been run is run now. */
static bool run_rest(speaker *p, example_error *e) {
    p->next.count = 0;
    for (size_t n = 0; n < p->count; n++) {
        const answer *a = &p->answers[n];
        const size_t done = decoder_length(&p->decoder, n);
        p->counts[n] = a->finished ? 0 : a->all.count - done;
        for (size_t i = 0; i < p->counts[n]; i++)
            if (!id_list_add(&p->next, a->all.item[done + i], e))
                return false;
    }
    return decoder_run(&p->decoder, p->next.item, p->counts, e) &&
           decoder_logits(&p->decoder, p->decoder.last, decoder_last(&p->decoder, p->counts), p->logits, e);
}

/* All prompts: what they have in common once, in chunks, then the rest of each. */
static bool read_prompts(speaker *p, example_error *e) {
    const answer *first = &p->answers[0];
    const size_t done = decoder_length(&p->decoder, 0);
    const size_t whole = common_prefix(p);
    const double begin = now();
    if (whole > done && !session_prompt(p->session, &p->decoder, first->all.item + done, whole - done, e))
        return false;
    if (!decoder_fork(&p->decoder, e))
        return false;
    p->read += whole - done;
    if (!run_rest(p, e))
        return false;
    p->read += p->next.count;
    p->reading += now() - begin;
    return true;
}

static void show(const speaker *p, int64_t id) {
    const slice text = bpe_text(p->session->words, id);
    fwrite(text.data, 1, text.size, stdout);
    fflush(stdout);
}

/* The next token of each sequence that goes on. Of one alone it is shown at once. */
static bool choose(speaker *p, example_error *e) {
    const size_t V = p->session->model.vocabulary;
    size_t row = 0;
    for (size_t n = 0; n < p->count; n++) {
        answer *a = &p->answers[n];
        int64_t id;
        if (p->counts[n] == 0)
            continue;
        if (!sampler_pick(&p->sampler, p->logits + row++ * V, V, &id, e))
            return false;
        a->finished = id == p->talk.stop || bpe_is_special(p->session->words, id);
        if (a->finished)
            continue;
        p->said++;
        if (!id_list_add(&a->all, id, e))
            return false;
        const bool full = a->all.count >= p->session->model.positions;
        a->finished = full || a->all.count - a->begin == p->session->options->most;
        p->full |= full;
        if (p->count == 1)
            show(p, id);
    }
    return true;
}

static bool all_finished(const speaker *p) {
    for (size_t n = 0; n < p->count; n++)
        if (!p->answers[n].finished)
            return false;
    return true;
}

/* Answers to the prompts that all sequences end with. */
static bool answer_all(speaker *p, example_error *e) {
    for (size_t n = 0; n < p->count; n++) {
        p->answers[n].begin = p->answers[n].all.count;
        p->answers[n].finished = false;
    }
    bool good = read_prompts(p, e) && choose(p, e);
    const double begin = now();
    const size_t first = p->said;
    if (p->first == 0)
        p->first = begin;
    while (good && !all_finished(p))
        good = run_rest(p, e) && choose(p, e);
    p->saying += now() - begin;
    p->stepped += p->said - first;
    return good;
}

static void print_answers(const speaker *p) {
    for (size_t n = 0; n < p->count; n++) {
        const id_list *all = &p->answers[n].all;
        printf("%s> %s\n", n == 0 ? "" : "\n", p->session->options->prompts.item[n]);
        for (size_t i = p->answers[n].begin; i < all->count; i++)
            show(p, all->item[i]);
        putchar('\n');
    }
}

static double rate(size_t tokens, double seconds) { return seconds > 0 ? (double)tokens / seconds : 0; }

static void print_costs(const speaker *p) {
    fflush(stdout);
    if (p->full)
        fprintf(stderr, "an answer was cut: the context of %zu tokens is full\n", p->session->model.positions);
    fprintf(stderr, "prompt %zu tokens, %.0f/s; answer %zu tokens, %.0f/s; first token after %.2f s; %.0f MB\n",
            p->read, rate(p->read, p->reading), p->said, rate(p->stepped, p->saying), p->first - p->session->begun,
            memory_peak());
}

static bool answer_prompts(speaker *p, example_error *e) {
    const options *o = p->session->options;
    for (size_t n = 0; n < p->count; n++) {
        const slice text = {o->prompts.item[n], strlen(o->prompts.item[n])};
        id_list *all = &p->answers[n].all;
        if (!talk_begin(&p->talk, o->system, all, e) || !talk_ask(&p->talk, text, all, e))
            return false;
    }
    if (!answer_all(p, e))
        return false;
    if (p->count == 1)
        putchar('\n');
    else
        print_answers(p);
    print_costs(p);
    if (!o->attention)
        return true;
    p->answers[0].all.count = decoder_length(&p->decoder, 0); /* what was chosen last was not read */
    return looks_print(p->session, &p->decoder, &p->answers[0].all, e);
}

/* A line from the standard input, without its end; false at the end of it. */
static bool read_line(char **line, size_t *room, slice *text) {
    if (isatty(STDIN_FILENO)) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    const ssize_t size = getline(line, room, stdin);
    if (size < 0)
        return false;
    *text = (slice){*line, (size_t)size - (size > 0 && (*line)[size - 1] == '\n')};
    return true;
}

static bool converse(speaker *p, example_error *e) {
    id_list *all = &p->answers[0].all;
    char *line = NULL;
    size_t room = 0;
    slice text;
    bool good = talk_begin(&p->talk, p->session->options->system, all, e);
    while (good && !p->full && read_line(&line, &room, &text)) {
        if (text.size == 0)
            continue;
        good = talk_ask(&p->talk, text, all, e) && answer_all(p, e) && (p->full || talk_end(&p->talk, all, e));
        putchar('\n');
    }
    free(line);
    if (good && p->said > 0)
        print_costs(p);
    return good;
}

bool command_chat(session *s, example_error *e) {
    const size_t given = s->options->prompts.count;
    speaker p;
    bool good = speaker_open(&p, s, given == 0 ? 1 : given, e);
    if (good)
        good = given == 0 ? converse(&p, e) : answer_prompts(&p, e);
    speaker_close(&p);
    return good;
}
