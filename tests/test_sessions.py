"""recgym.users.sessions: a fit reads each session of its splits once, and no other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import ProbeShop
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym.simulator import Simulator
from recgym.types import Split
from recgym.users.sessions import batches, rows_of


@pytest.mark.parametrize("seed", [None, 3])
def test_batches_hold_each_session_once(seed: int | None) -> None:
    # Why: a session left out or read twice bends the likelihood without a sign.
    length_B = torch.randint(2, 30, (500,), generator=torch.Generator().manual_seed(0))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    parts: list[Tensor] = list(batches(length_B, 200, generator))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(500))
    assert max(int(length_B[part].sum()) for part in parts) < 200 + 30


def test_the_same_seed_gives_the_same_batches() -> None:
    # Why: a fit that cannot be repeated cannot be checked.
    length_B = torch.randint(2, 30, (200,), generator=torch.Generator().manual_seed(0))

    def drawn(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return [part.tolist() for part in batches(length_B, 100, generator)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_rows_are_those_of_the_splits() -> None:
    # Why: a test session that slipped into a fit would flatter it. By hand, from a list.
    shop = ProbeShop()
    sessions = simulate(Simulator(shop, num_slots=2), logging_policy(shop, 2), 5)[0]
    split_B = torch.tensor([Split.TRAIN, Split.TEST, Split.VALID, Split.TRAIN, Split.TEST_NEW])
    sessions = dataclasses.replace(sessions, split=split_B)
    assert rows_of(sessions, Split.TRAIN).tolist() == [0, 3]
    assert rows_of(sessions, Split.VALID, Split.TEST_NEW).tolist() == [2, 4]
    assert rows_of(dataclasses.replace(sessions, split=split_B * 0), Split.TEST).tolist() == []
