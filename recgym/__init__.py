"""RecGym: from a shop's log to a valued policy."""

import gymnasium as _gymnasium

for _name, _settings in (
    ("Slate", {"action": "slate", "num_slots": 10}),
    ("Item", {"action": "item", "num_slots": 1}),
):
    _gymnasium.register(
        id=f"RecGym/{_name}-v0",
        entry_point="recgym.envs.single:RecEnv",
        vector_entry_point="recgym.envs.vector:RecVectorEnv",
        kwargs=_settings,
    )

for _name, _task in (
    ("AdAllocate", "allocate"),
    ("AdInsert", "insert"),
    ("Shop", "joint"),
    ("AdPrice", "price"),
):
    _gymnasium.register(
        id=f"RecGym/{_name}-v0",
        entry_point="recgym.envs.ad_single:AdEnv",
        vector_entry_point="recgym.envs.ad_vector:AdVectorEnv",
        kwargs={"task": _task, "num_slots": 10},
    )

_gymnasium.register(id="RecGym/AdBid-v0", entry_point="recgym.envs.ad_bid:AdBidEnv")
