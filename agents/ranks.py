"""Training over several processes, one a GPU: ``torchrun --nproc-per-node 2 -m agents.train``.

Each process (rank) plays an equal share of the shoppers. What they did is gathered, so that all
ranks keep the same memory in the order of the lanes; all draw the same minibatch, each takes the
gradient of its share, and the mean of the gradients is what one process would have found, but for
the rounding of other sums. Rank 0 alone writes the run and values the agent.

Gathering costs little beside playing, and buys that the number of ranks is no setting of the
experiment. It serves DQN and PPO with what is built from their switches. Agents of other kinds are
refused in a sentence, and so are priorities, noisy weights, and several seeds in one batch.

Curves are of the shoppers and rows of rank 0. No state is left to resume from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from recgym.errors import UserError

SHARED = ("agents.dqn.DQN", "agents.ppo.PPO")
ALONE = ("prioritised", "noisy")


def rank() -> int:
    """Number of this process among those that torchrun started."""
    return int(os.environ.get("RANK", 0))


def size() -> int:
    """How many there are; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def join(device: torch.device) -> None:
    """Meet the other ranks; NCCL connects GPUs, gloo processors."""
    if size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Part from them."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def use_own_gpu() -> None:
    """Let `cuda` mean this rank's own device."""
    if size() > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))


def gathered(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows of all ranks, in the order of their lanes, each tensor [N of all, ...]."""
    if not distributed.is_initialized():
        return rows
    found = {}
    for name, value in rows.items():
        # NCCL knows no booleans
        sent = value.contiguous().to(torch.uint8 if value.dtype == torch.bool else value.dtype)
        parts = [torch.empty_like(sent) for _ in range(size())]
        distributed.all_gather(parts, sent)
        found[name] = torch.cat(parts).to(value.dtype)
    return found


def share(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """This rank's part of rows that all of them drew."""
    if not distributed.is_initialized():
        return rows
    return {name: value.chunk(size())[rank()] for name, value in rows.items()}


def average(parameters: Iterable[nn.Parameter]) -> None:
    """Give every rank the mean of the gradients, which is that of all rows: shares are equal."""
    if not distributed.is_initialized():
        return
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([grad.flatten() for grad in found])
    distributed.all_reduce(flat)
    flat /= size()
    for grad, part in zip(found, flat.split([grad.numel() for grad in found]), strict=True):
        grad.copy_(part.view_as(grad))


def check(settings: Mapping[str, Any], count: int) -> None:
    """Stop before any work where so many ranks cannot do what one would.

    Args:
        settings: of the run.
        count: of ranks.

    Raises:
        UserError: naming what stands in the way.
    """
    if count == 1:
        return
    agent, name = settings["agent"], settings["agent_name"]
    if agent["_target_"] not in SHARED:
        raise UserError(
            f"torchrun shares shoppers among {count} processes, and agent={name} cannot: expected "
            "agent=dqn, qr_dqn, c51, ppo, a2c or reinforce, or one process."
        )
    given = [switch for switch in ALONE if agent.get(switch)]
    given += ["num_seeds"] if agent.get("num_seeds", 1) > 1 else []
    if given:
        raise UserError(f"agent.{given[0]} goes with one process: leave it or torchrun out.")
    if settings["resume"] != "???":
        raise UserError("resume=DIR goes with one process: torchrun leaves no state to go on from.")
    rows = {"num_envs": settings["num_envs"]}
    if "batch_size" in agent:
        rows["agent.batch_size"] = agent["batch_size"]
    else:
        parts = agent["minibatches"]
        rows["agent.horizon * num_envs / agent.minibatches"] = (
            agent["horizon"] * settings["num_envs"] / parts
        )
    for what, number in rows.items():
        if number % count:
            raise UserError(
                f"{what} = {number:g} is no multiple of the {count} processes of torchrun: each of "
                "them takes an equal share."
            )
