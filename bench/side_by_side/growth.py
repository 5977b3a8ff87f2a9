"""What a file costs the balancer as servers, clients and waiting files grow in number.

The servers are pretended, by one process whose processor time is not counted. Files of 1 KiB come at steady rates, so
that the balancer gets no more of them at once in one case than in another. What it uses with the same servers and no
files, for its probes, is measured before and taken off.

At the low rate each file goes its way alone, and waking threads for it is most of its cost; at the high one several
share that, and what is left is the balancer's own work and the system calls.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from . import native
from .bench import Bench
from .bilico import (
    KIB,
    LISTENING,
    WEIGHTS,
    end_generating,
    kill_at_end,
    start_balancer,
    start_generating,
    wait_until_eligible,
)
from .processes import Failed, start, wait_for
from .results import Sample, Use

# Files a second.
LOW, HIGH = 1_000, 10_000
# Files pass for so long before it counts.
_SETTLE_S = 2
_STEADY_S = 60
# More than all servers together are sent at once and have not acknowledged.
_WINDOWS = 4_096
_FILL_S = 120
# So many wait for a moment where none is to.
_FEW = 100
# Accepted and delivered are the same files at either end of the queue, so they are as many.
_MOST_APART = 0.05


@dataclass(frozen=True)
class Place:
    """Where the balancer stands: how many there are of what a file has nothing to do with."""

    servers: int = len(WEIGHTS)
    # They take turns.
    clients: int = 1
    # They have said hello and nothing since.
    idle_clients: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Look:
    """What a balancer has done and used at one moment."""

    at: float
    cpu_s: float
    accepted: int
    delivered: int


def cost_us(before: Look, after: Look, idle: float) -> float:
    """Microseconds of a core to accept one file and to deliver one. `idle` is the part of a core used without files."""
    accepted, delivered = after.accepted - before.accepted, after.delivered - before.delivered
    if abs(accepted - delivered) > _MOST_APART * max(accepted, delivered, 1):
        raise Failed(f"{accepted} files were accepted while {delivered} were delivered")
    if not accepted:
        raise Failed("no file was accepted")
    used = after.cpu_s - before.cpu_s - idle * (after.at - before.at)
    return used / accepted * 1e6


def measure(bench: Bench, place: Place) -> Sample:
    with ExitStack() as stack:
        system = _System(bench, place, stack)
        if place.waiting:
            system.fill(place.waiting)
        for _ in range(place.idle_clients):
            stack.enter_context(native.connect(system.address))
        idle = system.idle()
        told = {"idle_percent": idle * 100}
        for name, rate in (("low_us", LOW), ("high_us", HIGH)):
            told[name] = system.steady(rate, idle)
        use = system.balancer.uses()
    return Sample(told, 0, {"balancer": Use(use.cpu_s, use.peak_mib)})


class _System:
    """A balancer before a fleet of pretended servers."""

    def __init__(self, bench: Bench, place: Place, stack: ExitStack) -> None:
        self.bench, self.place = bench, place
        command: list[Any] = [bench.tool("fleet"), "--servers", place.servers]
        if place.waiting:
            # They set the pace.
            command += ["--rates", f"{LOW},{HIGH}"]
        self.fleet = kill_at_end(stack, start("fleet", command, bench.directory))
        servers = self.fleet.output_line("servers ").split(",")
        # Files are filled in for longer than a server may otherwise keep one without an answer.
        options = ["--stall-timeout", "10m"]
        self.balancer = kill_at_end(stack, start_balancer(bench, servers, "os", options=options))
        self.address = self.balancer.output_line(LISTENING)
        wait_until_eligible(self.address)

    def fill(self, waiting: int) -> None:
        """Has so many files wait beside those that the servers have and do not acknowledge yet.

        The client stays: for each file that is acknowledged it sends another, so that as many go on waiting.
        """
        client = start_generating(self.bench, self.address, KIB, "--in-flight", waiting + _WINDOWS)

        def filled() -> bool:
            client.check()
            return self._waiting() >= waiting

        wait_for(filled, _FILL_S, f"{waiting} files do not wait", pause=0.1)

    def look(self) -> Look:
        status = native.status(self.address)
        return Look(time.monotonic(), self.balancer.uses().cpu_s, status["accepted"], status["delivered"])

    def idle(self) -> float:
        """The part of a core that it uses without files."""
        time.sleep(_SETTLE_S)
        before, after = self._window()
        return (after.cpu_s - before.cpu_s) / (after.at - before.at)

    def steady(self, rate: int, idle: float) -> float:
        """What a file costs at this rate."""
        begun = self.look().delivered
        load = None
        if self.place.waiting:
            self.fleet.tell(signal.SIGUSR1)
        else:
            options = ["--connections", self.place.clients, "--rate", rate]
            load = start_generating(self.bench, self.address, KIB, *options)

        def settled() -> bool:
            return self.look().delivered - begun >= _SETTLE_S * rate

        wait_for(settled, _STEADY_S, "files do not pass", pause=0.1)
        cost = cost_us(*self._window(), idle)
        self._expect_waiting()
        if load:
            end_generating(load)
        return cost

    def _window(self) -> tuple[Look, Look]:
        before = self.look()
        time.sleep(self.bench.scale.growth_seconds)
        return before, self.look()

    def _waiting(self) -> int:
        queue = native.status(self.address)["queue"]
        return int(queue["ready"] + queue["delayed"])

    def _expect_waiting(self) -> None:
        """That as many wait as were to, or next to none."""
        found, wanted = self._waiting(), self.place.waiting
        if abs(found - wanted) > max(_FEW, wanted // 10):
            raise Failed(f"{found} files wait instead of {wanted}")
