"""What a human evaluation leaves behind: the key of its sheet, and what came of the ratings.

runs/NAME/human/for-raters/sheet.html, sheet.csv    what raters get
                key.json                            Key: whose answer stands where; raters never see it
                ratings.jsonl                       Rating, of each rater and item
                human.json                          HumanEvaluation
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from leaderboards.standings import read_record
from selfreward_bench.types import Metric, Prompt, Record

__all__ = [
    "DIRECTORY",
    "KEY",
    "RATERS",
    "RATINGS",
    "RESULT",
    "Choice",
    "HumanEvaluation",
    "Item",
    "JudgeAgainstPeople",
    "Key",
    "PairOutcome",
    "RaterCount",
    "Rating",
    "Sheet",
    "Shown",
    "read_human",
    "read_key",
]

DIRECTORY: Final = "human"
RATERS: Final = "for-raters"
KEY: Final = "key.json"
RATINGS: Final = "ratings.jsonl"
RESULT: Final = "human.json"

Choice = Literal["first", "second", "tie"]


class Item(Record):
    """One comparison that people are asked for.

    Attributes:
        id: letters that tell nothing of models, prompts or order.
        first: whether the answer of ``a`` stands first.
        text_a, text_b: hashes of the answers.
    """

    id: str
    a: str
    b: str
    prompt_id: str
    first: Literal["a", "b"]
    text_a: str
    text_b: str


class Key(Record):
    """What the sheet keeps from raters.

    Attributes:
        sheet: what the sheet is called in the files of ratings; of all that is in it.
        source: the benchmark whose answers are compared.
        checkpoints: model -> fingerprint of the weights that answered.
        pairs: the models compared, results being told from the side of the first.
        items: in the order of the sheet.
        identical: ``(a, b, prompt id)`` of equal answers: ties that nobody is asked about.
    """

    format: Literal[1] = 1
    sheet: str
    seed: int
    n: int
    source: str
    checkpoints: dict[str, str]
    pairs: tuple[tuple[str, str], ...]
    items: tuple[Item, ...]
    identical: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Shown:
    """One comparison as a rater sees it."""

    id: str
    prompt: Prompt
    first: str
    second: str


@dataclass(frozen=True)
class Sheet:
    """What raters see, and what they must not see."""

    key: Key
    shown: tuple[Shown, ...]


class Rating(Record):
    """What one rater said of one item.

    Attributes:
        rater: ``A``, ``B``, ...: in the order of the files.
    """

    rater: str
    item: str
    choice: Choice


class RaterCount(Record):
    """One rater's ratings.

    Attributes:
        rated, of: items rated, of how many.
        first: share of the ratings for one side that are for what stood first; None without any.
        ties: share of ratings that are ties.
    """

    rater: str
    rated: int
    of: int
    first: float | None
    ties: float | None


class PairOutcome(Record):
    """Two models by the majority of raters, from the side of ``a``.

    Attributes:
        wins, ties, losses: items by what more than half of their raters said; without such a majority it is a tie.
        win, tie, loss: their shares with Clopper and Pearson's intervals.
        net_win: win - loss.
        p_value: exact two-sided sign test of wins against losses; None where all are ties.
        undecided: the ties without a majority.
        identical: the ties that nobody was asked about, both answers being one text.
    """

    a: str
    b: str
    wins: int
    ties: int
    losses: int
    win: Metric
    tie: Metric
    loss: Metric
    net_win: Metric
    p_value: float | None
    undecided: int = 0
    identical: int = 0

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """+1 or -1 where the exact test has p below 0.05 and the interval of win - loss excludes zero, else 0."""
        low, high = self.net_win.low, self.net_win.high
        if low is None or high is None or self.p_value is None or self.p_value >= 0.05:
            return 0
        return 1 if low > 0 else -1 if high < 0 else 0


class JudgeAgainstPeople(Record):
    """How well a judge agrees with the majority of people.

    Attributes:
        judge: ``M2``, the judge of head-to-head, or the micro-world's ``oracle``.
        way: how it judged: ``graded`` each answer alone, or ``compared`` both.
        agreement: mean over items on which people prefer one side; 1 for the same side, 1/2 for a tie of the judge.
        kappa: Cohen's, over win, tie and loss of all items.
    """

    judge: str
    way: Literal["graded", "compared"]
    agreement: Metric
    kappa: Metric


class HumanEvaluation(Record):
    """What people said.

    Attributes:
        rating: Fleiss' kappa over items that all have rated, and Krippendorff's alpha over all, of win, tie and loss.
        same: share of items, rated by two or more, of which all raters said the same.
        notes: what a reader must know.
    """

    format: Literal[1] = 1
    sheet: str
    source: str
    checkpoints: dict[str, str]
    n_items: int
    raters: tuple[RaterCount, ...]
    pairs: tuple[PairOutcome, ...]
    fleiss_kappa: Metric
    krippendorff_alpha: Metric
    same: Metric
    judges: tuple[JudgeAgainstPeople, ...] = ()
    notes: tuple[str, ...] = ()


def read_key(root: Path) -> Key:
    """The key of a run's sheet.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    return read_record(root / DIRECTORY / KEY, Key)


def read_human(root: Path) -> HumanEvaluation:
    """What came of a run's human evaluation.

    Raises:
        DataError: it cannot be read.
    """
    return read_record(root / DIRECTORY / RESULT, HumanEvaluation)
