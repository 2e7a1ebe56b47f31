"""How what a site knows of a shopper enters a user model: three ways to fuse the profile's fields.

*Concatenation* hands on the standardised profile as it is. In the two others each field is a vector
of its own (Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", section 3.1,
the feature tokenizer: x W + b of a number, a learned row for each level of a text), and they differ
in how they weigh the fields, with and without the shopper's state (see `Gating`, `Attention`).
Without it, the weighed sum stands where the profile stood: it begins the memory, and all heads read
it. With it, another one is added to what the memory says, as a static enrichment (Lim et al. 2021,
"Temporal fusion transformers for interpretable multi-horizon time series forecasting", section
4.3); so heads that may not read the memory do not read it either.

What is not known. A missing value, and a level that training did not show or hardly ever, have
learned vectors, of each field its own. Where training shows few of them they are learned from
values hidden at random (Volkovs, Yu and Poutanen 2017, "DropoutNet: addressing cold start in
recommender systems", section 4), at the rate of the model's dropout. A field that training never
knew, and that only the test period fills, is read as missing. Concatenation has no vectors: an
entry that never moved in training adds nothing there, whatever it is later.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recgym.errors import UserError
from recgym.types import Field

CONSTANT = 1e-6  # a spread below is none


def plain_fields(count: int) -> list[Field]:
    """Of a profile of which no more is known than that it is so many numbers."""
    return [Field(f"profile_{place}") for place in range(count)]


def centre_and_spread(profile_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Of each entry over the training sessions, [P]; what never moved has no bounds."""
    centre_P = profile_BP.mean(0)
    spread_P = (profile_BP - centre_P).square().mean(0).sqrt()
    return centre_P, spread_P.masked_fill(spread_P < CONSTANT, torch.inf)


def standardised(profile_NP: Tensor, centre_P: Tensor, spread_P: Tensor) -> Tensor:
    """By the training sessions' `centre_and_spread`, [N, P].

    Raises:
        UserError: where the profile is one of another log.
    """
    if profile_NP.shape[-1] != centre_P.shape[-1]:
        raise UserError(
            f"a profile of {profile_NP.shape[-1]} entries met a user model that was fitted to "
            f"{centre_P.shape[-1]}: expected the log or the shop that it was fitted to; fit it "
            "anew with python -m recgym.fit."
        )
    return (profile_NP - centre_P) / spread_P


class Concatenation(nn.Module):
    """The standardised profile as it is.

    Args:
        num_static: P.
    """

    def __init__(self, num_static: int) -> None:
        super().__init__()
        self.num_static = num_static

    def forward(
        self, profile_NP: Tensor, standard_NP: Tensor, hidden: float
    ) -> tuple[Tensor, Tensor]:
        """What all heads read [N, P], and nothing more."""
        return standard_NP, standard_NP[:, :0]

    def enrich(self, h_NH: Tensor, kept_NX: Tensor) -> Tensor:
        """What the memory says, as it is."""
        return h_NH


