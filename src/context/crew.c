/* SPDX-License-Identifier: BSD-3-Clause */
#include "context/crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <unistd.h>

#include "context/await.h"
#include "context/context.h"
#include "context/sizes.h"

/* Where one thread waits until `left` is 0: looking for some 20 ms, then asleep. */
typedef struct bell {
    atomic_size_t left;
    atomic_bool asleep;
    pthread_mutex_t lock;
    pthread_cond_t rung;
} bell;

typedef struct seat {
    _Alignas(ATTNI_LINE) bell order; /* 0: there is work, which is whose who sets it to 1 */
    pthread_t thread;
    attni_crew *crew;
    size_t worker;
} seat;

struct attni_crew {
    void (*task)(void *arg, size_t worker); /* NULL: go home */
    void *arg;
    size_t size, most, started;    /* workers; `size` is `most`, less what the system refused */
    pid_t owner;                   /* the process whose threads these are */
    _Alignas(ATTNI_LINE) bell end; /* of those who have begun */
    seat seats[];                  /* of workers 1, 2, … */
};

enum { LOOKS = 1 << 20 };

static void wait_for(bell *b) {
    for (size_t i = 0; i < LOOKS; i++, attni_look_away())
        if (atomic_load(&b->left) == 0)
            return;
    pthread_mutex_lock(&b->lock);
    atomic_store(&b->asleep, true);
    while (atomic_load(&b->left) != 0)
        pthread_cond_wait(&b->rung, &b->lock);
    atomic_store(&b->asleep, false);
    pthread_mutex_unlock(&b->lock);
}

/* `left` has become 0. Who goes to sleep says so before the last look, hence one of the two sees the other. The signal
 * is given outside of the lock: who woke up to find it taken would often go on where its waker runs, milliseconds late.
 */
static void ring(bell *b) {
    if (!atomic_load(&b->asleep))
        return;
    pthread_mutex_lock(&b->lock);
    pthread_mutex_unlock(&b->lock);
    pthread_cond_signal(&b->rung);
}

static bool claim(seat *s) { return atomic_exchange(&s->order.left, 1) == 0; }

static void *work(void *arg) {
    seat *s = arg;
    attni_crew *crew = s->crew;
    for (;;) {
        wait_for(&s->order);
        if (!claim(s))
            continue;
        if (!crew->task)
            return NULL;
        crew->task(crew->arg, s->worker);
        if (atomic_fetch_sub(&crew->end.left, 1) == 1)
            ring(&crew->end);
    }
}

static void hand_out(attni_crew *crew, size_t others, void (*task)(void *arg, size_t worker), void *arg) {
    crew->task = task;
    crew->arg = arg;
    atomic_store(&crew->end.left, others);
    for (size_t i = 0; i < others; i++) {
        atomic_store(&crew->seats[i].order.left, 0);
        ring(&crew->seats[i].order);
    }
}

/* Who has not begun by now would find nothing left to do. */
static size_t take_back(attni_crew *crew, size_t others) {
    size_t taken = 0;
    for (size_t i = 0; i < others; i++)
        taken += claim(&crew->seats[i]);
    return taken;
}

void attni_crew_run(attni_crew *crew, size_t workers, void (*task)(void *arg, size_t worker), void *arg) {
    hand_out(crew, workers - 1, task, arg);
    task(arg, 0);
    atomic_fetch_sub(&crew->end.left, take_back(crew, workers - 1));
    wait_for(&crew->end);
}

static void empty(attni_crew *crew) {
    crew->size = crew->most;
    crew->started = 1;
    crew->owner = getpid();
    crew->end = (bell){.lock = PTHREAD_MUTEX_INITIALIZER, .rung = PTHREAD_COND_INITIALIZER};
}

attni_crew *attni_crew_new(const attn_allocator *allocator, size_t workers) {
    attni_crew *crew = attni_allocate(allocator, sizeof *crew + (workers - 1) * sizeof *crew->seats);
    if (!crew)
        return NULL;
    crew->most = workers;
    empty(crew);
    return crew;
}

static bool start_one(attni_crew *crew) {
    seat *s = &crew->seats[crew->started - 1];
    *s = (seat){.order = {.left = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .rung = PTHREAD_COND_INITIALIZER},
                .crew = crew,
                .worker = crew->started};
    return pthread_create(&s->thread, NULL, work, s) == 0;
}

size_t attni_crew_start(attni_crew *crew, size_t workers) {
    if (crew->owner != getpid())
        empty(crew);
    while (crew->started < attni_min(workers, crew->size))
        if (start_one(crew))
            crew->started++;
        else
            crew->size = crew->started;
    return attni_min(workers, crew->started);
}

size_t attni_crew_size(const attni_crew *crew) { return crew->size; }

void attni_crew_delete(attni_crew *crew, const attn_allocator *allocator) {
    if (crew && crew->owner == getpid()) {
        hand_out(crew, crew->started - 1, NULL, NULL);
        for (size_t i = 0; i + 1 < crew->started; i++)
            pthread_join(crew->seats[i].thread, NULL);
    }
    attni_release(allocator, crew);
}
