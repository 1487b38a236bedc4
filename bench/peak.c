/* SPDX-License-Identifier: BSD-3-Clause */
#include "peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Read and written through volatile, so that the compiler can neither foresee the numbers nor drop the work. */
static volatile float peak_in = 0.5f;
static _Thread_local volatile float peak_out;

/* Chains of dependent operations: 12 hide a latency of 4 cycles at 2 operations a cycle and fit 16 registers; 16 hide
 * it at 4 a cycle where there are 32. r = r·½ + ½ tends to 1: no overflow, no denormals. */
#define CHAINS_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CHAINS_16(X) CHAINS_12(X) X(12) X(13) X(14) X(15)
#define CHAIN_NEW(i) VECTOR r##i = ADD(half, SPLAT((float)(i)));
#define CHAIN_STEP(i) r##i = FMA(r##i, half, half);
#define CHAIN_SUM(i) half = ADD(half, r##i);

#define PEAK_FUNCTION(name, attributes, lanes, chains)                                                                 \
    attributes static double name(double flops) {                                                                      \
        const double pass = 2.0 * (chains) * (lanes);                                                                  \
        const size_t passes = (size_t)(flops / pass) + 1;                                                              \
        VECTOR half = SPLAT(peak_in);                                                                                  \
        CHAINS_##chains(CHAIN_NEW);                                                                                    \
        for (size_t n = 0; n < passes; n++) {                                                                          \
            CHAINS_##chains(CHAIN_STEP);                                                                               \
        }                                                                                                              \
        CHAINS_##chains(CHAIN_SUM);                                                                                    \
        peak_out = FIRST(half);                                                                                        \
        return pass * (double)passes;                                                                                  \
    }

#if defined(__x86_64__)

#define VECTOR __m512
#define SPLAT _mm512_set1_ps
#define ADD _mm512_add_ps
#define FMA _mm512_fmadd_ps
#define FIRST _mm512_cvtss_f32
PEAK_FUNCTION(run_avx512, __attribute__((target("avx512f"))), 16, 12)
#undef VECTOR
#undef SPLAT
#undef ADD
#undef FMA
#undef FIRST

#define VECTOR __m256
#define SPLAT _mm256_set1_ps
#define ADD _mm256_add_ps
#define FMA _mm256_fmadd_ps
#define FIRST _mm256_cvtss_f32
PEAK_FUNCTION(run_avx2, __attribute__((target("avx2,fma"))), 8, 12)
#undef VECTOR
#undef SPLAT
#undef ADD
#undef FMA
#undef FIRST

#elif defined(__aarch64__)

#define VECTOR float32x4_t
#define SPLAT vdupq_n_f32
#define ADD vaddq_f32
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define FIRST(v) vgetq_lane_f32(v, 0)
PEAK_FUNCTION(run_neon, , 4, 16)
#undef VECTOR
#undef SPLAT
#undef ADD
#undef FMA
#undef FIRST

#endif

#if !defined(__aarch64__)
typedef float lanes4 __attribute__((vector_size(16)));
static inline lanes4 splat4(float x) { return (lanes4){x, x, x, x}; }
#define VECTOR lanes4
#define SPLAT splat4
#define ADD(a, b) ((a) + (b))
#define FMA(a, b, c) ((a) * (b) + (c))
#define FIRST(v) ((v)[0])
PEAK_FUNCTION(run_generic, , 4, 12)
#endif

typedef struct peak_kernel {
    double (*run)(double flops);
    const char *isa;
} peak_kernel;

static peak_kernel kernel(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return (peak_kernel){run_avx512, "AVX-512"};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (peak_kernel){run_avx2, "AVX2"};
#endif
#if defined(__aarch64__)
    return (peak_kernel){run_neon, "NEON"};
#else
    return (peak_kernel){run_generic, "generic"};
#endif
}

double peak_run(double flops) { return kernel().run(flops); }

const char *peak_isa(void) { return kernel().isa; }

/* What the threads of one measurement share. */
typedef struct peak_team {
    double begin, end; /* of what counts, by clock_now() */
    atomic_size_t ready;
    atomic_bool go;
} peak_team;

typedef struct peak_job {
    pthread_t thread;
    peak_team *team;
    size_t index;
    double flops, end, best;
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

/* Runs until `end`; *now becomes the time at which it really ended. Returns the operations done, and in *best the most
 * operations a second of any piece of some ten microseconds, which other programs did not interrupt. */
static double run_until(double end, double *now, double *best) {
    double flops = 0, before = clock_now();
    for (*now = before; *now < end; before = *now) {
        const double piece = peak_run(4e6);
        *now = clock_now();
        flops += piece;
        if (piece > *best * (*now - before))
            *best = piece / (*now - before);
    }
    return flops;
}

static void *peak_thread(void *argument) {
    peak_job *job = argument;
    take_cpu(job->index);
    atomic_fetch_add(&job->team->ready, 1);
    while (!atomic_load(&job->team->go))
        sched_yield();
    run_until(job->team->begin, &job->end, &job->best); /* the clock settles after the first wide instructions */
    job->best = 0;
    job->flops = run_until(job->team->end, &job->end, &job->best);
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
static double measure_alone(double seconds) {
    double now, best = 0;
    run_until(clock_now() + seconds / 8, &now, &best);
    best = 0;
    run_until(now + seconds, &now, &best);
    return best / 1e9;
}

/* The sum of what the threads can do, unless they outnumber the processors. */
static double measure_team(size_t threads, double seconds) {
    double flops = 0, end = 0, best = 0;
    peak_team team = {0};
    peak_job *jobs = calloc(threads, sizeof *jobs);
    if (jobs == NULL)
        return 0;
    size_t started = run_jobs(jobs, threads, &team, seconds);
    for (size_t i = 0; i < started; i++) {
        flops += jobs[i].flops;
        best += jobs[i].best;
        end = jobs[i].end > end ? jobs[i].end : end;
    }
    free(jobs);
    if ((long)started <= sysconf(_SC_NPROCESSORS_ONLN))
        return best / 1e9;
    return flops / (end - team.begin) / 1e9;
}

double peak_measure(size_t threads, double seconds) {
    return threads > 1 ? measure_team(threads, seconds) : measure_alone(seconds);
}
