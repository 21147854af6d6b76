"""The filter on system calls: what a confined process can no longer do, seen from inside, and what it still can."""

import json
import platform
import signal
import subprocess
import sys

import pytest

from aura_model import seccomp
from aura_model.seccomp import ALLOW, BOUND_CALLS, CALLS, KILL, MACHINES, REFUSE

pytestmark = pytest.mark.skipif(platform.machine() not in MACHINES, reason="no filter for this machine")

ACTIONS = {
    "open a file": "open('/etc/passwd')",
    "open its own memory": "open('/proc/self/mem', 'rb')",
    "open another's environment": "open('/proc/1/environ', 'rb')",
    "make a file": "open('/tmp/aura-made', 'w')",
    "make a file in memory": "os.memfd_create('x')",
    "list a folder": "os.listdir('/')",
    "make a folder": "os.mkdir('/tmp/aura-made')",
    "remove a file": "os.unlink('/tmp/aura-none')",
    "rename a file": "os.rename('/tmp/aura-none', '/tmp/aura-other')",
    "link a file": "os.symlink('/', '/tmp/aura-made')",
    "change a mode": "os.chmod('/tmp', 0o777)",
    "change a file's times": "os.utime('/tmp')",
    "go elsewhere": "os.chdir('/tmp')",
    "make a TCP socket": "socket.socket()",
    "make a UDP socket": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "make a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "make a Unix socket": "socket.socket(socket.AF_UNIX)",
    "make a netlink socket": "socket.socket(socket.AF_NETLINK)",
    "make a pair of sockets": "socket.socketpair()",
    "connect a socket that it had": "inherited.connect(('127.0.0.1', 9))",
    "bind a socket that it had": "inherited.bind(('127.0.0.1', 0))",
    "listen": "inherited.listen()",
    "make a pipe": "os.pipe()",
    "make a process": "os.fork()",
    "become a program": "os.execv('/bin/true', ['true'])",
    "start a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "signal its group": "os.killpg(0, 0)",
    "trace": "system('ptrace', 101, 117, 16, os.getppid())",
    "read another's memory": "system('process_vm_readv', 310, 270, os.getppid())",
    "get at another's files": "system('pidfd_open', 434, 434, os.getppid())",
    "change another's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
    "change another's priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "make a name space": "system('unshare', 272, 97, 0x10000000)",
    "enter a name space": "system('setns', 308, 268, 0)",
    "mount": "system('mount', 165, 40, 0)",
    "load a program into the kernel": "system('bpf', 321, 280, 0)",
    "set up io_uring": "system('io_uring_setup', 425, 425, 1)",
    "read a key": "system('keyctl', 250, 219, 0)",
    "change its user": "os.setuid(65534)",
    "drive a device": "fcntl.ioctl(0, 0x5412, b'x')",
    "open by descriptor": "system('openat2', 437, 437, -100)",
}
INSIDE = """
import ctypes, errno, fcntl, json, os, platform, resource, socket, sys, threading
from aura_model.seccomp import confine
libc = ctypes.CDLL(None, use_errno=True)
inherited = socket.socket()

def system(name, x86_64, aarch64, *arguments):
    if libc.syscall(x86_64 if platform.machine() == "x86_64" else aarch64, *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def outcome(action):
    try:
        eval(action)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""


def inside(script):
    """Run a script in a process that can confine itself; its return code, and what it prints as JSON."""
    found = subprocess.run([sys.executable, "-c", INSIDE + script], check=False, capture_output=True, timeout=60)
    return found.returncode, json.loads(found.stdout) if found.stdout else found.stderr.decode()


@pytest.fixture(scope="module")
def outcomes():
    """What comes of each action once the process is confined."""
    script = f"done = confine()\nprint(json.dumps([done, {{name: outcome(a) for name, a in {ACTIONS!r}.items()}}]))"
    code, (confined, found) = inside(script)
    assert code == 0
    if not confined:
        pytest.skip("this system has no seccomp")
    return found


@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_not_needed_is_not_there(outcomes, name):
    assert outcomes[name] == "ENOSYS"


def test_most_of_it_could_be_done_before():
    """Else the test above would prove nothing."""
    harmless = ["open a file", "list a folder", "make a file in memory", "make a TCP socket", "make a UDP socket"]
    harmless += [
        "make a pair of sockets",
        "make a pipe",
        "signal its parent",
        "bind a socket that it had",
        "go elsewhere",
    ]
    actions = {name: ACTIONS[name] for name in harmless}
    assert inside(f"print(json.dumps([outcome(action) for action in {actions!r}.values()]))") == (0, ["done"] * 10)


@pytest.mark.parametrize("otherwise", [REFUSE, KILL])
def test_what_computing_needs_is_left(otherwise):
    script = """
