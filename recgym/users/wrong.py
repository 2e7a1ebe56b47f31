"""Two user models that are wrong, and declared so: what a comparison must tell apart.

Both are common in published simulators. The first looks as good as any on what is viewed next.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from recgym.types import Page, Response, Sessions, Visit
from recgym.users.lstm import LSTMUserModel, Supposed


class PageBlind(LSTMUserModel):
    """Ignores pages: all that is viewed is taken for found alone, so that no policy does anything.

    Its arguments are those of `LSTMUserModel`.
    """

    @staticmethod
    def sees(sessions: Sessions) -> Sessions:
        """The log without its pages."""
        page, event = sessions.page, sessions.event
        empty = Page(page.item[:, :0], page.price[:, :0])
        found = dataclasses.replace(event, slot=torch.full_like(event.slot, -1))
        return dataclasses.replace(sessions, page=empty, event=found)

    def respond(self, supposed: Supposed, page: Page, visit: Visit) -> Response:
        """To an empty page, whatever it holds."""
        empty = Page(torch.full_like(page.item, -1), torch.zeros_like(page.price))
        return super().respond(supposed, empty, visit)

    def appeal(self, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """No item has any."""
        return torch.full_like(price_NI, -torch.inf)


class ItemClicks(LSTMUserModel):
    """A click probability for each item and slot, whoever sees it, on top of what is found alone.

    Neither the shopper's taste nor the price, nor having seen the item before, sways a click, and
    showing what would be found anyway counts in full. Its arguments are those of `LSTMUserModel`.
    """

    @torch.no_grad()
    def project(self) -> None:
        """An item on the page and its organic twin are strangers."""
        super().project()
        self.dissimilarity.fill_(1.0)

    def _slot(self, supposed: Supposed, page: Page, visit: Visit) -> Tensor:
        item_NK = page.item.clamp(min=0)
        mass_NK = self._item_mass()[item_NK] + self.position[: item_NK.shape[1]]
        return mass_NK.masked_fill(page.item < 0, -torch.inf)

    def appeal(self, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """The same for all."""
        return (self._item_mass() + self.position[0]).expand_as(price_NI)

    def _item_mass(self) -> Tensor:
        return self.head("level")[1][0] + self.detail_I5[:, 0]
