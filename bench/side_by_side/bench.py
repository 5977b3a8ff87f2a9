"""One round of one run: its directory, its tools, its processes, its figures."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from .peers import Tools
from .processes import Done, Failed, Service
from .results import Use


@dataclass(frozen=True)
class Scale:
    """How much is done: all of it, or what fits into some minutes."""

    rounds: int
    files_1k: int
    files_16k: int
    files_always: int
    wrk_seconds: int
    big_mib: int
    paced_files: int
    waiting_files: int
    huge_mib: int
    idle_clients: int
    idle_seconds: int
    warm_mib: int
    rewarm_mib: int
    # Of each of the large files that small ones go beside.
    mixed_mib: int
    mixed_seconds: int
    many_servers: int
    growth_seconds: int
    probed_servers: int
    agents: int
    agents_seconds: int


FULL = Scale(
    rounds=5,
    files_1k=150_000,
    files_16k=60_000,
    files_always=10_000,
    wrk_seconds=6,
    big_mib=1024,
    paced_files=10_000,
    waiting_files=1_000_000,
    huge_mib=10_240,
    idle_clients=10_000,
    idle_seconds=15,
    warm_mib=65_536,
    rewarm_mib=3_072,
    mixed_mib=1024,
    mixed_seconds=15,
    many_servers=1_000,
    growth_seconds=6,
    probed_servers=10_000,
    agents=9_999,
    agents_seconds=60,
)
QUICK = Scale(
    rounds=1,
    files_1k=15_000,
    files_16k=6_000,
    files_always=1_000,
    wrk_seconds=1,
    big_mib=256,
    paced_files=2_000,
    waiting_files=50_000,
    huge_mib=1_024,
    idle_clients=1_000,
    idle_seconds=5,
    warm_mib=2_048,
    rewarm_mib=256,
    mixed_mib=128,
    mixed_seconds=3,
    many_servers=200,
    growth_seconds=3,
    probed_servers=1_000,
    agents=500,
    agents_seconds=10,
)


@dataclass
class Bench:
    """What a run has while it is measured. Used as a context: at its end all that it keeps is stopped."""

    directory: Path
    tools: Tools
    scale: Scale
    # Lasts over all rounds; what is made once, such as the file that is sent, lies here.
    shared: Path

    def __enter__(self) -> Bench:
        self._stack = ExitStack()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def tool(self, name: str) -> Path:
        return self.tools.paths[name]

    def keep(self, service: Service) -> Service:
        """Has the service stopped at the end of this round; the latest first."""
        self._stack.callback(service.stop)
        return service

    def folder(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def within(self, name: str) -> Bench:
        """The same in a directory of its own."""
        return replace(self, directory=self.folder(name))

    def big_file(self, mib: int | None = None) -> Path:
        """A file of the size that passes in one piece, as clients read it."""
        mib = self.scale.big_mib if mib is None else mib
        path = self.shared / f"big-{mib}MiB"
        if not path.exists():
            block = os.urandom(1 << 20)
            with path.open("wb") as file:
                for _ in range(mib):
                    file.write(block)
            os.sync()
        return path


def measured(services: Iterable[Service], load: Callable[[], Done]) -> tuple[Done, dict[str, Use], dict[str, Use]]:
    """Runs a load, and what the services and the load used for it."""
    before = {service.name: service.uses().cpu_s for service in services}
    done = load()
    after = {service.name: service.uses() for service in services}
    used = {name: Use(use.cpu_s - before[name], use.peak_mib) for name, use in after.items()}
    return done, used, {"load generator": done.use}


def throughput(files: int, size: int, seconds: float) -> dict[str, float]:
    return {"files_per_s": files / seconds, "mb_per_s": files * size / seconds / 1e6, "seconds": seconds}


def sizes(directories: Iterable[Path]) -> Counter[int]:
    """How many stored files there are of each size. Hidden ones are not counted."""
    return Counter(entry.stat().st_size for directory in directories for entry in _files(directory))


def _files(directory: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in os.scandir(directory) if not entry.name.startswith(".") and entry.is_file())


def stored(directories: Iterable[Path], size: int) -> int:
    """How many files of this size there are; any other is a failure. Hidden ones are not counted."""
    count = 0
    for directory in directories:
        for entry in _files(directory):
            if entry.stat().st_size != size:
                raise Failed(f"{entry.name} has {entry.stat().st_size} bytes instead of {size}")
            count += 1
    return count


def expect_stored(directories: Iterable[Path], size: int, files: int, at_most: int | None = None) -> None:
    found = stored(directories, size)
    if not files <= found <= (files if at_most is None else at_most):
        raise Failed(f"{found} files are stored instead of {files}")


def read_micros(path: Path) -> array[int]:
    """Latencies as our programs write them: 32 bits each."""
    values = array("I")
    values.frombytes(path.read_bytes())
    return values
