"""What a balancer spends on the probes of many servers, in plain text and over TLS.

The servers are pretended, by one process whose processor time is not counted. Over TLS a probe goes over a connection
that stays, or each would cost a handshake: how many there were is counted at the servers.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from . import certificates, native
from .bench import Bench
from .bilico import LISTENING, kill_at_end, start_balancer
from .processes import Failed, Service, start, wait_for
from .results import Sample

# The name in the certificate that all servers have.
_FLEET = "fleet"
# The time between two probes of a server.
_INTERVAL = "1s"
_UP_S = 120
_SETTLE_S = 5
# A balancer reserves so many descriptors for a server, and some for itself.
_DESCRIPTORS, _OWN = 6, 1_000


def measure(bench: Bench, tls: bool = False) -> Sample:
    """The part of a core and the memory that probing takes once all servers are up, and how many handshakes."""
    servers = min(bench.scale.probed_servers, _most_servers())
    options: list[Any] = ["--probe-interval", _INTERVAL]
    command: list[Any] = [bench.tool("fleet"), "--servers", servers]
    if tls:
        made = certificates.make(bench, [_FLEET])
        command += made.member("server", _FLEET)
        options += made.member("balancer", certificates.BALANCER)
    with ExitStack() as stack:
        fleet = kill_at_end(stack, start("fleet", command, bench.directory))
        addresses = fleet.output_line("servers ").split(",")
        began = time.monotonic()
        balancer = kill_at_end(stack, start_balancer(bench, addresses, "os", options=options))
        address = balancer.output_line(LISTENING)
        wait_for(_all_up(address), _UP_S, f"{servers} servers are not up", pause=0.5)
        up = time.monotonic() - began
        time.sleep(_SETTLE_S)
        handshakes = _Handshakes(fleet) if tls else None
        before, begun = balancer.uses().cpu_s, time.monotonic()
        shaken = handshakes.count() if handshakes else 0
        time.sleep(bench.scale.idle_seconds)
        used, lasted = balancer.uses().cpu_s - before, time.monotonic() - begun
        told = {
            "cpu_percent": used / lasted * 100,
            "resident_mib": balancer.resident_mib(),
            "up_s": up,
            "servers": float(servers),
        }
        if handshakes:
            told["handshakes_per_s"] = (handshakes.count() - shaken) / lasted
        if not _all_up(address)():
            raise Failed("servers went down while nothing happened")
    return Sample(told)


def _all_up(address: str) -> Callable[[], bool]:
    return lambda: all(server["eligible"] for server in native.status(address)["servers"])


def _most_servers() -> int:
    """As many as there are descriptors for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else (hard - _OWN) // _DESCRIPTORS


class _Handshakes:
    """How many the servers have made, as they tell when they are asked."""

    def __init__(self, fleet: Service) -> None:
        self.fleet = fleet
        self.asked = 0

    def count(self) -> int:
        self.fleet.tell(signal.SIGUSR2)
        self.asked += 1
        wait_for(lambda: len(self._told()) >= self.asked, 30, "the servers do not say how many handshakes they made")
        return self._told()[-1]

    def _told(self) -> list[int]:
        lines = self.fleet.output.read_text(errors="replace").splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("handshakes ")]
