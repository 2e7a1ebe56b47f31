"""An ensemble of user models: what the log leaves open, as shops that differ in it.

Each member is fitted on shoppers drawn anew from the log's. A shopper meets one member for a whole
session, so that a policy has to be good in all of them (Kurutach et al. 2018, "Model-ensemble
trust-region policy optimization", section 4.2). Where the members part, a learner can be made to
pay for it (Yu et al. 2020, "MOPO: Model-based offline policy optimization", equation 7).

All members read every history, in one batched pass; only the one that a shopper meets answers.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from recgym import choice, rng
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.rng import Purpose
from recgym.types import Arrival, Event, ItemTable, Kind, Page, Response, Rivalry, Visit
from recgym.users.base import AfterLogits
from recgym.users.sequence import SequenceModel
from recgym.users.states import Reading, SequenceState, Supposed

FALLBACK = "There is a performance drop because we have not yet implemented the batching rule"


@dataclass(frozen=True)
class EnsembleState(Record):
    """What every member remembers of a session."""

    member: Tensor  # [N] int64, who answers
    each: SequenceState  # [N, M, ...]


@dataclass(frozen=True)
class EnsembleReading(Record):
    """Every member's reading; see `Reading`."""

    member: Tensor  # [N] int64
    each: Reading  # [N, M, ...]


@dataclass(frozen=True)
class EnsembleSupposed(Record):
    """Every member's shopper of one segment; see `Supposed`."""

    member: Tensor  # [N] int64
    each: Supposed  # [N, M, ...]


class _Called(nn.Module):
    """A member as a function of its tensors, which `torch.func` stands in for."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], tables: Sequence[Tensor], args: Any) -> Any:
        """``function(member, *args)``; ``args(table)`` gives what hangs on the member's table."""
        member = copy.copy(self.model)  # of parameters that stand in, and with tables of its own
        share, member.weight_HW, member.taste_VS, *others = tables
        law, left = dataclasses.replace(self.model.tables.law, share=share), iter(others)
        member.cell = _filled(self.model.cell, left, law)
        member.tables = _filled(self.model.tables, left, law)
        return function(member, *args(law))


@dataclass(frozen=True)
class Halves:
    """One half of the members to train in, the other to score in: no agent marks its own work."""

    training: Ensemble
    scoring: Ensemble


