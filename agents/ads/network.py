"""Values of a state and gains of its options: what `agents.ads.dqn` and `agents.ads.ppo` learn.

A duelling network (Wang et al. 2016, "Dueling network architectures", equation 7) whose "advantage"
of a page without ads is 0, in place of their mean (equation 9): V is the worth of a page without
ads, and a gain is what its ads bring or cost beside that. All gains are 0 at first.
"""

from __future__ import annotations

from torch import Tensor, nn

from agents.ads.base import NUM_TOLD
from agents.ads.scaling import Scale


class OptionNetwork(nn.Module):
    """Y values of a state, and Y gains of each of its options.

    Args:
        num_features: O, of an observation.
        num_option: X, of an option.
        hidden: width of the layers.
        num_outputs: Y.
    """

    def __init__(self, num_features: int, num_option: int, hidden: int, num_outputs: int) -> None:
        super().__init__()
        self.scale = Scale(num_features, num_option)
        self.body = nn.Sequential(
            nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.value = nn.Linear(hidden, num_outputs)
        # the first layer of gains, on state and option side by side, as a sum of two products:
        # the state's is the same for all options
        self.of_state = nn.Linear(hidden, hidden)
        self.of_option = nn.Linear(num_option + NUM_TOLD, hidden, bias=False)
        self.gain = nn.Linear(hidden, num_outputs)
        for layer in (self.value, self.gain):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, state_NO: Tensor, option_NJX: Tensor) -> tuple[Tensor, Tensor]:
        """Values [N, Y] and gains [N, J, Y] of features that were scaled."""
        body_NH = self.body(state_NO)
        joint_NJH = self.of_state(body_NH).unsqueeze(1) + self.of_option(option_NJX)
        return self.value(body_NH), self.gain(joint_NJH.relu())

    def worth(self, state_NO: Tensor) -> Tensor:
        """Values alone, [N, Y]."""
        value_NY: Tensor = self.value(self.body(state_NO))
        return value_NY
