"""The command line, and the order of things."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from . import catalog, machine, peers, report, results
from .bench import FULL, QUICK, Bench, Scale
from .catalog import Run
from .processes import Failed, end_all
from .results import Outcome, Outcomes

# For so long ext4 avoids the inodes of deleted files, and creating files costs several times more meanwhile.
_AFTER_DELETING_S = 90
_DELETED = "compare-deleted"
_MEMORY_ONLY = {"tmpfs", "ramfs", "devtmpfs"}


class Refused(Exception):
    """Nothing is measured; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.list:
        print(listing())
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return compare(options)
    except (Refused, peers.CannotBuild) as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        end_all()


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def parser() -> argparse.ArgumentParser:
    description = "Measures Bilico beside HAProxy with nginx and beside NATS JetStream, on this machine, over loopback."
    told = (
        "Exit code: 0, also if goals are not met or a peer is missing; 1 if a run of Bilico failed; "
        "2 if nothing could be measured."
    )
    made = argparse.ArgumentParser(prog="bench/compare", description=description, epilog=told)
    add = made.add_argument
    add("--list", action="store_true", help="list the cases with their goals, and measure nothing")
    add("--only", metavar="CASE[,CASE]", type=_cases, default=catalog.cases(), help="measure these cases only")
    add("--quick", action="store_true", help="smaller counts, one round: some minutes, for a look")
    add("--rounds", metavar="N", type=_positive, help="rounds after the warm-up (default 5, with --quick 1)")
    add(
        "--dir",
        metavar="DIR",
        type=Path,
        help="where to work: a real file system (default: the target directory of cargo)",
    )
    add("--keep", action="store_true", help="leave the files, logs and configurations of all rounds in place")
    add("--json", metavar="FILE", type=Path, help="write every figure of every round to FILE")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--bilico", metavar="PATH", type=Path, help="the program to measure (default: build it for release)")
    add("--nats-server", metavar="PATH", type=Path, help="the nats-server (default: $NATS_SERVER, then the PATH)")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _cases(text: str) -> list[str]:
    unknown = [case for case in text.split(",") if case not in catalog.cases()]
    if unknown:
        raise argparse.ArgumentTypeError(f"no case {', '.join(unknown)}; there are {', '.join(catalog.cases())}")
    return text.split(",")


def listing() -> str:
    lines = [[row.case, row.title, report.goal_text(row) or "told, no goal"] for row in catalog.ROWS]
    return report.text_table([["case", "what", "goal"], *lines])


def compare(options: argparse.Namespace) -> int:
    if options.json and not options.json.absolute().parent.is_dir():
        raise Refused(f"the directory of {options.json} does not exist")
    scale = QUICK if options.quick else FULL
    scale = replace(scale, rounds=options.rounds or scale.rounds)
    rows = catalog.rows_of(options.only, options.quick)
    runs = catalog.runs_of(rows)
    home = work_directory(options.dir)
    try:
        check_space(home, runs, scale)
        wait_after_deleting(home.parent / _DELETED)
        tools = find_tools(options, runs)
        facts = gather(options, tools, home, scale)
        outcomes = measure(runs, tools, scale, home)
        verdicts = [results.judge(row, outcomes, options.quick) for row in rows]
        tell(options, facts, verdicts, runs, outcomes)
    finally:
        end_all()
        clean_up(home, options.keep)
    return 1 if results.ours_failed(outcomes, [run.name for run in runs if run.ours]) else 0


def tell(
    options: argparse.Namespace,
    facts: dict[str, Any],
    verdicts: Sequence[results.Verdict],
    runs: Sequence[Run],
    outcomes: Outcomes,
) -> None:
    if options.json:
        every_figure = report.as_json(facts, verdicts, outcomes)
        options.json.write_text(json.dumps(every_figure, indent=1, ensure_ascii=False) + "\n")
    print("\n" + report.whole(facts, verdicts, runs, outcomes, options.markdown) + "\n", flush=True)


def work_directory(given: Path | None) -> Path:
    """A new directory on a real file system."""
    parent = (given or peers.target_directory()).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    kind = machine.file_system(parent)
    if kind in _MEMORY_ONLY:
        raise Refused(f"{parent} is on {kind}, which is memory: syncs cost nothing there. Choose another with --dir")
    return Path(tempfile.mkdtemp(prefix="compare-", dir=parent))


