"""recgym.logs.open_bandit: the published layout, and what one policy's log says of the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from log_files import csv_text, write_text

from experiments.evaluating.open_bandit import judge
from recgym.errors import UserError
from recgym.logs.open_bandit import POLICIES, OpenBandit, shares

DATA = Path(os.environ.get("RECGYM_DATA", "missing")) / "open_bandit"


def shown(item: object, position: object, click: object, chance: object, **more: object) -> Any:
    row = {"": 0, "timestamp": "2019-11-24 00:03:13.442536+00:00", "item_id": item,
           "position": position, "click": click, "propensity_score": chance}  # fmt: skip
    users = {f"user_feature_{j}": f"u{j}" for j in range(4)}
    return row | users | {"user-item_affinity_0": 0.0} | more


def write(folder: Path, rows: list[Any], policy: str = "bts", deep: bool = False) -> None:
    place = folder / policy / "men" if deep else folder / policy
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "men.csv", csv_text(rows))


@pytest.mark.parametrize("deep", [False, True])
def test_rows_of_the_published_layout_become_rounds_by_time(tmp_path: Path, deep: bool) -> None:
    # Why: the small sample and the whole data set lay the same file in different places.
    later = {"timestamp": "2019-11-24 00:03:14+00:00", "user_feature_2": "a"}
    write(tmp_path, [shown(7, 3, 1, 0.25, **later), shown(2, 1, 0, 0.5)], deep=deep)
    log = OpenBandit(path=str(tmp_path)).read("bts")
    rounds = log.rounds
    assert log.rows == {"in": 2, "kept": 2, "set_aside": {}}
    assert rounds.item.tolist() == [2, 7] and rounds.position.tolist() == [0, 2]
    assert rounds.clicked.tolist() == [False, True]
    assert rounds.propensity.tolist() == [0.5, 0.25]
    assert rounds.time_ms.tolist() == [1_574_553_793_443, 1_574_553_794_000]
    assert rounds.user.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_rows_of_no_use_are_counted_by_reason(tmp_path: Path) -> None:
    # Why: no row may vanish; a weight of 1 / 0 would be all of an estimate.
    bad = [shown(1, 1, 0, 0.0), shown(1, 4, 0, 0.5), shown(1, 1, 2, 0.5), shown("", 1, 0, 0.5)]
    write(tmp_path, [shown(1, 1, 0, 0.5)] * 396 + bad)
    rows = OpenBandit(path=str(tmp_path)).read("bts").rows
    assert rows["in"] == 400 and rows["kept"] == 396
    assert rows["set_aside"] == {
        "propensity not in (0, 1]": 1,
        "position not 1, 2 or 3": 1,
        "click neither 0 nor 1": 1,
        "no item number": 1,
    }
    write(tmp_path, [shown(1, 1, 0, 0.5)] * 10 + bad)
    with pytest.raises(UserError, match="4 of 14 rows are of no use"):
        OpenBandit(path=str(tmp_path)).read("bts")


def test_what_is_not_the_data_set_is_refused(tmp_path: Path) -> None:
    # Why: each is one wrong setting, and one sentence mends it.
    with pytest.raises(UserError, match="set data=DIR"):
        OpenBandit(path=str(tmp_path)).read("bts")
    with pytest.raises(UserError, match="policy=best"):
        OpenBandit(path=str(tmp_path)).read("best")
    row = shown(1, 1, 0, 0.5)
    del row["propensity_score"]
    write(tmp_path, [row])
    with pytest.raises(UserError, match="'propensity_score'"):
        OpenBandit(path=str(tmp_path)).read("bts")


def test_shares_are_inverse_weighted_averages_of_propensities(tmp_path: Path) -> None:
    # Why: by hand, position 1 shows item 0 in one of four rounds, at propensity 0.1; weighing it by
    # 1 / 0.1 gives 1/4, where the plain average of what was shown would say 0.1.
    write(tmp_path, [shown(0, 1, 0, 0.1)] + [shown(1, 1, 0, 0.9)] * 3 + [shown(1, 2, 0, 1.0)]
          + [shown(0, 3, 0, 1.0)])  # fmt: skip
    found = shares(OpenBandit(path=str(tmp_path)).read("bts").rounds, 2)
    assert found.tolist() == [[0.25, 0.75], [0.0, 1.0], [1.0, 0.0]]


@pytest.mark.skipif(not DATA.is_dir(), reason="RECGYM_DATA names no folder with open_bandit")
def test_the_random_log_covers_what_thompson_sampling_earned() -> None:
    # Why: the one real check there is: 69 clicks in 10,000 rounds of its own log.
    reader = OpenBandit(path=str(DATA))
    logs = {policy: reader.read(policy) for policy in POLICIES}
    assert logs["random"].rows["kept"] == 10_000 == logs["bts"].rows["kept"]
    torch.testing.assert_close(
        logs["random"].rounds.propensity, torch.full((10_000,), 1 / 34, dtype=torch.float64)
    )
    found = judge(logs, clip=1e9, threshold=30.0, seed=0)["bts from the random log"]
    assert found["own"]["mean"] == pytest.approx(0.0069)
    assert found["overlap"]["effective"] == pytest.approx(2869, abs=1)
    for name in ("ips", "snips", "dr", "weighted dr", "switch dr"):
        estimate = found["estimates"][name]
        assert estimate["low"] < 0.0069 < estimate["high"]
        assert 0.004 < estimate["high"] - estimate["low"] < 0.008
