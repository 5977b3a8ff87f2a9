"""A work queue on NATS JetStream with three workers: what a team would build on a broker."""

from __future__ import annotations

import json
import signal

from . import stats
from .bench import Bench, expect_stored, measured, read_micros, throughput
from .bilico import WEIGHTS
from .processes import Done, Failed, Service, free_ports, run, start, tail, wait_until_open
from .results import Sample

_CONFIG = """\
listen: "127.0.0.1:{port}"
jetstream {{
  store_dir: "{store}"
{sync}}}
"""


class System:
    """A nats-server and three workers, all of them ready."""

    def __init__(self, bench: Bench, sync_always: bool) -> None:
        self.bench = bench
        [port] = free_ports(1)
        self.url = f"nats://127.0.0.1:{port}"
        self.broker = self._broker(port, sync_always)
        self.directories = [bench.folder(f"files-{place}") for place in WEIGHTS]
        self.workers = [self._worker(place) for place in WEIGHTS]
        for worker in self.workers:
            worker.output_line("ready")

    @property
    def services(self) -> list[Service]:
        return [self.broker, *self.workers]

    def _broker(self, port: int, sync_always: bool) -> Service:
        config = self.bench.directory / "nats.conf"
        sync = "  sync_interval: always\n" if sync_always else ""
        config.write_text(_CONFIG.format(port=port, store=self.bench.folder("stream"), sync=sync))
        command = [self.bench.tool("nats-server"), "-c", config]
        service = self.bench.keep(start("nats-server", command, self.bench.directory))
        wait_until_open(port, service)
        return service

    def _worker(self, place: int) -> Service:
        latencies = self.bench.directory / f"stored-{place}"
        command = [self.bench.tool("jetstream"), "worker", "--server", self.url]
        command += ["--dir", self.directories[place - 1], "--latencies", latencies]
        return self.bench.keep(start(f"worker {place}", command, self.bench.directory))

    def publish(self, files: int, size: int) -> Done:
        """Publishes all files, and returns when the workers have acknowledged the last."""
        command = [self.bench.tool("jetstream"), "publish", "--server", self.url, "--files", files, "--size", size]
        command += ["--latencies", self.bench.directory / "accepted"]
        return run("publisher", command, self.bench.directory, 600)

    def last_stored_ns(self) -> int:
        """Has the workers say what they have stored, which ends them; when the last file had its name."""
        for worker in self.workers:
            worker.child.send_signal(signal.SIGTERM)
        return max(_last_word(worker)["last_ns"] for worker in self.workers)


def _last_word(worker: Service) -> dict[str, int]:
    if worker.child.wait(20) != 0:
        raise Failed(f"{worker.name} failed: {tail(worker.output)}")
    told: dict[str, int] = json.loads(worker.output.read_text().splitlines()[-1])
    return told


def closed_loop(bench: Bench, size: int, files: int, sync_always: bool = False) -> Sample:
    """As many files as possible, with up to 4,000 publishes unacknowledged."""
    system = System(bench, sync_always)
    done, used, load = measured(system.services, lambda: system.publish(files, size))
    told = json.loads(done.output)
    last_ns = system.last_stored_ns()
    expect_stored(system.directories, size, files)
    figures = throughput(files, size, (last_ns - told["start_ns"]) / 1e9)
    figures["accepted_per_s"] = files / (told["accepted_ns"] - told["start_ns"]) * 1e9
    figures |= stats.latencies_ms(read_micros(bench.directory / "accepted"), "accepted_")
    stored = (micros for place in WEIGHTS for micros in read_micros(bench.directory / f"stored-{place}"))
    figures |= stats.latencies_ms(stored, "delivered_")
    return Sample(figures, files, used, load)
