"""agents.replay: a ring that keeps rows together; a shifted column would mix up steps."""

from __future__ import annotations

import torch

from agents.replay import Replay


def rows(*numbers: int) -> dict[str, torch.Tensor]:
    value = torch.tensor(numbers)
    return {"a": value, "b": torch.stack([10.0 * value, 100.0 * value], -1)}


def test_the_ring_by_hand() -> None:
    # Why: capacity 4, rows 1 2 3 then 4 5: the fifth takes the place of the first.
    replay = Replay(4, torch.device("cpu"))
    replay.add(rows(1, 2, 3))
    assert (replay.size, replay.next) == (3, 3)
    replay.add(rows(4, 5))
    assert (replay.size, replay.next) == (4, 1)
    assert replay.rows["a"].tolist() == [5, 2, 3, 4]
    assert replay.rows["b"][0].tolist() == [50.0, 500.0]


def test_samples_hold_whole_rows_that_were_added() -> None:
    # Why: rows not yet written are zeros, and a mix of two rows never happened.
    replay = Replay(100, torch.device("cpu"))
    replay.add(rows(*range(1, 8)))
    drawn = replay.sample(500, torch.Generator().manual_seed(0))
    assert set(drawn["a"].tolist()) == set(range(1, 8))
    assert torch.equal(drawn["b"][:, 0], 10.0 * drawn["a"])
    assert torch.equal(drawn["b"][:, 1], 100.0 * drawn["a"])


def test_the_generator_decides_the_sample() -> None:
    # Why: training must be repeatable.
    replay = Replay(100, torch.device("cpu"))
    replay.add(rows(*range(50)))
    first, same, other = (
        replay.sample(20, torch.Generator().manual_seed(seed))["a"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
