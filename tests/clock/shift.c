/* Preloaded into the daemon: its wall and monotonic clocks, shifted by what a file says, at any moment and for all threads at once.
 * The file holds two 64-bit numbers of seconds: for CLOCK_REALTIME, and for CLOCK_MONOTONIC with its kin. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *shift;

__attribute__((constructor)) static void open_shift(void) {
    const char *path = getenv("CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) abort();
    void *at = mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (at == MAP_FAILED) abort();
    shift = at;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result != 0 || !shift) return result;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        time->tv_sec += shift[0];
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
        time->tv_sec += shift[1];
        break;
    }
    return 0;
}
