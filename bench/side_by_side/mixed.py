"""Small files at a steady rate beside large uploads: what either costs the other."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from . import native
from .bench import Bench, measured, sizes
from .bilico import CONNECTIONS, KIB, System, end_generating, figures, start_generating
from .processes import Done, Failed, Service, start, wait_for
from .results import Sample, Use

LARGE = 4
_TIMEOUT_S = 900
# Until what was still under way when the small load ended is delivered.
_REST_S = 60


def small_alone(bench: Bench, durability: str, rate: int) -> Sample:
    system = System(bench, durability)

    def load() -> Done:
        small = _start_small(system, rate)
        time.sleep(bench.scale.mixed_seconds)
        told, use = end_generating(small)
        return Done(told, bench.scale.mixed_seconds, use)

    done, used, generator = measured(system.services, load)
    return Sample(_of_small(done), _expect_all(system, 0), used, generator)


def large_alone(bench: Bench, durability: str) -> Sample:
    large = _Large(System(bench, durability))
    done, used, generator = measured(large.system.services, lambda: large.start().finish())
    return Sample(_of_large(bench, done), _expect_all(large.system, LARGE), used, generator)


def together(bench: Bench, durability: str, rate: int) -> Sample:
    """The small files are sent for as long as a large one is under way, and until theirs have arrived."""
    large = _Large(System(bench, durability))

    def load() -> Done:
        large.start()
        small = _start_small(large.system, rate)
        done = large.finish()
        # Without those that still wait by now, which would be the slowest, the figures would flatter.
        large.system.wait_until_delivered(native.status(large.system.address)["accepted"])
        told, use = end_generating(small)
        return Done(told, done.seconds, combined([use, done.use]))

    done, used, generator = measured(large.system.services, load)
    files = _expect_all(large.system, LARGE)
    return Sample({**_of_small(done), **_of_large(bench, done)}, files, used, generator)


def _start_small(system: System, rate: int) -> Service:
    options = ["--connections", CONNECTIONS, "--rate", rate, "--wait", "delivered"]
    return start_generating(system.bench, system.address, KIB, *options)


@dataclass
class _Large:
    """Large uploads, each by a client of its own."""

    system: System
    began: float = 0.0
    sends: tuple[Service, ...] = ()

    def start(self) -> _Large:
        bench = self.system.bench
        file = bench.big_file(bench.scale.mixed_mib)
        command = [bench.tool("bilico"), "send", "--balancer", self.system.address, "--wait", "delivered", "-q", file]
        self.began = time.monotonic()
        names = [f"bilico send {place}" for place in range(LARGE)]
        self.sends = tuple(bench.keep(start(name, command, bench.directory)) for name in names)
        return self

    def finish(self) -> Done:
        """Waits for the last one."""
        uses = [send.finish(_TIMEOUT_S) for send in self.sends]
        return Done("", time.monotonic() - self.began, combined(uses))


def combined(uses: Iterable[Use]) -> Use:
    """What processes used that ran at the same time: their CPU together, and the largest memory of one."""
    found = list(uses)
    return Use(sum(use.cpu_s for use in found), max(use.peak_mib for use in found))


def _of_small(done: Done) -> dict[str, float]:
    """`cut_off` files were under way when the load ended: their times are not known, and not counted."""
    return {**figures(done.output), "cut_off": json.loads(done.output)["missing"]}


def _of_large(bench: Bench, done: Done) -> dict[str, float]:
    size = LARGE * (bench.scale.mixed_mib << 20)
    return {"mb_per_s": size / done.seconds / 1e6, "seconds": done.seconds}


def _expect_all(system: System, large: int) -> int:
    """How many files were accepted, once all of them are stored: so many large ones, and small ones."""

    def delivered() -> int:
        status = native.status(system.address)
        return int(status["accepted"]) if status["accepted"] == status["delivered"] else 0

    files = wait_for(delivered, _REST_S, "not all files are delivered", pause=0.1)
    wanted = Counter({system.bench.scale.mixed_mib << 20: large, KIB: files - large})
    found = sizes(system.directories)
    if found != wanted:
        raise Failed(f"stored are {dict(found)}, by size, instead of {dict(wanted)}")
    return files
