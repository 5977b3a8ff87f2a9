"""HAProxy before three nginx that store what is PUT: what a team would build without a queue.

With TLS, HAProxy ends it, as is usual, and nginx gets plain text.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from . import certificates, stats
from .bench import Bench, expect_stored, measured, read_micros, sizes, throughput
from .bilico import WEIGHTS
from .processes import Done, Failed, Service, free_ports, run, start, wait_until_open
from .results import Sample, Use

CONNECTIONS = 32
# Longer than the large files of `mixed` take.
_MANY_S = 300
_SIGTERM = 15

_NGINX = """\
{user}worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_max_body_size 0;
  # On the file system of the target, so that storing is a rename.
  client_body_temp_path {home}/incoming;
  proxy_temp_path {home}/unused-1;
  fastcgi_temp_path {home}/unused-2;
  uwsgi_temp_path {home}/unused-3;
  scgi_temp_path {home}/unused-4;
  server {{
    listen 127.0.0.1:{port};
    root {home}/files;
    location / {{ dav_methods PUT; }}
  }}
}}
"""

_HAPROXY = """\
global
  nbthread 2
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend files
  bind 127.0.0.1:{port}{tls}
  default_backend stores
backend stores
  balance roundrobin
{servers}"""

# The one version that Bilico speaks.
_TLS = " ssl crt {file} alpn http/1.1 ssl-min-ver TLSv1.3"


def haproxy_config(port: int, stores: Iterable[int], certificate: Path | None = None) -> str:
    """What HAProxy is told; with a certificate, and its key in the same file, it takes TLS alone."""
    pairs = zip(WEIGHTS, stores, strict=True)
    lines = [f"  server s{weight} 127.0.0.1:{store} weight {weight} check inter 1s\n" for weight, store in pairs]
    tls = _TLS.format(file=certificate) if certificate else ""
    return _HAPROXY.format(port=port, tls=tls, servers="".join(lines))


class System:
    """HAProxy and its three nginx, all of them up."""

    def __init__(self, bench: Bench, tls: bool = False) -> None:
        self.bench = bench
        self.certificates = certificates.make(bench) if tls else None
        self.port, *ports = free_ports(1 + len(WEIGHTS))
        self.stores = [self._nginx(weight, port) for weight, port in zip(WEIGHTS, ports, strict=True)]
        self.directories = [bench.directory / f"nginx-{weight}" / "files" for weight in WEIGHTS]
        self.balancer = self._haproxy(ports)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def services(self) -> list[Service]:
        return [self.balancer, *self.stores]

    def _nginx(self, weight: int, port: int) -> Service:
        home = self.bench.folder(f"nginx-{weight}")
        self.bench.folder(f"nginx-{weight}/files")
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = home / "nginx.conf"
        config.write_text(_NGINX.format(user=user, home=home, port=port))
        command = [self.bench.tool("nginx"), "-p", home, "-c", config, "-e", "stderr"]
        service = self.bench.keep(start(f"nginx {weight}", command, home, dies_by=_SIGTERM))
        wait_until_open(port, service)
        return service

    def _haproxy(self, ports: list[int]) -> Service:
        held = self.certificates
        both = held.in_one_file("balancer", certificates.BALANCER) if held else None
        config = self.bench.directory / "haproxy.cfg"
        config.write_text(haproxy_config(self.port, ports, both))
        command = [self.bench.tool("haproxy"), "-db", "-f", config]
        service = self.bench.keep(start("haproxy", command, self.bench.directory, dies_by=_SIGTERM))
        wait_until_open(self.port, service)
        return service


def closed_loop(bench: Bench, size: int, tls: bool = False) -> Sample:
    """wrk: as many PUTs as possible over 32 connections. It does not look at the certificate."""
    system = System(bench, tls)
    script = Path(__file__).with_name("put.lua")
    seconds = bench.scale.wrk_seconds
    command = [bench.tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, system.url, "--", size]
    done, used, load = measured(system.services, lambda: run("wrk", command, bench.directory, seconds + 60))
    told = _result(done.output)
    files = told["requests"] - told["refused"]
    # What was under way at the end may be stored without wrk having heard of it.
    expect_stored(system.directories, size, files, files + CONNECTIONS)
    latencies = {f"delivered_{name}_ms": told[name] / 1000 for name in ("p50", "p90", "p99", "p999", "max")}
    return Sample({**throughput(files, size, told["micros"] / 1e6), **latencies}, files, used, load)


def _result(output: str) -> dict[str, int]:
    told: dict[str, int] = json.loads(output.rpartition("RESULT ")[2])
    if told["refused"] or told["broken"] or not told["requests"]:
        raise Failed(f"wrk: {told['refused']} PUTs were refused, {told['broken']} broke, of {told['requests']}")
    return told


def open_loop(bench: Bench, rate: int) -> Sample:
    """PUTs at a steady rate, timed from when they were due."""
    system = System(bench)
    files = bench.scale.paced_files
    command = _paced(system, files, rate)
    done, used, load = measured(system.services, lambda: run("paced_put", command, bench.directory, 120))
    expect_stored(system.directories, 1024, files)
    return Sample(_paced_figures(bench, done.output), files, used, load)


def _paced(system: System, files: int, rate: int) -> list[object]:
    bench = system.bench
    command = [bench.tool("paced_put"), "--address", f"127.0.0.1:{system.port}", "--files", files, "--size", 1024]
    command += ["--rate", rate, "--connections", CONNECTIONS]
    return [*command, "--latencies", bench.directory / "latencies", "--lags", bench.directory / "lags"]


def _paced_figures(bench: Bench, output: str) -> dict[str, float]:
    figures: dict[str, float] = {"seconds": json.loads(output)["seconds"]}
    figures |= stats.latencies_ms(read_micros(bench.directory / "latencies"), "delivered_")
    return figures | stats.latencies_ms(read_micros(bench.directory / "lags"), "late_")


def mixed(bench: Bench, large: int, rate: int) -> Sample:
    """Small PUTs at a steady rate, for as long as one of the large ones by curl is under way."""
    file = bench.big_file(bench.scale.mixed_mib)
    system, ended = System(bench), bench.directory / "large ones have ended"
    command = [*_paced(system, _MANY_S * rate, rate), "--until", ended]

    def load() -> Done:
        began = time.monotonic()
        sends = [bench.keep(start(f"curl {place}", _curl(system, file, place), bench.directory)) for place in range(large)]
        small = bench.keep(start("paced_put", command, bench.directory))
        uses = [send.finish(_MANY_S) for send in sends]
        seconds = time.monotonic() - began
        ended.touch()
        uses.append(small.finish(60))
        told = Use(sum(use.cpu_s for use in uses), max(use.peak_mib for use in uses))
        return Done(small.output.read_text(), seconds, told)

    done, used, generator = measured(system.services, load)
    found = sizes(system.directories)
    files, size = found.pop(1024, 0), large * file.stat().st_size
    if files != json.loads(done.output)["files"] or found != {file.stat().st_size: large}:
        raise Failed(f"stored are {files} small files and {dict(found)}, by size")
    figures = {**_paced_figures(bench, done.output), "mb_per_s": size / done.seconds / 1e6, "seconds": done.seconds}
    return Sample(figures, files + large, used, generator)


def _curl(system: System, file: Path, place: int) -> list[object]:
    command = [system.bench.tool("curl"), "-sS", "--fail", "-o", "/dev/null", "-H", "Expect:"]
    return [*command, "-T", file, f"{system.url}/big-{place}"]


def big(bench: Bench, tls: bool = False) -> Sample:
    """curl: one big file."""
    file = bench.big_file()
    system = System(bench, tls)
    command = [bench.tool("curl"), "-sS", "--fail", "-o", "/dev/null", "-w", "%{time_total}", "-H", "Expect:"]
    command += ["-T", file, f"{system.url}/big"]
    if system.certificates:
        command += ["--cacert", system.certificates.ca]
    done, used, load = measured(system.services, lambda: run("curl", command, bench.directory, 600))
    return _one_file(system, done, used, load)


def _one_file(system: System, done: Done, used: dict[str, Use], load: dict[str, Use]) -> Sample:
    size = system.bench.scale.big_mib << 20
    expect_stored(system.directories, size, 1)
    # The whole process is what counts for `bilico send`, too.
    figures = {"mb_per_s": size / done.seconds / 1e6, "seconds": done.seconds, "curl_s": float(done.output)}
    return Sample(figures, 1, used, load)
