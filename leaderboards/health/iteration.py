"""Health of one iteration: what its files say of the prompts, answers, judgments and pairs a model was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from scipy.stats import rankdata

from leaderboards.health.collected import Collected, Notes, Truth
from leaderboards.health.records import IterationHealth, Quantiles, Reading
from leaderboards.health.text import is_loop, self_bleu
from selfreward_bench import stats
from selfreward_bench.config import Rewards
from selfreward_bench.judges.parsing import Scale
from selfreward_bench.storage.decoding import json_file
from selfreward_bench.text import words

__all__ = ["measure_iteration", "quantiles"]

WIDEST: Final = 100  # pairs of the largest margins, where the judge was surest

_MAX_COUNT: Final = 10**15


def measure_iteration(
    folder: Path, scale: Scale | None, notes: Notes, truth: Truth | None = None
) -> tuple[IterationHealth, list[Reading]] | None:
    """What ``folder`` (``runs/NAME/M2``) holds; None where there is nothing of a preference round.

    Args:
        scale: the judge's grades; None where they are not known.
        notes: gets what cannot be read.
        truth: prompt and answer -> how good it truly is; None where nobody knows.
    """
    if not (folder / "completions.jsonl").is_file():
        return None
    markers = {name: _marker(folder / f"{name}.stage.json") for name in ("prompts", "candidates", "pairs")}
    counts = {name: _counts(marker) for name, marker in markers.items()}
    if _rewards(markers["pairs"]) in ("reward-model", "implicit"):  # numbers of another kind than grades
        scale = None
    seen = Collected.read(folder, scale, notes, truth)
    return _told(folder, seen, _rewards(markers["pairs"])), _readings(folder.name, seen, counts, scale)


def _told(folder: Path, seen: Collected, rewards: str) -> IterationHealth:
    return IterationHealth(
        model=folder.name,
        parent=_parent(folder),
        judge=seen.judge,
        rewards=rewards,
        grades={f"{grade:g}": n for grade, n in sorted(seen.grades.items())},
        failures=dict(seen.failures.most_common(20)),
        n_judgments=seen.n_judgments,
        margin=quantiles(seen.margins),
        chosen_chars=quantiles(seen.chosen),
        rejected_chars=quantiles(seen.rejected),
    )


# --- what stages say of themselves


def _marker(path: Path) -> dict[str, Any]:
    values = json_file(path)
    return values if isinstance(values, dict) else {}


def _counts(marker: Mapping[str, Any]) -> dict[str, int]:
    found = marker.get("counts")
    items = found.items() if isinstance(found, dict) else ()
    return {str(k): int(v) for k, v in items if isinstance(v, int | float) and 0 <= v < _MAX_COUNT}


def _rewards(marker: Mapping[str, Any]) -> str:
    identity = marker.get("identity")
    settings = identity.get("settings") if isinstance(identity, dict) else None
    kind = settings.get("rewards") if isinstance(settings, dict) else None
    return str(kind) if kind in ("rlaif", *get_args(Rewards)) else "self"


def _parent(folder: Path) -> str:
    number = folder.name[1:]
    return f"M{int(number) - 1}" if folder.name[:1] == "M" and number.isdecimal() else ""


# --- measures


def _readings(
    model: str, seen: Collected, counts: Mapping[str, Mapping[str, int]], scale: Scale | None
) -> list[Reading]:
    def reading(
        measure: str, file: str, value: float | None, n: int, total: int | None = None, reason: str | None = None
    ) -> Reading:
        return Reading(
            measure=measure,
            model=model,
            source=f"{model}/{file}",
            value=value,
            n=n,
            n_total=n if total is None else total,
            reason=reason if value is None else None,
        )

    prompts, candidates, pairs = counts["prompts"], counts["candidates"], counts["pairs"]
    written, answered, asked = (
        prompts.get("continuations", 0),
        candidates.get("completions", 0),
        pairs.get("prompts", 0),
    )
    new = prompts.get("prompts", 0) + prompts.get("surplus", 0)
    known = sum(prompts.get(name, 0) for name in ("duplicate", "similar", "excluded"))
    parsed = seen.n_judgments - sum(seen.failures.values())
    rankable = asked - pairs.get("too_few", 0)
    unfinished, unjudged = "the stage is not finished", "there are no judgments"
    return [
        reading("prompt_novelty", "prompts.stage.json", _share(new, written), written, reason=unfinished),
        reading("prompt_duplicates", "prompts.stage.json", _share(known, written), written, reason=unfinished),
        *(reading(name, "completions.jsonl", *found) for name, found in _diversity(seen).items()),
        reading(
            "candidate_distinct",
            "candidates.stage.json",
            _share(candidates.get("distinct", 0), answered),
            answered,
            reason=unfinished,
        ),
        reading(
            "candidate_truncation",
            "completions.jsonl",
            _share(seen.n_truncated, seen.n_completions),
            seen.n_completions,
        ),
        reading(
            "reward_top_share", "judgments.jsonl" if seen.n_judgments else "rewards.jsonl", *_top_share(seen, scale)
        ),
        reading(
            "parse_failures",
            "judgments.jsonl",
            _share(seen.n_judgments - parsed, seen.n_judgments),
            seen.n_judgments,
            reason=unjudged,
        ),
        reading(
            "judge_mass",
            "judgments.jsonl",
            _mean(seen.masses),
            len(seen.masses),
            seen.n_judgments,
            "its judge writes its grades out",
        ),
        reading("judge_agreement", "judgments.jsonl", *_agreement(seen.repeated.values())),
        *(reading(name, "rewards.jsonl", *found) for name, found in _reward_measures(seen).items()),
        reading("tie_rate", "pairs.stage.json", _share(pairs.get("tied", 0), rankable), rankable, asked, unfinished),
        reading(
            "pairs_per_prompt",
            "pairs.stage.json",
            _share(pairs.get("pairs", 0) + pairs.get("over_max", 0), asked),
            asked,
            reason=unfinished,
        ),
        *(reading(name, "pairs.jsonl", *found) for name, found in _pair_measures(seen).items()),
    ]


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """Mean and deciles; None of nothing."""
    if not values:
        return None
    p10, p50, p90 = (float(q) for q in np.quantile(values, (0.1, 0.5, 0.9)))
    return Quantiles(n=len(values), mean=float(np.mean(values)), p10=p10, p50=p50, p90=p90)


_Found = tuple[float | None, int, int, str]  # value, resting on, of, why there is none


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _diversity(seen: Collected) -> dict[str, _Found]:
    groups = [[words(text) for text in texts] for texts in seen.texts.values()]
    alike = [score for group in groups if (score := self_bleu(group)) is not None]
    looked_at = [text for texts in seen.texts.values() for text in texts]
    loops = sum(map(is_loop, looked_at))
    lengths = list(seen.lengths.values())
    return {
        "candidate_self_bleu": (_mean(alike), len(alike), len(groups), "no prompt has two candidates"),
        "candidate_chars": (_mean(lengths), len(lengths), seen.n_completions, "no candidate can be used"),
        "candidate_repetition": (_share(loops, len(looked_at)), len(looked_at), seen.n_completions, "no candidates"),
    }


def _top_share(seen: Collected, scale: Scale | None) -> _Found:
    n = sum(seen.grades.values())
    total = seen.n_judgments or n
    value = _share(seen.grades[scale.grades[-1]], n) if scale is not None else None
    return value, n, total, "the scores are on no judge's scale"


def _agreement(groups: Iterable[Sequence[float]]) -> _Found:
    shares = [
        sum(a == b for a, b in pairs) / len(pairs) for group in groups if (pairs := list(combinations(group[:32], 2)))
    ]
    return _mean(shares), len(shares), len(shares), "each candidate was judged once"


def _reward_measures(seen: Collected) -> dict[str, _Found]:
    groups = [group for group in seen.rewards.values() if len(group) > 1]
    correlations = _within_spearman(groups)
    spreads = [float(np.std([score for score, _ in group])) for group in groups]
    everything = [pair for group in groups for pair in group]
    pooled = stats.spearman(*zip(*everything, strict=True)) if everything else None
    constant = "rewards or lengths do not vary"
    return {
        "reward_spread": (_mean(spreads), len(spreads), len(seen.rewards), "no prompt has two rewards"),
        "reward_length": (_mean(correlations), len(correlations), len(groups), constant),
        "reward_length_pooled": (pooled, len(everything), len(everything), constant),
    }


def _within_spearman(groups: Iterable[Sequence[tuple[float, int]]]) -> list[float]:
    """Spearman's correlation of each group whose two sides vary; groups of one size at once."""
    by_size: dict[int, list[Sequence[tuple[float, int]]]] = defaultdict(list)
    for group in groups:
        by_size[len(group)].append(group)
    found: list[float] = []
    for same in by_size.values():
        ranks = rankdata(np.asarray(same, dtype=np.float64), axis=1)  # shape (groups, candidates, 2)
        ranks -= ranks.mean(axis=1, keepdims=True)
        size = np.sqrt((ranks**2).sum(axis=1)).prod(axis=1)
        found += ((ranks[:, :, 0] * ranks[:, :, 1]).sum(axis=1)[size > 0] / size[size > 0]).tolist()
    return found


def _pair_measures(seen: Collected) -> dict[str, _Found]:
    n, reason = len(seen.margins), "there are no pairs"
    return {
        "margin": (_mean(seen.margins), n, n, reason),
        **_true_gains(seen, n),
        "chosen_growth": (_share(sum(seen.chosen), sum(seen.rejected)), n, n, reason),
    }


def _true_gains(seen: Collected, n_pairs: int) -> dict[str, _Found]:
    """Whether the pairs were right; nothing where nobody knows."""
    if seen.truth is None:
        return {}
    widest = sorted(seen.gains, key=lambda found: -found[0])[:WIDEST]
    return {
        f"pairs_{name}{suffix}": (
            _share(sum(sign == side for _, sign in found), len(found)),
            len(found),
            min(n_pairs, WIDEST) if suffix else n_pairs,
            "the oracle knows none of them",
        )
        for suffix, found in (("", seen.gains), ("_widest", widest))
        for name, side in (("right", 1), ("wrong", -1))
    }
