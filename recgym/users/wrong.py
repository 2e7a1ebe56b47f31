"""Two user models that are wrong, and declared so: what a comparison must tell apart.

Both are common in published simulators. The first looks as good as any on what is viewed next.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from recgym.types import Organic, Page, Response, Sessions, Visit
from recgym.users.answers import Answers
from recgym.users.items import Tables
from recgym.users.lstm import LSTMUserModel
from recgym.users.states import Levels, Supposed
from recgym.users.tastes import CommonTaste


class _ToNoPage(Answers):
    """Answers any page like an empty one."""

    def response(
        self,
        tables: Tables,
        found: Organic,
        levels: Levels,
        like_NK: Tensor,
        page: Page,
        visit: Visit,
    ) -> Response:
        empty = Page(torch.full_like(page.item, -1), torch.zeros_like(page.price))
        return super().response(tables, found, levels, like_NK, empty, visit)

    def common(self, tables: Tables, supposed: Supposed, page: Page, visit: Visit) -> CommonTaste:
        """None."""
        empty = Page(torch.full_like(page.item, -1), torch.zeros_like(page.price))
        return super().common(tables, supposed, empty, visit)

    def appeal(self, tables: Tables, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """No item has any."""
        return torch.full_like(price_NI, -torch.inf)


class PageBlind(LSTMUserModel):
    """Ignores pages: all that is viewed is taken for found alone, so that no policy does anything.

    Its arguments are those of `LSTMUserModel`.
    """

    answering = _ToNoPage

    @staticmethod
    def sees(sessions: Sessions) -> Sessions:
        """The log without its pages."""
        page, event = sessions.page, sessions.event
        empty = Page(page.item[:, :0], page.price[:, :0])
        found = dataclasses.replace(event, slot=torch.full_like(event.slot, -1))
        return dataclasses.replace(sessions, page=empty, event=found)


class _Alike(Answers):
    """Whoever answers, an item has the same mass in a slot."""

    @torch.no_grad()
    def project(self) -> None:
        """An item on the page and its organic twin are strangers."""
        super().project()
        self.dissimilarity.fill_(1.0)

    def response(
        self,
        tables: Tables,
        found: Organic,
        levels: Levels,
        like_NK: Tensor,
        page: Page,
        visit: Visit,
    ) -> Response:
        place_NK = self.position[: page.item.shape[1]].expand_as(like_NK)
        return super().response(tables, found, levels, place_NK, page, visit)

    def mass(
        self, tables: Tables, levels: Levels, like: Tensor, detail: Tensor, price: Tensor
    ) -> Tensor:
        return self.heads.of("level")[1][0] + like + detail[..., 0]

    def appeal(self, tables: Tables, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """The same for all."""
        first_NI = self.position[0].expand_as(price_NI)
        return self.mass(tables, supposed.levels, first_NI, tables.detail_I5, price_NI)


class ItemClicks(LSTMUserModel):
    """A click probability for each item and slot, whoever sees it, on top of what is found alone.

    Neither the shopper's taste nor the price, nor having seen the item before, sways a click, and
    showing what would be found anyway counts in full. Its arguments are those of `LSTMUserModel`.
    """

    answering = _Alike
