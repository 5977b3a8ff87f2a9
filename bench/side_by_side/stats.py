"""Medians, percentiles, and whether rounds agree."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

# Rounds agree if the highest and the lowest lie within this part of the median of each other.
AGREEMENT = 0.2


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of 100 of the values do not exceed; the values are sorted and not empty."""
    rank = math.ceil(percent / 100 * len(ascending))
    return ascending[min(max(rank, 1), len(ascending)) - 1]


def latencies_ms(micros: Iterable[int], prefix: str = "") -> dict[str, float]:
    """The percentiles that the tables show, in milliseconds, of latencies in microseconds."""
    ascending = sorted(micros)
    if not ascending:
        return {}
    named = {"p50": 50, "p90": 90, "p99": 99, "p999": 99.9, "max": 100}
    return {f"{prefix}{name}_ms": percentile(ascending, percent) / 1000 for name, percent in named.items()}


def spread(values: Sequence[float]) -> float:
    """How far the highest and the lowest lie apart, as a part of the median; 0 for a single value."""
    middle = median(values)
    if middle == 0:
        return 0.0 if max(values) == min(values) else math.inf
    return (max(values) - min(values)) / abs(middle)


def disagreement(values: Sequence[float]) -> str | None:
    """What to say of rounds that do not agree; nothing if they do."""
    apart = spread(values)
    if apart <= AGREEMENT:
        return None
    return "rounds differ, median 0" if math.isinf(apart) else f"rounds differ by {apart:.0%}".replace("%", " %")
