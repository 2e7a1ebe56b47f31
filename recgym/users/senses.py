"""What a state of a user model takes in of a page and of the event that followed.

What a site can bring about enters as a *surprise*: a sale of what sells anyway says little about
the shopper, and a better page must not make every shopper look keener. Expectations are the
model's own, so surprises are zero on average under any policy (score-driven models: Creal, Koopman
and Lucas 2013, "Generalized autoregressive score models", equation 2, with the score of the
multinomial logit). Exceptions are the items viewed and their categories, see
`recgym.users.sequence`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recgym import organic
from recgym.lanes import rows
from recgym.types import After, Event, Kind, Page, Visit
from recgym.users import tastes
from recgym.users.items import Tables
from recgym.users.products import times
from recgym.users.segments import Prospect, expect
from recgym.users.states import NUM_FADING, Reading
from recgym.users.surprises import NUM_TALLIES, Expectation
from recgym.visit import day_of_week

MOMENTS = {"weekday": 2, "position": 1}  # what of the moment may be read, and in how many numbers
POSITION_SCALE = 0.4  # of the log of a page's number, so that it is about 1 as others are


class Senses(nn.Module):
    """How much of what happened counts.

    Args:
        inputs: what of the moment a memory reads beside, see `moment`.
    """

    scale_3: Tensor  # of the memory's inputs quantity, gap and cart, so that all are about 1
    knows_clicks: Tensor  # [] 0 where the log said nothing of pages: a click tells what a find does

    def __init__(self, inputs: Sequence[str] = ()) -> None:
        super().__init__()
        self.moments = [name for name in MOMENTS if name in inputs]
        self.register_buffer("scale_3", torch.tensor([1.0, 0.2, 1.0]))
        self.register_buffer("knows_clicks", torch.ones(()))
        self.memory = nn.Parameter(torch.linspace(0.0, 2.0, NUM_FADING))  # before a sigmoid
        self.sated_memory = nn.Parameter(torch.ones(()))  # before a sigmoid

    def num_inputs(self, of_item: int) -> int:
        """X of the memory, the length of `inputs`, where an item has so many."""
        return 2 * of_item + NUM_TALLIES + 3 + sum(MOMENTS[name] for name in self.moments)

    def expect(
        self, tables: Tables, reading: Reading, found: Prospect, page: Page, event: Event
    ) -> Expectation:
        """What is expected of the page whose prospect this is, before the event."""
        taken_NGK, searched_N = (
            found.taken * self.knows_clicks,
            torch.ones_like(reading.usual[:, 0]),
        )
        pointers = reading.found.pointers
        if pointers is not None:
            # of what a slot takes over, the part of the search, as a share of the search
            by_search_NK = organic.by_search(reading.found, page.item.clamp(min=0))
            taken_NGK = taken_NGK * by_search_NK.unsqueeze(1)
            item_N1 = event.item.clamp(min=0).unsqueeze(-1)
            searched_N = pointers.rest * organic.by_search(reading.found, item_N1).squeeze(-1)
        found = dataclasses.replace(found, taken=taken_NGK)
        page_NKX = rows(tables.input_IX, page.item.clamp(min=0))
        share_NM = tastes.at_nodes(reading.share)
        expected = expect(share_NM, found, reading.usual, page_NKX, searched_N)
        if page.told is None:
            return expected
        load_NKV = rows(tables.loads.click_IV, page.item.clamp(min=0))
        liked_NK = times(tastes.away(tables.loads, load_NKV), reading.state.belief.mean)
        return dataclasses.replace(expected, liked=liked_NK)

    def as_read(self, event: Event) -> Event:
        """The event as states heed it: every view a find, where nothing is known of clicks."""
        slot_N = torch.where(self.knows_clicks > 0, event.slot, -1)
        return dataclasses.replace(event, slot=slot_N)

    def found_surprise(self, tables: Tables, expected: Expectation, event: Event) -> Tensor:
        """What a find tells, [N, X]; 0 for other events."""
        return tastes.found_surprise(expected, tables.input_IX, self.as_read(event))

    def fade(self, tables: Tables, viewed: Tensor, event: Event) -> Tensor:
        """The fading means of what was viewed after an event, [N, R D]."""
        kept_R1 = self.memory.sigmoid().unsqueeze(-1)
        seen_N1D = rows(tables.vector_ID, event.item.clamp(min=0)).unsqueeze(1)
        moved_NRD = seen_N1D + kept_R1 * (viewed.unflatten(-1, (NUM_FADING, -1)) - seen_N1D)
        viewed_N1 = (event.kind == int(Kind.VIEW)).unsqueeze(-1)
        return torch.where(viewed_N1, moved_NRD.flatten(1), viewed)

    def tire(self, tables: Tables, sated_NJ: Tensor, event: Event) -> Tensor:
        """The fading counts of the views of each group of categories after an event, [N, J].

        What is had again and again pleases less, and no taste for it (McAlister 1982, "A dynamic
        attribute satiation model of variety-seeking behavior", equations 1 and 2, with an inventory
        that views fill and views use up).
        """
        count = sated_NJ.shape[-1]
        group_N1 = tables.groups(count, event.item.clamp(min=0)).unsqueeze(-1)
        seen_NJ = (group_N1 == torch.arange(count, device=group_N1.device)).to(sated_NJ.dtype)
        viewed_N1 = (event.kind == int(Kind.VIEW)).unsqueeze(-1)
        return torch.where(viewed_N1, seen_NJ + self.sated_memory.sigmoid() * sated_NJ, sated_NJ)

    def inputs(
        self,
        tables: Tables,
        expected: Expectation,
        tally_NF: Tensor,
        found_NX: Tensor,
        event: Event,
        visit: Visit,
    ) -> list[Tensor]:
        """What the memory reads of one step, parts of [N, X], given its `tallies` and surprise.

        An item found alone is compared with what would be found, and sold or not with its chance;
        of clicks the tallies tell here and the rest moves the belief about taste. Having stayed
        enters as the hazard that was survived.
        """
        dtype, viewed_N1 = tally_NF.dtype, tally_NF[:, -1:]
        sold_N1 = (event.after >= int(After.CART)).to(dtype).unsqueeze(-1)
        surprise_N1 = (sold_N1 - expected.sold().unsqueeze(-1)) * viewed_N1
        item_NX = rows(tables.input_IX, event.item.clamp(min=0))
        count_N = visit.cart_count().to(dtype)
        scale_N3 = torch.stack([event.quantity, event.gap, count_N], -1).log1p() * self.scale_3
        return [found_NX, item_NX * surprise_N1, tally_NF, scale_N3, *self.moment(visit, dtype)]

    def moment(self, visit: Visit, dtype: torch.dtype) -> list[Tensor]:
        """Sine and cosine of the weekday, and the page's place in the session, where chosen.

        A place is no surprise: who got so far is another shopper than who left, and where pages
        keep shoppers longer than the log's did, it says more than it should. So it is off unless
        asked for.
        """
        parts = []
        if "weekday" in self.moments:
            day_N1 = day_of_week(visit.time_ms, dtype).unsqueeze(-1)
            parts += [day_N1.sin(), day_N1.cos()]
        if "position" in self.moments:
            place_N1 = visit.page_number.to(dtype).unsqueeze(-1)
            parts.append(POSITION_SCALE * place_N1.log1p())
        return parts
