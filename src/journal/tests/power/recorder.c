/* Records what a process does to the files below $RECORD_DIR, in order, to $RECORD_LOG, together
 * with what it says on its standard output. Loaded with LD_PRELOAD. One lock makes one order.
 *
 * A record is: kind (1 byte), inode (8), offset (8), length of text (4), length of data (4), text,
 * data; numbers as this machine has them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *dir;
static ino_t inodes[65536];
static size_t inodes_count;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void begin(void) {
    pthread_mutex_lock(&lock);
    if (log_fd < 0 && getenv("RECORD_LOG")) {
        dir = getenv("RECORD_DIR");
        log_fd = REAL(open)(getenv("RECORD_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
}

static void end(void) { pthread_mutex_unlock(&lock); }

static void record(char kind, uint64_t inode, uint64_t offset, const char *text, const void *data,
                   size_t size) {
    uint8_t head[25];
    uint32_t text_size = (uint32_t)strlen(text), data_size = (uint32_t)size;
    head[0] = (uint8_t)kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &text_size, 4);
    memcpy(head + 21, &data_size, 4);
    struct iovec parts[3] = {
        {head, sizeof head}, {(void *)text, text_size}, {(void *)data, data_size}};
    if (log_fd >= 0 && REAL(writev)(log_fd, parts, 3) != (ssize_t)(sizeof head + text_size + size))
        abort();
}

/* The path of a name below the directory, or NULL. */
static const char *ours(int at, const char *name, char *path) {
    if (!dir) return NULL;
    if (name[0] == '/' || at == AT_FDCWD) {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t size = readlink(link, path, PATH_MAX - 1);
        if (size < 0) return NULL;
        snprintf(path + size, (size_t)(PATH_MAX - size), "/%s", name);
    }
    size_t size = strlen(dir);
    if (strncmp(path, dir, size) != 0 || (path[size] != '/' && path[size] != 0)) return NULL;
    return path[size] ? path + size + 1 : path + size;
}

static uint64_t inode_of(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 ? (uint64_t)about.st_ino : 0;
}

static int is_ours(uint64_t inode) {
    for (size_t i = 0; i < inodes_count; i++)
        if (inodes[i] == inode) return 1;
    return 0;
}

static int opened(int fd, int at, const char *name, int flags) {
    char path[PATH_MAX];
    const char *below = fd < 0 ? NULL : ours(at, name, path);
    if (below) {
        uint64_t inode = inode_of(fd);
        if (!is_ours(inode)) {
            if (inodes_count == sizeof inodes / sizeof *inodes) abort();
            inodes[inodes_count++] = inode;
        }
        record('o', inode, (flags & O_TRUNC) != 0, below, "", 0);
    }
    return fd;
}

#define MODE(flags)                                  \
    mode_t mode = 0;                                 \
    if (flags & (O_CREAT | O_TMPFILE)) {             \
        va_list more;                                \
        va_start(more, flags);                       \
        mode = va_arg(more, mode_t);                 \
        va_end(more);                                \
    }

#define OPEN(name)                                                       \
    int name(const char *path, int flags, ...) {                         \
        MODE(flags)                                                      \
        begin();                                                         \
        int fd = opened(REAL(name)(path, flags, mode), AT_FDCWD, path, flags); \
        end();                                                           \
        return fd;                                                       \
    }
#define OPENAT(name)                                                     \
    int name(int at, const char *path, int flags, ...) {                 \
        MODE(flags)                                                      \
        begin();                                                         \
        int fd = opened(REAL(name)(at, path, flags, mode), at, path, flags); \
        end();                                                           \
        return fd;                                                       \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    begin();
    uint64_t inode = fd == 1 ? 0 : inode_of(fd);
    int from = fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR;
    off_t at = inode && is_ours(inode) ? lseek(fd, 0, from) : -1;
    ssize_t written = REAL(write)(fd, data, size);
    if (fd == 1 && written > 0) record('s', 0, 0, "", data, (size_t)written);
    if (at >= 0 && written > 0) record('w', inode, (uint64_t)at, "", data, (size_t)written);
    end();
    return written;
}

#define PWRITE(name, offset_type)                                               \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {   \
        begin();                                                                \
        ssize_t written = REAL(name)(fd, data, size, offset);                   \
        uint64_t inode = inode_of(fd);                                          \
        if (written > 0 && is_ours(inode))                                      \
            record('w', inode, (uint64_t)offset, "", data, (size_t)written);    \
        end();                                                                  \
        return written;                                                         \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset_type)                                             \
    int name(int fd, offset_type size) {                                        \
        begin();                                                                \
        int done = REAL(name)(fd, size);                                        \
        uint64_t inode = inode_of(fd);                                          \
        if (done == 0 && is_ours(inode)) record('t', inode, (uint64_t)size, "", "", 0); \
        end();                                                                  \
        return done;                                                            \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                              \
    int name(int fd) {                                                          \
        begin();                                                                \
        int done = REAL(name)(fd);                                              \
        uint64_t inode = inode_of(fd);                                          \
        if (done == 0 && is_ours(inode)) record('f', inode, 0, "", "", 0);      \
        end();                                                                  \
        return done;                                                            \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    char one[PATH_MAX], other[PATH_MAX];
    begin();
    int done = REAL(rename)(from, to);
    const char *below = ours(AT_FDCWD, from, one), *target = ours(AT_FDCWD, to, other);
    if (done == 0 && below && target) record('r', 0, 0, below, target, strlen(target));
    end();
    return done;
}

#define NAMED(kind, call, at, name)                                             \
    char path[PATH_MAX];                                                        \
    begin();                                                                    \
    const char *below = ours(at, name, path);                                   \
    int done = call;                                                            \
    if (done == 0 && below) record(kind, 0, 0, below, "", 0);                   \
    end();                                                                      \
    return done;

int unlink(const char *name) { NAMED('u', REAL(unlink)(name), AT_FDCWD, name) }
int unlinkat(int at, const char *name, int flags) {
    NAMED('u', REAL(unlinkat)(at, name, flags), at, name)
}
int rmdir(const char *name) { NAMED('u', REAL(rmdir)(name), AT_FDCWD, name) }
int mkdir(const char *name, mode_t mode) { NAMED('d', REAL(mkdir)(name, mode), AT_FDCWD, name) }
