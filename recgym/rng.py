"""Noise as a pure function of (lane seed, session, page, purpose).

Nothing is drawn from a stream, so results do not depend on the batch size or on what was drawn
before, and two policies meet the same shoppers even after their paths part (common random numbers).
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
number generators", figure 17), chained over the words of the key.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

GOLDEN_GAMMA = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed 64-bit number
MIX_1 = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
MIX_2 = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
BITS = 24  # of each uniform: all that float32 holds exactly, so float32 and float64 lanes agree


class Purpose(IntEnum):
    """What a draw decides; its number is part of the key and never changes."""

    SHOPPER = 0  # who comes: drawn once a shopper
    SESSION = 1  # what for: drawn once a session
    START = 2  # when
    UPPER = 3  # leave, checkout or go on
    FROM_PAGE = 4  # what the page adds, or what is found anyway
    ORGANIC = 5  # which item is found
    TAKE_OVER = 6  # whether the page takes over an item that is found anyway
    SLOT = 7  # which slot, of what the page adds
    AFTER = 8  # favourite, cart, buy
    GAP = 9  # time until the next page
    POLICY = 10  # a policy's own draws
    COMPONENT = 11  # which part of a logging mixture
    EXPLORE = 12  # a learner's exploration
    CATEGORY = 13  # in which category the search goes on
    LATENT = 14  # which latent class of taste it follows there
    SEGMENT = 15  # what a learned shopper is, where what happened so far leaves it open
    MEMBER = 16  # which member of an ensemble a shopper meets
    RETURN = 17  # whether a shopper comes back after a session, and when
    PACE = 20  # which campaigns take part in a page's auction, where they are throttled
    CTR_ERROR = 21  # what the platform's model of clicks on ads is wrong by
    AD_LOG = 22  # where a log's pages hold ads, and which
    BIDDING = 23  # who else bids on a request, and whether the ad is clicked


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically: mask the copies of the sign bit away
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser: int64 in, int64 out, any shape."""
    # in place: a CPU waits longer for fresh memory than for these numbers
    x = _shift_right(x, 30).bitwise_xor_(x).mul_(MIX_1)
    x = _shift_right(x, 27).bitwise_xor_(x).mul_(MIX_2)
    return _shift_right(x, 31).bitwise_xor_(x)


def session_key(seed_N: Tensor, session_N: Tensor) -> Tensor:
    """The part of a key that a whole session shares, [N] int64."""
    return mix(mix(seed_N + GOLDEN_GAMMA) + session_N * GOLDEN_GAMMA + 1)


def page_keys(session_N: Tensor, page_N: Tensor | int, purpose_P1: Tensor | int) -> Tensor:
    """From session keys the key of each page and purpose, [N], or [P, N] for a column of them."""
    # a page given as an int becomes int64 first: Python's own product would not wrap around
    page_N = page_N if isinstance(page_N, Tensor) else torch.zeros_like(session_N) + page_N
    return mix(mix(session_N + page_N * GOLDEN_GAMMA + 2) ^ (purpose_P1 + 1))


def key(seed_N: Tensor, session_N: Tensor, page_N: Tensor | int, purpose: Purpose) -> Tensor:
    """A 64-bit word for each lane, [N] int64."""
    return page_keys(session_key(seed_N, session_N), page_N, int(purpose))


def uniform(key_N: Tensor, count: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniforms in [0, 1): [N], or [N, count] independent ones a lane."""
    if count is None:
        word = key_N
    else:
        step_J = torch.arange(count, device=key_N.device) * GOLDEN_GAMMA
        word = mix(key_N.unsqueeze(-1) + step_J)
    return _shift_right(word, 64 - BITS).to(dtype).mul_(2.0**-BITS)


def normal(key_N: Tensor, count: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normals by inversion, [N] or [N, count]; within 5.3 standard deviations."""
    half = 2.0 ** -(BITS + 1)
    u = uniform(key_N, count, torch.float64).add_(half)  # never 0 or 1
    return u.mul_(2.0).sub_(1.0).erfinv_().mul_(math.sqrt(2.0)).to(dtype)


def pick(weight_NJ: Tensor, u_N: Tensor) -> Tensor:
    """Index drawn in proportion to non-negative weights by inverting their sum, [N] int64.

    One uniform a lane and options in a fixed order, so that equal weights give equal draws. As
    uniforms are multiples of 2^-24 below 1, u * total stays below the total after rounding too, and
    the option found is one of positive weight; J where no option has any.
    """
    cdf_NJ = weight_NJ.cumsum(-1)
    target_N1 = u_N.unsqueeze(-1) * cdf_NJ[:, -1:]
    return torch.searchsorted(cdf_NJ, target_N1, right=True).squeeze(-1)
