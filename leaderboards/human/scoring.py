"""What ratings come to: the majority of each comparison, how well raters agree, and judges against the majority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from scipy.stats import binomtest

from leaderboards.human.answers import find
from leaderboards.human.judges import said
from leaderboards.human.records import HumanEvaluation, Item, JudgeAgainstPeople, Key, PairOutcome, RaterCount, Rating
from leaderboards.judge_accuracy.agreement import cohen_kappa
from leaderboards.pooled import Floats, resampled_metric
from selfreward_bench import stats
from selfreward_bench.errors import DataError
from selfreward_bench.types import Metric

__all__ = ["evaluated", "majority"]

_WIN, _TIE, _LOSS = 1.0, 0.5, 0.0
_OUTCOMES: Final = (_WIN, _TIE, _LOSS)
_LEVEL: Final = 0.95


def evaluated(root: Path, key: Key, ratings: Sequence[Rating]) -> HumanEvaluation:
    """All numbers of a human evaluation.

    Args:
        ratings: ``labels.ratings``.
    """
    items = {item.id: item for item in key.items}
    by_item: dict[str, list[float]] = {item.id: [] for item in key.items}
    for rating in ratings:
        by_item[rating.item].append(_outcome(items[rating.item], rating))
    raters = list(dict.fromkeys(r.rater for r in ratings))
    counts = np.array([[rated.count(o) for o in _OUTCOMES] for rated in by_item.values()], dtype=np.float64)
    people = {name: found for name, rated in by_item.items() if (found := majority(rated)) is not None}
    judges, note = _judges(root, key, people)
    return HumanEvaluation(
        sheet=key.sheet,
        source=key.source,
        checkpoints=key.checkpoints,
        n_items=len(key.items),
        raters=tuple(_rater(name, [r for r in ratings if r.rater == name], len(key.items)) for name in raters),
        pairs=tuple(_pair(a, b, key, by_item) for a, b in key.pairs),
        fleiss_kappa=_kappa(counts, len(raters)),
        krippendorff_alpha=_alpha(counts),
        same=_same(by_item.values()),
        judges=judges,
        notes=(*_notes(by_item, len(raters)), *note),
    )


def majority(rated: Sequence[float]) -> float | None:
    """What more than half of the raters of an item said; without such a majority a tie; None where nobody rated.

    >>> majority([1.0, 1.0, 0.0]), majority([1.0, 0.5, 0.0])
    (1.0, 0.5)
    """
    if not rated:
        return None
    most, n = Counter(rated).most_common(1)[0]
    return most if 2 * n > len(rated) else _TIE


def _outcome(item: Item, rating: Rating) -> float:
    """From the side of ``a``."""
    if rating.choice == "tie":
        return _TIE
    return _WIN if (rating.choice == "first") == (item.first == "a") else _LOSS


# --- pairs and raters


def _pair(a: str, b: str, key: Key, by_item: Mapping[str, Sequence[float]]) -> PairOutcome:
    own = [by_item[i.id] for i in key.items if (i.a, i.b) == (a, b)]
    outcomes = [found for rated in own if (found := majority(rated)) is not None]
    identical = sum((x, y) == (a, b) for x, y, _ in key.identical)
    wins, losses = outcomes.count(_WIN), outcomes.count(_LOSS)
    n, of = len(outcomes) + identical, len(own) + identical
    ties = n - wins - losses
    share = partial(_share, n=n, of=of)
    net = Metric(value=None, n_scored=n, n_total=of)
    if n:
        low, high = stats.paired_share_interval(wins, losses, n)
        net = Metric(value=(wins - losses) / n, low=low, high=high, n_scored=n, n_total=of)
    return PairOutcome(
        a=a,
        b=b,
        wins=wins,
        ties=ties,
        losses=losses,
        win=share(wins),
        tie=share(ties),
        loss=share(losses),
        net_win=net,
        p_value=float(binomtest(wins, wins + losses).pvalue) if wins + losses else None,
        undecided=sum(bool(rated) and 2 * Counter(rated).most_common(1)[0][1] <= len(rated) for rated in own),
        identical=identical,
    )


def _share(k: int, *, n: int, of: int) -> Metric:
    """``k`` of ``n`` with Clopper and Pearson's interval."""
    if not n:
        return Metric(value=None, n_scored=0, n_total=of)
    found = binomtest(k, n).proportion_ci(_LEVEL, "exact")
    return Metric(value=k / n, low=float(found.low), high=float(found.high), n_scored=n, n_total=of)


