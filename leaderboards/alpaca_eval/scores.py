"""From AlpacaEval comparisons to its numbers: rows, the leaderboard's columns, the length-controlled win rate.

A comparison's ``win`` is AlpacaEval's preference less 1: the share of the win the model gets, 0..1; a draw is one half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from leaderboards.alpaca_eval.length_control import (
    FORMULA,
    FORMULA_WITHOUT_BASELINES,
    SAME_WEIGHTS,
    Comparisons,
    Gamed,
    LengthControlled,
    length_controlled,
)
from leaderboards.base import row
from leaderboards.replicates import Replicates
from selfreward_bench.judges.fencing import clean
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Metric, SampleScore

__all__ = ["LengthModel", "Pair", "Scores", "score"]

EXCERPT: Final = 4_000  # characters of a text that a row keeps
PARTS: Final = 4
LENGTH_CONTROLLED: Final = "length_controlled_winrate"


@dataclass(frozen=True, slots=True)
class Pair:
    """One answer against the reference's.

    Attributes:
        category: what the breakdown is by: AlpacaEval's source data set, the micro-world's family.
        answer: None where there is none.
        win: 0..1; None where there is no verdict, and ``reason`` says why.
        position, difficulty: in AlpacaEval's list; None elsewhere.
        measures: further numbers of this comparison, by metric.
        detail: what a report may want to show.
    """

    id: str
    category: str
    instruction: str
    reference: str
    answer: str | None
    win: float | None
    reason: str | None = None
    position: int = 0
    difficulty: float | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LengthModel:
    """What the length control needs beside the comparisons.

    Attributes:
        gamed: None fits without baselines and difficulties.
        difficulties: of all instructions in the official order.
        by_position: whether the number is also made as AlpacaEval's code does where instructions are missing.
        published: the model's published weights, which tell the penalty's strength; None cross-validates it.
        refused: why there is no length-controlled win rate; empty where there is one.
    """

    gamed: Gamed | None = None
    difficulties: Sequence[float] = ()
    by_position: bool = False
    published: Sequence[float] | None = None
    refused: str = ""

    @property
    def formula(self) -> str:
        """For the comparability key."""
        formula = FORMULA if self.gamed else FORMULA_WITHOUT_BASELINES
        return f"{formula}; strength of published weights" if self.published is not None else formula


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows, and what is no mean over rows."""

    rows: list[SampleScore]
    metrics: dict[str, Metric]
    replicates: dict[str, Replicates]
    notes: tuple[str, ...] = ()


def score(pairs: Sequence[Pair], lengths: LengthModel) -> Scores:
    """All numbers of a model.

    Args:
        pairs: in the order of the official list, whatever order files have.
    """
    answered = [p for p in pairs if p.answer is not None]
    places = np.array([i for i, p in enumerate(pairs) if p.answer is not None], dtype=np.int64)
    among = replace(_comparisons(answered), places=places, n_items=len(pairs))
    controlled = None if lengths.refused else length_controlled(among, lengths.gamed, published=lengths.published)
    fitted = {} if controlled is None else dict(zip((p.id for p in answered), controlled.fitted, strict=True))
    expected = _parts([len(p.reference) for p in pairs])
    own = dict(zip((p.id for p in answered), _parts([len(p.answer or "") for p in answered]), strict=True))
    rows = [_row(p, part, own.get(p.id), fitted.get(p.id)) for p, part in zip(pairs, expected, strict=True)]
    metrics = _leaderboard_columns([p.win for p in pairs]) | _length_metrics(pairs, controlled)
    if lengths.refused:
        metrics = {name: m for name, m in metrics.items() if not name.startswith(("length_controlled", "lc_"))}
        return Scores(rows, metrics, {}, (f"no length-controlled win rate: {lengths.refused}",))
    if lengths.gamed is None:
        del metrics["lc_standard_error"]  # without difficulties all predictions are the same
    if lengths.by_position and [p.position for p in answered] != list(range(len(answered))):
        metrics |= _by_position(pairs, answered, lengths)
    return Scores(rows, metrics, _replicates(pairs, controlled), tuple(_told(controlled)))


def _told(found: LengthControlled | None) -> Iterator[str]:
    if found is not None and found.gap is not None and found.gap > SAME_WEIGHTS:
        yield (
            f"no strength of the penalty gives the published weights (the nearest fit is {found.gap:.3f} away), so it "
            "is cross-validated: the annotations are not those that were published, rows are missing, or scikit-learn "
            "is of another version"
        )


