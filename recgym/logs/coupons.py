"""Coupon slates: three coupons placed for each order, with prices, and which of them were used.

The published layout of the Data Mining Cup 2015: text separated by ``|``, a row an order, in three
files. ``*orders_train*`` holds orders with their answers, ``*orders_class*`` those of a later week
without, and ``*realclass*`` the answers of that week. Every row of each file is kept or set aside
for a reason that is counted.

What the columns do not say: ``basePrice`` is below the price for most coupons and lies at a round
fraction of it, so that it reads as a price per unit and not as the price before a discount; each
coupon has one price throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.lanes import Record
from recgym.logs.coupon_rules import (
    OFFER,
    SLOTS,
    account,
    check_share,
    join_answers,
    load,
    time_of,
)
from recgym.logs.source import TEXT_ENDINGS, plain_errors

FILES = {"train": "*orders_train*", "held_out": "*orders_class*", "answers": "*realclass*"}
MAX_SET_ASIDE = 0.02  # of the rows of a file, for one reason
NONE = -1  # id of a brand that is not given
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class CouponSlates(Record):
    """B orders by time, each with the three coupons that had been placed for it."""

    order: Tensor  # [B] int64, number in the files
    time_ms: Tensor  # [B] int64, of the order
    received_ms: Tensor  # [B] int64, when the coupons were placed
    shopper: Tensor  # [B] int64
    item: Tensor  # [B, 3] int64, the product that the coupon is for
    brand: Tensor  # [B, 3] int64, -1: none given
    group: Tensor  # [B, 3] int64, product group
    category: Tensor  # [B, 3, C] bool, those that the product is of
    price: Tensor  # [B, 3] float32, money
    base_price: Tensor  # [B, 3] float32, money, see the module
    reward: Tensor  # [B, 3] float32, money
    premium: Tensor  # [B, 3] bool
    used: Tensor  # [B, 3] bool
    basket: Tensor  # [B] float64, money, value of the order
    held_out: Tensor  # [B] bool, of the later week


@dataclass(frozen=True)
class CouponLog:
    """The slates, the names behind their ids, and what became of each row."""

    slates: CouponSlates
    names: Mapping[str, tuple[str, ...]]  # of shopper, item, brand, group, category
    rows: Rows  # file -> in, kept, set_aside by reason


@dataclass(kw_only=True)
class Coupons:
    """Reader of the folder with the three files, plain or .gz."""

    path: str | None = None
    max_set_aside: float = MAX_SET_ASIDE

    def read(self) -> CouponLog:
        """Read, check and join the files.

        Raises:
            UserError: where a file or column is missing, or too many rows are of no use.
        """
        share = self.max_set_aside
        if not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
            raise UserError(f"max_set_aside={self.max_set_aside}: expected a number from 0 to 1.")
        files = self._files()
        with duckdb.connect() as db, plain_errors(files["train"].parent):
            db.execute("SET TimeZone = 'UTC'")
            malformed = {kind: load(db, kind, file) for kind, file in files.items()}
            join_answers(db)
            rows = {kind: account(db, kind, malformed[kind]) for kind in FILES}
            for kind, file in files.items():
                check_share(db, kind, file, rows[kind], self.max_set_aside)
            slates, names = _tensors(db)
        _check_weeks(slates, files)
        return CouponLog(slates, names, rows)

    def _files(self) -> dict[str, Path]:
        named = str(self.path or "").strip()
        folder = Path(named).expanduser()
        if not named or not folder.is_dir():
            raise UserError(
                f"data={named or None} is no folder: expected the one of the coupon slates; set "
                f"data=DIR, with a file each of {', '.join(FILES.values())}."
            )
        found = {}
        for kind, pattern in FILES.items():
            files = [f for f in sorted(folder.glob(pattern)) if f.name.endswith(TEXT_ENDINGS)]
            if len(files) != 1:
                raise UserError(
                    f"{folder} holds {len(files)} files {pattern}: expected one; set data=DIR, "
                    f"with a file each of {', '.join(FILES.values())}."
                )
            found[kind] = files[0]
        return found


def _tensors(db: duckdb.DuckDBPyConnection) -> tuple[CouponSlates, dict[str, tuple[str, ...]]]:
    found = db.execute(
        f"SELECT *, epoch_ms({time_of('orderTime')}) AS time_ms, "
        f"epoch_ms({time_of('couponsReceived')}) AS received_ms FROM orders "
        f'ORDER BY time_ms, CAST("orderID" AS BIGINT)'
    )
    titles = [str(column[0]) for column in found.description or ()]
    columns = dict(zip(titles, zip(*found.fetchall(), strict=True), strict=True))

    def numbers(name: str) -> Tensor:
        return torch.tensor([[float(x) for x in columns[f"{name}{k}"]] for k in SLOTS]).T

    slots = {name: [columns[f"{name}{k}"] for k in SLOTS] for name in OFFER}
    shopper_B1, shoppers = _ids([columns["userID"]])
    item_BK, items = _ids(slots["couponID"])
    brand_BK, brands = _ids(slots["brand"])
    group_BK, groups = _ids(slots["productGroup"])
    category_BKC, categories = _categories(slots["categoryIDs"])
    used_KB = [[flag == "1" for flag in columns[f"coupon{k}Used"]] for k in SLOTS]
    slates = CouponSlates(
        order=torch.tensor([int(number) for number in columns["orderID"]]),
        time_ms=torch.tensor(columns["time_ms"]),
        received_ms=torch.tensor(columns["received_ms"]),
        shopper=shopper_B1.squeeze(-1),
        item=item_BK,
        brand=brand_BK,
        group=group_BK,
        category=category_BKC,
        price=numbers("price").contiguous(),
        base_price=numbers("basePrice").contiguous(),
        reward=numbers("reward").contiguous(),
        premium=(numbers("premiumProduct") > 0).contiguous(),
        used=torch.tensor(used_KB).T.contiguous(),
        basket=torch.tensor([float(x) for x in columns["basketValue"]], dtype=torch.float64),
        held_out=torch.tensor(columns["later"]),
    )
    names = {"shopper": shoppers, "item": items, "brand": brands, "group": groups}
    return slates, names | {"category": categories}


def _ids(columns: Sequence[Sequence[str | None]]) -> tuple[Tensor, tuple[str, ...]]:
    """Places of names in their sorted list, a column each, and the list."""
    names = tuple(sorted({name for column in columns for name in column if name}))
    place = {name: i for i, name in enumerate(names)}
    rows = [[place[name] if name else NONE for name in column] for column in columns]
    return torch.tensor(rows).T.contiguous(), names


def _categories(columns: Sequence[Sequence[str | None]]) -> tuple[Tensor, tuple[str, ...]]:
    """Whether each text, names with commas between, holds each name."""
    parts = [[(text or "").split(",") for text in column] for column in columns]
    names = tuple(sorted({name for column in parts for found in column for name in found if name}))
    place = {name: i for i, name in enumerate(names)}
    held_BKC = torch.zeros(len(columns[0]), len(columns), len(names), dtype=torch.bool)
    for slot, column in enumerate(parts):
        for row, found in enumerate(column):
            for name in filter(None, found):
                held_BKC[row, slot, place[name]] = True
    return held_BKC, names


def _check_weeks(slates: CouponSlates, files: dict[str, Path]) -> None:
    """What is to be foretold must lie after all that is learned from."""
    last, first = slates.time_ms[~slates.held_out].max(), slates.time_ms[slates.held_out].min()
    if bool(first <= last):
        raise UserError(
            f"{files['held_out']} holds an order before the last of {files['train'].name}: "
            f"expected a later week; set data=DIR, a folder with files of one split by time."
        )
