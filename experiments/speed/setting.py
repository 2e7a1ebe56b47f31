"""What all figures share: the device, sizes, and where and on what they were measured."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.speed.figure import REPEATS

ROOT = Path(__file__).resolve().parents[2]
SLOTS = 10  # K of every figure
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """How figures are measured; the first five are keys of the command line.

    Attributes:
        device: where the shoppers step.
        num_threads: of torch; None takes all cores.
        repeats: timed repeats of each figure.
        lanes: N; None takes each figure's own.
        items: I, of the catalogue.
        hidden: H and the length of an item vector.
        least_seconds: how long one repeat lasts at least, by calling the same work again.
        sessions: of `policy_value`; None takes 1,000,000 on a GPU and a tenth on a CPU.
        log_sessions: of the log that `fit` reads.
        learning_starts: transitions before the DQN's first update; None takes its default.
    """

    device: torch.device = CPU
    num_threads: int | None = None
    repeats: int = REPEATS
    lanes: int | None = None
    items: int = 10_000
    hidden: int = 128
    least_seconds: float = 0.4
    sessions: int | None = None
    log_sessions: int = 800
    learning_starts: int | None = None

    def sync(self) -> Callable[[], object] | None:
        """What waits for the device; None on a CPU, which runs nothing behind one's back."""
        if self.device.type != "cuda":
            return None
        return functools.partial(torch.cuda.synchronize, self.device)

    def lanes_or(self, own: int) -> int:
        """The lanes asked for, or else the figure's own."""
        return own if self.lanes is None else self.lanes


def device_name(device: torch.device) -> str:
    """The device in words: processor and threads, or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def commit() -> str | None:
    """The commit of this checkout, with a + where files differ; None outside git.

    Read once a process, and recorded results do not count: recording one figure must not make the
    next one look like that of another tree.
    """
    head = _git("rev-parse", "--short", "HEAD")
    if head is None:
        return None
    changed = _git("status", "--porcelain", "--", ".", ":!experiments/results")
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
