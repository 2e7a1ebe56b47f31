"""What a true shop offers besides the protocol of shoppers."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from recgym.users.base import Shoppers


class TrueShop(Shoppers, Protocol):
    """A shop whose law is known: it writes logs and values policies, and nothing learns from it."""

    brand: Tensor  # [I] int64, written to the log's items
    fame: Tensor  # [I] log of organic attention, which the site knew before the log began


@runtime_checkable
class SeeingShop(TrueShop, Protocol):
    """One whose own logging policy may see what shoppers like: its logs are confounded."""

    logger_sees: float  # weight of the hidden taste in the policy's scores; 0 for an honest log

    def liking(self, state: Any) -> Tensor:
        """Hidden taste for each item when shown, apart from price and slot, [N, I]."""
        ...