class Tokens(nn.Module):
    """Each field as a vector of E.

    Args:
        fields: F, in the order of the profile's entries.
        profile_BP: of the training sessions.
        size: E.
    """

    met_F: Tensor  # [F] 1 for a field that some training session knew

    def __init__(self, fields: Sequence[Field], profile_BP: Tensor, size: int) -> None:
        super().__init__()
        self.fields = list(fields)
        self.entries = [field.num_entries for field in fields]
        # of a number the slope and the intercept, of a text its levels and one for all others
        self.rows = [2 if f.levels is None else f.num_entries for f in fields]
        self.row = nn.Parameter(torch.randn(sum(self.rows), size) * size**-0.5)
        self.missing = nn.Parameter(torch.zeros(len(fields), size))
        with torch.no_grad():  # what nothing teaches stays at 0, as what is missing does
            for field, row in zip(self.fields, self.row.split(self.rows), strict=True):
                if field.levels is not None:
                    row[-1] = 0.0
        self.register_buffer("met_F", torch.ones(len(fields)))
        _, known_BF = self._coded(profile_BP, profile_BP)
        self.met_F.copy_((known_BF > 0).any(0))

    def forward(self, profile_NP: Tensor, standard_NP: Tensor, hidden: float) -> Tensor:
        """All fields' vectors, [N, F, E]; ``hidden`` is the share of values to hide, in a fit."""
        codes, known_NF = self._coded(profile_NP, standard_NP)
        if hidden:
            codes, known_NF = self._hide(codes, known_NF, hidden)
        rows = self.row.split(self.rows)
        said_NFE = torch.stack([code @ row for code, row in zip(codes, rows, strict=True)], 1)
        return said_NFE + (1.0 - known_NF).unsqueeze(-1) * self.missing

    def _coded(self, profile_NP: Tensor, standard_NP: Tensor) -> tuple[list[Tensor], Tensor]:
        """What each field's rows are multiplied by, and which fields are known, [N, F]."""
        codes, known = [], []
        parts = zip(
            self.fields,
            profile_NP.split(self.entries, -1),
            standard_NP.split(self.entries, -1),
            self.met_F.unbind(),
            strict=True,
        )
        for field, raw_NX, standard_NX, met in parts:
            if field.levels is not None:
                known.append(raw_NX.sum(-1))
                codes.append(raw_NX)
                continue
            here_N = 1.0 - raw_NX[:, 1] if field.more else torch.ones_like(raw_NX[:, 0])
            known.append(here_N * met)
            codes.append(torch.stack([standard_NX[:, 0] * known[-1], known[-1]], -1))
        return codes, torch.stack(known, -1)

    def _hide(
        self, codes: list[Tensor], known_NF: Tensor, share: float
    ) -> tuple[list[Tensor], Tensor]:
        """Some values as if missing, and of texts as many as if a level never met."""
        u_NF = torch.rand_like(known_NF)
        seen_NF = (u_NF >= share).to(known_NF)
        strange_NF = (u_NF >= 1.0 - share).to(known_NF) * known_NF * seen_NF
        hidden = []
        for place, (field, code) in enumerate(zip(self.fields, codes, strict=True)):
            code = code * seen_NF[:, place : place + 1]
            if field.levels is not None:
                strange_N1 = strange_NF[:, place : place + 1]
                other = torch.zeros_like(code)
                other[:, -1:] = strange_N1
                code = code * (1.0 - strange_N1) + other
            hidden.append(code)
        return hidden, known_NF * seen_NF


class Fusion(nn.Module, ABC):
    """A weighed sum of the fields' values.

    Args:
        fields: F, see `Tokens`.
        profile_BP: of the training sessions.
        hidden: H, of what the memory says.
        size: E.
    """

    def __init__(
        self, fields: Sequence[Field], profile_BP: Tensor, *, hidden: int, size: int
    ) -> None:
        super().__init__()
        self.num_static, self.num_fields = size, len(fields)
        self.tokens = Tokens(fields, profile_BP, size)
        self.value = nn.Linear(size, size)
        self.added = nn.Linear(size, hidden)
        self.of_state = nn.Linear(hidden, self.num_asked, bias=False)

    @property
    @abstractmethod
    def num_asked(self) -> int:
        """How many numbers the state asks by."""

    @abstractmethod
    def weights(self, token_NFE: Tensor, asked: Tensor | float) -> Tensor:
        """How much each field counts, [N, F]; ``asked`` is of the state, [N, num_asked], or 0."""

    def mix(self, token_NFE: Tensor, asked: Tensor | float) -> Tensor:
        """The weighed sum, [N, E]."""
        weight_NF1 = self.weights(token_NFE, asked).unsqueeze(-1)
        mixed_NE: Tensor = (weight_NF1 * self.value(token_NFE)).sum(1)
        return mixed_NE

    def forward(
        self, profile_NP: Tensor, standard_NP: Tensor, hidden: float
    ) -> tuple[Tensor, Tensor]:
        """What all heads read [N, E], and what is kept for `enrich` [N, F E]."""
        token_NFE = self.tokens(profile_NP, standard_NP, hidden)
        return self.mix(token_NFE, 0.0), token_NFE.flatten(1)

    def enrich(self, h_NH: Tensor, kept_NX: Tensor) -> Tensor:
        """What the memory says and what the profile adds in such a state."""
        token_NFE = kept_NX.unflatten(-1, (self.num_fields, -1))
        enriched_NH: Tensor = h_NH + self.added(self.mix(token_NFE, self.of_state(h_NH)))
        return enriched_NH


