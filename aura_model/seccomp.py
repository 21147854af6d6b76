"""The system calls that a decode child keeps once it is ready: to compute, and to read what it was handed.

A seccomp filter (Linux, `Documentation/userspace-api/seccomp_filter.rst`) is a small program that the kernel runs
before each system call, and that a process cannot take off again. Here it names what is allowed: memory, threads of its
own, reading and writing what is open already. All else answers "not implemented": no file is opened by name, no socket
is made, no program is started, no other process is touched. It needs no privilege, so plain containers have it too.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

REFUSE = 0x0005_0000 | errno.ENOSYS
"""What becomes of any other call: it fails as if the kernel had none of that name, for which libraries are prepared."""
KILL = 0x8000_0000
ALLOW = 0x7FFF_0000
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
"""Instructions of the filter (`linux/bpf_common.h`): load a word, jump if equal, jump if a bit is set, return."""
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Where `struct seccomp_data` has them; an argument has 8 bytes, the lower half first."""
SET_FILTER, ALL_THREADS = 1, 1

MACHINES: Mapping[str, tuple[int, int]] = MappingProxyType({"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)})
"""The architecture's number for the kernel (AUDIT_ARCH), and its column in the tables below."""

CALLS: Mapping[str, tuple[int | None, int | None]] = MappingProxyType(
    {
        "read": (0, 63),
        "readv": (19, 65),
        "pread64": (17, 67),
        "write": (1, 64),
        "writev": (20, 66),
        "sendto": (44, 206),
        "sendmsg": (46, 211),
        "recvfrom": (45, 207),
        "recvmsg": (47, 212),
        "close": (3, 57),
        "lseek": (8, 62),
        "fstat": (5, 80),
        "newfstatat": (262, 79),
        "fcntl": (72, 25),
        "poll": (7, None),
        "ppoll": (271, 73),
        "mmap": (9, 222),
        "munmap": (11, 215),
        "mremap": (25, 216),
        "mprotect": (10, 226),
        "madvise": (28, 233),
        "brk": (12, 214),
        "futex": (202, 98),
        "set_robust_list": (273, 99),
        "get_robust_list": (274, 100),
        "rseq": (334, 293),
        "membarrier": (324, 283),
        "sched_yield": (24, 124),
        "sched_getaffinity": (204, 123),
        "getcpu": (309, 168),
        "rt_sigaction": (13, 134),
        "rt_sigprocmask": (14, 135),
        "rt_sigreturn": (15, 139),
        "sigaltstack": (131, 132),
        "restart_syscall": (219, 128),
        "alarm": (37, None),
        "setitimer": (38, 103),
        "clock_gettime": (228, 113),
        "clock_getres": (229, 114),
        "clock_nanosleep": (230, 115),
        "nanosleep": (35, 101),
        "gettimeofday": (96, 169),
        "getrandom": (318, 278),
        "getpid": (39, 172),
        "gettid": (186, 178),
        "getrusage": (98, 165),
        "prctl": (157, 167),
        "exit": (60, 93),
        "exit_group": (231, 94),
    }
)
"""Allowed whatever their arguments: numbers on x86_64 and aarch64, None where there is no such call."""

CLONE3 = 435
"""Refused in any case: its flags lie in memory, where no filter looks. Libraries then make their threads by `clone`."""
THREAD, TERMINAL = 0x10000, 0x5401
"""CLONE_THREAD: what is cloned is a thread, not a process. TCGETS: is this a terminal, as Python asks of each file."""

BOUND_CALLS: Mapping[str, tuple[tuple[int, int], int, int, int | None]] = MappingProxyType(
    {
        "clone": ((56, 220), 0, ANY_BIT, THREAD),
        "ioctl": ((16, 29), 1, EQUAL, TERMINAL),
        "prlimit64": ((302, 261), 0, EQUAL, 0),
        "tgkill": ((234, 131), 0, EQUAL, None),
    }
)
"""Allowed with one value of an argument: numbers, which argument, how it is compared, with what; None is this process
(`abort` sends itself a signal). Its own limits a process may ask for and lower."""


def confine(otherwise: int = REFUSE) -> bool:
    """Put the filter on all threads of this process, for good; False where the system has none.

    Args:
        otherwise: what becomes of a call that is not allowed.
    """
    if platform.machine() not in MACHINES:
        return False
    code = b"".join(struct.pack("<HBBI", *line) for line in _program(*MACHINES[platform.machine()], otherwise))
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp = 317 if platform.machine() == "x86_64" else 277
    return bool(libc.syscall(seccomp, SET_FILTER, ALL_THREADS, program) == 0)


def _program(architecture: int, column: int, otherwise: int) -> Iterator[tuple[int, int, int, int]]:
    """The instructions: operation, how many to skip if so, how many if not, operand."""
    yield LOAD, 0, 0, ARCHITECTURE
    yield EQUAL, 1, 0, architecture
    yield RETURN, 0, 0, KILL  # calls of another architecture have other numbers
    yield LOAD, 0, 0, NUMBER
    for number in (numbers[column] for numbers in CALLS.values()):
        if number is not None:
            yield from ((EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW))
    yield from ((EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, REFUSE))
    for numbers, index, test, operand in BOUND_CALLS.values():
        value = os.getpid() if operand is None else operand
        yield from ((EQUAL, 0, 4, numbers[column]), (LOAD, 0, 0, ARGUMENTS + 8 * index), (test, 0, 1, value))
        yield from ((RETURN, 0, 0, ALLOW), (RETURN, 0, 0, otherwise))
    yield RETURN, 0, 0, otherwise
