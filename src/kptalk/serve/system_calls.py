"""Which system calls a process may still make, by Linux's seccomp and its library libseccomp, which is not ours.

What is forbidden answers "Operation not permitted", so that a library which tries goes on without.
"""

from __future__ import annotations

import ctypes
import errno
import sys

PROGRAMS = ("execve", "execveat", "fork", "vfork")
NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4", "io_uring_setup")  # which opens sockets, too
OTHERS = (  # other processes' memory, keys, and what only root does
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "userfaultfd", "perf_event_open", "bpf"),
    *("add_key", "request_key", "keyctl", "mount", "umount2", "move_mount", "fsopen", "open_tree", "pivot_root"),
    *("chroot", "unshare", "setns", "init_module", "finit_module", "delete_module", "kexec_load", "reboot"),
    *("open_by_handle_at", "swapon", "swapoff", "settimeofday", "clock_settime", "setuid", "setgid", "setgroups"),
)
SET_NO_NEW_PRIVILEGES = 38  # of prctl
ALLOW, ANSWER = 0x7FFF0000, 0x00050000  # libseccomp's actions; the latter with an error's number
ALL_THREADS = 4  # its attribute: the filter is for those that run already, too
MASKED_EQUAL = 7  # its comparison
CLONE_THREAD = 0x10000  # of clone: a thread of this process, not another process


class _Compare(ctypes.Structure):
    """libseccomp's ``scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_uint),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def forbid_privileges() -> bool:
    """Let nothing that this thread starts have more rights than it has (set-user-ID); whether the system does that."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0)


def forbid(programs_and_network: bool) -> bool:
    """Let all threads of this process make none of the calls in ``OTHERS`` and gain no privileges.

    Where told so, nor those in ``PROGRAMS`` and ``NETWORK``, and start no other process; threads may be started.

    Returns:
        Whether the filter is in force; it is not where the library or the kernel is without.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2") if sys.platform == "linux" else None
    except OSError:
        library = None
    if library is None:
        return False
    library.seccomp_init.restype = ctypes.c_void_p
    if not (found := library.seccomp_init(ctypes.c_uint32(ALLOW))):
        return False
    rules, number = ctypes.c_void_p(found), library.seccomp_syscall_resolve_name

    def add(error: int, name: str, *when: _Compare) -> bool:
        array = (_Compare * len(when))(*when)
        action = ctypes.c_uint32(ANSWER | error)
        return bool(library.seccomp_rule_add_array(rules, action, number(name.encode()), len(when), array) == 0)

    try:
        done = library.seccomp_attr_set(rules, ALL_THREADS, ctypes.c_uint32(1)) == 0
        # An older library does not know all names, as an older kernel does not know all calls.
        names = (*OTHERS, *((*PROGRAMS, *NETWORK) if programs_and_network else ()))
        done &= all(add(errno.EPERM, name) for name in names if number(name.encode()) != -1)
        if programs_and_network:
            done &= add(errno.EPERM, "clone", _Compare(0, MASKED_EQUAL, CLONE_THREAD, 0))
            done &= add(errno.ENOSYS, "clone3")  # whose flags no filter sees; the C library then calls clone
        return bool(done and library.seccomp_load(rules) == 0)
    finally:
        library.seccomp_release(rules)
