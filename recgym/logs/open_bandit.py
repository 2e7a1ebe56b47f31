"""The Open Bandit Dataset: items that a fashion site showed in three positions, and how likely.

Saito, Aihara, Matsutani and Narita 2021, "Open Bandit Dataset and Pipeline". Two policies ran side
by side: one drew items at random, the other by Thompson sampling (``bts``). A row is one item in
one position, the propensity that of the item shown. The layout is as published: a folder a policy,
in it ``CAMPAIGN.csv``, plain or .gz, there or in a folder of the campaign's name.

What the columns do not say: who the shopper is (only hashed features), and how likely the items
that were not shown were.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.lanes import Record
from recgym.logs.catalog import floats, ints
from recgym.logs.source import columns_of, literal, load_csv, plain_errors, reject_lines

POLICIES = ("random", "bts")
NUM_POSITIONS = 3
USER = tuple(f"user_feature_{j}" for j in range(4))
COLUMNS = ("timestamp", "item_id", "position", "click", "propensity_score", *USER)
MAX_SET_ASIDE = 0.02  # of the rows, all reasons together
REASONS = {  # SQL of what makes a row useless, the first that holds counts
    "try_cast(timestamp AS TIMESTAMPTZ) IS NULL": "time unreadable",
    "NOT coalesce(try_cast(item_id AS BIGINT) >= 0, false)": "no item number",
    "NOT coalesce(position IN ('1', '2', '3'), false)": "position not 1, 2 or 3",
    "NOT coalesce(click IN ('0', '1'), false)": "click neither 0 nor 1",
    "NOT coalesce(try_cast(propensity_score AS DOUBLE) > 0 AND "
    "try_cast(propensity_score AS DOUBLE) <= 1, false)": "propensity not in (0, 1]",
}


@dataclass(frozen=True)
class Rounds(Record):
    """N rows by time, each an item in a position."""

    time_ms: Tensor  # [N] int64, UTC milliseconds
    item: Tensor  # [N] int64, the number in the file
    position: Tensor  # [N] int64, from 0
    clicked: Tensor  # [N] bool
    propensity: Tensor  # [N] float64, P(item | position, what the policy knew)
    user: Tensor  # [N, 4] int64, hashed features of the shopper, numbered by their values' order


@dataclass(frozen=True)
class BanditLog:
    """The rounds of one policy, and what became of each row."""

    rounds: Rounds
    rows: dict[str, object]  # in, kept, set_aside by reason


@dataclass(kw_only=True)
class OpenBandit:
    """Reader of one campaign of the dataset's folder."""

    path: str | None = None
    campaign: str = "men"

    def read(self, policy: str) -> BanditLog:
        """The rounds of one of `POLICIES`.

        Raises:
            UserError: where the file or a column is missing, or too many rows are of no use.
        """
        file = self._file(policy)
        with duckdb.connect() as db, plain_errors(file):
            db.execute("SET TimeZone = 'UTC'")
            load_csv(db, "given_rows", [file])
            found = columns_of(db, "given_rows")
            lacking = [name for name in COLUMNS if name not in found]
            if lacking:
                raise UserError(
                    f"{file} lacks the column {lacking[0]!r} of the Open Bandit Dataset; found "
                    f"{', '.join(map(repr, list(found)[:12]))}: expected the published layout."
                )
            whens = " ".join(f"WHEN {sql} THEN {literal(said)}" for sql, said in REASONS.items())
            db.execute(
                f"CREATE TABLE judged AS SELECT {', '.join(COLUMNS)}, "
                f"row_number() OVER () AS row, CASE {whens} END AS reason FROM given_rows"
            )
            rows = _account(db, file)
            return BanditLog(_rounds(db), rows)

    def _file(self, policy: str) -> Path:
        if policy not in POLICIES:
            raise UserError(f"policy={policy}: expected one of {', '.join(POLICIES)}.")
        named = str(self.path or "").strip()
        folder = Path(named).expanduser() / policy
        for place in (folder, folder / self.campaign):
            for ending in (".csv", ".csv.gz"):
                if named and (place / f"{self.campaign}{ending}").is_file():
                    return place / f"{self.campaign}{ending}"
        raise UserError(
            f"data={named or None} holds no {policy}/{self.campaign}.csv, plain or .gz: expected "
            "the folder of the Open Bandit Dataset, with a folder a policy; set data=DIR."
        )


def _account(db: duckdb.DuckDBPyConnection, file: Path) -> dict[str, object]:
    """Rows in, kept and set aside; stops where too many are of no use."""
    counted = db.execute("SELECT reason, count(*) FROM judged GROUP BY reason").fetchall()
    kept = sum(count for reason, count in counted if reason is None)
    aside = {reason: count for reason, count in counted if reason is not None}
    if reject_lines(db):
        broken = db.execute("SELECT count(*) FROM raw_rejects").fetchone()
        if broken and broken[0]:
            aside["malformed line"] = int(broken[0])
    total = kept + sum(aside.values())
    if kept == 0 or kept < (1.0 - MAX_SET_ASIDE) * total:
        said = ", ".join(f"{count:,} {reason}" for reason, count in aside.items())
        raise UserError(
            f"{file}: {total - kept:,} of {total:,} rows are of no use ({said or 'no rows'}): "
            f"expected at most {MAX_SET_ASIDE:.0%}; copy or download the file again."
        )
    return {"in": total, "kept": kept, "set_aside": aside}


def _rounds(db: duckdb.DuckDBPyConnection) -> Rounds:
    user = ", ".join(
        f"dense_rank() OVER (ORDER BY {name}) - 1 AS u{j}" for j, name in enumerate(USER)
    )
    found = db.execute(
        f"SELECT epoch_ms(CAST(timestamp AS TIMESTAMPTZ)) AS time_ms, "
        f"CAST(item_id AS BIGINT) AS item, CAST(position AS BIGINT) - 1 AS position, "
        f"CAST(click AS BIGINT) AS click, CAST(propensity_score AS DOUBLE) AS propensity, {user} "
        f"FROM judged WHERE reason IS NULL ORDER BY time_ms, row"
    ).fetchnumpy()
    return Rounds(
        time_ms=torch.from_numpy(ints(found["time_ms"])),
        item=torch.from_numpy(ints(found["item"])),
        position=torch.from_numpy(ints(found["position"])),
        clicked=torch.from_numpy(ints(found["click"])) > 0,
        propensity=torch.from_numpy(floats(found["propensity"])),
        user=torch.stack([torch.from_numpy(ints(found[f"u{j}"])) for j in range(4)], -1),
    )


def shares(rounds: Rounds, num_items: int) -> Tensor:
    """P(item | position), averaged over the rounds of a policy, [3, I].

    The log tells propensities of shown items alone. Their average over all rounds weighs each by
    its inverse (Horvitz and Thompson 1952), and so is the share of the rounds in which the item
    was shown; a plain average over the rounds that show an item would favour those in which it was
    likely.
    """
    count_PI = torch.zeros(NUM_POSITIONS, num_items, dtype=torch.float64)
    one_N = torch.ones_like(rounds.propensity)
    count_PI.index_put_((rounds.position, rounds.item), one_N, accumulate=True)
    return count_PI / count_PI.sum(-1, keepdim=True)
