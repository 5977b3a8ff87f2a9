"""The tables, as text or Markdown, and the JSON. Pure: everything comes in, text or objects go out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from . import stats
from .catalog import RUNS, Run
from .results import Kind, Outcome, Outcomes, Row, Sample, Use, Verdict

Table = list[list[str]]
Render = Callable[[Table], str]

GOAL_HEAD = ["case", "what", "ours", "other", "ratio", "goal", "verdict"]
RUN_HEAD = [
    "run",
    "median",
    "min–max",
    "of ours",
    "p50 / p99 ms",
    "CPU s per 1,000 files",
    "generator's",
    "peak memory, MiB",
    "remarks",
]

TRAPS = (
    "memory was touched before the first round, and some of it before every run, since what a machine touches for the first "
    "time costs more, and what is not used for a while is taken back",
    "every run of every round has a fresh directory and fresh processes",
    "nothing is deleted before the end of all rounds, and nothing is measured soon after an earlier comparison's deleting",
    "`sync` after every run; the first round warms up and is thrown away; runs take turns within each round",
    "clients, balancers and servers share this machine, over loopback",
)

NOTES = (
    "Bilico's balancer and servers answer when files are synced (`disk`), or when the system has them (`os`)",
    "HAProxy with nginx and JetStream sync nothing before they answer, unless it says sync_interval: always",
    "in flight: Bilico 4 × 1,000 files, JetStream 4,000 publishes, wrk 32 connections with one PUT each",
    "accepted: the servers and the workers store at the same time, in both systems",
    "JetStream's p50 and p99 end with the worker's rename: nobody tells the publisher",
    "one file: from the start of the client's process to its end, the file read from the page cache by `bilico send` and "
    "by curl",
    "TLS: 1.3, on both legs of Bilico, each server shows a certificate, too; HAProxy ends it, and nginx gets plain text",
    "mixed: each large file by a `bilico send` of its own; the small ones are sent until the last large one is delivered, "
    "and counted if they were delivered once those that waited by then were",
    "growth: the servers are pretended by one process, which is not counted; what the balancer's probes cost without files "
    "is taken off; clients in turn send one file each, and begin again",
    "recovery: with the journal in the page cache, as after a crash of the process alone",
    "one pick of the scheduler is not measured here: `cargo bench` does that",
)


def number(value: float | None) -> str:
    """Three digits that count, with thousands separated."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.3f}"


def goal_text(row: Row) -> str:
    limit = f"{row.goal.limit:g}"
    return {
        Kind.RATIO_AT_LEAST: f"≥ {limit} ×",
        Kind.RATIO_AT_MOST: f"≤ {limit} ×",
        Kind.AT_MOST: f"≤ {limit} {row.unit}",
        Kind.TOLD: "",
    }[row.goal.kind]


def goal_table(verdicts: Iterable[Verdict]) -> Table:
    return [GOAL_HEAD, *map(_goal_line, verdicts)]


def _goal_line(verdict: Verdict) -> list[str]:
    row = verdict.row
    figure = f"{number(verdict.figure)} {row.unit}" if verdict.figure is not None else "–"
    ratio = f"{number(verdict.ratio)} ×" if verdict.ratio is not None else "–"
    told = "; ".join([verdict.text, *verdict.remarks])
    return [row.case, row.title, figure, number(verdict.other), ratio, goal_text(row), told]


def run_table(runs: Iterable[Run], outcomes: Outcomes) -> Table:
    return [RUN_HEAD, *(_run_line(run, outcomes) for run in runs)]


def _run_line(run: Run, outcomes: Outcomes) -> list[str]:
    outcome = outcomes[run.name]
    values = outcome.values(run.figure)
    if not values:
        return [run.title, "–", "–", "–", "–", "–", "–", "–", outcome.failure or "no figure"]
    remarks = [outcome.failure, stats.disagreement(values), _lateness(outcome)]
    return [
        run.title,
        f"{number(stats.median(values))} {run.unit}",
        f"{number(min(values))}–{number(max(values))}",
        _of_ours(run, values, outcomes),
        _latency(outcome),
        _cpu(outcome, lambda sample: sample.services),
        _cpu(outcome, lambda sample: sample.load),
        _memory(outcome),
        "; ".join(filter(None, remarks)),
    ]


def _of_ours(run: Run, values: Sequence[float], outcomes: Outcomes) -> str:
    ours = outcomes[run.beside].values(run.figure) if run.beside in outcomes else []
    return f"{number(stats.median(values) / stats.median(ours))} ×" if ours else "–"


