"""Who comes to a true shop, and when: functions of (seed, session) alone."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym import rng
from recgym.rng import Purpose
from recgym.types import DAY_MS, HOUR_MS, Arrival
from recgym.worlds.catalogue import START_MS
from recgym.worlds.knobs import Knobs


def segment_of(seed_N: Tensor, knobs: Knobs, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Each shopper's segment [N] int64 and thrift [N], a standard normal."""
    key_N = rng.key(seed_N, torch.zeros_like(seed_N), 0, Purpose.SHOPPER)
    u_N = rng.uniform(key_N, dtype=dtype)
    thrift_N = rng.normal(rng.mix(key_N + 3), dtype=dtype)
    return (u_N * knobs.num_segments).long(), thrift_N


def arrivals(seed_N: Tensor, session_N: Tensor, knobs: Knobs, dtype: torch.dtype) -> Arrival:
    """Shoppers drawn by seed; the session decides when they come."""
    segment_N, extra_N = segment_of(seed_N, knobs, dtype)
    key_N = rng.key(seed_N, torch.zeros_like(seed_N), 0, Purpose.SHOPPER)
    u_N2 = rng.uniform(rng.mix(key_N + 1), 2, dtype)
    # the channel that a shopper came through: the segment, or a random one
    guess_N = (u_N2[:, 1] * knobs.num_segments).long()
    channel_N = torch.where(u_N2[:, 0] < knobs.channel_accuracy, segment_N, guess_N)
    channel_NS = torch.nn.functional.one_hot(channel_N, knobs.num_segments).to(dtype)
    affluence_N1 = (extra_N + rng.normal(rng.mix(key_N + 2), dtype=dtype)).unsqueeze(-1)
    profile_NP = torch.cat([channel_NS, affluence_N1], -1)
    return Arrival(seed_N, session_N, profile_NP, _start(seed_N, session_N, knobs))


def busy_hours(device: torch.device | None = None) -> Tensor:
    """How busy each hour of the day is, 1 on average, [24]: peak at 20 h, trough at 8 h."""
    hour_24 = torch.arange(24, device=device, dtype=torch.float64)
    return 1.0 + 0.7 * torch.cos((hour_24 - 20) * 2 * torch.pi / 24)


def busy_days(knobs: Knobs, device: torch.device | None = None) -> Tensor:
    """How busy each day of the calendar is, a wave over the week that peaks on Saturdays, [D]."""
    # the calendar begins on a Monday
    day_D = torch.arange(knobs.num_days, device=device, dtype=torch.float64)
    return 1.0 + knobs.week * torch.cos((day_D - 5) * 2 * torch.pi / 7)


def _start(seed_N: Tensor, session_N: Tensor, knobs: Knobs) -> Tensor:
    """UTC milliseconds, busy hours likelier, any day alike or by `busy_days`, [N] int64."""
    start_key_N = rng.key(seed_N, session_N, 0, Purpose.START)
    start_N2 = rng.uniform(start_key_N, 2, torch.float64)
    if knobs.week:
        busy_D = busy_days(knobs, seed_N.device)
        day_N = rng.pick(busy_D.expand(len(seed_N), -1), start_N2[:, 0])
    else:
        day_N = (start_N2[:, 0] * knobs.num_days).floor().long()
    busy_24 = busy_hours(seed_N.device)
    hour_N = rng.pick(busy_24.expand(len(seed_N), 24), start_N2[:, 1])
    within_N = rng.uniform(rng.mix(start_key_N + 1), dtype=torch.float64)
    return START_MS + day_N * DAY_MS + hour_N * HOUR_MS + (within_N * HOUR_MS).long()
