/* SPDX-License-Identifier: BSD-3-Clause */
/* Part of libattn in ThreadSanitizer builds only. Debian's libpthreadpool is not sanitized, so that ThreadSanitizer
 * does not see that it orders what the caller did before the tasks, and these before what the caller does next. This
 * wrapper tells. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <pthreadpool.h>
#include <sanitizer/tsan_interface.h>

typedef struct call {
    pthreadpool_task_1d_t task;
    void *arg;
} call;

static void run(void *arg, size_t i) {
    const call *c = arg;
    __tsan_acquire(arg);
    c->task(c->arg, i);
    __tsan_release(arg);
}

void pthreadpool_parallelize_1d(pthreadpool_t pool, pthreadpool_task_1d_t task, void *arg, size_t range,
                                uint32_t flags) {
    void (*next)(pthreadpool_t, pthreadpool_task_1d_t, void *, size_t, uint32_t);
    call c = {task, arg};
    *(void **)&next = dlsym(RTLD_NEXT, "pthreadpool_parallelize_1d");
    __tsan_release(&c);
    next(pool, run, &c, range, flags);
    __tsan_acquire(&c);
}
