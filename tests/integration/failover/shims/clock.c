/* A wall clock that steps: CLOCK_REALTIME is shifted by the whole seconds that stand in $BIYI_CLOCK_FILE,
   or, in a stand's process of the site idc, in $BIYI_CLOCK_FILE_OF_IDC. The file is looked at again every
   50 ms of the monotonic clock, which is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock)(clockid_t, struct timespec *);

static const char *clock_file(void) {
    const char *mark = getenv("BIYI_STAND_PROCESS");
    if (mark && strstr(mark, "|idc|"))
        return getenv("BIYI_CLOCK_FILE_OF_IDC");
    return getenv("BIYI_CLOCK_FILE");
}

static long shift_seconds(void) {
    static long shift, looked_ms = -1000;
    struct timespec now;
    const char *file = clock_file();
    if (!real_clock)
        real_clock = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    if (!file)
        return 0;
    real_clock(CLOCK_MONOTONIC, &now);
    long now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms - looked_ms > 50) {
        char text[32] = {0};
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (read(fd, text, sizeof text - 1) > 0)
                shift = atol(text);
            close(fd);
        }
        looked_ms = now_ms;
    }
    return shift;
}

int clock_gettime(clockid_t id, struct timespec *out) {
    long shift = shift_seconds();
    int done = real_clock(id, out);
    if (done == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        out->tv_sec += shift;
    return done;
}

int gettimeofday(struct timeval *out, void *zone) {
    struct timespec now;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
