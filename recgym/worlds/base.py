"""What a true shop offers besides the protocol of shoppers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from recgym.users.base import Shoppers


class TrueShop(Shoppers, Protocol):
    """A shop whose law is known: it writes logs and values policies, and nothing learns from it."""

    brand: Tensor  # [I] int64, written to the log's items
    fame: Tensor  # [I] log of organic attention, which the site knew before the log began
