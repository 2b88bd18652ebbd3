/* A disk that stalls: fsync and fdatasync wait while the file $BIYI_STALL_FILE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_while_stalled(void) {
    const char *file = getenv("BIYI_STALL_FILE");
    while (file && access(file, F_OK) == 0)
        usleep(20000);
}

int fsync(int fd) {
    wait_while_stalled();
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
    return real(fd);
}

int fdatasync(int fd) {
    wait_while_stalled();
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
