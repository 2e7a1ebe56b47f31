"""What may be asked about a page: the log-probability of what the shopper does with it.

Chances are the model's own over all kinds of shopper that its state leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym import choice
from recgym.errors import UserError
from recgym.explain.histories import Moment, label
from recgym.types import Event, Kind, Page, Visit
from recgym.users.base import Shoppers, after_log_probs, follow

ASKED = ("happened", "click", "buy", "leave")
LEAST = 1e-12  # of a chance: what an event alone makes possible has no logarithm without it


@dataclass(frozen=True)
class Question:
    """Asks for one of `ASKED` on a page.

    Attributes:
        kind: `happened`, all that the shopper did with the page; `click` on one slot; `buy`,
            anything at once or the whole cart; `leave`.
        page, event: asked about, each of one lane.
        slot: of the click.
    """

    kind: str
    page: Page
    event: Event
    slot: int = -1

    @property
    def text(self) -> str:
        """In words."""
        if self.kind == "happened":
            return f"what the shopper did ({label(self.event)})"
        if self.kind == "click":
            item = int(self.page.item[0, self.slot])
            return f"a click on item {item} in slot {self.slot + 1}"
        return {"buy": "buying anything on this page", "leave": "leaving"}[self.kind]

    def log_prob(self, model: Shoppers, state: Any, visit: Visit) -> Tensor:
        """Of B states and visits, [B] in nats."""
        share_BG, supposed = model.segments(model.read(state))
        count = share_BG.shape[1]
        lane_M = torch.arange(len(share_BG), device=share_BG.device).repeat_interleave(count)
        here_M = torch.zeros_like(lane_M)
        page, now = self.page.lanes(here_M), visit.lanes(lane_M)
        supposed = model.facing(supposed, page, now)
        law = choice.law(model.respond(supposed, page, now), now)
        chance_M = self._chance(model, supposed, law, now, here_M)
        chance_B = (chance_M.view_as(share_BG) * share_BG).sum(-1)
        return chance_B.clamp(min=LEAST).log()

    def _chance(
        self, model: Shoppers, supposed: Any, law: choice.Law, visit: Visit, here_M: Tensor
    ) -> Tensor:
        """Given the kind of shopper, [M]."""
        if self.kind == "leave":
            return law.upper[:, int(Kind.LEAVE)].exp()
        if self.kind == "click":
            view_M = law.upper[:, int(Kind.VIEW)].exp()
            return view_M * choice.slot_given_view(law)[:, self.slot]
        if self.kind == "happened":
            event = self.event.lanes(here_M)
            chosen_M = choice.log_prob(law, event).exp()
            if int(self.event.item) < 0:
                return chosen_M
            log_M4 = follow(model, supposed, event.item, event.price, event.slot)
            return chosen_M * log_M4.gather(-1, event.after.unsqueeze(-1)).squeeze(-1).exp()
        return _buying(model, supposed, law, self.page.lanes(here_M), visit)


def _buying(model: Shoppers, supposed: Any, law: choice.Law, page: Page, visit: Visit) -> Tensor:
    """Of paying for the cart, or for anything viewed at once, [M]."""
    probability = choice.probabilities(law)
    price_MI = model.catalog.price_at(visit.time_ms)
    found_MI = after_log_probs(model.after(supposed, None, price_MI, False))[..., -1].exp()
    shown_MK = model.after(supposed, page.item.clamp(min=0), page.price, True)
    clicked_MK = after_log_probs(shown_MK)[..., -1].exp()
    at_once_M = (probability.organic * found_MI).sum(-1) + (probability.slot * clicked_MK).sum(-1)
    return probability.checkout + at_once_M


def question_of(kind: str, model: Shoppers, state: Any, asked: Moment) -> Question:
    """The question about a page; a click is that which happened, else the likeliest.

    Raises:
        UserError: where nothing of the kind can happen.
    """
    if kind not in ASKED:
        raise UserError(f"explain={kind}: expected one of {', '.join(ASKED)}.")
    page, event = asked.page, asked.event
    if kind == "leave" and int(asked.visit.page_number) == 0:
        raise UserError("explain=leave: nobody leaves before a first view; ask about a later page.")
    if kind != "click":
        return Question(kind, page, event)
    if not bool((page.item >= 0).any()):
        raise UserError("explain=click: the page is empty; ask about another page or policy.")
    slots = [k for k, item in enumerate(page.item[0].tolist()) if item >= 0]
    if int(event.slot) >= 0:
        return Question(kind, page, event, int(event.slot))
    with torch.no_grad():
        asked_K = [
            float(Question(kind, page, event, k).log_prob(model, state, asked.visit)) for k in slots
        ]
    return Question(kind, page, event, slots[asked_K.index(max(asked_K))])
