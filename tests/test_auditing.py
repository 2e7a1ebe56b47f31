"""agents.auditing and python -m agents.ope: claims of a user model held against the log."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_logged import MODEL, by_hand, spec_of
from tiny import call
from torch import Tensor

from agents import ope
from agents.auditing import Audit, brought, claims, played
from agents.logged import LoggedCore
from recgym.reward import click
from recgym.types import Observation
from recgym.worlds.truth import page_value

CHANCE = torch.tensor([0.5, 0.25, 0.1])  # of each slot's item, given those above


class Always:
    """Shows items 7, 5 and 2, whoever comes."""

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        return torch.tensor([7, 5, 2]).expand(len(observation.feature), -1)


def core_of(num_envs: int) -> LoggedCore:
    sessions, paid = by_hand()
    return LoggedCore(
        spec_of(MODEL), sessions, paid, click, num_envs=num_envs,
        propensity_SK=CHANCE.expand(6, -1), row_R=torch.arange(3),
    )  # fmt: skip


@pytest.mark.parametrize("num_envs", [1, 2, 3])
def test_every_page_is_played_once(num_envs: int) -> None:
    # Why: lanes go round and round, and a page that counts twice, or never, bends every mean.
    steps = list(played(core_of(num_envs)))
    page_S = torch.cat([step.outcome.page.item for step in steps])
    row_S = torch.cat([step.row for step in steps])
    expected = by_hand()[0].page.item
    assert sorted(page_S.tolist()) == sorted(expected.tolist())
    assert torch.bincount(row_S).sort().values.tolist() == [1, 2, 3]


def test_an_audit_by_hand() -> None:
    # Why: of the logged impressions 5 and 7 on the first page and 2 on the second would be shown:
    # weights 1 / 0.5, 1 / 0.25 and 1 / 0.25. Item 7 was clicked and two pieces of it at 10 put into
    # the cart, of which half are paid: 4 clicks and 4 * 10 of money. A model that says 0.1 clicks
    # and 2 of money of every slot claims 1 and 20 of these ten.
    one = Audit(Always(), num_sessions=3, clip=100.0)
    for step in played(core_of(2)):
        claimed_NK2 = torch.tensor([0.1, 2.0]).double().expand(*step.outcome.page.item.shape, 2)
        one.add(MODEL, step, brought(step.outcome, cart_paid=0.5), claimed_NK2, cart_paid=0.5)
    found = one.values(torch.arange(3))
    assert found["clicks"]["brought_of_claimed"]["mean"] == pytest.approx(4.0)
    assert found["sales"]["brought_of_claimed"]["mean"] == pytest.approx(2.0)
    assert found["sales"]["corrected"]["mean"] == pytest.approx(2.0 * found["sales"]["claim"])
    overlap = one.overlap()
    assert (overlap.sessions, one.pages, one.whole) == (11, 6, 0)
    assert overlap.effective == pytest.approx(10**2 / (4 + 16 + 16))
    assert "an effective 3" in (overlap.warning() or "")


def test_large_weights_are_cut() -> None:
    # Why: an item that was shown once in a thousand times would be all of the estimate.
    one = Audit(Always(), num_sessions=3, clip=3.0)
    for step in played(core_of(1)):
        claimed_NK2 = torch.ones(*step.outcome.page.item.shape, 2, dtype=torch.float64)
        one.add(MODEL, step, brought(step.outcome, 0.5), claimed_NK2, cart_paid=0.5)
    assert torch.cat(one.weights).tolist() == [2.0, 3.0, 3.0]


def test_claims_of_a_page_are_what_the_model_expects_of_it() -> None:
    # Why: what is held against the log must be what the learned shop draws from.
    spec = spec_of(MODEL)
    seed_N = torch.arange(20)
    state = spec.simulator.reset(seed_N, torch.zeros_like(seed_N))
    page = spec.simulator.page(state, torch.tensor([[3, 9, 4]]).expand(20, -1))
    seen = spec.observe(state)
    found_NK2 = claims(MODEL, seen, page.item, cart_paid=0.0)
    clicks_N = page_value(MODEL, state, page, seen.price).clicks
    torch.testing.assert_close(found_NK2[..., 0].sum(-1).float(), clicks_N)
    half_NK2 = claims(MODEL, seen, page.item, cart_paid=0.5)
    torch.testing.assert_close(half_NK2[..., 0], found_NK2[..., 0])
    assert bool((half_NK2[..., 1] > found_NK2[..., 1]).all())
    empty_NK = torch.full_like(page.item, -1)
    assert float(claims(MODEL, seen, empty_NK, cart_paid=0.5).abs().max()) == 0.0


def test_settings_of_no_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: each is one sentence, before a model is opened.
    for overrides, said in (
        ([], "run is missing"),
        ([f"run={tmp_path}", "clip=0"], "clip=0: expected a number of at least 1"),
        ([f"run={tmp_path}"], "lacks summary.json"),
    ):
        with pytest.raises(SystemExit):
            call(ope.main, *overrides, f"hydra.run.dir={tmp_path / 'log'}")
        assert said in capsys.readouterr().err
