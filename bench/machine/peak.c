/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine/peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stats.h"
#include "machine/chains.h"

/* Pieces that count, the latest ones: those of some forty milliseconds. */
#define PIECES_MAX 4096

const char *const peak_names[PEAK_TYPES] = {"FMA", "bf16", "int8"};

double peak_run(peak_type type, double operations) { return chain_of(type).run(operations); }

const char *peak_isa(peak_type type) { return chain_of(type).isa; }

/* What the threads of one measurement share. */
typedef struct peak_team {
    chain chain;
    double begin, end; /* of what counts, by clock_now() */
    atomic_size_t ready;
    atomic_bool go;
} peak_team;

typedef struct peak_job {
    pthread_t thread;
    peak_team *team;
    size_t index;
    double operations, end, rate;
} peak_job;

/* The kernel may take longer than the measurement to move one of two busy threads to an idle CPU. So each of them asks
 * for a CPU of its own, where the system has a way to. */
static void take_cpu(size_t index) {
#if defined(__linux__)
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0)
        return;
    size_t left = index % (size_t)CPU_COUNT(&allowed);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &allowed) || left-- > 0)
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one); /* 0: this thread; may fail, and then nothing changes */
#else
    (void)index;
#endif
}

/* Runs until `end`; *now becomes the time at which it really ended. Returns the operations done, and in *rate the upper
 * quartile of the operations a second of pieces of some ten microseconds. Other programs interrupt few of these;
 * another thread on the same core slows most of them down, though not those in which it is interrupted itself. */
static double run_until(const chain *of, double end, double *now, double *rate) {
    double rates[PIECES_MAX], operations = 0, before = clock_now();
    size_t n = 0;
    for (*now = before; *now < end || n == 0; before = *now) {
        const double piece = of->run(of->piece);
        *now = clock_now();
        operations += piece;
        rates[n++ % PIECES_MAX] = piece / (*now - before);
    }
    *rate = stats_of(rates, n < PIECES_MAX ? n : PIECES_MAX).high;
    return operations;
}

static void *peak_thread(void *argument) {
    peak_job *job = argument;
    take_cpu(job->index);
    atomic_fetch_add(&job->team->ready, 1);
    while (!atomic_load(&job->team->go))
        sched_yield();
    run_until(&job->team->chain, job->team->begin, &job->end,
              &job->rate); /* the clock settles after the first wide instructions */
    job->operations = run_until(&job->team->chain, job->team->end, &job->end, &job->rate);
    return NULL;
}

/* Runs the jobs all at once, each on a thread of its own. Returns how many ran: fewer than asked for where the system
 * gives no more threads. */
static size_t run_jobs(peak_job *jobs, size_t threads, peak_team *team, double seconds) {
    size_t started = 0;
    for (; started < threads; started++) {
        jobs[started] = (peak_job){.team = team, .index = started};
        if (pthread_create(&jobs[started].thread, NULL, peak_thread, &jobs[started]) != 0)
            break;
    }
    while (atomic_load(&team->ready) < started)
        sched_yield();
    team->begin = clock_now() + seconds / 8;
    team->end = team->begin + seconds;
    atomic_store(&team->go, true);
    for (size_t i = 0; i < started; i++)
        pthread_join(jobs[i].thread, NULL);
    return started;
}

/* On the calling thread. */
static double measure_alone(peak_type type, double seconds) {
    const chain of = chain_of(type);
    double now, rate;
    run_until(&of, clock_now() + seconds / 8, &now, &rate);
    run_until(&of, now + seconds, &now, &rate);
    return rate / 1e9;
}

/* The sum of what the threads can do, unless they outnumber the processors. */
static double measure_team(peak_type type, size_t threads, double seconds) {
    double operations = 0, end = 0, rate = 0;
    peak_team team = {.chain = chain_of(type)};
    peak_job *jobs = calloc(threads, sizeof *jobs);
    if (jobs == NULL)
        return 0;
    size_t started = run_jobs(jobs, threads, &team, seconds);
    for (size_t i = 0; i < started; i++) {
        operations += jobs[i].operations;
        rate += jobs[i].rate;
        end = jobs[i].end > end ? jobs[i].end : end;
    }
    free(jobs);
    if ((long)started <= sysconf(_SC_NPROCESSORS_ONLN))
        return rate / 1e9;
    return operations / (end - team.begin) / 1e9;
}

double peak_measure(peak_type type, size_t threads, double seconds) {
    return threads > 1 ? measure_team(type, threads, seconds) : measure_alone(type, seconds);
}
