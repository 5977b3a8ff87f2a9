"""Starts a balancer with its three servers, and measures them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

from . import certificates, native
from .bench import Bench, expect_stored, measured
from .processes import Done, Failed, Service, established, free_ports, memory_mib, run, start, wait_for
from .results import Sample, Use

KIB = 1024
WEIGHTS = (1, 2, 3)
# As many files without a receipt as the JetStream publisher has.
CONNECTIONS, IN_FLIGHT = 4, 1_000
_UP_S = 30
# Until all idle clients are greeted: each handshake is work for both ends.
_GREETED_S = 180
_DRAIN_S = 300
LISTENING = "listening on "
# Longer than anything that a load goes beside.
_LONG_S = 3_600
# The exit code of a program of ours that was interrupted.
_INTERRUPTED = 130


class System:
    """A balancer and three servers, each a process, all of them up; with `tls`, both legs speak nothing else."""

    def __init__(self, bench: Bench, durability: str = "disk", log_level: str = "info", tls: bool = False) -> None:
        self.bench = bench
        self.directories = [bench.folder(f"files-{weight}") for weight in WEIGHTS]
        self.certificates = certificates.make(bench, map(_name, WEIGHTS)) if tls else None
        options = ["--durability", durability, "--log-level", log_level, "--log-dir"]
        self.servers = [self._server(place, [*options, bench.folder(f"log-{place}")]) for place in range(len(WEIGHTS))]
        addresses = [server.output_line(LISTENING) for server in self.servers]
        legs: list[Any] = []
        if self.certificates:
            # Servers of one machine differ by their names alone.
            addresses = [f"{_name(weight)}@{address}" for weight, address in zip(WEIGHTS, addresses, strict=True)]
            legs = self.certificates.balancer()
        self.balancer = bench.keep(start_balancer(bench, addresses, durability, log_level, legs))
        self.address = self.balancer.output_line(LISTENING)
        wait_until_eligible(self.address, self.ca)

    def _server(self, place: int, options: list[Any]) -> Service:
        weight = WEIGHTS[place]
        command = [self.bench.tool("bilico"), "server", "--listen", "127.0.0.1:0", "--dir", self.directories[place]]
        if self.certificates:
            command += self.certificates.member("server", _name(weight))
        return self.bench.keep(start(f"server {weight}", [*command, *options], self.bench.directory))

    @property
    def ca(self) -> Path | None:
        return self.certificates.ca if self.certificates else None

    @property
    def trust(self) -> list[Any]:
        """The options of clients."""
        return self.certificates.trust if self.certificates else []

    @property
    def services(self) -> list[Service]:
        return [self.balancer, *self.servers]

    def wait_until_delivered(self, files: int) -> None:
        def delivered() -> bool:
            return bool(native.status(self.address, self.ca)["delivered"] >= files)

        wait_for(delivered, _DRAIN_S, f"{files} files are not delivered", pause=0.1)


def _name(weight: int) -> str:
    """A server's name in its certificate."""
    return f"s{weight}"


def wait_until_eligible(address: str, ca: Path | None = None) -> None:
    def eligible() -> bool:
        return all(server["eligible"] for server in native.status(address, ca)["servers"])

    wait_for(eligible, _UP_S, "not every server is eligible")


def start_balancer(
    bench: Bench, servers: list[str], durability: str, log_level: str = "info", options: Sequence[Any] = ()
) -> Service:
    command: list[Any] = [bench.tool("bilico"), "balancer", "--listen", "127.0.0.1:0", "--admin", "none", *options]
    for address, weight in zip(servers, cycle(WEIGHTS)):
        command += ["--server", f"{address}={weight}"]
    command += ["--journal", bench.folder("journal"), "--durability", durability]
    # Above the default of 1,000,000, so that this many can wait and another can still be sent.
    command += ["--queue-files", 1_100_000, "--log-level", log_level, "--log-dir", bench.folder("log-balancer")]
    return start("balancer", command, bench.directory)


def generate(bench: Bench, address: str, files: int, size: int, *options: Any, timeout: float = 600) -> Done:
    """`bilico bench`, with its JSON as the output."""
    command = _generator(bench, address, size, "--files", files, *options)
    return run("bilico bench", command, bench.directory, timeout)


