"""What a log says of the items that a policy would show, beside what the user model claims of them.

Whole pages of a ranker hardly ever stand in a log, so that their weights say nothing; single
impressions do. On each logged page the policy fills a page of its own, and a logged impression of
an item of that page has the weight w = 1 / P(item | the items above), which the log holds. With r
what an impression brought and q what the user model says of it, the claim is corrected by

    (sum of w r) / (sum of w q)

over all impressions: an inverse propensity score of the model's relative error (Horvitz and
Thompson 1952, their ratio; item by item as Li et al. 2018, "Offline evaluation of ranking policies
with click models"), times the claim, which is the direct method. It is right where the model is,
whatever the propensities, and where the propensities are, if the model's relative error of an item
does not hang on the slot and on the other items.

What is not in it: states are those that the log's shoppers reached, so that what a policy changes
later in a session, and what pages take from what is found alone, stays as the model claims it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.logged import LoggedCore, logged_core
from recgym import choice, ope, progress
from recgym.logs.log import Log
from recgym.reward import click
from recgym.spaces import ObservationSpec
from recgym.types import After, Kind, Observation, Outcome, Page, Policy
from recgym.users.base import after_log_probs, by_segment
from recgym.users.sequence import SequenceModel

LANES = 512
MEASURES = ("clicks", "sales")
UNIT = "logged impressions"


@dataclass(frozen=True)
class Shown:
    """One step of some lanes: a logged page and what followed."""

    row: Tensor  # [N] int64, place of each lane's session among those that are played
    shopper: Tensor  # [N] int64
    seen: Observation
    outcome: Outcome
    propensity: Tensor  # [N, K], NaN in an empty slot


def played(core: LoggedCore) -> Iterator[Shown]:
    """Every page of the core's sessions once."""
    core.reset(0)
    lane_N = torch.arange(core.num_envs, device=core.device)
    while True:
        row_N = lane_N + core.num_envs * core.state.turn
        live_L = (row_N < len(core.row_R)).nonzero().squeeze(-1)
        if not len(live_L):
            return
        seen = core.observation
        transition = core.step(core.act(seen))
        assert transition.propensity is not None
        yield Shown(
            row_N[live_L],
            seen.arrival.seed[live_L],
            seen.lanes(live_L),
            transition.outcome.lanes(live_L),
            transition.propensity[live_L],
        )


@torch.no_grad()
def claims(model: SequenceModel, seen: Observation, item_NK: Tensor, cart_paid: float) -> Tensor:
    """What the user model says that each slot brings, [N, K, 2]: clicks, and money sold.

    Sold counts what is bought at once and, at the log's share of carted items that are paid, what
    goes into the cart.
    """
    index_NK = item_NK.clamp(min=0)
    price_NK = seen.catalog.price_of(index_NK, seen.visit.time_ms)
    page = Page(item_NK, price_NK.masked_fill(item_NK < 0, 0.0))
    total_NK2 = torch.zeros(*item_NK.shape, 2, dtype=torch.float64, device=item_NK.device)
    assert seen.encoder is not None
    for share_N1, supposed in by_segment(model, model.read(seen.encoder), page, seen.visit):  # type: ignore[arg-type]
        law = choice.law(model.respond(supposed, page, seen.visit), seen.visit)
        view_N1 = law.upper[:, int(Kind.VIEW)].exp().unsqueeze(-1)
        click_NK = share_N1 * view_N1 * choice.slot_given_view(law)
        after_NK4 = after_log_probs(model.after(supposed, index_NK, page.price, True)).exp()
        paid_NK = after_NK4[..., int(After.BUY)] + cart_paid * after_NK4[..., int(After.CART)]
        sold_NK = click_NK * paid_NK * page.price * model.quantity
        total_NK2 += torch.stack([click_NK, sold_NK], -1).double()
    return total_NK2


def brought(outcome: Outcome, cart_paid: float) -> Tensor:
    """What each slot of a logged page brought, [N, K, 2], in the measures of `claims`."""
    event, num_slots = outcome.event, outcome.page.item.shape[1]
    slot_K = torch.arange(num_slots, device=event.slot.device)
    clicked_NK = (event.slot.unsqueeze(-1) == slot_K).double()
    paid_N = (event.after == int(After.BUY)) + cart_paid * (event.after == int(After.CART))
    money_N = paid_N * event.price * event.quantity
    return torch.stack([clicked_NK, clicked_NK * money_N.double().unsqueeze(-1)], -1)


