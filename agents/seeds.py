"""Many agents of one kind in one batch, alike but for their seed: ``agent.num_seeds``.

Lanes, rows and parameters of all stand side by side, those of the first seed first. A network's
linear layers are one product for all seeds, where a GPU takes about as long as for one of them. No
number of one agent enters another: losses are added, norms of gradients clipped and memories kept
seed by seed, so each learns what it would alone, but for the rounding of other products.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from agents import ranks
from recgym.errors import UserError

Network = TypeVar("Network", bound=nn.Module)
ALONE = ("prioritised", "noisy")  # switches of an agent that learns alone
TINY = 1e-6  # beside a norm, as in torch's own clipping


class SeedLinear(nn.Module):
    """A linear layer for each of S seeds, of S equal parts of the rows.

    Args:
        layers: of each seed.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, row_NX: Tensor) -> Tensor:
        """[N, outputs]."""
        row_SRX = row_NX.unflatten(0, (len(self.weight), -1))
        return torch.baddbmm(self.bias.unsqueeze(1), row_SRX, self.weight.mT).flatten(0, 1)

    def alone(self, seed: int) -> nn.Linear:
        """Of one seed."""
        outputs, inputs = self.weight.shape[1:]
        layer = nn.Linear(inputs, outputs).to(self.weight)
        layer.load_state_dict({"weight": self.weight[seed], "bias": self.bias[seed]})
        return layer


def stacked(networks: Sequence[Network]) -> Network:
    """One network of those of all seeds; that of a single seed as it is."""
    if len(networks) == 1:
        return networks[0]
    whole = copy.deepcopy(networks[0])
    parts = [dict(network.named_modules()) for network in networks]
    for name, module in parts[0].items():
        if isinstance(module, nn.Linear):
            whole.set_submodule(name, SeedLinear([part[name] for part in parts]))
    return whole


def alone(whole: Network, seed: int) -> Network:
    """The network of one seed out of a stacked one."""
    network = copy.deepcopy(whole)
    for name, module in dict(network.named_modules()).items():
        if isinstance(module, SeedLinear):
            network.set_submodule(name, module.alone(seed))
    return network


def clip_each(parameters: Iterable[nn.Parameter], largest: float, num_seeds: int) -> None:
    """Shrink the gradient of each seed whose norm is larger, as `nn.utils.clip_grad_norm_` does.

    Of several processes it is that of all their rows: see `agents.ranks`.
    """
    parameters = list(parameters)
    ranks.average(parameters)
    if num_seeds == 1:
        nn.utils.clip_grad_norm_(parameters, largest)
        return
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    square_S = torch.stack([grad.flatten(1).square().sum(1) for grad in found]).sum(0)
    share_S = (largest / (square_S.sqrt() + TINY)).clamp(max=1.0)
    for grad in found:
        grad.mul_(share_S.view(-1, *[1] * (grad.dim() - 1)))


def generators(seed: int, num_seeds: int, device: torch.device) -> list[torch.Generator]:
    """Of each seed."""
    return [torch.Generator(device).manual_seed(seed + number) for number in range(num_seeds)]


def lane_seeds(base: int, seed: int, num_seeds: int, num_lanes: int) -> Tensor:
    """Of all lanes, [N] int64: the shoppers that each agent would meet alone."""
    number_S1 = torch.arange(seed, seed + num_seeds).unsqueeze(-1)
    return (base + (number_S1 << 32) + torch.arange(num_lanes // num_seeds)).flatten()


def policies(agent: Any, name: str) -> dict[str, Any]:
    """The agents of all seeds, each a policy, by names for a table."""
    count = getattr(agent, "num_seeds", 1)
    if count == 1:
        return {name: agent}
    return {name if s == 0 else f"{name} seed +{s}": agent.alone(s) for s in range(count)}


def check_alone(settings: Mapping[str, Any], name: str, *, batched: bool = True) -> None:
    """Refuse what many seeds do not go with.

    Args:
        settings: of the agent.
        name: its own.
        batched: whether its kind keeps seeds apart at all.
    """
    num_seeds = settings.get("num_seeds", 1)
    given = [f"{switch}=true of " for switch in ALONE if settings.get(switch)]
    if num_seeds > 1 and (given or not batched):
        what = (given[0] if given else "") + f"agent={name}"
        raise UserError(
            f"agent.num_seeds={num_seeds} cannot go with {what}: leave it out, and train the seeds "
            "one after another with -m seed='range(5)'."
        )
