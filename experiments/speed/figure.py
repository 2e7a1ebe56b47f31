"""What a figure of speed is, and how one is timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REPEATS = 5  # least number of timed repeats of a figure


@dataclass(frozen=True)
class Figure:
    """One measured figure beside what the machine could do.

    Attributes:
        figure: its name on the command line.
        values: one a repeat, in ``unit``.
        unit: of the values and of the limit.
        limit: what the machine, or the reference, reaches; None where there is none.
        ratio: value ÷ limit where more is better, limit ÷ value where less is; None without limit.
        goal: what ``ratio`` (or, without limit, ``value``) is to reach, in words.
        settings: sizes, the parts of the time, and what the limit is made of; JSON can hold it.
    """

    figure: str
    values: list[float]
    unit: str
    limit: float | None = None
    ratio: float | None = None
    goal: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Median of the repeats."""
        return statistics.median(self.values)


def seconds(
    work: Callable[[], Any],
    *,
    repeats: int = REPEATS,
    warm_up: int = 1,
    sync: Callable[[], Any] | None = None,
) -> list[float]:
    """Wall-clock seconds of each of ``repeats`` calls after ``warm_up`` ones that do not count.

    ``sync`` waits for the device, before and after each call.
    """
    wait = sync or (lambda: None)
    for _ in range(warm_up):
        work()
    taken = []
    for _ in range(repeats):
        wait()
        begun = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - begun)
    return taken
