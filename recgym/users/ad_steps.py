"""The steps of a log with ads, as a fit of `recgym.users.ad_law` reads them.

The user model runs along the sessions once; what it says of each page without ads is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from recgym import choice
from recgym.lanes import Record
from recgym.types import Event, ItemTable, Response, Sessions, Split, Visit
from recgym.users import tastes
from recgym.users.ad_law import BEGIN_TRUST, AdLaw, Usual, ad_mass, annoyance, next_trust
from recgym.users.likelihood import Steps, cart_counts, gather_steps, walked
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches
from recgym.visit import brief

BATCH_STEPS = 8192
R = TypeVar("R", bound=Record)


class Carried(NamedTuple):
    """What ads have done to shoppers, before or after each of B sessions."""

    tired: Tensor  # [B] float64
    trust: Tensor  # [B] float64


@dataclass(frozen=True)
class Batch:
    """Steps of some sessions in lock-step order; see `likelihood.Steps`. M counts what is open."""

    response: Response  # [n M] to each page without ads
    visit: Visit  # [n M]
    event: Event  # [n M]
    log_share: Tensor  # [n, M]
    sponsored: Tensor  # [n, K] bool
    attention: Tensor  # [n, K] to each ad
    relevance: Tensor  # [n, K]
    ad_share: Tensor  # [n, K] of the page's items, see `Usual`
    session: Tensor  # [n] int64, row of `AdSteps`
    active: list[int]  # [T] sessions that reach each step
    own: Tensor  # [b] int64, rows of `AdSteps` of the batch's sessions

    def along(self, law: AdLaw, memory: float | Tensor, begin: Carried) -> tuple[Carried, Carried]:
        """Tiredness and trust before each step [n], and after the last of each session [b]."""
        tired, trust = begin.tired[self.own], begin.trust[self.own]
        added_n, first = annoyance(self.attention, self.relevance), 0
        before: list[tuple[Tensor, Tensor]] = []
        ended: list[tuple[Tensor, Tensor]] = []
        for active in self.active:
            ended.append((tired[active:], trust[active:]))
            rows = slice(first, first + active)
            tired, trust = tired[:active], trust[:active]
            before.append((tired, trust))
            looked_at = self.attention[rows], self.relevance[rows]
            tired = memory * tired + added_n[rows]
            trust = next_trust(law.trust_rate, trust, *looked_at)
            first += active
        ended.append((tired, trust))
        # the longest sessions come first, and end last
        return _joined(before), _joined(ended[::-1])

    def log_prob(
        self, law: AdLaw, usual: Usual, begin: Carried, changed: Mapping[str, Tensor]
    ) -> Tensor:
        """Log-likelihood of each step's choice, [n]."""
        numbers = {**vars(law), **changed}
        count = self.log_share.shape[1]
        before, _ = self.along(law, numbers["memory"], begin)
        more_n1 = ad_mass(numbers["level"], numbers["blindness"], before.trust).unsqueeze(-1)
        more_nK = more_n1 * self.sponsored + numbers["slot_shift"] * self.ad_share
        usual_n = usual.tired(numbers["memory"], self.visit.page_number[::count])
        leave_n = numbers["leave"] * before.tired + numbers["leave_shift"] * usual_n
        response = replace(
            self.response,
            slot=self.response.slot + more_nK.repeat_interleave(count, 0),
            leave=self.response.leave + leave_n.repeat_interleave(count),
        )
        whole = choice.log_prob(choice.law(response, self.visit), self.event)
        choice_n: Tensor = (self.log_share + whole.unflatten(0, (-1, count))).logsumexp(-1)
        return choice_n


