"""Which system calls a strict worker may make, as data. What is not named here answers ENOSYS.

An allow-list: one that forbade what is known to be dangerous was tried, and left eighty calls open that nobody had
thought of. ``ALLOWED`` may be made in any way. ``RULED`` may be made with certain arguments, and answer EPERM with
others. ``REFUSED`` answer EPERM, because a program that hears "not permitted" says so, where one that hears "not
implemented" looks for another way. ``clone3`` must answer ENOSYS: its arguments lie in memory where a filter cannot see
them, and C libraries then use ``clone``, whose arguments it sees.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple, Union


class OneOf(NamedTuple):
    """The low 32 bits of an argument are one of these: the kernel itself takes no more of them."""

    argument: int
    values: Tuple[int, ...]


class Masked(NamedTuple):
    """These bits of an argument are so."""

    argument: int
    mask: int
    value: int


class Null(NamedTuple):
    """A pointer is null, in all of its 64 bits."""

    argument: int


Condition = Union[OneOf, Masked, Null]
SELF = -1  # stands for the number of the process itself

_PLAIN = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat close close_range lseek
    stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir
    fchdir statfs fstatfs dup dup2 dup3 fadvise64 readahead ftruncate fallocate fsync fdatasync sync_file_range flock
    sendfile copy_file_range umask

    mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2

    mmap munmap mprotect mremap madvise brk mincore msync mlock mlock2 munlock membarrier get_mempolicy

    futex futex_waitv set_robust_list get_robust_list set_tid_address rseq gettid sched_yield sched_getaffinity
    sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval arch_prctl
    exit exit_group restart_syscall

    getpid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups getpriority
    getrusage getrlimit getcpu sysinfo uname times capget

    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time getrandom alarm getitimer setitimer
    timerfd_create timerfd_settime timerfd_gettime

    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait sigaltstack pause

    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
    pipe pipe2

    recvfrom recvmsg shutdown getsockopt getsockname getpeername
"""
ALLOWED = tuple(_PLAIN.split())

# <linux/sched.h>: CLONE_THREAD with CLONE_FILES; CLONE_NEW*, CLONE_PTRACE
_CLONE_THREAD, _CLONE_PROCESS = 0x10000 | 0x400, 0x7E020000 | 0x2000
_AF_UNIX, _SOCK_STREAM = 1, 1

RULED: Dict[str, List[Condition]] = {
    # A thread, and no new namespace; with a table of descriptors of its own, it would have as many of them again, and
    # could hide from the application which files it has open.
    "clone": [Masked(0, _CLONE_THREAD | _CLONE_PROCESS, _CLONE_THREAD)],
    "kill": [OneOf(0, (SELF,))],
    "tgkill": [OneOf(0, (SELF,))],
    "prlimit64": [OneOf(0, (0, SELF)), Null(2)],  # to look at our own
    "sendto": [Null(4)],  # over a connection: without an address
    # A pair of datagram sockets could send to any path. Event loops wake themselves over a stream.
    "socketpair": [OneOf(0, (_AF_UNIX,)), Masked(1, 0xF, _SOCK_STREAM), OneOf(2, (0,))],
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, locks (also of open files), F_DUPFD_CLOEXEC, F_GETPIPE_SZ and
    # F_GET_SEALS. Not: F_SETOWN and F_SETSIG, which send signals, F_SETLEASE, F_NOTIFY, F_ADD_SEALS.
    "fcntl": [OneOf(1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034))],
    # TCGETS (both forms), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
    "ioctl": [OneOf(1, (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451))],
    # PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ,
    # PR_GET_NO_NEW_PRIVS, PR_SET_VMA (which names memory).
    "prctl": [OneOf(0, (2, 3, 15, 16, 21, 23, 39, 0x53564D41))],
}

_FORBIDDEN = """
    fork vfork execve execveat socket connect bind listen accept accept4 sendmsg sendmmsg setsockopt ptrace
    process_vm_readv process_vm_writev pidfd_getfd sched_setaffinity unshare setns mount memfd_create chmod fchmod
    fchmodat chown fchown lchown fchownat truncate link linkat symlink symlinkat mknod mknodat utime utimes utimensat
    futimesat setrlimit tkill
"""
REFUSED = tuple(_FORBIDDEN.split())


class Policy(NamedTuple):
    """What of all calls is allowed, what by its arguments, and what answers EPERM."""

    allowed: Tuple[str, ...]
    ruled: Dict[str, List[Condition]]
    refused: Tuple[str, ...]


ALONE = Policy(ALLOWED, RULED, REFUSED)

# For a model that may start processes. It has a namespace of them: no number names a process outside, so it may signal
# any. A child cannot be made the warden's (CLONE_PARENT), which would not know of it. C libraries make a semaphore by a
# link; to where, Landlock says.
_FOR_PROCESSES = """
    fork vfork execve execveat wait4 waitid setsid setpgid kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo
    link linkat
"""
_OF_PROCESSES = tuple(_FOR_PROCESSES.split())
_CLONE_PARENT, _PR_SET_PDEATHSIG = 0x8000, 1
_BY_OTHER_ARGUMENTS: Dict[str, List[Condition]] = {
    "clone": [Masked(0, _CLONE_PROCESS | _CLONE_PARENT, 0)],
    "prctl": [OneOf(0, (_PR_SET_PDEATHSIG, *RULED["prctl"][0].values))],  # type: ignore[union-attr]
}
STARTING = Policy(
    ALLOWED + _OF_PROCESSES,
    {name: _BY_OTHER_ARGUMENTS.get(name, rule) for name, rule in RULED.items() if name not in _OF_PROCESSES},
    tuple(name for name in REFUSED if name not in _OF_PROCESSES),
)


def conditions(rule: List[Condition], process: int) -> List[Any]:
    """The rule of a call, for a process of that number."""
    bound: List[Any] = []
    for one in rule:
        if isinstance(one, OneOf):
            bound.append(OneOf(one.argument, tuple(process if value == SELF else value for value in one.values)))
        else:
            bound.append(one)
    return bound