def start_generating(bench: Bench, address: str, size: int, *options: Any) -> Service:
    """`bilico bench` beside something else, until it is told to end."""
    command = _generator(bench, address, size, "--duration", f"{_LONG_S}s", *options)
    return bench.keep(start("bilico bench", command, bench.directory))


def end_generating(load: Service) -> tuple[str, Use]:
    """Interrupts it, and returns the JSON of what was measured until then, and what it used."""
    # Read before it ends: its last moments are too short to look at it.
    peak_mib = load.uses().peak_mib
    load.tell(signal.SIGINT)
    use = load.finish(_UP_S, codes=(0, _INTERRUPTED))
    lines = load.output.read_text(errors="replace").splitlines()
    return next((line for line in lines if line.startswith("{")), "{}"), Use(use.cpu_s, max(use.peak_mib, peak_mib))


def _generator(bench: Bench, address: str, size: int, *options: Any) -> list[Any]:
    command = [bench.tool("bilico"), "bench", "--balancer", address, "--size", size, "--json"]
    return [*command, *options]


def figures(output: str) -> dict[str, float]:
    """What `bilico bench --json` says, in one level: `files_per_s`, `delivered_p99_ms` …"""
    told = json.loads(output)
    flat = {name: told[name] for name in ("seconds", "files_per_s", "mb_per_s")}
    for receipt in ("accepted", "delivered", "late"):
        for name, value in (told.get(f"{receipt}_ms") or {}).items():
            if isinstance(value, int | float):
                flat[f"{receipt}_{name}_ms"] = value
    return flat


def closed_loop(
    bench: Bench, size: int, files: int, wait: str, durability: str, log_level: str = "info", tls: bool = False
) -> Sample:
    """As many files as possible, with a bound on those that have no receipt."""
    system = System(bench, durability, log_level, tls)
    options = ["--connections", CONNECTIONS, "--in-flight", IN_FLIGHT, "--wait", wait]
    return _measure(system, files, size, options)


def open_loop(bench: Bench, durability: str, rate: int) -> Sample:
    """Files at a steady rate, whatever the answers do."""
    system = System(bench, durability)
    options = ["--connections", CONNECTIONS, "--rate", rate, "--wait", "delivered"]
    return _measure(system, bench.scale.paced_files, KIB, options)


def _measure(system: System, files: int, size: int, options: list[Any]) -> Sample:
    bench, options = system.bench, [*options, *system.trust]
    done, used, load = measured(system.services, lambda: generate(bench, system.address, files, size, *options))
    system.wait_until_delivered(files)
    expect_stored(system.directories, size, files)
    return Sample(figures(done.output), files, used, load)


def big(bench: Bench, durability: str, tls: bool = False) -> Sample:
    """One big file by `bilico send`, which reads it, hashes it, and waits until a server has it."""
    file = bench.big_file()
    system = System(bench, durability, tls=tls)
    done, used, load = measured(system.services, lambda: _send(system, file, 600))
    return _one_file(system, done, used, load, done.seconds)


def _send(system: System, file: Path, timeout: float) -> Done:
    bench = system.bench
    command = [bench.tool("bilico"), "send", "--balancer", system.address, "--wait", "delivered", "-q", file]
    return run("bilico send", [*command, *system.trust], bench.directory, timeout)


def big_generated(bench: Bench, durability: str) -> Sample:
    """The same by `bilico bench`, which makes the content up."""
    system = System(bench, durability)
    size = bench.scale.big_mib << 20
    done, used, load = measured(system.services, lambda: generate(bench, system.address, 1, size))
    return _one_file(system, done, used, load, json.loads(done.output)["seconds"])


def _one_file(system: System, done: Done, used: dict[str, Use], load: dict[str, Use], seconds: float) -> Sample:
    size = system.bench.scale.big_mib << 20
    expect_stored(system.directories, size, 1)
    return Sample({"mb_per_s": size / seconds / 1e6, "seconds": seconds, "process_s": done.seconds}, 1, used, load)