def _latency(outcome: Outcome) -> str:
    for receipt in ("delivered", "accepted"):
        ends = [outcome.values(f"{receipt}_{name}_ms") for name in ("p50", "p99")]
        if all(ends):
            return " / ".join(number(stats.median(values)) for values in ends)
    return "–"


def _lateness(outcome: Outcome) -> str | None:
    """How late an open loop's generator was, its own error."""
    late = [outcome.values(f"late_{name}_ms") for name in ("p50", "p99")]
    if not all(late):
        return None
    return "generator late by p50 / p99 " + " / ".join(number(stats.median(values)) for values in late) + " ms"


def _cpu(outcome: Outcome, which: Callable[[Sample], dict[str, Use]]) -> str:
    samples = outcome.samples
    each = [cost for sample in samples if (cost := sample.cpu_per_1000(which(sample))) is not None]
    if each:
        return number(stats.median(each))
    whole = [sum(use.cpu_s for use in which(sample).values()) for sample in samples if which(sample)]
    return f"{number(stats.median(whole))} s in all" if whole else "–"


def _memory(outcome: Outcome) -> str:
    names = dict.fromkeys(name for sample in outcome.samples for name in (*sample.services, *sample.load))
    return ", ".join(f"{name} {_peak(outcome, name):.0f}" for name in names) or "–"


def _peak(outcome: Outcome, name: str) -> float:
    uses = [sample.services.get(name) or sample.load.get(name) for sample in outcome.samples]
    return max(use.peak_mib for use in uses if use)


def text_table(table: Table) -> str:
    """Columns as wide as their widest cell; the last one is as it is."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rule = ["-" * min(width, 60) for width in widths]
    return "\n".join(_line(line, widths) for line in (table[0], rule, *table[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def markdown_table(table: Table) -> str:
    lines = (table[0], ["---"] * len(table[0]), *table[1:])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def whole(
    facts: dict[str, Any],
    verdicts: Sequence[Verdict],
    runs: Sequence[Run],
    outcomes: Outcomes,
    markdown: bool,
) -> str:
    render: Render = markdown_table if markdown else text_table
    tables = [render(goal_table(verdicts)), render(run_table(runs, outcomes))]
    return "\n\n".join([_about(facts), *tables, _bullets("Kept", TRAPS), _bullets("To be read with this", NOTES)])


def _about(facts: dict[str, Any]) -> str:
    machine, versions = facts["machine"], facts["versions"]
    rounds = facts["rounds"]
    lines = [
        f"{facts['date']}, Bilico {versions.get('bilico', '?')} at commit {facts['commit']}",
        f"{machine['cores']} × {machine['processor']}, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, {machine['file_system']}",
        ", ".join(f"{name} {version}" for name, version in versions.items() if name != "bilico"),
        f"medians of {rounds} round{'s' if rounds != 1 else ''} after a warm-up; what is measured once has no min–max",
    ]
    if facts["quick"]:
        lines.append(
            "--quick: smaller counts and fewer rounds than the goals ask for. Good for a look, not for a claim."
        )
    return "\n".join(f"{line}  " for line in lines).rstrip()


def _bullets(title: str, points: Iterable[str]) -> str:
    return f"{title}:\n\n" + "\n".join(f"- {point}" for point in points)


def as_json(facts: dict[str, Any], verdicts: Iterable[Verdict], outcomes: Outcomes) -> dict[str, Any]:
    """Every figure of every round."""
    runs = {name: _run_json(name, outcome) for name, outcome in outcomes.items()}
    return {**facts, "rows": list(map(_row_json, verdicts)), "runs": runs}


def _row_json(verdict: Verdict) -> dict[str, Any]:
    row = verdict.row
    return {
        "case": row.case,
        "title": row.title,
        "unit": row.unit,
        "ours": asdict(row.ours),
        "other": asdict(row.other) if row.other else None,
        "figure": verdict.figure,
        "other_figure": verdict.other,
        "ratio": verdict.ratio,
        "goal": {"kind": row.goal.kind.value, "limit": row.goal.limit},
        "met": verdict.met,
        "verdict": verdict.text,
        "remarks": list(verdict.remarks),
    }


def _run_json(name: str, outcome: Outcome) -> dict[str, Any]:
    figures = dict.fromkeys(figure for sample in outcome.samples for figure in sample.figures)
    return {
        "title": RUNS[name].title,
        "failure": outcome.failure,
        "medians": {figure: stats.median(outcome.values(figure)) for figure in figures},
        "rounds": [asdict(sample) for sample in outcome.samples],
    }
