"""Looks at a mount for a test, from a process of its own: one JSON request a line, one JSON answer a line.
Paths and bytes are hex. What Node cannot ask for is asked here: d_type, xattrs, file handles, mmap, seekdir."""

import base64, ctypes, errno, json, mmap, os, subprocess, sys

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


class Handle(ctypes.Structure):
    _fields_ = [("handle_bytes", ctypes.c_uint), ("handle_type", ctypes.c_int), ("f_handle", ctypes.c_ubyte * 128)]


def check(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte)]


def getdents(path, size):
    """Every page of `size` bytes: [name, d_type, ino, off]."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        page, out = ctypes.create_string_buffer(size), []
        number = 217 if os.uname().machine == "x86_64" else 61
        while True:
            got = check(LIBC.syscall(number, fd, page, size))
            if got == 0:
                return out
            at = 0
            while at < got:
                entry = Dirent.from_buffer_copy(page, at)
                name = page.raw[at + 19 : at + entry.reclen].split(b"\0")[0]
                out.append([name.hex(), entry.type, str(entry.ino), str(entry.off)])
                at += entry.reclen
    finally:
        os.close(fd)


def seek_back(path, count):
    """The name behind the first `count` entries, twice by lseek to where the last of them ends."""
    entries = getdents(path, 4096)
    page, names = ctypes.create_string_buffer(4096), []
    number = 217 if os.uname().machine == "x86_64" else 61
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(2):
            os.lseek(fd, int(entries[count - 1][3]), os.SEEK_SET)
            check(LIBC.syscall(number, fd, page, 4096))
            entry = Dirent.from_buffer_copy(page, 0)
            names.append(page.raw[19 : entry.reclen].split(b"\0")[0].hex())
        return [entries[count][0], *names]
    finally:
        os.close(fd)


def lstat(path):
    s = os.lstat(path)
    numbers = [s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_rdev, s.st_size, s.st_blocks]
    return [str(n) for n in numbers + [s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns]]


def read(path, offset, size, flags):
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        out = b""
        while len(out) < size:
            piece = os.pread(fd, size - len(out), offset + len(out))
            if not piece:
                break
            out += piece
        return base64.b64encode(out).decode()
    finally:
        os.close(fd)


def read_direct(path, offset, size):
    """O_DIRECT into a page-aligned buffer."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as room:
            got = os.preadv(fd, [room], offset)
            return base64.b64encode(room[:got]).decode()
    finally:
        os.close(fd)


def mapped(path, offset, size):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        return base64.b64encode(view[offset : offset + size]).decode()


def handle_of(path):
    handle, mount = Handle(), ctypes.c_int()
    handle.handle_bytes = 128
    check(LIBC.name_to_handle_at(AT_FDCWD, path, ctypes.byref(handle), ctypes.byref(mount), 0))
    return [handle.handle_type, bytes(handle.f_handle[: handle.handle_bytes]).hex()]


def open_handle(root, kind, data):
    """What `root`'s file system opens for the handle: [mode, ino, first bytes]."""
    handle, raw = Handle(), bytes.fromhex(data)
    handle.handle_bytes, handle.handle_type = len(raw), kind
    handle.f_handle[: len(raw)] = list(raw)
    mount = os.open(root, os.O_RDONLY)
    try:
        fd = check(LIBC.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY))
        try:
            about = os.fstat(fd)
            first = b"" if os.path.isdir("/proc/self/fd/%d" % fd) else os.pread(fd, 16, 0)
            return [str(about.st_mode), str(about.st_ino), first.hex(), os.readlink("/proc/self/fd/%d" % fd)]
        finally:
            os.close(fd)
    finally:
        os.close(mount)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


def ioctl(path, request):
    import fcntl

    with open(path, "rb") as file:
        fcntl.ioctl(file.fileno(), request, bytearray(64))


def lseek(path, offset, whence):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(fd, offset, whence)
    finally:
        os.close(fd)


def statfs(path):
    s = os.statvfs(path)
    return [str(n) for n in (s.f_files, s.f_blocks, s.f_frsize, s.f_bfree + s.f_ffree, s.f_namemax)]


def run(path, words):
    done = subprocess.run([path, *words], capture_output=True, timeout=30)
    return [done.returncode, done.stdout.hex()]


def change(op, path):
    if op == "create":
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    elif op == "write":
        os.close(os.open(path, os.O_WRONLY))
    elif op == "setxattr":
        os.setxattr(path, b"user.new", b"1")
    elif op == "chmod":
        os.chmod(path, 0o600)
    elif op == "utime":
        os.utime(path, (1, 1))
    elif op == "rename":
        os.rename(path, path + b".new")
    elif op == "symlink":
        os.symlink(b"target", path)
    elif op == "tmpfile":
        os.close(os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR))
    elif op == "rename2":
        number = 316 if os.uname().machine == "x86_64" else 276
        check(LIBC.syscall(number, AT_FDCWD, path, AT_FDCWD, path + b".new", 1))
    elif op == "removexattr":
        os.removexattr(path, b"user.note")
    elif op in ("fill", "fallocate", "copy"):
        fill(op, path)
    elif op == "link":
        os.link(path, path + b".new")
    else:
        getattr(os, op)(path)


def fill(op, path):
    fd = os.open(path, os.O_RDWR)
    try:
        if op == "fill":
            os.pwrite(fd, b"x", 0)
        elif op == "fallocate":
            os.posix_fallocate(fd, 0, 4096)
        else:
            os.copy_file_range(fd, fd, 1, 0, 4096)
    finally:
        os.close(fd)


def poll(path):
    import select

    fd = os.open(path, os.O_RDONLY)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return [events for _, events in poller.poll(0)]
    finally:
        os.close(fd)


def lock(path, command):
    """F_GETLK, F_SETLK or F_SETLKW of a read lock on everything."""
    import fcntl, struct

    with open(path, "rb") as file:
        words = struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0)
        fcntl.fcntl(file.fileno(), getattr(fcntl, "F_" + command.upper()), words)


def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        return check(LIBC.syncfs(fd))
    finally:
        os.close(fd)


ACTS = {
    "lstat": lstat,
    "getdents": getdents,
    "seek_back": seek_back,
    "readlink": lambda path: os.readlink(path).hex(),
    "read": read,
    "read_direct": read_direct,
    "mapped": mapped,
    "listxattr": lambda path: [os.fsencode(name).hex() for name in os.listxattr(path, follow_symlinks=False)],
    "getxattr": lambda path, name: os.getxattr(path, bytes.fromhex(name), follow_symlinks=False).hex(),
    "statfs": statfs,
    "handle_of": handle_of,
    "open_handle": open_handle,
    "drop_caches": drop_caches,
    "ioctl": ioctl,
    "lseek": lseek,
    "access": lambda path, mode: os.access(path, mode),
    "run": run,
    "change": lambda path, op: change(op, path),
    "fsync": fsync,
    "poll": poll,
    "lock": lock,
}

for line in sys.stdin:
    act, path, *words = json.loads(line)
    try:
        words = ([] if path is None else [bytes.fromhex(path)]) + words
        answer = {"value": ACTS[act](*words)}
    except OSError as error:
        answer = {"code": errno.errorcode.get(error.errno, str(error.errno))}
    except Exception as error:
        answer = {"code": "FAULT", "text": repr(error)}
    print(json.dumps(answer), flush=True)
