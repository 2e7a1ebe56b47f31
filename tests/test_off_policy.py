"""python -m experiments.off_policy: logs of a true shop, and values against its truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import call

from agents.soft import SoftRanking
from experiments.evaluating.judging import scores
from experiments.evaluating.pages import Pages, write_pages
from experiments.evaluating.shop import LoggedShop
from experiments.off_policy import main
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation
from recgym.worlds.tiny import TinyShop

NUM_SLOTS = 2


def dear_first(seen: Observation) -> torch.Tensor:
    return seen.price


@pytest.fixture(scope="module")
def spec() -> ObservationSpec:
    return ObservationSpec(Simulator(TinyShop(slot=1.0), num_slots=NUM_SLOTS), "history")


LOGGING = SoftRanking(lambda seen: -seen.price, sharpness=0.3, filled=[0.1, 0.3, 0.6])
DEAR = SoftRanking(dear_first, sharpness=0.4, filled=[0.1, 0.2, 0.7])


@pytest.fixture(scope="module")
def pages(spec: ObservationSpec) -> Pages:
    return write_pages(spec, LOGGING, torch.arange(3000))


def test_a_log_holds_what_its_sessions_brought(spec: ObservationSpec, pages: Pages) -> None:
    # Why: rewards page by page must add up to what the roll-out counts itself.
    seed_B = torch.arange(3000)
    played = rollout(spec, LOGGING, seed_B, torch.zeros_like(seed_B))
    sums_BR = pages.padded(pages.reward_SR).sum(1)
    torch.testing.assert_close(sums_BR[:, 0], played.clicks.double())
    torch.testing.assert_close(sums_BR[:, 1], (played.orders > 0).double())
    torch.testing.assert_close(sums_BR[:, 2], played.revenue.double())
    assert int(pages.ends().sum()) == 3000
    assert int(pages.views_I.sum()) == int(played.views.sum())
    # once ordered, every later page of the session knows
    ordered_BT = pages.padded(pages.ordered_S)
    assert bool(((pages.padded(pages.reward_SR)[..., 1].cumsum(1) - ordered_BT) >= 0).all())


def test_the_logging_policy_has_its_own_value_by_every_estimator(pages: Pages) -> None:
    # Why: weights of 1 leave the plain mean of the log, whatever the model says of its pages.
    logged = LoggedShop(pages, LOGGING, unit=20.0)
    ratio_SK = logged.log_ratios(LOGGING)
    assert float(ratio_SK.abs().max()) == 0.0
    clicks = float(pages.reward_SR[:, 0].sum()) / 3000
    for name, estimate in logged.slate_estimates(LOGGING, None, seed=0).items():
        assert estimate.mean == pytest.approx(clicks), name


def test_marginals_of_two_slots_are_the_sum_over_first_items(pages: Pages) -> None:
    # Why: by enumeration, P(item 5 second) is the sum over all items before it.
    seen = pages.seen[0].lanes(slice(0, 2))
    chance_NI = DEAR.logits(seen).softmax(-1)
    second_N = sum(
        chance_NI[:, i] * chance_NI[:, 5] / (1 - chance_NI[:, i]) for i in range(20) if i != 5
    )
    found_NK = DEAR.marginals(seen, torch.tensor([[5, 5], [5, -1]]))
    torch.testing.assert_close(found_NK[:, 0], 0.9 * chance_NI[:, 5])
    assert found_NK[0, 1].item() == pytest.approx(0.7 * float(second_N[0]))
    assert found_NK[1, 1].item() == 1.0


def test_scores_of_estimators_are_what_is_computed_by_hand() -> None:
    # Why: two policies worth 3 and 5 above a nothing of 1, so a spread of 4; off by 1 and -0.2.
    def one(truth: float, value: float) -> dict[str, object]:
        estimate = {"mean": value, "low": value - 0.5, "high": value + 0.5}
        return {
            "truth": {"revenue": {"mean": truth, "deviation": 2.0}},
            "overlap": {"sessions": 100},
            "estimates": {"revenue": {"dr": estimate}},
        }

    found = scores({"a": one(3.0, 4.0), "b": one(5.0, 4.8)}, {"revenue": {"mean": 1.0}}, "revenue")
    row = found["estimators"]["dr"]
    assert found["spread"] == 4.0 and found["between_policies"] == 0.5
    assert found["on_policy_error"] == pytest.approx(2.0 / 10 / 4.0)
    assert row["error"] == pytest.approx(0.15) and row["bias"] == pytest.approx(0.1)
    assert row["spearman"] == pytest.approx(1.0) and row["coverage"] == 0.5
    assert row["width"] == pytest.approx(0.25)


def test_the_main_values_policies_near_their_truth_and_runs_no_shop_twice(tmp_path: Path) -> None:
    # Why: the whole path, log to table. At 2,000 sessions a played mean of clicks has a standard
    # error of about 1.3 % of the spread; bounds are for doubly robust values at this seed and size.
    given = ["shops=[tiny]", "log_sessions=2000", "truth_sessions=4000", "rules=3"]
    places = [f"folder={tmp_path}", f"hydra.run.dir={tmp_path / 'log'}"]
    call(main, *given, *places)
    found = json.loads((tmp_path / "off_policy.json").read_text())["shops"]["tiny"]
    assert len(found["policies"]) == 3
    clicks = found["scores"]["clicks"]
    assert clicks["estimators"]["dr"]["error"] < 0.1
    assert clicks["estimators"]["dr"]["coverage"] == 1.0
    assert clicks["estimators"]["trajectory ips"]["width"] > clicks["estimators"]["dr"]["width"]
    assert "Shop tiny: 3 policies" in (tmp_path / "off_policy.md").read_text()
    kept = next(tmp_path.glob("tiny-*.json"))
    kept.write_text(json.dumps({**found, "log": {"sessions": 7, "pages": 7}}))
    call(main, *given, *places)
    assert "a log of 7 sessions" in (tmp_path / "off_policy.md").read_text()


def test_settings_of_no_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: minutes of work must not end in a traceback.
    for override, said in (
        ("shops=[moon]", "expected entries of setups"),
        ("setups.tiny.filled=[0.5,0.5]", "expected one for each of 0 to 2 slots"),
        ("data=/nowhere", "set data=DIR"),
        ("threshold=wide", "threshold=wide: expected a number"),
        ("clip=-1", "clip=-1: expected a number"),
        ("setups.tiny.kept=2", "setups.tiny.kept=2: expected a number from 0 to 1"),
    ):
        with pytest.raises(SystemExit):
            call(main, override, f"folder={tmp_path}", f"hydra.run.dir={tmp_path / 'log'}")
        assert said in capsys.readouterr().err