class Audit:
    """Sums over the pages of one policy.

    Args:
        policy: that fills a page in each logged state.
        num_sessions: B.
        clip: largest weight of an impression.
    """

    def __init__(self, policy: Policy, num_sessions: int, clip: float) -> None:
        self.policy, self.clip = policy, clip
        self.claim_B2 = torch.zeros(num_sessions, 2, dtype=torch.float64)
        self.brought_B2 = torch.zeros(num_sessions, 2, dtype=torch.float64)  # weighed, as the next
        self.claimed_B2 = torch.zeros(num_sessions, 2, dtype=torch.float64)
        self.weights: list[Tensor] = []
        self.pages, self.whole, self.impressions = 0, 0, 0

    def add(
        self,
        model: SequenceModel,
        shown: Shown,
        brought_NK2: Tensor,
        claimed_NK2: Tensor,
        cart_paid: float,
    ) -> None:
        """One step, with what each logged slot brought and what the model says of it."""
        item_NK, logged_NK = self.policy.act(shown.seen), shown.outcome.page.item
        filled_NK = logged_NK >= 0
        chosen_NK = (logged_NK.unsqueeze(-1) == item_NK.unsqueeze(1)).any(-1) & filled_NK
        weight_NK = (1.0 / shown.propensity.double()).nan_to_num(0.0).clamp(max=self.clip)
        weight_NK1 = (weight_NK * chosen_NK).unsqueeze(-1)
        row_N = shown.row.cpu()
        for sums_B2, value_NK2 in (
            (self.claim_B2, claims(model, shown.seen, item_NK, cart_paid)),
            (self.brought_B2, weight_NK1 * brought_NK2),
            (self.claimed_B2, weight_NK1 * claimed_NK2),
        ):
            sums_B2.index_add_(0, row_N, value_NK2.sum(1).cpu())
        self.weights.append(weight_NK[chosen_NK].cpu())
        self.pages += len(item_NK)
        self.whole += int((item_NK == logged_NK).all(-1).sum())
        self.impressions += int(filled_NK.sum())

    def values(self, shopper_B: Tensor, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Claim a session, its correction with a 95 % interval over shoppers, and their product."""
        found = {}
        for at, name in enumerate(MEASURES):
            claim = float(self.claim_B2[:, at].mean())
            parts = ope.Parts(self.brought_B2[:, at : at + 1], self.claimed_B2[:, at : at + 1])
            factor = ope.estimate(parts, shopper_B, seed).as_dict()
            corrected = {key: None if x is None else x * claim for key, x in factor.items()}
            found[name] = {"claim": claim, "brought_of_claimed": factor, "corrected": corrected}
        return found

    def overlap(self) -> ope.Overlap:
        """Of the weights of the logged impressions that the policy would have shown too."""
        weight_W = torch.cat(self.weights)
        if not len(weight_W):
            weight_W = torch.zeros(1, dtype=torch.float64)
        found = ope.overlap(weight_W, self.clip, UNIT)
        # how much weight is expected hangs on how often a policy's items stand above one another
        return replace(found, sessions=self.impressions, mean_weight=None)


def audit(
    model: SequenceModel,
    spec: ObservationSpec,
    log: Log,
    row_B: Tensor,
    policies: dict[str, Policy],
    *,
    cart_paid: float,
    clip: float,
    seconds: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Claims of the user model and what the sessions ``row_B`` of the log make of them."""
    core = logged_core(spec, log, click, num_envs=min(LANES, len(row_B)), row_R=row_B)
    audits = {name: Audit(one, len(row_B), clip) for name, one in policies.items()}
    shopper_B = torch.zeros(len(row_B), dtype=torch.int64)
    with progress.stage("audit", len(row_B), seconds):
        for shown in played(core):
            claimed_NK2 = claims(model, shown.seen, shown.outcome.page.item, cart_paid)
            brought_NK2 = brought(shown.outcome, cart_paid)
            for one in audits.values():
                one.add(model, shown, brought_NK2, claimed_NK2, cart_paid)
            shopper_B[shown.row.cpu()] = shown.shopper.cpu()
            progress.advance(float(shown.outcome.left.sum()))
    found: dict[str, Any] = {}
    for name, one in audits.items():
        overlap = one.overlap()
        found[name] = {
            **one.values(shopper_B),
            "overlap": {**overlap.as_dict(), "warning": overlap.warning()},
            "pages": one.pages,
            "whole_pages": one.whole,
        }
    return found