@dataclass(frozen=True)
class AdSteps:
    """All batches of B sessions."""

    batches: list[Batch]
    num_sessions: int
    usual: Usual

    def fresh(self) -> Carried:
        """Of shoppers who have met no ad."""
        zero_B = torch.zeros(self.num_sessions, dtype=torch.float64)
        return Carried(zero_B, torch.full_like(zero_B, BEGIN_TRUST))

    @torch.no_grad()
    def log_prob(
        self, law: AdLaw, begin: Carried, changed: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Log-likelihood of the choices of each session, [B], with some numbers changed."""
        total_B = torch.zeros(self.num_sessions, dtype=torch.float64)
        for batch in self.batches:
            total_B.index_add_(
                0, batch.session, batch.log_prob(law, self.usual, begin, changed or {})
            )
        return total_B

    def ends(self, law: AdLaw, begin: Carried) -> Carried:
        """What ads have done after each session."""
        ended = self.fresh()
        for batch in self.batches:
            _, after = batch.along(law, law.memory, begin)
            ended.tired[batch.own], ended.trust[batch.own] = after
        return ended


@torch.no_grad()
def collect(model: SequenceModel, sessions: Sessions, row_B: Tensor, law: AdLaw) -> AdSteps:
    """Run the model along these sessions; place and ordinary mass are those of ``law``."""
    cart_S, length_B = cart_counts(sessions), sessions.offset.diff()[row_B]
    found, table = [], _double(model.tables.law)
    ad_share_I = ad_shares(sessions, model.catalog.num_items)
    for part in batches(length_B, BATCH_STEPS, None):
        # as in `gather_steps`, the longest first
        part = part[length_B[part].argsort(descending=True, stable=True)]
        steps = gather_steps(sessions, cart_S, row_B[part])
        found.append(_batch(model, steps, part, law, table, ad_share_I))
    added_n = torch.cat([annoyance(batch.attention, batch.relevance) for batch in found])
    return AdSteps(found, len(row_B), Usual(ad_share_I, float(added_n.mean())))


def ad_shares(sessions: Sessions, num_items: int) -> Tensor:
    """Ads among the showings of each item in the training sessions, [I]; 0 of one never shown."""
    train_S = (sessions.split == int(Split.TRAIN)).repeat_interleave(sessions.offset.diff())
    item_SK, ad_SK = sessions.page.item[train_S], sessions.page.sponsored
    assert ad_SK is not None
    shown_I = torch.bincount(item_SK[item_SK >= 0], minlength=num_items)
    ads_I = torch.bincount(item_SK[ad_SK[train_S]], minlength=num_items)
    return ads_I.double() / shown_I.clamp(min=1)


def _batch(
    model: SequenceModel,
    steps: Steps,
    own_b: Tensor,
    law: AdLaw,
    table: ItemTable,
    ad_share_I: Tensor,
) -> Batch:
    own = own_b.to("cpu")
    steps = steps.to(model.items.own.device)
    reading, _ = walked(model, steps)
    share_nM = tastes.at_nodes(reading.share)
    lanes = share_nM.shape[1]
    event_M, page = steps.event.repeated(lanes), steps.page
    law_M, _, _ = model.answers.laws(model.tables, reading, page, steps.event, steps.visit)
    found, response = law_M.response.organic, law_M.response
    # one table for all batches: of many items it is the largest of all
    organic = _double(found, table=table)
    assert page.sponsored is not None
    typical_nK = model.respond(model.typical(reading), page, steps.visit).slot
    attention_nK, relevance_nK = law.looked_at(typical_nK.double(), page.sponsored)
    return Batch(
        response=_double(response, organic=organic),
        visit=_double(brief(steps.visit).repeated(lanes)),
        event=_double(event_M),
        log_share=share_nM.double().cpu(),
        sponsored=page.sponsored.cpu(),
        attention=attention_nK.cpu(),
        relevance=relevance_nK.cpu(),
        ad_share=ad_share_I[page.item.clamp(min=0).cpu()],
        session=own[steps.session().cpu()],
        active=steps.active,
        own=own,
    )


def _double(record: R, **kept: Record) -> R:
    """In float64 on the CPU, since scores are differences; but for what is given as it is to be."""
    bare = replace(record, **dict.fromkeys(kept))  # type: ignore[type-var]
    found = bare._map(lambda x: (x.double() if x.is_floating_point() else x).cpu())
    whole: R = replace(found, **kept)  # type: ignore[type-var]
    return whole


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Carried:
    tired, trust = zip(*parts, strict=True)
    return Carried(torch.cat(tired), torch.cat(trust))
