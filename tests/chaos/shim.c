/* Stands between a process and its disk and clock: records what is written and synced of a few
   files, fails calls on them when told to, and moves the clock. Built by `disk.py`, loaded before
   the C library's own functions (LD_PRELOAD), and idle until a process asks for something. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char prefix[PATH_MAX], folder[PATH_MAX]; /* what the files are called, and where they are */
static int trace = -1;
static long records, seconds;
static struct { char call; int error; long after, times; } fault;

/* ------------------------------------------------------------- what a process asks for */

void chaos_watch(const char *files, int record) {
    strncpy(folder, files, PATH_MAX - 1);
    strncpy(prefix, files, PATH_MAX - 1);
    *strrchr(folder, '/') = 0;
    trace = record;
}

/* The calls of a kind fail from the `after`-th byte or call on, `times` times (-1: for ever). */
void chaos_fail(char call, int error, long after, long times) {
    fault.error = error; fault.after = after; fault.times = times; fault.call = call;
}

void chaos_clock(long ahead) { seconds = ahead; }

long chaos_recorded(void) { return records; }

/* ------------------------------------------------------------- which file, and what of it */

static const char *watched(const char *path) {
    size_t length = strlen(prefix);
    if (!length || strncmp(path, prefix, length) || strstr(path, "-shm")) return NULL;
    return strrchr(path, '/') + 1;
}

static const char *named(int fd, char *path) {
    char link[64] = "/proc/self/fd/", digits[16];
    int n = 0, at = (int)strlen(link);
    if (!*prefix || fd < 0) return NULL;
    do digits[n++] = (char)('0' + fd % 10); while (fd /= 10);
    while (n) link[at++] = digits[--n];
    link[at] = 0;
    ssize_t got = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (got < 0) return NULL;
    path[got] = 0;
    return strcmp(path, folder) ? watched(path) : "";
}

static void record(char what, const char *name, int64_t at, const void *data, int64_t size) {
    struct { int64_t at, size; int32_t name; char what, pad[3]; } head = {at, size, 0, what, {0}};
    if (trace < 0) return;
    head.name = (int32_t)strlen(name);
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)name, head.name}, {(void *)data, data ? (size_t)size : 0}};
    syscall(SYS_writev, trace, parts, 3);
    __atomic_add_fetch(&records, 1, __ATOMIC_SEQ_CST);
}

/* Whether a call is to fail now; of a write, how many bytes still go through. */
static int fails(char call, size_t *size) {
    if (fault.call != call || !fault.times) return 0;
    if (call == 'w' && fault.after > 0 && (size_t)fault.after >= *size) {
        fault.after -= (long)*size;
        return 0;
    }
    if (call == 'w' && fault.after > 0) {
        *size = (size_t)fault.after;
        fault.after = 0;
        return 0;
    }
    if (call != 'w' && fault.after-- > 0) return 0;
    if (fault.times > 0) fault.times--;
    if (!fault.error) { /* a short write, and then the next one goes on */
        *size = *size > 1 ? *size / 2 : *size;
        return 0;
    }
    errno = fault.error;
    return 1;
}

/* ------------------------------------------------------------- the calls */

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (name && *name && fails('w', &size)) return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);
    if (name && *name && done > 0) record('w', name, at, data, done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (!name || !*name) return syscall(SYS_write, fd, data, size);
    return pwrite64(fd, data, size, lseek(fd, 0, SEEK_CUR)); /* nobody here goes on from there */
}

int ftruncate64(int fd, off64_t size) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    int done = (int)syscall(SYS_ftruncate, fd, size);
    if (name && *name && !done) record('t', name, size, NULL, 0);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int call) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    size_t none = 0;
    if (!name) return (int)syscall(call, fd);
    if (*name && fails('s', &none)) {
        int why = errno;
        record('f', name, 0, NULL, 0);
        errno = why;
        return -1;
    }
    int done = trace < 0 ? (int)syscall(call, fd) : 0; /* the record decides, not the disk */
    if (!done) record(*name ? 's' : 'd', name, 0, NULL, 0);
    return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }

int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
    const char *name = watched(path);
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (name && !done) record('u', name, 0, NULL, 0);
    return done;
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    const char *name = flags & O_CREAT ? watched(path) : NULL;
    struct stat there;
    int new = name && stat(path, &there);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && new) record('c', name, 0, NULL, 0);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int done = (int)syscall(SYS_clock_gettime, which, now);
    if (!done && which == CLOCK_REALTIME) now->tv_sec += seconds;
    return done;
}