def huge(bench: Bench) -> Sample:
    """The memory of the balancer while a very large file passes."""
    file, size = bench.shared / "huge", bench.scale.huge_mib << 20
    file.touch()
    # Full of holes: what is read is zeros, and the disk is left to the balancer and the server.
    os.truncate(file, size)
    system = System(bench, "os")
    before = system.balancer.resident_mib()
    done, used, load = measured(system.services, lambda: _send(system, file, 1800))
    expect_stored(system.directories, size, 1)
    peak = used["balancer"].peak_mib
    return Sample({"peak_mib": peak, "before_mib": before, "seconds": done.seconds}, 1, used, load)


def waiting(bench: Bench) -> Sample:
    """Memory with many files waiting and no server up; then the balancer is killed, and its recovery timed."""
    files = bench.scale.waiting_files
    nobody = [f"127.0.0.1:{port}" for port in free_ports(len(WEIGHTS))]
    with ExitStack() as stack:
        balancer = kill_at_end(stack, start_balancer(bench, nobody, "disk"))
        address = balancer.output_line(LISTENING)
        options = ["--connections", CONNECTIONS, "--in-flight", IN_FLIGHT, "--wait", "accepted"]
        done, used, load = measured([balancer], lambda: generate(bench, address, files, KIB, *options))
        _expect_waiting(address, files)
        resident, peak = balancer.resident_mib(), balancer.uses().peak_mib
        balancer.stop(signal.SIGKILL)
        told = {"resident_mib": resident, "peak_mib": peak, **_recover(stack, bench, nobody, files)}
    return Sample({**figures(done.output), **told}, files, used, load)


def kill_at_end(stack: ExitStack, service: Service) -> Service:
    """For a balancer with files that wait: asked to end, it would go on delivering them for a while."""
    stack.callback(service.stop, signal.SIGKILL)
    return service


def _recover(stack: ExitStack, bench: Bench, servers: list[str], files: int) -> dict[str, float]:
    """Seconds from the start of a balancer until it answers, and its memory then."""
    began = time.monotonic()
    balancer = kill_at_end(stack, start_balancer(bench, servers, "disk"))
    address = balancer.output_line(LISTENING, 120)
    native.status(address)
    seconds = time.monotonic() - began
    _expect_waiting(address, files)
    return {"recovery_s": seconds, "recovered_peak_mib": balancer.uses().peak_mib}


def _expect_waiting(address: str, files: int) -> None:
    queue = native.status(address)["queue"]
    found = queue["ready"] + queue["delayed"]
    if found != files:
        raise Failed(f"{found} files wait instead of {files}")


def idle_clients(bench: Bench, tls: bool = False) -> Sample:
    """What clients cost that have said hello and nothing since."""
    count = bench.scale.idle_clients
    system = System(bench, tls=tls)
    before = system.balancer.resident_mib()
    command = [bench.tool("bilico"), "bench", "--balancer", system.address, "--connections", count]
    clients = bench.keep(start("bilico bench", [*command, "--hold", f"{_LONG_S}s", *system.trust], bench.directory))
    port = int(system.address.rpartition(":")[2])

    def connected() -> bool:
        clients.check()
        return established(port) >= count

    wait_for(connected, _GREETED_S, f"{count} clients are not connected", pause=0.2)
    # The last of them are still greeted.
    time.sleep(2)
    grown = system.balancer.resident_mib() - before
    percent = _cpu_percent([system.balancer], bench.scale.idle_seconds)
    peak = memory_mib(system.balancer.child.pid, "VmHWM")
    if not connected():
        raise Failed(f"{established(port)} clients are left of {count}")
    return Sample({"kib_per_client": grown * KIB / count, "cpu_percent": percent, "peak_mib": peak, "clients": count})


def idle(bench: Bench) -> Sample:
    """What a system costs that has nothing to do but probe."""
    system = System(bench)
    time.sleep(2)
    return Sample({"cpu_percent": _cpu_percent(system.services, bench.scale.idle_seconds)})


def _cpu_percent(services: list[Service], seconds: float) -> float:
    """The part of one core that they use together."""
    began, before = time.monotonic(), sum(service.uses().cpu_s for service in services)
    time.sleep(seconds)
    used = sum(service.uses().cpu_s for service in services) - before
    return used / (time.monotonic() - began) * 100
