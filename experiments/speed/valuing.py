"""The figure of valuing a policy over many sessions."""

from __future__ import annotations

import statistics
from itertools import cycle

import torch
from torch import Tensor

from experiments.speed import shops
from experiments.speed.figure import Figure, seconds
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.stepping import LANES, Stepping, learned_of, simulator_of
from experiments.speed.timing import interleaved, medians
from recgym.rollout import rollout
from recgym.spaces import ObservationSpec
from recgym.types import Observation

CPU_SESSIONS, GPU_SESSIONS = 100_000, 1_000_000


class FixedPages:
    """The same pages whatever is observed: a policy that costs nothing."""

    def __init__(self, num_items: int, lanes: int, device: torch.device) -> None:
        self._pages = cycle(
            [shops.slates(num_items, lanes, SLOTS, seed).to(device) for seed in range(4)]
        )

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K]."""
        return next(self._pages)[: len(observation.feature)]


def policy_value(setting: Setting) -> Figure:
    """Seconds to value one fixed policy over a million sessions."""
    shop, lanes = learned_of(setting), setting.lanes_or(LANES)
    on_gpu = setting.device.type == "cuda"
    played = setting.sessions or (GPU_SESSIONS if on_gpu else CPU_SESSIONS)
    spec = ObservationSpec(simulator_of(shop), "encoder")
    policy = FixedPages(setting.items, lanes, setting.device)

    def value(count: int) -> float:
        seed_B = torch.arange(count)
        stats = rollout(spec, policy, seed_B, torch.zeros_like(seed_B), lanes=lanes)
        return float(stats.pages.sum()) / count

    sync = setting.sync()
    pages = value(max(1, played // 10))  # and a warm-up
    taken = seconds(lambda: value(played), repeats=setting.repeats, warm_up=0, sync=sync)
    scale = GPU_SESSIONS / played
    stepping = Stepping(spec.simulator, lanes)
    alone = medians(interleaved({"simulator": stepping}, setting))["simulator"]
    values = [passed * scale for passed in taken]
    limit = alone / lanes * pages * GPU_SESSIONS
    return Figure(
        figure="policy_value",
        values=values,
        unit="s",
        limit=limit,
        ratio=limit / statistics.median(values),
        goal="at most 2 s on an H200; no goal on a CPU",
        settings={
            "sessions_played": played,
            "scaled_by": scale,
            "pages_a_session": pages,
            "lanes": lanes,
            "slots": SLOTS,
            "items": setting.items,
            "hidden": setting.hidden,
            "limit_is": "the simulator alone over as many pages",
        },
    )
