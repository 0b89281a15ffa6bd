/* Loaded before the C library (LD_PRELOAD): counts calls on files below given folders, and makes the n-th of a
 * kind fail, come short, or be the last one of the process; or records what is written, for replaying.
 * Folders, fault and record are set by the process itself (tests/faults/launcher.py). Linux only. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { OPEN, WRITE, RENAME, FSYNC, LINK, UNLINK, MKDIR, READDIR, READ, ANY };
enum { ONCE, ONWARD, KILL, SHORT };
#define N_FILES 4096

static char roots[8][PATH_MAX];
static int n_roots, fault_call = -1, fault_how, fault_error, record_to = -1;
static long fault_n, counts[ANY + 1];
static char *paths[N_FILES]; /* of open descriptors below the folders */
static DIR *lists[N_FILES];
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

void faults_root(const char *folder) { snprintf(roots[n_roots++], PATH_MAX, "%s", folder); }
void faults_record(const char *path) {
  record_to = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}
void faults_set(int call, long n, int how, int error) {
  fault_call = call, fault_n = n, fault_how = how, fault_error = error;
}
long faults_count(int call) { return counts[call]; }

static int below(const char *path) {
  for (int i = 0; i < n_roots; i++) {
    size_t n = strlen(roots[i]);
    if (!strncmp(path, roots[i], n) && (path[n] == '/' || !path[n])) return 1;
  }
  return 0;
}