class Ensemble:
    """Shoppers of M user models, behind the same protocol as one.

    Args:
        members: of one kind and size, fitted on one log.
    """

    def __init__(self, members: Sequence[SequenceModel]) -> None:
        first = members[0]
        if any(type(m) is not type(first) or m.settings != first.settings for m in members):
            raise UserError("the members of an ensemble differ: expected one kind and one size.")
        for member in members:
            member.eval()
        self.catalog, self.quantity = first.catalog, first.quantity
        self.num_members, self.num_segments = len(members), first.num_segments
        self._called = _Called(first)
        parameters, buffers = stack_module_state([_Called(m) for m in members])
        # where sessions begin is the same for all, and nothing that a verb reads
        whole = {"model.profile", "model.start_ms"}
        self._tensors = {
            **{name: value.detach() for name, value in parameters.items()},
            **{name: value for name, value in buffers.items() if name not in whole},
        }
        tables = zip(*map(_tables_of, members), strict=True)
        self._tables = [torch.stack(parts).detach() for parts in tables]
        self.table = _side_by_side([member.tables.law for member in members])

    def member_of(self, seed_N: Tensor, session_N: Tensor) -> Tensor:
        """Whom the shopper meets in this session, [N] int64 in [0, M)."""
        key_N = rng.key(seed_N, session_N, 0, Purpose.MEMBER)
        return (rng.uniform(key_N, dtype=torch.float64) * self.num_members).long()

    def _each(self, function: Callable[..., Any], over: tuple[Record, ...], *shared: Any) -> Any:
        """``function(member, *over, *shared)`` of all members at once.

        Tensors of ``over`` and of what comes back are [N, M, ...]; an item table of either is the
        member's own, and stays with it.
        """
        made: Any = None

        def of_one(tensors: Any, tables: Any, *values: Tensor) -> tuple[Tensor, ...]:
            nonlocal made

            def args(table: ItemTable) -> list[Any]:
                left = iter(values)
                return [*(_filled(record, left, table) for record in over), *shared]

            made = functional_call(self._called, tensors, (function, tables, args))
            return tuple(_tensors_of(made))

        leaves = list(_tensors_of(over))
        with warnings.catch_warnings():
            # sums of vectors go through the members one by one, within torch
            warnings.filterwarnings("ignore", FALLBACK)
            found = vmap(of_one, in_dims=(0, 0, *[1] * len(leaves)))(
                self._tensors, self._tables, *leaves
            )
        return _filled(made, (value.movedim(0, 1) for value in found), self.table)

    def _own(self, record: Any, member_N: Tensor) -> Any:
        """What the member says that a shopper meets, [N, ...] of [N, M, ...]."""
        lane_N = torch.arange(len(member_N), device=member_N.device)
        picked = (value[lane_N, member_N] for value in _tensors_of(record))
        return _filled(record, iter(list(picked)), self.table)

    # ---- the protocol ---------------------------------------------------------------------------

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """As in any of the members."""
        return self._called.model.arrive(seed_N, session_N)

    def init_state(self, arrival: Arrival) -> EnsembleState:
        """All members before the first page; (seed, session) decides whom the shopper meets."""
        member_N = self.member_of(arrival.seed, arrival.session)
        return EnsembleState(member_N, self._each(SequenceModel.init_state, (), arrival))

    def read(self, state: EnsembleState) -> EnsembleReading:
        """All heads of all members."""
        return EnsembleReading(state.member, self._each(SequenceModel.read, (state.each,)))

    def suppose(self, reading: EnsembleReading, u_N: Tensor) -> EnsembleSupposed:
        """A segment of each member, by the same uniform."""
        each = self._each(SequenceModel.suppose, (reading.each,), u_N)
        return EnsembleSupposed(reading.member, each)

    def typical(self, reading: EnsembleReading) -> EnsembleSupposed:
        """The mean over each member's segments."""
        each = self._each(SequenceModel.typical, (reading.each,))
        return EnsembleSupposed(reading.member, each)

    def segments(self, reading: EnsembleReading) -> tuple[Tensor, EnsembleSupposed]:
        """The segments of the member that a shopper meets."""
        share_NMG, each = self._each(SequenceModel.segments, (reading.each,))
        member_M = reading.member.repeat_interleave(share_NMG.shape[-1])
        return self._own(share_NMG, reading.member), EnsembleSupposed(member_M, each)

    def facing(self, supposed: EnsembleSupposed, page: Page, visit: Visit) -> EnsembleSupposed:
        """Every member's shopper in front of the page."""
        each = self._each(SequenceModel.facing, (supposed.each,), page, visit)
        return EnsembleSupposed(supposed.member, each)

    def respond(self, supposed: EnsembleSupposed, page: Page, visit: Visit) -> Response:
        """What the member says that a shopper meets.

        Its organic law is one of M · Z latent classes, of which only its own Z have any weight: so
        one table serves all lanes.
        """
        each: Response = self._each(_respond, (supposed.each,), page, visit)
        own: Response = self._own(each, supposed.member)
        member_M = torch.arange(self.num_members, device=supposed.member.device)
        mine_NM1 = (supposed.member.unsqueeze(-1) == member_M).unsqueeze(-1)
        latent_NMZ = each.organic.latent * mine_NM1
        found = dataclasses.replace(own.organic, latent=latent_NMZ.flatten(1), table=self.table)
        return dataclasses.replace(own, organic=found)

    def appeal(self, supposed: EnsembleSupposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """As the member says that a shopper meets."""
        each = self._each(SequenceModel.appeal, (supposed.each,), visit, price_NI)
        value: Tensor = self._own(each, supposed.member)
        return value

    def rivals(self, supposed: EnsembleSupposed) -> Rivalry:
        """As the member says that a shopper meets."""
        each: Rivalry = self._each(SequenceModel.rivals, (supposed.each,))
        own: Rivalry = self._own(each, supposed.member)
        return own

    def after(
        self,
        supposed: EnsembleSupposed,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """As the member says that a shopper meets."""
        each = self._each(SequenceModel.after, (supposed.each,), item_NJ, price_NJ, clicked_NJ)
        logits: AfterLogits = self._own(each, supposed.member)
        return logits

    def observe(
        self, reading: EnsembleReading, page: Page, event: Event, visit: Visit
    ) -> EnsembleState:
        """All members move on: each reads what happened, whoever answered."""
        each = self._each(SequenceModel.observe, (reading.each,), page, event, visit)
        return EnsembleState(reading.member, each)

    def gap(self, state: EnsembleState) -> tuple[Tensor, Tensor]:
        """As the member says that a shopper meets; the standard deviation is [N] as well."""
        each = self._each(_gap, (state.each,))
        mean_N, std_N = self._own(each, state.member)
        return mean_N, std_N

    # ---- doubt ----------------------------------------------------------------------------------

    def doubt(self, reading: EnsembleReading, page: Page, event: Event, visit: Visit) -> Tensor:
        """How far the members part over what the clicked slot sells, [N] in currency units.

        Standard deviation over members of P(slot clicked) · E[money sold | clicked], divided by
        the mean of P(slot clicked): 0 unless a slot was clicked, so that its mean over choices is
        the sum over slots of the standard deviations, and each item carries its own.
        """
        clicked_NMK, money_NMK = self._each(_sales, (reading.each,), page, visit)
        apart_NK = (clicked_NMK * money_NMK).std(1)
        doubt_NK = apart_NK / clicked_NMK.mean(1).clamp(min=torch.finfo(apart_NK.dtype).tiny)
        doubt_N: Tensor = doubt_NK.gather(-1, event.slot.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return doubt_N.masked_fill(event.slot < 0, 0.0)


def halves(members: Sequence[SequenceModel]) -> Halves | None:
    """Two ensembles of an even number of members; None where there are none."""
    middle = len(members) // 2
    return Halves(Ensemble(members[:middle]), Ensemble(members[middle:])) if members else None


def _respond(model: SequenceModel, supposed: Supposed, page: Page, visit: Visit) -> Response:
    """`respond`, with a number a lane where a model has one for all."""
    found, count = model.respond(supposed, page, visit), len(page.item)
    return dataclasses.replace(
        found,
        page_weight=found.page_weight.expand(count),
        dissimilarity=found.dissimilarity.expand(count, 1),
    )


def _gap(model: SequenceModel, state: SequenceState) -> tuple[Tensor, Tensor]:
    mean_N, std = model.gap(state)
    return mean_N, std.expand_as(mean_N)


def _sales(
    model: SequenceModel, reading: Reading, page: Page, visit: Visit
) -> tuple[Tensor, Tensor]:
    """P(slot clicked) and E[money sold | clicked] of a typical shopper, each [N, K]."""
    supposed = model.facing(model.typical(reading), page, visit)
    law = choice.law(model.respond(supposed, page, visit), visit)
    view_N1 = law.upper[:, int(Kind.VIEW)].exp().unsqueeze(-1)
    after = model.after(supposed, page.item.clamp(min=0), page.price, True)
    buy_NK = after.buy.sigmoid()
    sold_NK = buy_NK + (1.0 - buy_NK) * after.cart.sigmoid()
    return view_N1 * choice.slot_given_view(law), sold_NK * page.price * model.quantity


def _tables_of(model: SequenceModel) -> list[Tensor]:
    """What `prepare` made and a verb reads, in the order of `_Called`."""
    tables, of_memory = model.tables, _tensors_of(model.cell)
    of_heads = model.weight_HW, model.taste_VS
    return [tables.law.share, *of_heads, *of_memory, *_tensors_of(tables)]


def _side_by_side(tables: Sequence[ItemTable]) -> ItemTable:
    """The classes of all members as those of one table."""
    first, num_classes = tables[0], tables[0].share.shape[1]
    line = first.num_categories * num_classes
    return dataclasses.replace(
        first,
        share=torch.cat([table.share for table in tables], -1),
        edge=torch.cat([table.edge + m * line for m, table in enumerate(tables)]),
    )


def _tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors of a record or a tuple but those of item tables, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors_of(part)
    elif isinstance(value, Record) and not isinstance(value, ItemTable):
        for field in dataclasses.fields(value):  # type: ignore[arg-type]
            yield from _tensors_of(getattr(value, field.name))


def _filled(value: Any, tensors: Iterator[Tensor], table: ItemTable) -> Any:
    """The same record or tuple of these tensors and this item table."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, ItemTable):
        return table
    if isinstance(value, tuple):
        parts = [_filled(part, tensors, table) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, Record):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        changed = {f.name: _filled(getattr(value, f.name), tensors, table) for f in fields}
        return dataclasses.replace(value, **changed)  # type: ignore[type-var]
    return value
