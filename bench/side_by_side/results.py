"""What was measured, and whether it meets the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from . import stats


@dataclass
class Use:
    """What one process used: seconds of CPU during the work, and MiB of memory at its peak since its start."""

    cpu_s: float
    peak_mib: float


@dataclass
class Sample:
    """One round of one run."""

    figures: dict[str, float]
    files: int = 0
    services: dict[str, Use] = field(default_factory=dict)
    load: dict[str, Use] = field(default_factory=dict)

    def cpu_per_1000(self, uses: dict[str, Use]) -> float | None:
        if self.files < 1000 or not uses:
            return None
        return sum(use.cpu_s for use in uses.values()) / self.files * 1000


@dataclass
class Outcome:
    """All rounds of one run, or why there are none."""

    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    def values(self, figure: str) -> list[float]:
        return [sample.figures[figure] for sample in self.samples if figure in sample.figures]


@dataclass(frozen=True)
class Term:
    """A figure of a run: `Term("ours-1k", "files_per_s")`."""

    run: str
    figure: str


class Kind(Enum):
    """How the figure relates to the limit of its goal."""

    RATIO_AT_LEAST = "ratio at least"
    RATIO_AT_MOST = "ratio at most"
    AT_MOST = "at most"
    TOLD = "told, not judged"


@dataclass(frozen=True)
class Goal:
    kind: Kind
    limit: float = 0.0


@dataclass(frozen=True)
class Row:
    """A line of the table: our figure, the other's if it is a ratio, and the goal."""

    case: str
    title: str
    unit: str
    ours: Term
    goal: Goal
    other: Term | None = None
    # What only counts at full size is not judged when --quick makes it smaller.
    full_size_only: bool = False

    def runs(self) -> list[str]:
        return [self.ours.run] + ([self.other.run] if self.other else [])


@dataclass(frozen=True)
class Verdict:
    """A row as it came out. `met` is None where nothing can be said."""

    row: Row
    text: str
    met: bool | None = None
    figure: float | None = None
    other: float | None = None
    ratio: float | None = None
    remarks: tuple[str, ...] = ()


Outcomes = dict[str, Outcome]


def judge(row: Row, outcomes: Outcomes, quick: bool) -> Verdict:
    ours, failure = _median(row.ours, outcomes)
    if ours is None:
        return Verdict(row, failure)
    if row.other is None:
        return _verdict(row, outcomes, quick, ours, None, ours)
    other, failure = _median(row.other, outcomes)
    if not other:
        return Verdict(row, failure or "the other's figure is 0", figure=ours)
    return _verdict(row, outcomes, quick, ours, other, ours / other)


def _verdict(row: Row, outcomes: Outcomes, quick: bool, ours: float, other: float | None, judged: float) -> Verdict:
    met, text = against(row.goal, judged)
    if quick and row.full_size_only:
        met, text = None, "not judged: --quick is smaller than the goal"
    ratio = None if other is None else ours / other
    return Verdict(row, text, met, ours, other, ratio, remarks(row, outcomes))


def against(goal: Goal, value: float) -> tuple[bool | None, str]:
    """Whether `value` meets the goal, and how to say it."""
    if goal.kind is Kind.TOLD:
        return None, "no goal"
    if goal.kind is Kind.RATIO_AT_LEAST:
        met, short = value >= goal.limit, 1 - value / goal.limit
    else:
        met, short = value <= goal.limit, value / goal.limit - 1
    return met, "meets" if met else f"short by {_percent(short)}"


def _percent(part: float) -> str:
    return f"{part * 100:,.0f} %" if part >= 0.095 else f"{part * 100:.2g} %"


def remarks(row: Row, outcomes: Outcomes) -> tuple[str, ...]:
    """Which of the row's figures came from rounds that do not agree."""
    found = []
    for who, term in (("ours", row.ours), ("other", row.other)):
        told = stats.disagreement(outcomes[term.run].values(term.figure)) if term else None
        if told:
            found.append(f"{who}: {told}")
    return tuple(found)


def _median(term: Term, outcomes: Outcomes) -> tuple[float | None, str]:
    outcome = outcomes.get(term.run, Outcome(failure="was not run"))
    if outcome.failure:
        return None, f"{term.run}: {outcome.failure}"
    values = outcome.values(term.figure)
    return (stats.median(values), "") if values else (None, f"{term.run}: no {term.figure}")


def ours_failed(outcomes: Outcomes, our_runs: Sequence[str]) -> bool:
    return any(outcomes[run].failure for run in our_runs if run in outcomes)
