"""agents.shoppers: what each shopper brought, so that runs can be compared pair by pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.shoppers import STATS, columns_of, keep_shoppers, read_shoppers
from recgym.errors import UserError
from recgym.types import SessionStats


def played(orders: list[float], sessions: list[float] | None = None) -> SessionStats:
    order_B = torch.tensor(orders)
    session_B = None if sessions is None else torch.tensor(sessions)
    sums = dict.fromkeys(("pages", "views", "impressions", "clicks", "carts"), order_B)
    money = {"revenue": 10 * order_B, "credited_revenue": 9 * order_B}
    shopper_B = torch.arange(len(orders))
    return SessionStats(
        shopper=shopper_B, orders=order_B, sessions=session_B, converted=None, **sums, **money
    )


def keep(folder: Path, one: SessionStats) -> None:
    columns = {"true": {"dqn": columns_of(one)}}
    keep_shoppers(folder, columns, seed=3, sessions=3, log="log-1", model="model-2")


def test_a_run_keeps_what_each_shopper_brought(tmp_path: Path) -> None:
    # Why: by hand, two orders of one shopper are one session that converted and 20 units paid.
    keep(tmp_path, played([0.0, 2.0, 1.0]))
    found = read_shoppers(tmp_path)
    assert found is not None
    assert found.meta["seed"] == 3 and found.meta["sessions"] == 3
    assert (found.meta["log"], found.meta["model"]) == ("log-1", "model-2")
    assert found.columns("learned", "dqn") is None
    columns = found.columns("true", "dqn")
    assert columns is not None
    assert set(columns) == {"revenue", "credited_revenue", "converted"}  # each row is a session
    assert columns["revenue"].tolist() == [0.0, 20.0, 10.0]
    assert columns["converted"].tolist() == [0.0, 1.0, 1.0]
    assert not list(tmp_path.glob(".*"))


def test_rows_of_several_sessions_say_how_many(tmp_path: Path) -> None:
    # Why: a rate is of sessions, and a row is a shopper where shoppers come back.
    columns = columns_of(played([0.0, 2.0, 1.0], [1.0, 3.0, 1.0]))
    assert columns["sessions"].tolist() == [1.0, 3.0, 1.0]


def test_twenty_thousand_shoppers_cost_little(tmp_path: Path) -> None:
    # Why: it is written by every job of a sweep; money alone does not compress.
    generator = np.random.default_rng(0)
    bought = (generator.random(20_000) < 0.05).astype(np.float32)
    one = {"revenue": 30 * bought, "credited_revenue": generator.random(20_000, dtype=np.float32)}
    columns = {s: {str(p): {**one, "converted": bought} for p in range(8)} for s in "lt"}
    keep_shoppers(tmp_path, columns, seed=0, sessions=20_000, log="l", model="m")
    assert (tmp_path / STATS).stat().st_size < 2_000_000


def test_a_run_without_the_file_has_none(tmp_path: Path) -> None:
    # Why: runs of earlier versions are compared too, without pairs.
    assert read_shoppers(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken"])
def test_a_damaged_file_ends_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATS).write_bytes(content)
    with pytest.raises(UserError, match=r"stats\.npz cannot be read .* remove it"):
        read_shoppers(tmp_path)
