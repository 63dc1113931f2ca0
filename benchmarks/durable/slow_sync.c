/* Every fsync and fdatasync takes DELAY_NS at least, as on a disk that others use too.

   cc -shared -fPIC -O2 -DDELAY_NS=3300000 slow_sync.c -o slow_sync.so -ldl
   LD_PRELOAD=./slow_sync.so ... */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <time.h>

static int slowed(const char *name, int fd)
{
    struct timespec until;
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result, error;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += DELAY_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    result = sync(fd);
    error = errno;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    errno = error;
    return result;
}

int fsync(int fd) { return slowed("fsync", fd); }
int fdatasync(int fd) { return slowed("fdatasync", fd); }
