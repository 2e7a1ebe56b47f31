"""Shoppers of any shop, true or learned, who know which slots hold an ad: `recgym.users.ad_law`.

How tired of ads a shopper is, and how far ads are trusted, are the shopper's own: both go on when
one comes back. They are functions of pages alone (of whom the inner shop holds the shopper for, in
a learned one: its `typical` shopper), so that a log with ad labels tells them too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym import visit as visits
from recgym.lanes import Record
from recgym.types import DAY_MS, Arrival, Event, Page, Response, Rivalry, Visit
from recgym.users.ad_law import BEGIN_TRUST, AdLaw, Usual, ad_mass, annoyance, next_trust
from recgym.users.base import AfterLogits, Doubting, Return, Returning, Shoppers

MEASURED = 256  # shoppers on whom `measured` measures
MEASURED_SLOTS = 4  # of which a log of any pages knows most


@dataclass(frozen=True)
class AdState(Record):
    """A shopper of the inner shop, and what ads have done so far."""

    inner: Record
    tired: Tensor  # [N] of ads, at least 0
    trust: Tensor  # [N] in ads, in [0, 1]
    added: Tensor  # [N] what the last page's ads added to `tired`
    seen_ms: Tensor  # [N] int64, when the last page was answered, UTC milliseconds


@dataclass(frozen=True)
class AdReading(Record):
    """A reading of the inner shop, beside what ads have done; also of a shopper supposed."""

    inner: Any
    state: AdState


class AdShoppers:
    """Another shop's shoppers, to whom this law of ads applies.

    On a page that does not say which slots hold an ad, none does.

    Args:
        inner: true shop or user model.
        law: an `AdLaw`; or a preset's name or numbers by name, as in `measured`.
        usual: of the log that ``inner`` was fitted to; None where it saw no ads, as a true shop.
    """

    def __init__(
        self,
        inner: Shoppers,
        law: AdLaw | str | Mapping[str, Any],
        usual: Usual | None = None,
    ) -> None:
        self.inner, self.law = inner, law if isinstance(law, AdLaw) else measured(inner, law)
        self.usual = None if usual is None else usual.to(inner.catalog.category.device)
        self.catalog, self.quantity = inner.catalog, inner.quantity

    # ---- what only some shops have --------------------------------------------------------------

    @property
    def returns(self) -> bool:
        """Whether anybody comes back after a session."""
        return isinstance(self.inner, Returning) and self.inner.returns

    @property
    def brand(self) -> Tensor:
        """Of the items of a true shop, [I] int64."""
        brand_I: Tensor = self.inner.brand  # type: ignore[attr-defined]
        return brand_I

    @property
    def fame(self) -> Tensor:
        """Log of organic attention of the items of a true shop, [I]."""
        fame_I: Tensor = self.inner.fame  # type: ignore[attr-defined]
        return fame_I

    @property
    def logger_sees(self) -> float:
        """Weight of the hidden taste in the scores of a true shop's own logging policy."""
        return float(getattr(self.inner, "logger_sees", 0.0))

    def liking(self, state: AdState) -> Tensor:
        """Hidden taste of a true shop's shoppers, [N, I]."""
        liking_NI: Tensor = self.inner.liking(state.inner)  # type: ignore[attr-defined]
        return liking_NI

    # ---- the state ------------------------------------------------------------------------------

    def unwrapped(self, state: AdState) -> Record:
        """The inner shop's state."""
        return state.inner

    def tired(self, state: AdState) -> Tensor:
        """How tired of ads they are, [N]."""
        return state.tired

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """As in the inner shop."""
        return self.inner.arrive(seed_N, session_N)

    def init_state(self, arrival: Arrival) -> AdState:
        """Of shoppers who have met no ad."""
        none_N = arrival.profile.new_zeros(len(arrival.seed))
        return AdState(
            inner=self.inner.init_state(arrival),
            tired=none_N,
            trust=torch.full_like(none_N, BEGIN_TRUST),
            added=none_N,
            seen_ms=arrival.start_ms,
        )

    def read(self, state: AdState) -> AdReading:
        """The inner shop's reading."""
        return AdReading(self.inner.read(state.inner), state)

    def suppose(self, reading: AdReading, u_N: Tensor) -> AdReading:
        """As the inner shop supposes."""
        return AdReading(self.inner.suppose(reading.inner, u_N), reading.state)

    def typical(self, reading: AdReading) -> AdReading:
        """As in the inner shop."""
        return AdReading(self.inner.typical(reading.inner), reading.state)

    def segments(self, reading: AdReading) -> tuple[Tensor, AdReading]:
        """Those of the inner shop."""
        share_NG, supposed = self.inner.segments(reading.inner)
        return share_NG, AdReading(supposed, reading.state.repeated(share_NG.shape[1]))

    def facing(self, supposed: AdReading, page: Page, visit: Visit) -> AdReading:
        """As in the inner shop."""
        return AdReading(self.inner.facing(supposed.inner, page, visit), supposed.state)

    # ---- what they do ---------------------------------------------------------------------------

    def respond(self, supposed: AdReading, page: Page, visit: Visit) -> Response:
        """As in the inner shop, but for ads and whoever is tired of them."""
        found, law, state = (
            self.inner.respond(supposed.inner, page, visit),
            self.law,
            supposed.state,
        )
        if not law.acts():
            return found  # to the bit
        slot_NK, leave_N = found.slot, found.leave + (law.leave * state.tired).to(found.leave)
        if self.usual is not None:
            share_NK = self.usual.ad_share[page.item.clamp(min=0)]
            slot_NK = slot_NK + (law.slot_shift * share_NK).to(slot_NK)
            leave_N = leave_N + law.leave_shift * self._usual_tired(visit).to(leave_N)
        if page.sponsored is not None:
            more_N1 = ad_mass(law.level, law.blindness, state.trust).unsqueeze(-1)
            slot_NK = slot_NK + more_N1.to(slot_NK) * page.sponsored
        return dataclasses.replace(found, slot=slot_NK, leave=leave_N)

    def _usual_tired(self, visit: Visit) -> Tensor:
        assert self.usual is not None
        return self.usual.tired(self.law.memory, visit.page_number)

    def appeal(self, supposed: AdReading, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot, not as an ad."""
        appeal_NI = self.inner.appeal(supposed.inner, visit, price_NI)
        if self.usual is None:
            return appeal_NI
        return appeal_NI + (self.law.slot_shift * self.usual.ad_share).to(appeal_NI)

    def rivals(self, supposed: AdReading) -> Rivalry | None:
        """As in the inner shop."""
        return self.inner.rivals(supposed.inner)

    def after(
        self,
        supposed: AdReading,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """As in the inner shop: a view is a view, whatever led there."""
        return self.inner.after(supposed.inner, item_NJ, price_NJ, clicked_NJ)

    def gap(self, state: AdState) -> tuple[Tensor, Tensor]:
        """As in the inner shop."""
        return self.inner.gap(state.inner)

    def observe(self, reading: AdReading, page: Page, event: Event, visit: Visit) -> AdState:
        """The inner shop's state after the event, and what the page's ads did."""
        inner, state = self.inner.observe(reading.inner, page, event, visit), reading.state
        if page.sponsored is None:
            tired_N, trust_N = self.law.memory * state.tired, state.trust
            added_N = torch.zeros_like(tired_N)
        else:
            typical = self.inner.typical(reading.inner)
            slot_NK = self.inner.respond(typical, page, visit).slot
            looked_at = self.law.looked_at(slot_NK, page.sponsored)
            added_N = annoyance(*looked_at).to(state.tired)
            tired_N = self.law.memory * state.tired + added_N
            trust_N = next_trust(self.law.trust_rate, state.trust, *looked_at).to(state.trust)
        return AdState(inner, tired_N, trust_N, added_N, visit.time_ms)

    # ---- coming back ----------------------------------------------------------------------------

    def returning(self, state: AdState, visit: Visit) -> Return:
        """As in the inner shop, the less likely the more tired."""
        assert isinstance(self.inner, Returning)
        found, law = self.inner.returning(state.inner, visit), self.law
        if not law.acts():
            return found
        less_N = law.back * state.tired
        if self.usual is not None:
            less_N = less_N - law.back_shift * self._usual_tired(visit)
        return found._replace(logit=found.logit - less_N.to(found.logit))

    def again(self, state: AdState, arrival: Arrival) -> AdState:
        """As in the inner shop, rested by the days away; trust is what it was."""
        assert isinstance(self.inner, Returning)
        days_N = (arrival.start_ms - state.seen_ms).double() / DAY_MS
        return dataclasses.replace(
            state,
            inner=self.inner.again(state.inner, arrival),
            tired=self.law.rested(state.tired, days_N),
            seen_ms=arrival.start_ms,
        )

    def doubt(self, reading: AdReading, page: Page, event: Event, visit: Visit) -> Tensor:
        """That of an ensemble of shops, which do not part over ads."""
        assert isinstance(self.inner, Doubting)
        return self.inner.doubt(reading.inner, page, event, visit)


@torch.no_grad()
def measured(shop: Shoppers, given: str | Mapping[str, Any]) -> AdLaw:
    """The law of these numbers, with ``position`` and ``ordinary`` as they are in this shop.

    They are measured alike in a true shop and in a learned one, where they are not given: what an
    item alone loses from slot to slot, and the mean log-mass of all items in the first slot, before
    the first page of the first shoppers.
    """
    law, named = AdLaw.of(given), {} if isinstance(given, str) else given
    seed_N = torch.arange(MEASURED, device=shop.catalog.category.device)
    arrival = shop.arrive(seed_N, torch.zeros_like(seed_N))
    now = visits.begin(arrival.start_ms, MEASURED_SLOTS, shop.catalog.price.dtype)
    typical = shop.typical(shop.read(shop.init_state(arrival)))
    found: dict[str, float] = {}
    if "ordinary" not in named:
        appeal_NI = shop.appeal(typical, now, shop.catalog.price_at(arrival.start_ms))
        found["ordinary"] = float(appeal_NI.double().mean())
    if "position" not in named:
        item_N1 = (seed_N % shop.catalog.num_items).unsqueeze(-1)
        price_N1 = shop.catalog.price_of(item_N1, arrival.start_ms)
        mass_K = []
        for k in range(MEASURED_SLOTS):
            there_K = torch.arange(MEASURED_SLOTS, device=seed_N.device) == k
            page = Page(torch.where(there_K, item_N1, -1), price_N1 * there_K)
            mass_K.append(shop.respond(typical, page, now).slot[:, k].double().mean())
        lost_K = mass_K[0] - torch.stack(mass_K)
        doublings_K = torch.arange(1, MEASURED_SLOTS + 1, device=seed_N.device).double().log2()
        slope = (lost_K * doublings_K).sum() / doublings_K.square().sum()
        found["position"] = max(0.0, float(slope))  # least squares through the first slot
    return dataclasses.replace(law, **found)