class Gating(Fusion):
    """Each field passes a gate of its own, which all fields and the state open.

    Lim et al. 2021 (see above), equation 5 (the gated linear unit), with one gate a field, and
    equation 6, whose context is here the state. Deviations: gates are sigmoids, so that fields do
    not compete, where equation 6 has a softmax; no layer norm and no inner layer.
    """

    def __init__(
        self, fields: Sequence[Field], profile_BP: Tensor, *, hidden: int, size: int
    ) -> None:
        super().__init__(fields, profile_BP, hidden=hidden, size=size)
        self.gate = nn.Linear(self.num_fields * size, self.num_fields)

    @property
    def num_asked(self) -> int:
        """One a field."""
        return self.num_fields

    def weights(self, token_NFE: Tensor, asked: Tensor | float) -> Tensor:
        """Gates of each field, [N, F]."""
        gate_NF: Tensor = (self.gate(token_NFE.flatten(1)) + asked).sigmoid()
        return gate_NF


class Attention(Fusion):
    """The state looks at the fields: a query learned for all, and what the state adds to it.

    Vaswani et al. 2017, "Attention is all you need", equation 1, with one query and one head, over
    the tokens of Gorishniy et al. 2021 (see above), whose class token is the query before the first
    event. Deviation: one look and no stack of blocks.
    """

    def __init__(
        self, fields: Sequence[Field], profile_BP: Tensor, *, hidden: int, size: int
    ) -> None:
        super().__init__(fields, profile_BP, hidden=hidden, size=size)
        self.query = nn.Parameter(torch.randn(size) * size**-0.5)
        self.key = nn.Linear(size, size, bias=False)

    @property
    def num_asked(self) -> int:
        """E."""
        return self.num_static

    def weights(self, token_NFE: Tensor, asked: Tensor | float) -> Tensor:
        """Shares of the fields, [N, F]."""
        query_N1E = (self.query + asked).expand(len(token_NFE), -1).unsqueeze(1)
        score_NF = (self.key(token_NFE) * query_N1E).sum(-1)
        share_NF: Tensor = (score_NF / math.sqrt(self.num_static)).softmax(-1)
        return share_NF


FUSIONS: dict[str, type[Fusion]] = {"gating": Gating, "attention": Attention}


def fuse(
    name: str, fields: Sequence[Field], profile_BP: Tensor, *, hidden: int, size: int
) -> Concatenation | Fusion:
    """The fusion of that name; concatenation draws no random numbers.

    Raises:
        UserError: where there is nothing to fuse, or the fields are not those of the profile.
    """
    count = sum(field.num_entries for field in fields)
    if count != profile_BP.shape[1]:
        raise UserError(
            f"the fields {', '.join(field.name for field in fields)} have {count} entries, and the "
            f"profile {profile_BP.shape[1]}: expected the fields of the log that is fitted."
        )
    if name == "concatenation":
        return Concatenation(count)
    if not fields:
        raise UserError(
            f"user_model.model.fusion={name} fuses what is known of shoppers, and the log holds "
            "nothing: expected columns beside the shopper in shoppers.parquet; set "
            "user_model.model.fusion=concatenation."
        )
    return FUSIONS[name](fields, profile_BP, hidden=hidden, size=size)
