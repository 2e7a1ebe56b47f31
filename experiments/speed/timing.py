"""Timing several works side by side, and one work by its parts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from experiments.speed.figure import seconds
from experiments.speed.setting import Setting

Call = Callable[[], Any]
MOST_CALLS = 100_000  # of one repeat
LONG = 1.0  # seconds; one call of a longer work is warm-up enough


def interleaved(
    works: Mapping[str, Call], setting: Setting, *, least_seconds: float | None = None
) -> dict[str, list[float]]:
    """Seconds a call of each work, one a repeat, the works taking turns.

    Taking turns is what makes their ratio fair: whatever else the machine does meets all alike. A
    repeat calls its work until ``least_seconds`` have passed, about.
    """
    sync, least = setting.sync(), least_seconds or setting.least_seconds
    calls = {}
    for name, work in works.items():
        one = seconds(work, repeats=1, warm_up=0, sync=sync)[0]
        if one < LONG:
            one = min(seconds(work, repeats=2, sync=sync))
        calls[name] = max(1, min(MOST_CALLS, math.ceil(least / max(one, 1e-9))))
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(setting.repeats):
        for name, work in works.items():
            passed = seconds(_again(work, calls[name]), repeats=1, warm_up=0, sync=sync)[0]
            taken[name].append(passed / calls[name])
    return taken


def _again(work: Call, calls: int) -> Call:
    def repeated() -> None:
        for _ in range(calls):
            work()

    return repeated


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(values) for name, values in taken.items()}


class Parts:
    """Where the time of a work goes: seconds spent in named functions, less those they call.

    Functions are wrapped while they are measured and put back afterwards. Waiting for the device
    around each makes the sum larger than the work alone, so parts are shares, not a figure.
    """

    def __init__(self, sync: Callable[[], object] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._sync = sync or (lambda: None)
        self._inner: list[float] = []  # seconds spent in wrapped functions, one a call under way

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, its time counted under ``part``."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            self._sync()
            begun = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*arguments, **keywords)
            finally:
                self._sync()
                passed = time.perf_counter() - begun
                own = passed - self._inner.pop()
                self.seconds[part] = self.seconds.get(part, 0.0) + own
                if self._inner:
                    self._inner[-1] += passed

        return timed

    @contextmanager
    def watching(self, watched: list[tuple[Any, str, str]]) -> Iterator[None]:
        """Count ``(owner, attribute, part)`` until the block ends; absent attributes are passed."""
        changed: list[tuple[Any, str, bool, Any]] = []
        try:
            for owner, name, part in watched:
                if not hasattr(owner, name):
                    continue
                changed.append((owner, name, name in vars(owner), getattr(owner, name)))
                setattr(owner, name, self.around(getattr(owner, name), part))
            yield
        finally:
            for owner, name, own, before in reversed(changed):
                if own:
                    setattr(owner, name, before)
                else:
                    delattr(owner, name)


def parts_of(
    work: Call, watched: list[tuple[Any, str, str]], setting: Setting, *, rest: str
) -> dict[str, float]:
    """Seconds a call by part, the longest first; what no watched function takes is ``rest``."""
    parts = Parts(setting.sync())
    with parts.watching(watched):
        whole = parts.around(work, rest)
        whole()
        parts.seconds.clear()
        for _ in range(setting.repeats):
            whole()
    mean = {name: value / setting.repeats for name, value in parts.seconds.items()}
    return dict(sorted(mean.items(), key=lambda pair: -pair[1]))
