"""Two user models that are wrong, and declared so: what a comparison must tell apart.

Both are common in published simulators. The first looks as good as any on what is viewed next.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from recgym.types import Organic, Page, Response, Sessions, Visit
from recgym.users.lstm import Levels, LSTMUserModel, Supposed


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

    def _response(
        self, found: Organic, levels: Levels, like_NK: Tensor, page: Page, visit: Visit
    ) -> Response:
        # to an empty page, whatever it holds
        empty = Page(torch.full_like(page.item, -1), torch.zeros_like(page.price))
        return super()._response(found, levels, like_NK, empty, visit)

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

    def _response(
        self, found: Organic, levels: Levels, like_NK: Tensor, page: Page, visit: Visit
    ) -> Response:
        place_NK = self.position[: page.item.shape[1]].expand_as(like_NK)
        return super()._response(found, levels, place_NK, page, visit)

    def _mass(self, levels: Levels, like: Tensor, detail: Tensor, price: Tensor) -> Tensor:
        return self.head("level")[1][0] + like + detail[..., 0]

    def appeal(self, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """The same for all."""
        first_NI = self.position[0].expand_as(price_NI)
        return self._mass(supposed.levels, first_NI, self.detail_I5, price_NI)