/* Spell a path from the root of the file system; whether it is below one of the folders. */
static int locate(int folder, const char *path, char *full) {
  if (!n_roots || !path) return 0;
  if (path[0] == '/') snprintf(full, PATH_MAX, "%s", path);
  else if (folder == AT_FDCWD) {
    char here[PATH_MAX];
    if (!getcwd(here, sizeof here)) return 0;
    if (snprintf(full, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return 0;
  } else {
    if (folder < 0 || folder >= N_FILES || !paths[folder]) return 0;
    if (snprintf(full, PATH_MAX, "%s/%s", paths[folder], path) >= PATH_MAX) return 0;
  }
  return below(full);
}

static const char *path_of(int fd) { return fd >= 0 && fd < N_FILES ? paths[fd] : NULL; }

/* Count a call; whether it is to fail (1) or to come short (2). */
static int strike(int call) {
  pthread_mutex_lock(&lock);
  long n = ++counts[call], total = ++counts[ANY];
  pthread_mutex_unlock(&lock);
  if (fault_call != call && fault_call != ANY) return 0;
  long at = fault_call == ANY ? total : n;
  if (fault_how == ONWARD ? at < fault_n : at != fault_n) return 0;
  if (fault_how == KILL) kill(getpid(), SIGKILL);
  if (fault_how == SHORT) return 2;
  errno = fault_error;
  return 1;
}

static void put(const void *bytes, size_t n) {
  for (size_t done = 0; done < n;) {
    long m = syscall(SYS_write, record_to, (const char *)bytes + done, n - done);
    if (m <= 0) abort();
    done += (size_t)m;
  }
}

/* A line "kind fd number length path<TAB>other", and the bytes that were written behind it. */
static void record(const char *kind, int fd, long number, const char *path, const char *other,
                   const void *bytes, size_t n) {
  if (record_to < 0) return;
  char line[3 * PATH_MAX];
  int length = snprintf(line, sizeof line, "%s %d %ld %zu %s\t%s\n", kind, fd, number, n, path ? path : "",
                        other ? other : "");
  put(line, (size_t)length);
  put(bytes, n);
}

/* Note the path of a descriptor; NULL: it is none of ours, or closed. */
static void note(int fd, const char *full) {
  if (fd < 0 || fd >= N_FILES) return;
  free(paths[fd]);
  paths[fd] = full ? strdup(full) : NULL;
}

#define OPENING(name, parameters, folder, real_call, ...) \
  int name parameters { \
    REAL(int, name, __VA_ARGS__); \
    char full[PATH_MAX]; \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
      va_list rest; \
      va_start(rest, flags); \
      mode = va_arg(rest, mode_t); \
      va_end(rest); \
    } \
    int is_below = locate(folder, path, full); \
    if (is_below && strike(OPEN) == 1) return -1; \
    pthread_mutex_lock(&lock); \
    int fd = real_call; \
    note(fd, is_below ? full : NULL); \
    if (is_below && fd >= 0) record("open", fd, flags, full, NULL, NULL, 0); \
    pthread_mutex_unlock(&lock); \
    return fd; \
  }
OPENING(open, (const char *path, int flags, ...), AT_FDCWD, real(path, flags, mode), const char *, int, ...)
OPENING(open64, (const char *path, int flags, ...), AT_FDCWD, real(path, flags, mode), const char *, int, ...)
OPENING(openat, (int at, const char *path, int flags, ...), at, real(at, path, flags, mode), int, const char *,
        int, ...)
OPENING(openat64, (int at, const char *path, int flags, ...), at, real(at, path, flags, mode), int,
        const char *, int, ...)
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int close(int fd) {
  REAL(int, close, int);
  pthread_mutex_lock(&lock);
  note(fd, NULL);
  pthread_mutex_unlock(&lock);
  return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t n) {
  REAL(ssize_t, write, int, const void *, size_t);
  if (!path_of(fd)) return real(fd, bytes, n);
  int struck = strike(WRITE);
  if (struck == 1) return -1;
  pthread_mutex_lock(&lock);
  int is_appending = fcntl(fd, F_GETFL) & O_APPEND;
  long at = lseek(fd, 0, is_appending ? SEEK_END : SEEK_CUR);
  ssize_t done = real(fd, bytes, struck && n > 1 ? n / 2 : n);
  if (done > 0) record("write", fd, at, NULL, NULL, bytes, (size_t)done);
  pthread_mutex_unlock(&lock);
  return done;
}

#define SIZING(name, failed) \
  int name(int fd, off_t start, off_t n) { \
    REAL(int, name, int, off_t, off_t); \
    if (!path_of(fd)) return real(fd, start, n); \
    if (strike(WRITE) == 1) return failed; \
    record("size", fd, start + n, NULL, NULL, NULL, 0); \
    return real(fd, start, n); \
  }
SIZING(posix_fallocate, fault_error)
SIZING(posix_fallocate64, fault_error)

#define CUTTING(name) \
  int name(int fd, off_t n) { \
    REAL(int, name, int, off_t); \
    if (!path_of(fd)) return real(fd, n); \
    if (strike(WRITE) == 1) return -1; \
    record("size", fd, n, NULL, NULL, NULL, 0); \
    return real(fd, n); \
  }
CUTTING(ftruncate)
CUTTING(ftruncate64)

#define READING(name, result, tail, arguments, ...) \
  result name(int fd, void *bytes, size_t n tail) { \
    REAL(result, name, __VA_ARGS__); \
    if (path_of(fd)) { \
      int struck = strike(READ); \
      if (struck == 1) return -1; \
      if (struck && n > 1) n /= 2; \
    } \
    return real arguments; \
  }
#define NONE
#define AND ,
READING(read, ssize_t, NONE, (fd, bytes, n), int, void *, size_t)
READING(pread, ssize_t, AND off_t at, (fd, bytes, n, at), int, void *, size_t, off_t)
READING(pread64, ssize_t, AND off_t at, (fd, bytes, n, at), int, void *, size_t, off_t)
READING(__read_chk, ssize_t, AND size_t room, (fd, bytes, n, room), int, void *, size_t, size_t)

#define SYNCING(name) \
  int name(int fd) { \
    REAL(int, name, int); \
    if (!path_of(fd)) return real(fd); \
    if (strike(FSYNC) == 1) return -1; \
    pthread_mutex_lock(&lock); \
    record("fsync", fd, 0, paths[fd], NULL, NULL, 0); /* no power is lost here: nobody need wait */ \
    pthread_mutex_unlock(&lock); \
    return 0; \
  }
SYNCING(fsync)
SYNCING(fdatasync)

static int done(int code, const char *kind, const char *one, const char *two) {
  if (!code) record(kind, -1, 0, one, two, NULL, 0);
  pthread_mutex_unlock(&lock);
  return code;
}

#define PAIRED(name, call, kind, parameters, at_one, at_two, arguments, ...) \
  int name parameters { \
    REAL(int, name, __VA_ARGS__); \
    char from[PATH_MAX], to[PATH_MAX]; \
    if (!(locate(at_one, one, from) & locate(at_two, two, to))) return real arguments; \
    if (strike(call) == 1) return -1; \
    pthread_mutex_lock(&lock); \
    return done(real arguments, kind, from, to); \
  }
PAIRED(rename, RENAME, "rename", (const char *one, const char *two), AT_FDCWD, AT_FDCWD, (one, two),
       const char *, const char *)
PAIRED(renameat, RENAME, "rename", (int a, const char *one, int b, const char *two), a, b, (a, one, b, two),
       int, const char *, int, const char *)
PAIRED(link, LINK, "link", (const char *one, const char *two), AT_FDCWD, AT_FDCWD, (one, two), const char *,
       const char *)
PAIRED(linkat, LINK, "link", (int a, const char *one, int b, const char *two, int flags), a, b,
       (a, one, b, two, flags), int, const char *, int, const char *, int)

#define SINGLE(name, call, kind, parameters, at, arguments, ...) \
  int name parameters { \
    REAL(int, name, __VA_ARGS__); \
    char full[PATH_MAX]; \
    if (!locate(at, path, full)) return real arguments; \
    if (strike(call) == 1) return -1; \
    pthread_mutex_lock(&lock); \
    return done(real arguments, kind, full, NULL); \
  }
SINGLE(unlink, UNLINK, "unlink", (const char *path), AT_FDCWD, (path), const char *)
SINGLE(rmdir, UNLINK, "unlink", (const char *path), AT_FDCWD, (path), const char *)
SINGLE(unlinkat, UNLINK, "unlink", (int at, const char *path, int flags), at, (at, path, flags), int,
       const char *, int)
SINGLE(mkdir, MKDIR, "mkdir", (const char *path, mode_t mode), AT_FDCWD, (path, mode), const char *, mode_t)
SINGLE(mkdirat, MKDIR, "mkdir", (int at, const char *path, mode_t mode), at, (at, path, mode), int,
       const char *, mode_t)

static DIR *listed(DIR *list) {
  for (int i = 0; list && i < N_FILES; i++)
    if (!lists[i]) {
      lists[i] = list;
      break;
    }
  return list;
}

static int is_listed(DIR *list, int is_closing) {
  for (int i = 0; i < N_FILES && n_roots; i++)
    if (lists[i] == list) {
      if (is_closing) lists[i] = NULL;
      return 1;
    }
  return 0;
}

DIR *opendir(const char *path) {
  REAL(DIR *, opendir, const char *);
  char full[PATH_MAX];
  if (!locate(AT_FDCWD, path, full)) return real(path);
  return strike(READDIR) == 1 ? NULL : listed(real(path));
}

DIR *fdopendir(int fd) {
  REAL(DIR *, fdopendir, int);
  if (!path_of(fd)) return real(fd);
  return strike(READDIR) == 1 ? NULL : listed(real(fd));
}

int closedir(DIR *list) {
  REAL(int, closedir, DIR *);
  is_listed(list, 1);
  note(dirfd(list), NULL);
  return real(list);
}

struct dirent *readdir(DIR *list) {
  REAL(struct dirent *, readdir, DIR *);
  return is_listed(list, 0) && strike(READDIR) == 1 ? NULL : real(list);
}

struct dirent64 *readdir64(DIR *list) {
  REAL(struct dirent64 *, readdir64, DIR *);
  return is_listed(list, 0) && strike(READDIR) == 1 ? NULL : real(list);
}