def check_space(home: Path, runs: Iterable[Run], scale: Scale) -> None:
    need, have = catalog.space_needed(runs, scale, scale.rounds), machine.free_bytes(home)
    print(f"disk: at most {need / machine.GIB:.1f} GiB until the end, {have / machine.GIB:.1f} GiB are free")
    if need > have:
        raise Refused(
            f"{home} needs up to {need / machine.GIB:.1f} GiB, since nothing is deleted between rounds, and has "
            f"{have / machine.GIB:.1f} GiB. Fewer --rounds, --only some cases, --quick, or another --dir"
        )


def wait_after_deleting(mark: Path) -> None:
    """Lets the time pass in which the deleting of an earlier comparison would slow this one down."""
    if not mark.exists():
        return
    left = pause_left(mark.stat().st_mtime, time.time())
    if left > 0:
        print(f"waiting {left:.0f} s, since files of an earlier comparison were deleted just now", flush=True)
        time.sleep(left)


def pause_left(deleted: float, now: float) -> float:
    """Seconds until it is long enough ago; a time that lies ahead, on a clock that was set back, does not count."""
    return max(0.0, deleted + _AFTER_DELETING_S - now) if deleted <= now else 0.0


def find_tools(options: argparse.Namespace, runs: Sequence[Run]) -> peers.Tools:
    if options.bilico and not os.access(options.bilico, os.X_OK):
        raise Refused(f"{options.bilico} is not a program")
    print("building what is not built yet", flush=True)
    needed = {name for run in runs for name in run.needs}
    tools = peers.find(options.bilico and options.bilico.absolute(), options.nats_server, needed)
    for why in dict.fromkeys(tools.lacks(run.needs) for run in runs):
        if why:
            print(f"  {why}")
    return tools


def gather(options: argparse.Namespace, tools: peers.Tools, home: Path, scale: Scale) -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": peers.commit(),
        "quick": options.quick,
        "rounds": scale.rounds,
        "machine": machine.facts(home),
        "versions": tools.versions(),
        "scale": asdict(scale),
    }


def measure(runs: Sequence[Run], tools: peers.Tools, scale: Scale, home: Path) -> Outcomes:
    """All rounds of all runs, which take turns; what is measured once comes last."""
    allow_open_files()
    size = machine.warm_size(scale.warm_mib * machine.MIB)
    print(f"touching {size / machine.GIB:.1f} GiB of memory", flush=True)
    machine.touch_memory(size)
    outcomes = {run.name: Outcome(failure=tools.lacks(run.needs)) for run in runs}
    bench = Bench(home, tools, scale, home / "shared")
    bench.shared.mkdir()
    for turn in range(scale.rounds + 1):
        for run in (run for run in runs if not run.once):
            _take_turn(run, f"round-{turn}" if turn else "warm-up", outcomes[run.name], bench, turn > 0)
    for run in (run for run in runs if run.once):
        _take_turn(run, "once", outcomes[run.name], bench, True)
    return outcomes


def allow_open_files() -> None:
    """Idle clients are open files, of this process and of the balancer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _take_turn(run: Run, turn: str, outcome: Outcome, bench: Bench, counts: bool) -> None:
    """One run of one round. A run that has failed is not tried again: its row says so."""
    if outcome.failure:
        return
    print(f"{turn:8}  {run.title:45}", end="", flush=True)
    began = time.monotonic()
    try:
        sample = _measure(run, replace(bench, directory=bench.directory / turn / run.name))
    except (Failed, OSError, ValueError, KeyError) as why:
        outcome.failure = f"failed: {why}"
        print(f"  {outcome.failure}", flush=True)
        return
    if counts:
        outcome.samples.append(sample)
    seconds = time.monotonic() - began
    print(f"  {report.number(sample.figures.get(run.figure)):>8} {run.unit:12}  {seconds:5.1f} s", flush=True)


def _measure(run: Run, bench: Bench) -> results.Sample:
    bench.directory.mkdir(parents=True)
    # What the run before has left untouched or given back is not to be the advantage, or the burden, of this one.
    machine.touch_memory(machine.warm_size(bench.scale.rewarm_mib * machine.MIB))
    try:
        with bench:
            return run.measure(bench)
    finally:
        os.sync()


def clean_up(home: Path, keep: bool) -> None:
    if keep:
        print(f"kept: {home}")
        return
    print("deleting what was stored", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    os.sync()
    (home.parent / _DELETED).touch()
