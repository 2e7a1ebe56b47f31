"""What a memory reads of an event beside: users.items.beside and users.senses.moment."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from family import F64, made

from recgym import visit
from recgym.types import DAY_MS, Catalog
from recgym.users.items import beside
from recgym.users.senses import Senses

MONDAY = 4 * DAY_MS  # 5 January 1970


def test_weekdays_go_round() -> None:
    # Why: by hand; Monday and the next one are one day, and Sunday is as near as Tuesday.
    time_N = torch.tensor([MONDAY, MONDAY + 2 * DAY_MS - 1, MONDAY + 7 * DAY_MS, MONDAY - 1])
    angle_N = visit.day_of_week(time_N, F64) * 7 / (2 * math.pi)
    assert angle_N.tolist() == pytest.approx([0, 1, 0, 6])


def test_a_moment_is_its_weekday_and_its_place() -> None:
    # Why: by hand, in whatever order they are named: a Monday's sine and cosine are 0 and 1, and
    # page 1, the second one, is 0.4 ln 2.
    begun = visit.begin(torch.tensor([MONDAY]), 2, F64)
    now = dataclasses.replace(begun, page_number=torch.tensor([1]))
    parts = Senses(["position", "weekday"]).moment(now, F64)
    assert torch.cat(parts, -1).tolist() == [[0.0, 1.0, pytest.approx(0.4 * math.log(2.0))]]
    assert Senses().moment(now, F64) == []


def test_an_item_is_dear_or_cheap_for_its_category() -> None:
    # Why: by hand. Prices 1 and e² lie 1 below and 1 above their category's mean log of 1; the one
    # of a category of its own is usual there; a category may be empty. Brands follow, as they are.
    log_price_I = torch.tensor([0.0, 2.0, 5.0])
    catalog = Catalog(
        price=log_price_I.exp().unsqueeze(0), category=torch.tensor([0, 0, 2]),
        feature=torch.tensor([[9.0, 1, 0], [9, 0, 1], [9, 0, 0]]), start_ms=0, num_categories=3,
    )  # fmt: skip
    found = beside(catalog, log_price_I, ["brand", "relative_price"])
    assert found.tolist() == [[-1, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert beside(catalog, log_price_I, []).shape == (3, 0)


def test_no_input_is_read_unless_it_is_asked_for() -> None:
    # Why: the shipped model reads what it was fitted and checked with: 2 (D + 1) + 6 + 3.
    assert made("lstm").memory.weight_ih_l0.shape == (4 * 8, 2 * 5 + 6 + 3)
