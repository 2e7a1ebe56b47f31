"""What a user model holds of each item, and the tables that its verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recgym import organic
from recgym.errors import UserError
from recgym.lanes import Shared
from recgym.types import Catalog, ItemTable, Organic
from recgym.users.tastes import Loads, Tastes

OWN_SD = 0.4  # times `prior_sd`: effects on buying, carting and favouring beside the worth


@dataclass(frozen=True)
class Tables(Shared):
    """All items under the parameters of one moment."""

    vector_ID: Tensor  # [I, D]
    detail_I5: Tensor  # [I, 5] own effects on click, buy, cart, favourite; usual log price
    input_IX: Tensor  # [I, X] vector, usual log price and `beside`, as the memory reads an item
    mean_log_price: Tensor  # []
    loads: Loads
    law: ItemTable  # of what is found alone
    mean_CZX: Tensor  # [C, Z, X] of the items' inputs, see `organic.mean_of_classes`
    category_CV: Tensor  # [C, V] how tastes move the logit of each category of finds
    class_ZV: Tensor  # [Z, V] and of each latent class

    def groups(self, count: int, item_NJ: Tensor | None = None) -> Tensor:
        """Which of so many groups of categories these items belong to (None: all), int64."""
        category = self.law.category if item_NJ is None else self.law.category[item_NJ]
        return category % count


class Items(nn.Module):
    """Vectors, effects and usual prices of items; how they are found alone.

    An item's vector is made of a free part (only for items met in training), its category, its
    features and, where they are read, its title, so that a new item is not a stranger.

    Args:
        catalog: of the log.
        seen_I: items met in training, [I] bool.
        embedding: D, the length of a vector.
        classes: Z, latent classes of organic taste within a category.
        inputs: what of an item the memory reads beside, see `beside`.
        tied: whether the memory reads an item by the vector that it is found, clicked and sold by
            (Inan, Khosravi and Socher 2017, "Tying word vectors and word classifiers"); else its
            free part is another one, and what tells items of like appeal apart costs no appeal.
    """

    seen: Tensor  # [I, 1] float, 1 for an item met in training
    log_price: Tensor  # [I] each item's mean over the days
    mean_log_price: Tensor  # []
    beside: Tensor  # [I, X - D - 1]

    def __init__(
        self,
        catalog: Catalog,
        seen_I: Tensor,
        *,
        embedding: int,
        classes: int,
        inputs: Sequence[str] = (),
        tied: bool = True,
    ) -> None:
        super().__init__()
        num_items, num_features = catalog.feature.shape
        self.register_buffer("seen", seen_I.float().unsqueeze(-1))
        log_price_DI = catalog.price.clamp(min=1e-6).log()
        self.register_buffer("mean_log_price", log_price_DI.mean())
        self.register_buffer("log_price", log_price_DI.mean(0))
        # made anew from the catalogue, so that files need not hold it
        self.register_buffer("beside", beside(catalog, self.log_price, inputs), persistent=False)
        self.own = nn.Parameter(0.1 * torch.randn(num_items, embedding))
        self.of_category = nn.Embedding(catalog.num_categories, embedding)
        self.of_feature = nn.Linear(num_features, embedding, bias=False)
        self.of_title = None
        if catalog.title is not None:
            self.of_title = nn.Linear(catalog.title.shape[1], embedding, bias=False)
        nn.init.normal_(self.of_category.weight, std=0.1)
        # each item's own effect on: being found in its category, click, worth, buy, cart, favourite
        self.bias = nn.Parameter(torch.zeros(num_items, 6))
        self.category_bias = nn.Parameter(torch.zeros(catalog.num_categories))  # being searched
        self.class_taste = nn.Parameter(torch.randn(classes, embedding))
        self.read = None if tied else nn.Parameter(0.1 * torch.randn(num_items, embedding))

    def tables(
        self,
        catalog: Catalog,
        tastes: Tastes,
        worth_scale_3: Tensor,
        knows_clicks: Tensor,
        *,
        drawn: bool,
    ) -> Tables:
        """From the parameters as they are now.

        ``worth_scale_3`` is how far buying, carting and favouring hang on an item's worth;
        ``knows_clicks`` is that of the `Senses`; ``drawn`` whether items will be drawn from the
        table, see `organic.item_table`.
        """
        own_I6 = self.bias * self.seen
        vector_ID = self._vectors(self.own, catalog)
        read_ID = vector_ID if self.read is None else self._vectors(self.read, catalog)
        usual_I1 = self.log_price.unsqueeze(-1)
        after_I3 = own_I6[:, 3:] + own_I6[:, 2:3] * worth_scale_3
        detail_I5 = torch.cat([own_I6[:, 1:2], after_I3, usual_I1], -1)
        dear_I1 = usual_I1 - self.mean_log_price
        input_IX = torch.cat([read_ID, dear_I1, self.beside], -1)
        loads = tastes.loads(vector_ID, dear_I1, input_IX, knows_clicks)
        law = organic.item_table(
            vector_ID @ self.class_taste.T + own_I6[:, :1],
            catalog.category,
            catalog.num_categories,
            drawn=drawn,
        )
        with torch.no_grad():  # expectations are constants to the gradient
            mean_CZX = organic.mean_of_classes(law, input_IX)
        load_CZV = mean_CZX @ loads.found_XV
        category_CV = load_CZV.mean(1)
        return Tables(
            vector_ID=vector_ID,
            detail_I5=detail_I5,
            input_IX=input_IX,
            mean_log_price=self.mean_log_price,
            loads=loads,
            law=law,
            mean_CZX=mean_CZX,
            category_CV=category_CV,
            class_ZV=(load_CZV - category_CV.unsqueeze(1)).mean(0),
        )

    def _vectors(self, own_ID: Tensor, catalog: Catalog) -> Tensor:
        """Of these free parts, [I, D]."""
        vector_ID: Tensor = (
            own_ID * self.seen
            + self.of_category(catalog.category)
            + self.of_feature(catalog.feature)
        )
        if self.of_title is not None:
            vector_ID = vector_ID + self.of_title(catalog.title)
        return vector_ID

    def found(
        self, query_ND: Tensor, latent_NZ: Tensor, tables: Tables, taste_NV: Tensor
    ) -> Organic:
        """What is found alone.

        Args:
            query_ND: of categories.
            latent_NZ: logits of latent classes.
            tables: of all items.
            taste_NV: by which finds are moved as their loads say.
        """
        category_NC = torch.addmm(self.category_bias, query_ND, self.of_category.weight.T)
        category_NC = category_NC + taste_NV @ tables.category_CV.T
        latent_NZ = latent_NZ + taste_NV @ tables.class_ZV.T
        return organic.organic(category_NC, latent_NZ, tables.law)

    def penalty(self, prior_sd: float) -> Tensor:
        """Negative log-density of the Gaussian prior on the items' own parts, a scalar in nats.

        With a handful of purchases an item, maximum likelihood alone would sell wildly.
        """
        own = self.bias[:, 1:3].square().sum() + self.own.square().sum()
        if self.read is not None:
            own = own + self.read.square().sum()
        apart = (self.bias[:, 3:] / OWN_SD).square().sum()
        return 0.5 * (own + apart) / prior_sd**2


def beside(catalog: Catalog, log_price_I: Tensor, inputs: Sequence[str]) -> Tensor:
    """What of each item a memory reads beside its vector and its usual price, [I, .].

    ``relative_price`` is the log of the usual price less its mean over the item's category, and
    ``brand`` one column for each of the commonest brands. Both are in the vector too, where D
    numbers have to say all at once.

    Raises:
        UserError: where the log knows nothing of the kind.
    """
    parts = [log_price_I.new_zeros(len(log_price_I), 0)]
    if "relative_price" in inputs:
        if not catalog.priced:
            raise _absent("relative_price", "prices")
        zero_C = log_price_I.new_zeros(catalog.num_categories)
        sum_C = zero_C.index_add(0, catalog.category, log_price_I)
        count_C = zero_C.index_add(0, catalog.category, torch.ones_like(log_price_I))
        mean_C = sum_C / count_C.clamp(min=1.0)
        parts.append((log_price_I - mean_C[catalog.category]).unsqueeze(-1))
    if "brand" in inputs:
        if catalog.feature.shape[1] < 2:
            raise _absent("brand", "brands")
        parts.append(catalog.feature[:, 1:].to(log_price_I))  # the first one is the price's
    return torch.cat(parts, -1)


def _absent(name: str, what: str) -> UserError:
    return UserError(
        f"user_model.model.inputs names {name}, and the log holds no {what}: expected a log that "
        f"does; leave {name} out of user_model.model.inputs."
    )