with open("/etc/passwd", "rb") as file:
    confine(OTHERWISE)
    head = file.read(4)
    file.seek(0)
    same = os.pread(file.fileno(), 4, 0) == head
    size = os.fstat(file.fileno()).st_size > 4
    terminal = os.isatty(file.fileno())
values = []
thread = threading.Thread(target=lambda: values.append(bytes(1 << 26)))
thread.start()
thread.join()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
found = [same, size, terminal, len(values[0]), resource.getrlimit(resource.RLIMIT_NOFILE), len(os.urandom(8))]
print(json.dumps(found), flush=True)
os._exit(0)  # Python's own end opens things
"""
    assert inside(script.replace("OTHERWISE", str(otherwise))) == (0, [True, True, False, 1 << 26, [32, 32], 8])


def test_threads_that_run_already_are_confined_too():
    assert inside("""
begin, found = threading.Event(), []
def later():
    begin.wait()
    found.append(outcome("open('/etc/passwd')"))
thread = threading.Thread(target=later)
thread.start()
confine()
begin.set()
thread.join()
print(json.dumps(found))
""") == (0, ["ENOSYS"])


def test_a_process_may_still_abort():
    assert inside("confine()\nos.abort()")[0] == -signal.SIGABRT


def test_a_filter_cannot_be_loosened():
    assert inside("confine()\nprint(json.dumps([confine(0x7FFF0000), outcome(\"open('/etc/passwd')\")]))") == (
        0,
        [False, "ENOSYS"],
    )


def test_a_watchful_filter_ends_the_process_at_the_first_try():
    """The tests of playlists lean on this: who lives has not tried."""
    assert inside(f"confine({KILL})\nprint(json.dumps(1), flush=True)\nopen('/etc/passwd')") == (-signal.SIGSYS, 1)
    assert inside(f"confine({KILL})\nprint(json.dumps(1), flush=True)\nsocket.socket()") == (-signal.SIGSYS, 1)


def test_a_machine_without_a_table_is_not_confined(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not seccomp.confine()


# --- the program ---


def run(program, number, *arguments, architecture):
    """What the kernel would make of a call: the filter, interpreted."""
    words = {0: number, 4: architecture} | {16 + 8 * index: value for index, value in enumerate(arguments)}
    at, held = 0, 0
    while True:
        code, yes, no, operand = program[at]
        match code:
            case seccomp.LOAD:
                held = words.get(operand, 0)
            case seccomp.RETURN:
                return operand
            case seccomp.EQUAL:
                at += yes if held == operand else no
            case seccomp.ANY_BIT:
                at += yes if held & operand else no
        at += 1


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_allows_what_the_tables_name_and_nothing_else(machine):
    architecture, column = MACHINES[machine]
    program = list(seccomp._program(architecture, column, REFUSE))
    allowed = {numbers[column] for numbers in CALLS.values()}
    bound = {numbers[column] for numbers, *_ in BOUND_CALLS.values()}
    for number in range(600):
        expected = ALLOW if number in allowed else REFUSE
        assert number in bound or run(program, number, architecture=architecture) == expected
    assert run(program, 0x4000_0000, architecture=architecture) == REFUSE  # x32
    assert run(program, 0, architecture=0x4000_0003) == KILL  # i386
    assert len(program) < 4096


@pytest.mark.parametrize("machine", MACHINES)
def test_some_calls_are_allowed_with_one_argument_only(machine, monkeypatch):
    monkeypatch.setattr(seccomp.os, "getpid", lambda: 77)
    architecture, column = MACHINES[machine]
    program = list(seccomp._program(architecture, column, REFUSE))

    def call(name, *arguments):
        return run(program, BOUND_CALLS[name][0][column], *arguments, architecture=architecture)

    assert call("clone", 0x3D0F00) == ALLOW  # as pthread_create does
    assert call("clone", 0x1200011) == REFUSE  # as fork does
    assert call("tgkill", 77, 78, 6) == ALLOW
    assert call("tgkill", 1, 1, 9) == REFUSE
    assert call("prlimit64", 0, 7) == ALLOW
    assert call("prlimit64", 1, 7) == REFUSE
    assert call("ioctl", 3, 0x5401) == ALLOW
    assert call("ioctl", 0, 0x5412) == REFUSE


def test_numbers_are_unique():
    numbers = [*CALLS.values(), *(numbers for numbers, *_ in BOUND_CALLS.values())]
    for column in (0, 1):
        named = [pair[column] for pair in numbers if pair[column] is not None]
        assert len(named) == len(set(named))