def _replicates(pairs: Sequence[Pair], found: LengthControlled | None) -> dict[str, Replicates]:
    """Of the length-controlled win rate, for its difference to another model's on the same instructions."""
    if found is None or not len(found.refits):
        return {}
    values = tuple(None if np.isnan(value) else round(float(value), 9) for value in found.refits)
    return {LENGTH_CONTROLLED: Replicates(resamples=hash_json([p.id for p in pairs]), values=values)}


def _row(pair: Pair, expected: int, own: int | None, fitted: float | None) -> SampleScore:
    percent = None if pair.win is None else 100 * pair.win
    numbers: dict[str, float | None] = {
        "win_rate": percent,
        "discrete_win_rate": None if pair.win is None else 50 * float(1 + np.sign(pair.win - 0.5)),
        "avg_length": None if pair.answer is None else len(pair.answer),
        f"win_rate/{pair.category}": percent,
        f"win_rate/expected_length_{expected}": percent,
    }
    if own is not None:
        numbers[f"win_rate/answer_length_{own}"] = percent
    return row(
        pair.id,
        pair.id,
        numbers | dict(pair.measures),
        reason=None if percent is not None else pair.reason or "unknown",
        category=pair.category,
        prompt=excerpt(pair.instruction),
        answer=excerpt(pair.answer),
        reference=excerpt(pair.reference),
        glm_win=None if fitted is None else float(fitted),
        **pair.detail,
    )


def excerpt(text: str | None) -> str | None:
    """What a row keeps of a text."""
    if text is None or len(text) <= EXCERPT:
        return None if text is None else clean(text)
    return f"{clean(text[:EXCERPT])} [... {len(text):,} characters]"


def _parts(lengths: Sequence[int]) -> list[int]:
    """For each length its quarter, 1 (the shortest) to 4."""
    if not lengths:
        return []
    edges = np.quantile(lengths, np.arange(1, PARTS) / PARTS)
    return [int(part) + 1 for part in np.searchsorted(edges, lengths, side="left")]


def _leaderboard_columns(wins: Sequence[float | None]) -> dict[str, Metric]:
    """AlpacaEval's counts and its standard error (of the win rate in per cent, n - 1)."""
    scored = np.array([w for w in wins if w is not None])
    n = len(scored)
    numbers = {
        "standard_error": float(np.std(scored, ddof=1) / np.sqrt(n) * 100) if n > 1 else None,
        "n_wins": int((scored > 0.5).sum()),
        "n_wins_base": int((scored < 0.5).sum()),
        "n_draws": int((scored == 0.5).sum()),
        "n_total": n,
    }
    return {name: Metric(value=value, n_scored=n, n_total=len(wins)) for name, value in numbers.items()}


# --- length control


def _comparisons(answered: Sequence[Pair]) -> Comparisons:
    known = all(p.difficulty is not None for p in answered)
    return Comparisons(
        wins=np.array([np.nan if p.win is None else p.win for p in answered], dtype=np.float64),
        deltas=np.array([len(p.reference) - len(p.answer or "") for p in answered], dtype=np.float64),
        difficulties=np.array([p.difficulty for p in answered], dtype=np.float64) if known else None,
        positions=np.array([p.position for p in answered], dtype=np.int64),
    )


def _length_metrics(pairs: Sequence[Pair], found: LengthControlled | None) -> dict[str, Metric]:
    n, total = sum(p.win is not None for p in pairs), len(pairs)
    if found is None:
        nothing = Metric(value=None, n_scored=0, n_total=total)
        return {LENGTH_CONTROLLED: nothing, "lc_standard_error": nothing}
    rate = Metric(value=found.win_rate, low=found.low, high=found.high, n_scored=n, n_total=total)
    error = Metric(value=found.standard_error, n_scored=n, n_total=total)
    return {LENGTH_CONTROLLED: rate, "lc_standard_error": error}


def _by_position(pairs: Sequence[Pair], answered: Sequence[Pair], lengths: LengthModel) -> dict[str, Metric]:
    """With the difficulty of the n-th instruction given to the n-th row, which is another one after a gap."""
    found, places = _comparisons(answered), np.arange(len(answered))
    difficulties = np.array(lengths.difficulties, dtype=np.float64)[places]
    shifted = Comparisons(found.wins, found.deltas, difficulties, places)
    controlled = length_controlled(shifted, lengths.gamed, n_refits=0)
    return {"length_controlled_winrate_by_position": _length_metrics(pairs, controlled)[LENGTH_CONTROLLED]}