def _rater(name: str, own: Sequence[Rating], of: int) -> RaterCount:
    said = Counter(r.choice for r in own)
    sides = said["first"] + said["second"]
    first = said["first"] / sides if sides else None
    return RaterCount(rater=name, rated=len(own), of=of, first=first, ties=said["tie"] / len(own) if own else None)


# --- agreement


def _kappa(counts: Floats, n_raters: int) -> Metric:
    """Over the items that all raters have rated."""
    full = counts[counts.sum(axis=1) == n_raters]
    if n_raters < 2 or not len(full):
        return Metric(value=None, n_scored=0, n_total=len(counts))
    return resampled_metric(lambda w: stats.fleiss_kappa(full, w), len(full), len(full), len(counts))


def _alpha(counts: Floats) -> Metric:
    several = counts[counts.sum(axis=1) >= 2]
    if not len(several):
        return Metric(value=None, n_scored=0, n_total=len(counts))
    return resampled_metric(lambda w: stats.krippendorff_alpha(several, w), len(several), len(several), len(counts))


def _same(rated: Iterable[Sequence[float]]) -> Metric:
    found = list(rated)
    several = [r for r in found if len(r) >= 2]
    return _share(sum(len(set(r)) == 1 for r in several), n=len(several), of=len(found))


def _judges(root: Path, key: Key, people: Mapping[str, float]) -> tuple[tuple[JudgeAgainstPeople, ...], list[str]]:
    """The run's judges, and why there are none or not of all items."""
    items = [i for i in key.items if i.id in people]
    try:
        found = find(root, list(key.checkpoints))
    except DataError:
        return (), ["The models' answers are no longer there, so no judge could be held against people."]
    answers = {(name, i): text for name, texts in found.texts.items() for i, text in texts.items()}
    prompts = {p.id: p for p in found.prompts}
    told = list(said(root, items, key.source, answers, prompts)) if found.source == key.source else []
    if not told:
        return (), ["No judge of this run has judged the answers that people compared."]
    return tuple(_against(one.judge, one.way, one.verdicts, items, people) for one in told), []


def _against(
    judge: str, way: str, verdicts: Mapping[str, float], items: Sequence[Item], people: Mapping[str, float]
) -> JudgeAgainstPeople:
    clusters = [i.prompt_id for i in items]
    decided = [
        None if (v := verdicts.get(i.id)) is None else (0.5 if v == _TIE else float(v == people[i.id]))
        for i in items
        if people[i.id] != _TIE
    ]
    on = [i.prompt_id for i in items if people[i.id] != _TIE]
    agreement = stats.mean_interval(decided, on, bounds=(0, 1))
    kappa = cohen_kappa([([people[i.id] for i in items], [verdicts.get(i.id) for i in items])], clusters)
    return JudgeAgainstPeople.model_validate({"judge": judge, "way": way, "agreement": agreement, "kappa": kappa})


def _notes(by_item: Mapping[str, Sequence[float]], n_raters: int) -> Iterator[str]:
    missing = sum(len(rated) < n_raters for rated in by_item.values())
    if missing:
        yield f"{missing} of {len(by_item)} comparisons were not rated by all {n_raters} raters."
    if n_raters == 1:
        yield "One rater alone: there is no majority, and no agreement to measure."
    elif n_raters % 2 == 0:
        yield f"{n_raters} raters can be split evenly; such comparisons count as ties."
