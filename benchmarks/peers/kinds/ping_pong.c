/* Two processes that wake each other through one word of shared memory.

   Reads "count pause\n" from stdin, makes so many round trips with so many microseconds before each, and writes the
   nanoseconds of each as 64-bit integers to stdout. Between two such lines both processes sleep. */

#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A cache line each: whose turn it is, and how many round trips the other one is to answer without sleeping. */
struct shared {
    _Alignas(128) _Atomic int turn;
    _Alignas(128) _Atomic int spins;
};

static void sleep_while(_Atomic int *word, int value) {
    while (atomic_load(word) == value)
        syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void wake(_Atomic int *word, int value) {
    atomic_store(word, value);
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void spin_while(_Atomic int *word, int value) {
    while (atomic_load_explicit(word, memory_order_acquire) == value) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
}

static void answer(struct shared *shared, int spinning) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        if (!spinning) {
            sleep_while(&shared->turn, 0);
            wake(&shared->turn, 0);
            continue;
        }
        sleep_while(&shared->spins, 0);
        for (int left = atomic_load(&shared->spins); left > 0; left--) {
            spin_while(&shared->turn, 0);
            atomic_store_explicit(&shared->turn, 0, memory_order_release);
        }
        wake(&shared->spins, 0);
    }
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int main(int argc, char **argv) {
    int spinning = argc > 1 && strcmp(argv[1], "line") == 0;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    if (fork() == 0)
        answer(shared, spinning);
    int count;
    unsigned pause;
    while (scanf("%d %u", &count, &pause) == 2 && count > 0) {
        int64_t *samples = calloc(count, sizeof *samples);
        if (samples == NULL)
            return 1;
        if (spinning)
            wake(&shared->spins, count);
        for (int number = 0; number < count; number++) {
            if (pause)
                usleep(pause);
            int64_t began = now();
            if (spinning) {
                atomic_store_explicit(&shared->turn, 1, memory_order_release);
                spin_while(&shared->turn, 1);
            } else {
                wake(&shared->turn, 1);
                sleep_while(&shared->turn, 1);
            }
            samples[number] = now() - began;
        }
        if (spinning)
            sleep_while(&shared->spins, count);
        fwrite(samples, sizeof *samples, count, stdout);
        fflush(stdout);
        free(samples);
    }
    return 0;
}
