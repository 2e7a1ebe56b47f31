"""agents.verdict: values and differences by hand, and what is unknown stays unknown."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import ProbeShop

from agents.baselines import Popular, Random
from agents.table import policy_table, verdict_lines
from agents.valuing import value
from agents.verdict import summarise
from recgym.logging_policy import EmptyPages
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec

CPU = torch.device("cpu")
SPEC = ObservationSpec(Simulator(ProbeShop(), num_slots=2), "history")


def played(seed: int = 0) -> dict[str, object]:
    policies = {
        "nothing": EmptyPages(2),
        "popular": Popular(torch.arange(4), num_slots=2),
        "random": Random(num_slots=2),
        "twin": Popular(torch.arange(4), num_slots=2),
    }
    runs = value({"learned": SPEC}, policies, num_shoppers=200, seed=seed, device=CPU)
    return summarise(runs, "popular", seed)


def test_alike_policies_differ_by_exactly_nothing() -> None:
    # Why: a policy against itself, under two names.
    summary = played()
    pair = summary["differences"]["learned"]["twin"]["popular"]  # type: ignore[index]
    for estimate in pair.values():
        assert estimate == {"mean": 0.0, "low": 0.0, "high": 0.0}
    nothing = summary["policies"]["nothing"]["learned"]  # type: ignore[index]
    assert nothing["incremental_revenue_per_session"]["mean"] == 0.0
    assert nothing["click_through_rate"]["mean"] is None  # nothing was shown
    assert nothing["conversion_rate"]["mean"] is not None


def test_differences_are_those_of_the_values() -> None:
    # Why: computed a second time from the table.
    summary = played()
    mean = {
        name: row["learned"]["revenue_per_session"]["mean"]
        for name, row in summary["policies"].items()  # type: ignore[attr-defined]
    }
    pair = summary["differences"]["learned"]["random"]["popular"]  # type: ignore[index]
    expected = mean["random"] - mean["popular"]
    assert pair["revenue_per_session"]["mean"] == pytest.approx(expected, abs=1e-6)


def test_without_a_true_shop_the_verdict_is_unknown() -> None:
    # Why: a real log has no truth, and the table and its figures must say so, not fail.
    summary = played()
    for key in ("kendall_tau", "exploitation_gap", "headroom", "headroom_share", "regret"):
        assert summary[key] is None
    assert summary["policies"]["popular"]["true"] is None  # type: ignore[index]
    lines = policy_table(summary).splitlines()
    assert lines[0].startswith("policy") and len(lines) == 6
    assert lines[2].startswith("nothing") and lines[2].rstrip().endswith("-")


def test_a_shop_where_nothing_earns_has_no_gap_and_no_headroom() -> None:
    # Why: sums of float32 leave a millionth where two policies truly earn the same; a gap over that
    # reads +730154397495.9%.
    policies = {"nothing": EmptyPages(2), "logging": EmptyPages(2), "popular": EmptyPages(2)}
    runs = {
        shop: value({shop: SPEC}, policies, num_shoppers=200, seed=0, device=CPU)[shop]
        for shop in ("learned", "true")
    }
    runs["true"]["oracle"] = runs["true"]["nothing"]
    stats = runs["true"]["popular"].stats
    rounded = dataclasses.replace(stats, credited_revenue=stats.credited_revenue * (1.0 + 1e-7))
    runs["true"]["popular"] = dataclasses.replace(runs["true"]["popular"], stats=rounded)
    summary = summarise(runs, "popular", 0)
    for key in ("exploitation_gap", "headroom_share", "regret"):
        assert summary[key] is None, key
    assert summary["headroom"] == 0.0
    assert "earns - of it" in "\n".join(verdict_lines({**summary, "agent": "popular"}))
