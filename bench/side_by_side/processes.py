"""Starts processes, reads what they use, and ends every one of them, whatever happens."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from .results import Use

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")
# A state in /proc/net/tcp.
_ESTABLISHED = "01"
T = TypeVar("T")
# The time between two looks at the memory of a load generator.
_LOOK_S = 0.1
_STARTED: set[subprocess.Popen[bytes]] = set()


class Failed(Exception):
    """A run cannot be measured; the text says why."""


@dataclass
class Service:
    """A process that stays: a balancer, a server, a worker."""

    name: str
    child: subprocess.Popen[bytes]
    output: Path

    def uses(self) -> Use:
        """What it and its children have used so far."""
        pids = family(self.child.pid)
        return Use(sum(map(cpu_seconds, pids)), sum(memory_mib(pid, "VmHWM") for pid in pids))

    def resident_mib(self) -> float:
        return sum(memory_mib(pid, "VmRSS") for pid in family(self.child.pid))

    def output_line(self, start: str, seconds: float = 30) -> str:
        """The rest of the first line of its output that begins with `start`, once it is there."""
        return wait_for(lambda: self._find(start), seconds, f"{self.name} does not say {start!r}")

    def _find(self, start: str) -> str | None:
        self.check()
        lines = self.output.read_text(errors="replace").splitlines(keepends=True)
        found = [line for line in lines if line.startswith(start) and line.endswith("\n")]
        return (found[0].removeprefix(start).strip() or start) if found else None

    def check(self) -> None:
        if self.child.poll() is not None:
            raise Failed(f"{self.name} ended with code {self.child.returncode}: {tail(self.output)}")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> None:
        end(self.child, how, seconds)

    def tell(self, what: signal.Signals) -> None:
        """Sends it a signal that means something to it."""
        self.check()
        self.child.send_signal(what)

    def finish(self, timeout: float, codes: Collection[int] = (0,)) -> Use:
        """Waits until it ends by itself, as a load that was started beside others does."""
        code, use = _wait(self.child, timeout)
        if code not in codes:
            raise Failed(f"{self.name} ended with code {code}: {tail(self.output)}")
        return use


@dataclass
class Done:
    """A load generator that has ended."""

    output: str
    seconds: float
    use: Use


def start(name: str, command: Sequence[object], directory: Path, dies_by: int = signal.SIGKILL) -> Service:
    """Starts a service; what it says goes to a file in `directory`. `dies_by` is sent to it if we are killed."""
    output = directory / f"{name}.out"
    with output.open("wb") as sink:
        child = _spawn(command, directory, sink, sink, dies_by)
    return Service(name, child, output)


def run(name: str, command: Sequence[object], directory: Path, timeout: float) -> Done:
    """Runs a load generator to its end."""
    output, errors = directory / f"{name}.out", directory / f"{name}.err"
    with output.open("wb") as sink, errors.open("wb") as error_sink:
        began = time.monotonic()
        child = _spawn(command, directory, sink, error_sink, signal.SIGKILL)
        code, usage = _wait(child, timeout)
        seconds = time.monotonic() - began
    if code != 0:
        raise Failed(f"{name} ended with code {code} after {seconds:.0f} s: {tail(errors) or tail(output)}")
    return Done(output.read_text(errors="replace"), seconds, usage)


def _spawn(
    command: Sequence[object], directory: Path, out: IO[bytes], errors: IO[bytes], dies_by: int
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def before_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(dies_by), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    child = subprocess.Popen(
        [str(word) for word in command],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=errors,
        env=_environment(),
        start_new_session=True,
        preexec_fn=before_exec,
    )
    _STARTED.add(child)
    return child


def _environment() -> dict[str, str]:
    """Ours without what would change how Bilico runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BILICO_")}


def _wait(child: subprocess.Popen[bytes], timeout: float) -> tuple[int, Use]:
    over, peak = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(child.pid, timeout, over, peak), daemon=True)
    watcher.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    finally:
        over.set()
    watcher.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    _STARTED.discard(child)
    return child.returncode, Use(usage.ru_utime + usage.ru_stime, peak[0])


def _watch(pid: int, timeout: float, over: threading.Event, peak: list[float]) -> None:
    """Notes the peak of a load generator's memory, and kills it when its time is up.

    The peak that the system tells at the end, `ru_maxrss`, would count what this process had when it forked.
    """
    deadline = time.monotonic() + timeout
    while not over.wait(_LOOK_S):
        peak[0] = max(peak[0], memory_mib(pid, "VmHWM"))
        if time.monotonic() > deadline:
            _signal_group(pid, signal.SIGKILL)
            return


def end(child: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> None:
    """Ends a process and its group: asks, waits, and then insists."""
    group = child.pid
    if child.poll() is None:
        _signal_group(group, how)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    _signal_group(group, signal.SIGKILL)
    child.wait()
    _STARTED.discard(child)


def end_all() -> None:
    """Ends whatever is still there, at once."""
    for child in list(_STARTED):
        end(child, signal.SIGKILL, 5)


atexit.register(end_all)


def _signal_group(group: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, which)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        found.extend(int(child) for child in _read(f"/proc/{parent}/task/{parent}/children").split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, those that have ended included."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if len(fields) > 12 else 0.0


def memory_mib(pid: int, field: str) -> float:
    """A memory field of /proc/PID/status in MiB: `VmRSS`, `VmHWM`."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def tail(path: Path, characters: int = 300) -> str:
    return path.read_text(errors="replace").strip()[-characters:].replace("\n", " | ")


def wait_for(condition: Callable[[], T | None], seconds: float, otherwise: str, pause: float = 0.02) -> T:
    """What `condition` returns, once it is neither None nor False."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise} within {seconds:.0f} s")
        time.sleep(pause)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def established(port: int, table: str | None = None) -> int:
    """How many connections over IPv4 have this port as their own, as a table like /proc/net/tcp tells."""
    lines = (_read("/proc/net/tcp") if table is None else table).splitlines()[1:]
    local, states = f":{port:04X}", (line.split()[1:4:2] for line in lines)
    return sum(address.endswith(local) and state == _ESTABLISHED for address, state in states)


def wait_until_open(port: int, service: Service, seconds: float = 20) -> None:
    def is_open() -> bool:
        service.check()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(is_open, seconds, f"{service.name} does not listen on port {port}")
