"""Speed of step, fit and replay beside a plain reference in the same run: a ratio, never a time.

`speed_baseline.json` holds how many times faster than its reference each was when it was last
looked at. To renew it on purpose: run this file alone on an idle machine and copy the ratios that
it prints. pytest-benchmark shows the times themselves where it is not switched off by xdist:
``pytest -n 0 tests/test_speed.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain
import pytest
import torch
from torch import Tensor

from agents.replay import Replay
from experiments.speed import shops
from recgym.simulator import Simulator
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob

pytestmark = pytest.mark.alone
BASELINE: dict[str, float] = json.loads(
    Path(__file__).with_name("speed_baseline.json").read_text(encoding="utf-8")
)
SLOWER = 1.2  # than the baseline, and the test fails
ITEMS, HIDDEN, LANES, SLOTS = 1000, 64, 512, 10
ROUNDS, TRIES = 12, 6
CPU = torch.device("cpu")

Work = Callable[[], Any]


def times_faster(ours: Work, reference: Work) -> float:
    """Time of the reference ÷ time of ours, the fastest of rounds that take turns."""
    best = {ours: float("inf"), reference: float("inf")}
    for _ in range(ROUNDS):
        for work in best:
            begun = time.perf_counter()
            work()
            best[work] = min(best[work], time.perf_counter() - begun)
    return best[reference] / best[ours]


def check(name: str, ours: Work, reference: Work, benchmark: Any) -> None:
    benchmark.pedantic(ours, rounds=5, iterations=1, warmup_rounds=2)
    # a busy machine may disturb one try; code that is slower is slower in all of them
    found = []
    for _ in range(TRIES):
        found.append(times_faster(ours, reference))
        if found[-1] >= BASELINE[name] / SLOWER:
            break
    print(f"{name}: {max(found):.2f} times as fast as the plain reference")
    assert max(found) >= BASELINE[name] / SLOWER, (
        f"{name} is {max(found):.2f} times as fast as its plain reference, and was "
        f"{BASELINE[name]:.2f} times"
    )


def test_the_step_has_not_become_slower(benchmark: Any) -> None:
    # Why: all that RecGym does waits for it.
    shop = shops.learned(ITEMS, hidden=HIDDEN, embedding=HIDDEN)
    simulator = Simulator(shop, num_slots=SLOTS, expected_revenue=False)
    seed_N = torch.arange(LANES)
    state, plain_state = (
        simulator.reset(seed_N, torch.zeros_like(seed_N)),
        plain.begin(shop, seed_N, SLOTS),
    )
    page = simulator.page(state, shops.slates(ITEMS, LANES, SLOTS))

    def reference() -> None:
        with torch.no_grad():
            plain.step(shop, plain_state, page)

    check("step", lambda: simulator.step(state, page), reference, benchmark)


def test_a_fit_has_not_become_slower(benchmark: Any) -> None:
    # Why: a fit is the longest wait of the main job.
    items = shops.catalog(ITEMS)
    log = shops.sessions(items, 200, num_slots=SLOTS)
    model = shops.untrained(items, log, hidden=HIDDEN, embedding=HIDDEN)
    steps = gather_steps(log, cart_counts(log), torch.arange(200))
    model.eval()
    expected = expectations(model, steps)
    model.train()

    def gradient(loss: Tensor) -> None:
        loss.backward()

    def ours() -> None:
        model.prepare()
        gradient(-log_prob(model, steps, expected).total().mean())

    def reference() -> None:
        gradient(-plain.log_prob(model, steps, expected).mean())

    check("fit", ours, reference, benchmark)


def test_replay_has_not_become_slower(benchmark: Any) -> None:
    # Why: it adds and draws at each step of training. Beside a ring that is written out by hand
    # and touches memory just so: one that copies more shows the allocator's mood instead of ours.
    capacity, rows = 20_000, {"a": torch.randn(LANES, 200), "b": torch.arange(LANES)}
    replay, generator = Replay(capacity, CPU), torch.Generator().manual_seed(0)
    ring = {name: value.new_zeros(capacity, *value.shape[1:]) for name, value in rows.items()}
    first = 0
    for _ in range(capacity // LANES + 1):
        replay.add(rows)

    def ours() -> None:
        replay.add(rows)
        replay.sample(1024, generator)

    def reference() -> None:
        nonlocal first
        place_N = (first + torch.arange(LANES)) % capacity
        for name, value in rows.items():
            ring[name][place_N] = value
        first = (first + LANES) % capacity
        index = torch.randint(capacity, (1024,), generator=generator)
        for value in ring.values():
            value[index]

    check("replay", ours, reference, benchmark)
