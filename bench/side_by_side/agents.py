"""What a large fleet costs a balancer: agents that tell the figures of their hosts every few seconds, over its own port
or by signed datagrams.

The agents are pretended, by one process whose processor time is not counted. Processor time and memory are looked at
before anybody asks the balancer about its members, since a list of them is made for whoever asks; afterwards it has to
say that every one of them is there. History has a bound of its own, so what members take beside it is measured at a
second balancer, which keeps none.
"""

from __future__ import annotations

import secrets
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from .bench import Bench
from .bilico import LISTENING, kill_at_end, start_balancer
from .processes import Failed, Service, free_ports, run, start, wait_for
from .results import Sample

# Seconds between two words of an agent.
EVERY = 5
_SPEAKING_S = 60
# Each has spoken once more.
_SETTLE_S = EVERY
_METRICS = "metrics on "
_ACTIVE = 'bilico_fleet_members{state="active",trust="proved"}'
_REFUSED = "bilico_door_refused_total{"


@dataclass(frozen=True)
class Way:
    """How agents speak: the balancer's options for it, the line with its address, and the options of the agents."""

    options: list[Any]
    line: str
    to: str
    proof: list[Any]


@dataclass(frozen=True)
class Look:
    """What a balancer has used, before there were agents and with them."""

    before_mib: float
    after_mib: float
    cpu_percent: float
    members: float


def over_its_port(bench: Bench) -> Sample:
    """Each agent has a connection, on which it has proved that it knows the fleet's secret."""
    path = bench.directory / "secret"
    path.touch(0o600)
    path.write_text(secrets.token_hex(16) + "\n")
    options = ["--join", "secret", "--join-secret-file", path]
    return _measure(bench, Way(options, LISTENING, "--native", ["--secret-file", path]))


def by_datagrams(bench: Bench) -> Sample:
    """Each agent is a user, and signs with the token of that."""
    made = bench.folder("users")
    run("users", [bench.tool("fleet"), "--users", bench.scale.agents, "--to", made], bench.directory, 60)
    options = ["--auth", "required", "--users", made / "users.json", "--agents-udp", "127.0.0.1:0"]
    return _measure(bench, Way(options, "agents-udp on ", "--datagrams", ["--tokens", made / "tokens"]))


def _measure(bench: Bench, way: Way) -> Sample:
    with_history = _look(bench, way, [], "with-history", bench.scale.agents_seconds)
    without = _look(bench, way, ["--history-memory", "0"], "without-history", 1)
    return Sample(
        {
            "cpu_percent": with_history.cpu_percent,
            "members_mib": without.after_mib - without.before_mib,
            "before_mib": with_history.before_mib,
            "after_mib": with_history.after_mib,
            "members": with_history.members,
        }
    )


def _look(bench: Bench, way: Way, history: list[Any], name: str, seconds: float) -> Look:
    """Looks at a balancer for so long once all agents speak."""
    bench = bench.within(name)
    count = bench.scale.agents
    # A server is needed, and one that is away costs nothing.
    nobody = [f"127.0.0.1:{port}" for port in free_ports(1)]
    options = [*way.options, *history, "--metrics", "127.0.0.1:0", "--probe-interval", "1m"]
    with ExitStack() as stack:
        balancer = kill_at_end(stack, start_balancer(bench, nobody, "os", options=options))
        metrics, to = balancer.output_line(_METRICS), balancer.output_line(way.line)
        before = _resident_at_rest(balancer)
        command = [bench.tool("fleet"), "--agents", count, "--every", EVERY, way.to, to, *way.proof]
        agents = kill_at_end(stack, start("agents", command, bench.directory))
        agents.output_line("speaking ", _SPEAKING_S)
        time.sleep(_SETTLE_S)
        used, began = balancer.uses().cpu_s, time.monotonic()
        time.sleep(seconds)
        percent = (balancer.uses().cpu_s - used) / (time.monotonic() - began) * 100
        after = balancer.resident_mib()
        agents.check()
        missing = f"not all of {count} agents are active"
        members = wait_for(lambda: all_there(_scrape(metrics), count), 2 * EVERY, missing)
    return Look(before, after, percent, members)


def _resident_at_rest(balancer: Service) -> float:
    time.sleep(1)
    return balancer.resident_mib()


def _scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def all_there(text: str, count: int) -> float | None:
    """How many agents a balancer hears as often as it should, by its metrics: `count`, or not yet all."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    refused = {name: value for name, _, value in lines if name.startswith(_REFUSED) and float(value) > 0}
    if refused:
        raise Failed(f"the balancer has refused words of agents: {refused}")
    active = sum(float(value) for name, _, value in lines if name == _ACTIVE)
    return active if active == count else None
