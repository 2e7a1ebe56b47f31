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
from recgym.users.sessions import batches, resampled, rows_of


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


def test_shoppers_are_drawn_anew_with_all_their_sessions() -> None:
    # Why: sessions of one shopper are alike; to draw sessions would find them too certain.
    simulator = Simulator(ProbeShop(), num_slots=2)
    sessions, *_ = simulate(simulator, logging_policy(simulator.shop, 2), 600)
    sessions = dataclasses.replace(sessions, shopper=torch.arange(600) // 3)
    row_B = torch.arange(30, 600)
    drawn_B = resampled(sessions, row_B, torch.Generator().manual_seed(0))
    times_B = torch.bincount(drawn_B, minlength=600)
    assert not times_B[:30].any()
    of_shopper = times_B[30:].view(190, 3)
    assert bool((of_shopper == of_shopper[:, :1]).all())
    assert int(of_shopper[:, 0].sum()) == 190  # as many shoppers as there are
    # each is left out with a chance of about 1 / e
    assert (of_shopper[:, 0] == 0).double().mean() == pytest.approx(0.37, abs=0.08)
    again_B = resampled(sessions, row_B, torch.Generator().manual_seed(0))
    assert torch.equal(drawn_B, again_B)


def test_sessions_of_like_length_share_a_batch_by_hand() -> None:
    # Why: a batch runs as long as its longest session. Sorted, lengths 1 to 6 add up to 1, 3, 6,
    # 10, 15 and 21, which batches of 7 steps cut after 3, 4 and 5; chance orders the batches alone.
    length_B = torch.tensor([4, 1, 6, 3, 2, 5])
    parts = [part.tolist() for part in batches(length_B, 7, None)]
    assert parts == [[1, 4, 3], [0], [5], [2]]
    drawn = [part.tolist() for part in batches(length_B, 7, torch.Generator().manual_seed(1))]
    assert sorted(drawn) == sorted(parts) and drawn != parts
