"""What is measured, and what is judged.

A *run* is measured once a round and gives figures. A *row* relates one of our figures to its goal, alone or as a ratio
to another's. Cases are groups of rows; the runs that they need are measured together, taking turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from . import agents, bilico, disk, growth, jetstream, mixed, probes, webdav
from .bench import Bench, Scale
from .growth import Place
from .machine import GIB, MIB
from .results import Goal, Kind, Row, Sample, Term

RATE = 1_000
_KIB = 1024
_IN_THE_LOOP = f"at {RATE} files/s"
_WEBDAV = ("haproxy", "nginx")
_JETSTREAM = ("nats-server", "jetstream")


@dataclass(frozen=True)
class Run:
    """`figure` is the one that the table shows; `beside` names our run that a peer's is related to."""

    name: str
    title: str
    figure: str
    unit: str
    measure: Callable[[Bench], Sample]
    space: Callable[[Scale], int]
    needs: tuple[str, ...] = ()
    beside: str | None = None
    # Measured once, after the rounds, without a warm-up.
    once: bool = False
    # Not with --quick.
    full_only: bool = False

    @property
    def ours(self) -> bool:
        return self.name.startswith("ours-")


def _small(size: int) -> int:
    """Bytes of disk that a stored file takes, with its inode and its place in the directory."""
    return -(-size // 4096) * 4096 + 1024


def _journaled(size: int) -> int:
    return _small(size) + size + 512


def _ours(
    name: str,
    title: str,
    size: int,
    count: str,
    wait: str,
    durability: str,
    level: str = "info",
    tls: bool = False,
) -> Run:
    figure = "files_per_s"

    def measure(bench: Bench) -> Sample:
        return bilico.closed_loop(bench, size, getattr(bench.scale, count), wait, durability, level, tls)

    return Run(name, title, figure, "files/s", measure, lambda scale: getattr(scale, count) * _journaled(size))


def _haproxy(name: str, title: str, size: int, beside: str, tls: bool = False) -> Run:
    # More than this machine's disk and processors are known to take.
    space = lambda scale: scale.wrk_seconds * 40_000 * _small(size)  # noqa: E731
    measure = partial(webdav.closed_loop, size=size, tls=tls)
    return Run(name, title, "files_per_s", "files/s", measure, space, (*_WEBDAV, "wrk"), beside)


def _nats(name: str, title: str, size: int, count: str, beside: str, always: bool = False) -> Run:
    def measure(bench: Bench) -> Sample:
        return jetstream.closed_loop(bench, size, getattr(bench.scale, count), always)

    space = lambda scale: getattr(scale, count) * _journaled(size)  # noqa: E731
    return Run(name, title, "files_per_s", "files/s", measure, space, _JETSTREAM, beside)


def _big_space(copies: int) -> Callable[[Scale], int]:
    return lambda scale: copies * scale.big_mib * MIB


def _paced_space(scale: Scale) -> int:
    return scale.paced_files * _journaled(_KIB)


def _little(_: Scale) -> int:
    return 16 * MIB


def _mixed_small(scale: Scale) -> int:
    return 4 * scale.mixed_seconds * RATE * _journaled(_KIB)


def _mixed_large(scale: Scale) -> int:
    # The balancer deletes its own copies.
    return mixed.LARGE * scale.mixed_mib * MIB


def _mixed_space(scale: Scale) -> int:
    return _mixed_small(scale) + _mixed_large(scale)


def _mixed(durability: str) -> tuple[Run, Run, Run]:
    of, name = f"{mixed.LARGE} large files", f"ours-mixed-{durability}"
    beside, beside_none = (f"Bilico, {RATE} files/s beside {what}, {durability}" for what in (of, "none"))
    alone = partial(mixed.small_alone, durability=durability, rate=RATE)
    uploads = partial(mixed.large_alone, durability=durability)
    together = partial(mixed.together, durability=durability, rate=RATE)
    return (
        Run(f"{name}-small", beside_none, "delivered_p99_ms", "ms", alone, _mixed_small),
        Run(f"{name}-large", f"Bilico, {of} at once, {durability}", "mb_per_s", "MB/s", uploads, _mixed_large),
        Run(name, beside, "delivered_p99_ms", "ms", together, _mixed_space),
    )


def _growth(name: str, title: str, place: Callable[[Scale], Place]) -> Run:
    def measure(bench: Bench) -> Sample:
        return growth.measure(bench, place(bench.scale))

    def space(scale: Scale) -> int:
        # The journal deletes what has passed.
        return 128 * MIB + place(scale).waiting * 2 * _KIB

    return Run(f"ours-growth{name}", f"Bilico, a file's cost, {title}", "low_us", "µs", measure, space, ("fleet",))


RUNS: dict[str, Run] = {
    run.name: run
    for run in (
        _ours("ours-1k", "Bilico, 1 KiB, disk", _KIB, "files_1k", "delivered", "disk"),
        _haproxy("haproxy-1k", "HAProxy and nginx, 1 KiB", _KIB, "ours-1k"),
        _nats("jetstream-1k", "JetStream, 1 KiB", _KIB, "files_1k", "ours-1k"),
        _ours("ours-1k-accepted", "Bilico, 1 KiB, disk, accepted", _KIB, "files_1k", "accepted", "disk"),
        _ours(
            "ours-1k-quiet", "Bilico, 1 KiB, disk, --log-level error", _KIB, "files_1k", "delivered", "disk", "error"
        ),
        _nats("jetstream-1k-always", "JetStream, 1 KiB, sync_interval: always", _KIB, "files_always", "ours-1k", True),
        _ours("ours-1k-tls", "Bilico, 1 KiB, disk, TLS", _KIB, "files_1k", "delivered", "disk", tls=True),
        _haproxy("haproxy-1k-tls", "HAProxy and nginx, 1 KiB, TLS", _KIB, "ours-1k-tls", tls=True),
        _ours("ours-16k-os", "Bilico, 16 KiB, os", 16 * _KIB, "files_16k", "delivered", "os"),
        _haproxy("haproxy-16k", "HAProxy and nginx, 16 KiB", 16 * _KIB, "ours-16k-os"),
        _nats("jetstream-16k", "JetStream, 16 KiB", 16 * _KIB, "files_16k", "ours-16k-os"),
        Run(
            "ours-big-os",
            "Bilico, 1 file, os, `bilico send`",
            "mb_per_s",
            "MB/s",
            partial(bilico.big, durability="os"),
            _big_space(2),
        ),
        Run(
            "haproxy-big",
            "HAProxy and nginx, 1 file, curl",
            "mb_per_s",
            "MB/s",
            webdav.big,
            _big_space(1),
            (*_WEBDAV, "curl"),
            "ours-big-os",
        ),
        Run(
            "ours-big-os-tls",
            "Bilico, 1 file, os, `bilico send`, TLS",
            "mb_per_s",
            "MB/s",
            partial(bilico.big, durability="os", tls=True),
            _big_space(2),
        ),
        Run(
            "haproxy-big-tls",
            "HAProxy and nginx, 1 file, curl, TLS",
            "mb_per_s",
            "MB/s",
            partial(webdav.big, tls=True),
            _big_space(1),
            (*_WEBDAV, "curl"),
            "ours-big-os-tls",
        ),
        Run(
            "ours-big-os-made-up",
            "Bilico, 1 file, os, `bilico bench`",
            "mb_per_s",
            "MB/s",
            partial(bilico.big_generated, durability="os"),
            _big_space(2),
        ),
        Run(
            "ours-big-disk",
            "Bilico, 1 file, disk, `bilico send`",
            "mb_per_s",
            "MB/s",
            partial(bilico.big, durability="disk"),
            _big_space(2),
        ),
        Run(
            "disk-big",
            "the disk: 1 file, written and synced",
            "mb_per_s",
            "MB/s",
            disk.big_sync,
            _big_space(1),
            (),
            "ours-big-disk",
        ),
        Run(
            "ours-paced-disk",
            f"Bilico, {RATE} files/s, disk",
            "delivered_p50_ms",
            "ms",
            partial(bilico.open_loop, durability="disk", rate=RATE),
            _paced_space,
        ),
        Run(
            "ours-paced-os",
            f"Bilico, {RATE} files/s, os",
            "delivered_p50_ms",
            "ms",
            partial(bilico.open_loop, durability="os", rate=RATE),
            _paced_space,
        ),
        Run(
            "haproxy-paced",
            f"HAProxy and nginx, {RATE} files/s",
            "delivered_p50_ms",
            "ms",
            partial(webdav.open_loop, rate=RATE),
            _paced_space,
            (*_WEBDAV, "paced_put"),
            "ours-paced-os",
        ),
        *_mixed("os"),
        *_mixed("disk"),
        Run(
            "haproxy-mixed",
            f"HAProxy and nginx, {RATE} files/s beside {mixed.LARGE} large files",
            "delivered_p99_ms",
            "ms",
            partial(webdav.mixed, large=mixed.LARGE, rate=RATE),
            _mixed_space,
            (*_WEBDAV, "curl", "paced_put"),
            "ours-mixed-os",
        ),
        _growth("", "3 servers, 1 client, none waiting", lambda _: Place()),
        _growth("-some-servers", "a tenth of the servers", lambda scale: Place(servers=scale.many_servers // 10)),
        _growth("-servers", "many servers", lambda scale: Place(servers=scale.many_servers)),
        _growth("-clients", "many clients in turn", lambda scale: Place(clients=scale.idle_clients)),
        _growth("-idle-clients", "many idle clients", lambda scale: Place(idle_clients=scale.idle_clients)),
        _growth("-waiting", "many files waiting", lambda scale: Place(waiting=scale.waiting_files)),
        Run(
            "ours-waiting",
            "Bilico, many files waiting",
            "peak_mib",
            "MiB",
            bilico.waiting,
            lambda scale: scale.waiting_files * 4 * _KIB,
            once=True,
        ),
        Run(
            "ours-huge",
            "Bilico, a very large file",
            "peak_mib",
            "MiB",
            bilico.huge,
            lambda scale: 2 * scale.huge_mib * MIB,
            once=True,
            full_only=True,
        ),
        Run(
            "ours-idle-clients",
            "Bilico, idle clients",
            "kib_per_client",
            "KiB/client",
            bilico.idle_clients,
            _little,
            once=True,
        ),
        Run(
            "ours-idle-clients-tls",
            "Bilico, idle clients, TLS",
            "kib_per_client",
            "KiB/client",
            partial(bilico.idle_clients, tls=True),
            _little,
            once=True,
        ),
        Run(
            "ours-probes",
            "Bilico, probing many servers",
            "cpu_percent",
            "% of a core",
            probes.measure,
            _little,
            ("fleet",),
            once=True,
        ),
        Run(
            "ours-probes-tls",
            "Bilico, probing many servers, TLS",
            "cpu_percent",
            "% of a core",
            partial(probes.measure, tls=True),
            _little,
            ("fleet",),
            once=True,
        ),
        Run(
            "ours-agents",
            "Bilico, agents over its port",
            "cpu_percent",
            "% of a core",
            agents.over_its_port,
            _little,
            ("fleet",),
            once=True,
        ),
        Run(
            "ours-agents-udp",
            "Bilico, agents by signed datagrams",
            "cpu_percent",
            "% of a core",
            agents.by_datagrams,
            _little,
            ("fleet",),
            once=True,
        ),
        Run("ours-idle", "Bilico, idle", "cpu_percent", "% of a core", bilico.idle, _little, once=True),
    )
}


def _row(
    case: str,
    title: str,
    unit: str,
    ours: str,
    kind: Kind,
    limit: float = 0,
    other: str | None = None,
    full: bool = False,
) -> Row:
    return Row(case, title, unit, _term(ours), Goal(kind, limit), _term(other) if other else None, full)


def _term(text: str) -> Term:
    run, _, figure = text.partition(".")
    return Term(run, figure)


def _mixed_rows(durability: str) -> tuple[Row, Row]:
    case = "mixed" if durability == "os" else f"mixed-{durability}"
    run = f"ours-mixed-{durability}"
    return (
        _row(
            case,
            f"delivered {_IN_THE_LOOP} beside {mixed.LARGE} large uploads and without, {durability}, p99",
            "ms",
            f"{run}.delivered_p99_ms",
            Kind.RATIO_AT_MOST,
            2,
            f"{run}-small.delivered_p99_ms",
            True,
        ),
        _row(
            case,
            f"{mixed.LARGE} uploads of 1 GiB beside {RATE} files/s and without, {durability}",
            "MB/s",
            f"{run}.mb_per_s",
            Kind.RATIO_AT_LEAST,
            0.8,
            f"{run}-large.mb_per_s",
            True,
        ),
    )


def _grows(title: str, run: str) -> tuple[Row, Row]:
    """By a fifth at the most."""

    def row(rate: int, figure: str) -> Row:
        title_at = f"balancer's CPU for a file at {rate} files/s, {title}"
        ours, other = f"ours-growth{run}.{figure}", f"ours-growth.{figure}"
        return _row("growth", title_at, "µs", ours, Kind.RATIO_AT_MOST, 1.2, other, True)

    return row(growth.LOW, "low_us"), row(growth.HIGH, "high_us")


def _agents(case: str, way: str, run: str) -> tuple[Row, ...]:
    """What as many agents may cost as there can be beside one server."""
    of = f"9,999 agents {way}, every {agents.EVERY} s"
    return (
        _row(case, f"CPU of the balancer for {of}", "% of a core", f"{run}.cpu_percent", Kind.AT_MOST, 2, full=True),
        _row(case, "its memory for them, without history", "MiB", f"{run}.members_mib", Kind.AT_MOST, 64, full=True),
        _row(
            case,
            "the whole balancer with them and their history of a minute, beside before they came",
            "MiB",
            f"{run}.after_mib",
            Kind.TOLD,
            0,
            f"{run}.before_mib",
            True,
        ),
        _row(case, "how many of them were active at the end", "", f"{run}.members", Kind.TOLD, full=True),
    )


_STORED_1K, _STORED_16K = "ours-1k.files_per_s", "ours-16k-os.files_per_s"
_STORED_1K_TLS = "ours-1k-tls.files_per_s"

ROWS: tuple[Row, ...] = (
    _row(
        "stored-1k",
        "1 KiB stored, synced, beside HAProxy",
        "files/s",
        _STORED_1K,
        Kind.RATIO_AT_LEAST,
        1.5,
        "haproxy-1k.files_per_s",
    ),
    _row(
        "stored-1k",
        "1 KiB stored, synced, beside JetStream",
        "files/s",
        _STORED_1K,
        Kind.RATIO_AT_LEAST,
        1.5,
        "jetstream-1k.files_per_s",
    ),
    _row(
        "accepted-1k",
        "1 KiB accepted, synced, beside JetStream",
        "files/s",
        "ours-1k-accepted.files_per_s",
        Kind.RATIO_AT_LEAST,
        2,
        "jetstream-1k.accepted_per_s",
    ),
    _row(
        "stored-1k-always",
        "1 KiB stored, synced, JetStream synced, too",
        "files/s",
        _STORED_1K,
        Kind.TOLD,
        0,
        "jetstream-1k-always.files_per_s",
    ),
    _row(
        "stored-1k-tls",
        "1 KiB stored, synced, TLS on both legs, beside plain text",
        "files/s",
        _STORED_1K_TLS,
        Kind.RATIO_AT_LEAST,
        0.85,
        _STORED_1K,
    ),
    _row(
        "stored-1k-tls",
        "the same, beside HAProxy with TLS",
        "files/s",
        _STORED_1K_TLS,
        Kind.TOLD,
        0,
        "haproxy-1k-tls.files_per_s",
    ),
    _row(
        "stored-16k",
        "16 KiB stored, os, beside HAProxy",
        "files/s",
        _STORED_16K,
        Kind.RATIO_AT_LEAST,
        1.5,
        "haproxy-16k.files_per_s",
    ),
    _row(
        "stored-16k",
        "16 KiB stored, os, beside JetStream",
        "files/s",
        _STORED_16K,
        Kind.TOLD,
        0,
        "jetstream-16k.files_per_s",
    ),
    _row(
        "big-os",
        "1 GiB through, os, beside HAProxy",
        "MB/s",
        "ours-big-os.mb_per_s",
        Kind.RATIO_AT_LEAST,
        1.1,
        "haproxy-big.mb_per_s",
        True,
    ),
    _row(
        "big-os",
        "the same, content made up by `bilico bench`",
        "MB/s",
        "ours-big-os-made-up.mb_per_s",
        Kind.TOLD,
        0,
        "haproxy-big.mb_per_s",
    ),
    _row(
        "big-os-tls",
        "1 GiB through, os, TLS on both legs, beside plain text",
        "MB/s",
        "ours-big-os-tls.mb_per_s",
        Kind.RATIO_AT_LEAST,
        0.7,
        "ours-big-os.mb_per_s",
        True,
    ),
    _row(
        "big-os-tls",
        "1 GiB through, os, TLS on both legs, beside HAProxy with TLS",
        "MB/s",
        "ours-big-os-tls.mb_per_s",
        Kind.RATIO_AT_LEAST,
        1,
        "haproxy-big-tls.mb_per_s",
        True,
    ),
    _row(
        "big-disk",
        "1 GiB through, synced, beside the disk",
        "MB/s",
        "ours-big-disk.mb_per_s",
        Kind.RATIO_AT_LEAST,
        0.45,
        "disk-big.mb_per_s",
        True,
    ),
    _row(
        "big-disk",
        "1 GiB through, synced, beside our own os",
        "MB/s",
        "ours-big-disk.mb_per_s",
        Kind.RATIO_AT_LEAST,
        0.9,
        "ours-big-os.mb_per_s",
        True,
    ),
    _row(
        "open-loop", f"delivered {_IN_THE_LOOP}, disk, p50", "ms", "ours-paced-disk.delivered_p50_ms", Kind.AT_MOST, 1
    ),
    _row(
        "open-loop", f"delivered {_IN_THE_LOOP}, disk, p99", "ms", "ours-paced-disk.delivered_p99_ms", Kind.AT_MOST, 5
    ),
    _row(
        "open-loop",
        f"delivered {_IN_THE_LOOP}, os, p50, beside HAProxy",
        "ms",
        "ours-paced-os.delivered_p50_ms",
        Kind.RATIO_AT_MOST,
        1,
        "haproxy-paced.delivered_p50_ms",
    ),
    _row(
        "open-loop",
        f"delivered {_IN_THE_LOOP}, os, p99, beside HAProxy",
        "ms",
        "ours-paced-os.delivered_p99_ms",
        Kind.RATIO_AT_MOST,
        1.5,
        "haproxy-paced.delivered_p99_ms",
    ),
    *_mixed_rows("os"),
    _row(
        "mixed",
        f"delivered {_IN_THE_LOOP} beside {mixed.LARGE} large uploads, os, p99, beside HAProxy",
        "ms",
        "ours-mixed-os.delivered_p99_ms",
        Kind.TOLD,
        0,
        "haproxy-mixed.delivered_p99_ms",
        True,
    ),
    _row(
        "mixed",
        f"{mixed.LARGE} uploads of 1 GiB beside {RATE} files/s, os, beside HAProxy",
        "MB/s",
        "ours-mixed-os.mb_per_s",
        Kind.TOLD,
        0,
        "haproxy-mixed.mb_per_s",
        True,
    ),
    *_mixed_rows("disk"),
    *_grows("100 servers beside 3", "-some-servers"),
    *_grows("1,000 servers beside 3", "-servers"),
    *_grows("10,000 clients in turn beside 1", "-clients"),
    *_grows("10,000 idle clients and 1 beside 1", "-idle-clients"),
    *_grows("1,000,000 waiting beside a few", "-waiting"),
    _row(
        "growth",
        "idle balancer with 1,000 servers, probing",
        "% of a core",
        "ours-growth-servers.idle_percent",
        Kind.TOLD,
    ),
    _row(
        "waiting",
        "balancer's peak memory, 1,000,000 files of 1 KiB waiting",
        "MiB",
        "ours-waiting.peak_mib",
        Kind.AT_MOST,
        150,
        full=True,
    ),
    _row(
        "waiting", "the same after its recovery", "MiB", "ours-waiting.recovered_peak_mib", Kind.AT_MOST, 150, full=True
    ),
    _row(
        "recovery",
        "recovery of 1,000,000 waiting files, until it answers",
        "s",
        "ours-waiting.recovery_s",
        Kind.AT_MOST,
        5,
        full=True,
    ),
    _row("huge", "balancer's peak memory while 10 GiB pass", "MiB", "ours-huge.peak_mib", Kind.AT_MOST, 64, full=True),
    _row(
        "idle-clients",
        "memory of each of 10,000 idle clients",
        "KiB",
        "ours-idle-clients.kib_per_client",
        Kind.AT_MOST,
        12,
        full=True,
    ),
    _row(
        "idle-clients",
        "CPU of the balancer with them (near 0: 1 % of a core)",
        "%",
        "ours-idle-clients.cpu_percent",
        Kind.AT_MOST,
        1,
        full=True,
    ),
    _row(
        "idle-clients-tls",
        "memory of each of 10,000 idle clients, TLS",
        "KiB",
        "ours-idle-clients-tls.kib_per_client",
        Kind.AT_MOST,
        40,
        full=True,
    ),
    _row(
        "idle-clients-tls",
        "the same, beside plain text",
        "KiB",
        "ours-idle-clients-tls.kib_per_client",
        Kind.TOLD,
        0,
        "ours-idle-clients.kib_per_client",
        True,
    ),
    _row(
        "probes-tls",
        "handshakes while many servers are probed each second over TLS",
        "/s",
        "ours-probes-tls.handshakes_per_s",
        Kind.AT_MOST,
        1,
        full=True,
    ),
    _row(
        "probes-tls",
        "how many servers: 10,000, or as many as there are file descriptors for",
        "",
        "ours-probes-tls.servers",
        Kind.TOLD,
        0,
        "ours-probes.servers",
        True,
    ),
    _row(
        "probes-tls",
        "CPU of the balancer for them, beside plain text",
        "% of a core",
        "ours-probes-tls.cpu_percent",
        Kind.TOLD,
        0,
        "ours-probes.cpu_percent",
        True,
    ),
    _row(
        "probes-tls",
        "its memory with them, beside plain text",
        "MiB",
        "ours-probes-tls.resident_mib",
        Kind.TOLD,
        0,
        "ours-probes.resident_mib",
        True,
    ),
    *_agents("agents", "over its port", "ours-agents"),
    *_agents("agents-udp", "by signed datagrams", "ours-agents-udp"),
    _row(
        "logging",
        "logging as shipped beside --log-level error",
        "files/s",
        _STORED_1K,
        Kind.RATIO_AT_LEAST,
        0.9,
        "ours-1k-quiet.files_per_s",
    ),
    _row(
        "idle", "idle balancer and servers together, probing", "% of a core", "ours-idle.cpu_percent", Kind.AT_MOST, 1
    ),
)


def cases() -> list[str]:
    return list(dict.fromkeys(row.case for row in ROWS))


def rows_of(wanted: Iterable[str], quick: bool) -> list[Row]:
    chosen = set(wanted)
    return [row for row in ROWS if row.case in chosen and not (quick and RUNS[row.ours.run].full_only)]


def runs_of(rows: Iterable[Row]) -> list[Run]:
    """What has to be measured for these rows, in the order in which the runs take their turns."""
    needed = {name for row in rows for name in row.runs()}
    return [run for run in RUNS.values() if run.name in needed]


def space_needed(runs: Iterable[Run], scale: Scale, rounds: int) -> int:
    """Bytes of disk for all rounds and the warm-up, since nothing is deleted between them, with some to spare."""
    total = sum(run.space(scale) * (1 if run.once else rounds + 1) for run in runs)
    return int(total * 1.1) + scale.big_mib * MIB + GIB // 4
