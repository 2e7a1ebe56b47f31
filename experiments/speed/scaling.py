"""Figures of growth: what more shoppers and more items cost."""

from __future__ import annotations

import gc
import statistics
from itertools import pairwise

from experiments.speed import shops
from experiments.speed.figure import Figure
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.stepping import LANES, Stepping, learned_of, simulator_of
from experiments.speed.timing import interleaved, medians

MOST_LANES = 16_384


def scaling_shoppers(setting: Setting) -> Figure:
    """Time per shopper with the most lanes ÷ the least time per shopper."""
    most, lanes = setting.lanes_or(MOST_LANES), [1]
    while lanes[-1] < most:
        lanes.append(min(most, 4 * lanes[-1]))
    shop = learned_of(setting)
    simulator = simulator_of(shop)
    taken = interleaved({str(n): Stepping(simulator, n) for n in lanes}, setting)
    apiece = {n: medians(taken)[str(n)] / n for n in lanes}
    least = min(apiece.values())
    dearer = [n for n, following in pairwise(lanes) if apiece[following] >= apiece[n]]
    return Figure(
        figure="scaling_shoppers",
        values=[passed / most / least for passed in taken[str(most)]],
        unit="time per shopper at the most lanes ÷ least",
        goal="at most 1.2, and falling until at least 1,024 lanes",
        settings={
            "falls_until": dearer[0] if dearer else most,
            "microseconds_a_shopper": {str(n): 1e6 * apiece[n] for n in lanes},
            "items": setting.items,
            "hidden": setting.hidden,
            "slots": SLOTS,
        },
    )


def scaling_items(setting: Setting) -> Figure:
    """Step time with the largest catalogue ÷ that with the smallest."""
    lanes = setting.lanes_or(LANES)
    sizes = [max(SLOTS, setting.items * factor // 10) for factor in (1, 10, 100, 1000)]
    taken: dict[int, list[float]] = {}
    memory: dict[str, float] = {}
    for size in sizes:  # one after another: the tables of all would not fit
        shop = shops.learned(
            size, hidden=setting.hidden, embedding=setting.hidden, device=setting.device
        )
        memory[str(size)] = round(shops.tables_mib(shop), 1)
        taken[size] = interleaved({"step": Stepping(simulator_of(shop), lanes)}, setting)["step"]
        del shop
        gc.collect()
    smallest = statistics.median(taken[sizes[0]])
    return Figure(
        figure="scaling_items",
        values=[passed / smallest for passed in taken[sizes[-1]]],
        unit="step time with the most items ÷ with the fewest",
        goal="at most 3",
        settings={
            "milliseconds_a_step": {
                str(size): 1e3 * statistics.median(taken[size]) for size in sizes
            },
            "tables_mib": memory,
            "lanes": lanes,
            "hidden": setting.hidden,
            "slots": SLOTS,
        },
    )
