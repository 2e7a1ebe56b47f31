"""agents.cases: the same policies on the same shoppers, in every shop that is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from probe_shop import learned_shop

from agents.baselines import Greedy
from agents.cases import Case, play_range
from agents.table import policy_table, verdict_lines
from agents.valuing import play, shop_specs
from agents.verdict import summarise
from recgym.errors import UserError
from recgym.logging_policy import EmptyPages
from recgym.types import Policy
from recgym.users.assumed import AssumedRange, assumed_shop
from recgym.users.lstm import LSTMUserModel
from recgym.users.store import save_model

SLOTS, SESSIONS = 3, 80
CPU = torch.device("cpu")
CHOSEN = AssumedRange((0.3, 0.9), (0, 1), page_share=0.4, num_slots=SLOTS, sessions=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cases")
    fit = learned_shop()
    save_model(fit, home / "fit", {})
    save_model(shop(0.3, 0), home / "model", {}, home / "fit")
    return home / "model"


def shop(rho: float, seed: int) -> LSTMUserModel:
    return assumed_shop(learned_shop(), rho=rho, page_share=0.4, seed=seed, num_slots=SLOTS)


@pytest.fixture(scope="module")
def cases(folder: Path) -> list[Case]:
    model = shop(0.3, 0)
    policies: dict[str, Policy] = {
        "nothing": EmptyPages(SLOTS),
        "greedy": Greedy(model, num_slots=SLOTS, cart_paid=0.5),
    }
    spec = shop_specs(model, None, SLOTS)["learned"]
    runs = {name: play(spec, policy, SESSIONS, 0, CPU) for name, policy in policies.items()}
    return play_range(
        model, folder, policies, Case(0.3, 0, runs), CHOSEN, num_shoppers=SESSIONS, seed=0
    )


def test_the_base_shop_is_a_case_and_is_not_played_again(cases: list[Case]) -> None:
    # Why: its value, of the most sessions, must lie within its own range.
    assert [(case.rho, case.seed) for case in cases] == [(0.3, 0), (0.3, 1), (0.9, 0), (0.9, 1)]
    counts = [len(case.runs["greedy"].stats.shopper) for case in cases]
    assert counts == [SESSIONS, 40, 40, 40]
    first = cases[0].runs["greedy"].stats.shopper[:40]
    assert all(torch.equal(case.runs["greedy"].stats.shopper, first) for case in cases[1:])


def test_greedy_keeps_the_belief_that_it_was_made_with(cases: list[Case]) -> None:
    # Why: re-optimised in each shop it would be as many policies, of which one can be deployed.
    own = shop(0.9, 1)
    policy = Greedy(own, num_slots=SLOTS, cart_paid=0.5)
    best = play(shop_specs(own, None, SLOTS)["learned"], policy, 40, 0, CPU)
    found = cases[-1].runs["greedy"]
    assert not torch.equal(best.stats.clicks, found.stats.clicks)


def test_every_lift_of_the_summary_has_its_range(cases: list[Case]) -> None:
    # Why: the one in the base shop alone stands on an assumption.
    summary = summarise({"learned": cases[0].runs}, "greedy", 0, cases)
    lift = summary["policies"]["greedy"]["learned"]["incremental_revenue_per_session"]
    assert lift["range"]["worst"] <= lift["mean"] <= lift["range"]["best"]
    assert lift["range"]["worst"] < lift["range"]["best"]
    for pair in summary["differences"]["learned"]["greedy"]["nothing"].values():
        assert {"worst", "best", "worst_case", "mean_by_rho"} == set(pair["range"])
    text = policy_table(summary)
    ends = f"({lift['range']['worst']:+.3f} to {lift['range']['best']:+.3f})"
    assert text.count(ends) == 2 and "40 sessions a shop and policy (80 in that" in text
    nothing = summary["policies"]["nothing"]["learned"]["incremental_revenue_per_session"]
    assert (nothing["range"]["worst"], nothing["range"]["best"]) == (0.0, 0.0)


def test_against_a_true_shop_the_verdict_has_its_range_too(cases: list[Case]) -> None:
    # Why: a gap of one assumption says nothing of the others. The true shop here is rho = 0.9.
    true = {**cases[-1].runs, "oracle": cases[-1].runs["greedy"]}
    summary = summarise({"learned": cases[0].runs, "true": true}, "greedy", 0, cases)
    gap = summary["assumed"]["verdict"]["exploitation_gap_revenue"]
    assert gap["best"] <= summary["exploitation_gap_revenue"] <= gap["worst"]
    assert gap["best"] <= 0.0 <= gap["worst"]  # 0 in that very shop
    lines = verdict_lines({**summary, "agent": "greedy"})
    assert lines[0].endswith(f"({gap['worst']:+.1%} to {gap['best']:+.1%}) on revenue")
    assert "range" not in summary["policies"]["greedy"]["true"]["revenue_per_session"]


def test_a_run_without_its_fit_is_said_in_a_sentence(folder: Path, cases: list[Case]) -> None:
    # Why: folders of earlier versions hold the assumed shop alone.
    bare = folder.parent / "fit"
    with pytest.raises(UserError, match=r"lacks the fit before assumptions.*agents\.train"):
        play_range(shop(0.3, 0), bare, {}, cases[0], CHOSEN, num_shoppers=SESSIONS, seed=0)
