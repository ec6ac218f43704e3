"""A process that can compute, speak through one pipe, and do nothing else: what a suite's Python runs in.

The kernel holds it (seccomp): every system call but the few that computing needs is refused, so there is no
socket, no file to open, no other process to start or to signal. Python's own guards would not do, because code
that runs in an interpreter can take them away. Where the kernel cannot hold it, Python checks are not run.
Sources: seccomp(2); Linux `include/uapi/linux/{audit,filter,seccomp}.h`; the architectures' system call tables.
"""

import ctypes
import os
import platform
import resource
from dataclasses import dataclass

MEMORY = 512 << 20  # bytes of address space
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # _REFUSE: EPERM
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


@dataclass(frozen=True)
class _Machine:
    audit: int  # AUDIT_ARCH_*
    calls: tuple[int, ...]


# read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn sched_yield mremap
# madvise nanosleep getpid exit gettimeofday sigaltstack gettid futex restart_syscall clock_gettime clock_getres
# clock_nanosleep exit_group getrandom rseq
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        (
            *(0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 35, 39, 60, 96, 131, 186, 202),
            *(219, 228, 229, 230, 231, 318, 334),
        ),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (
            *(
                63,
                64,
                57,
                80,
                62,
                222,
                226,
                215,
                214,
                134,
                135,
                139,
                124,
                216,
                233,
                101,
                172,
                93,
                169,
                132,
                178,
                98,
            ),
            *(128, 113, 114, 115, 94, 278, 293),
        ),
    ),
}


class _Step(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


def cannot_hold() -> str | None:
    """Return why this machine cannot hold a suite's Python, or None when it can."""
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return f"no filter of system calls is known for {platform.system()} on {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(21, 0, 0, 0, 0) < 0:  # PR_GET_SECCOMP
        return "this kernel was built without seccomp"
    return None


def enter(seconds: int) -> None:
    """Shut this process in, for good. Raises `OSError` when the kernel refuses; then nothing may be run.

    Args:
        seconds: of computing, after which the kernel ends the process.
    """
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    machine = _MACHINES[platform.machine()]
    steps = [
        _Step(_LOAD, 0, 0, _ARCHITECTURE),
        _Step(_JUMP_IF_EQUAL, 1, 0, machine.audit),
        _Step(_RETURN, 0, 0, _KILL),
        _Step(_LOAD, 0, 0, _NUMBER),
    ]
    for number in machine.calls:
        steps += [_Step(_JUMP_IF_EQUAL, 0, 1, number), _Step(_RETURN, 0, 0, _ALLOW)]
    steps.append(_Step(_RETURN, 0, 0, _REFUSE))
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
