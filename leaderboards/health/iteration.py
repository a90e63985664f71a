"""Health of one iteration: what its files say of the prompts, answers, judgments and pairs a model was trained on.

Files are read record by record. What needs a prompt's answers together (correlations, spread, diversity) looks at a
bounded number of prompts, drawn by a hash of their ids: the same ones on every call.
"""

from __future__ import annotations

import heapq
import json
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar, get_args

import numpy as np
from pydantic import ValidationError
from scipy.stats import rankdata

from leaderboards.health.records import IterationHealth, Quantiles, Reading
from leaderboards.health.text import is_loop, self_bleu
from leaderboards.judge_accuracy.health import nearest_grade
from selfreward_bench import stats
from selfreward_bench.config import Rewards
from selfreward_bench.errors import SrbenchError
from selfreward_bench.judges.parsing import Scale
from selfreward_bench.judges.pointwise import mass_of
from selfreward_bench.storage import jsonl
from selfreward_bench.text import words
from selfreward_bench.types import Completion, Judgment, PreferencePair, Prompt, Record, Reward

__all__ = ["Notes", "drawn", "measure_iteration", "quantiles", "records"]

NUMBER_PROMPTS: Final = 4_000  # prompts whose rewards and lengths are held against each other
TEXT_PROMPTS: Final = 300  # prompts whose candidates' texts are looked at

WIDEST: Final = 100  # pairs of the largest margins, where the judge was surest

_MAX_MARKER_BYTES: Final = 2**20
_MAX_COUNT: Final = 10**15
_MAX_KEY: Final = 200  # characters of a judge's key or a reason

#: sampled judges give few different scores
_nearest = lru_cache(maxsize=4096)(nearest_grade)

Notes = list[str]
Truth = Callable[[str, str], float | None]
R = TypeVar("R", bound=Record)


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
    seen = _Seen.read(folder, scale, notes, truth)
    return _told(folder, seen, _rewards(markers["pairs"])), _readings(folder.name, seen, counts, scale)


def _told(folder: Path, seen: _Seen, rewards: str) -> IterationHealth:
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


# --- reading


@dataclass
class _Seen:
    """What the records of an iteration come to, collected record by record."""

    scale: Scale | None
    n_completions: int = 0
    n_truncated: int = 0
    n_judgments: int = 0
    judge: str = ""
    grades: Counter[float] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    texts: dict[str, list[str]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)  # of candidates that may be in a pair
    rewards: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))  # with lengths
    repeated: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    masses: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    truth: Truth | None = None
    gains: list[tuple[float, int]] = field(default_factory=list)  # of pairs: margin, and 1, 0 or -1: truly better

    @classmethod
    def read(cls, folder: Path, scale: Scale | None, notes: Notes, truth: Truth | None = None) -> _Seen:
        seen = cls(scale, truth=truth)
        chosen = drawn((p.id for p in records(folder / "prompts.jsonl", Prompt, notes)), NUMBER_PROMPTS)
        seen.texts = {name: [] for name in chosen[:TEXT_PROMPTS]}
        wanted = set(chosen)
        for completion in records(folder / "completions.jsonl", Completion, notes):
            seen._completion(completion, completion.prompt_id in wanted)
        for reward in records(folder / "rewards.jsonl", Reward, notes):
            if _known(score := reward.score) and reward.id in seen.lengths:
                seen.rewards[reward.prompt_id].append((score, seen.lengths[reward.id]))
        for judgment in records(folder / "judgments.jsonl", Judgment, notes):
            seen._judgment(judgment, judgment.prompt_id in wanted)
        for pair in records(folder / "pairs.jsonl", PreferencePair, notes):
            seen._pair(pair)
        if not seen.n_judgments:
            seen._grade_rewards()
        return seen

    def _completion(self, completion: Completion, wanted: bool) -> None:
        self.n_completions += 1
        self.n_truncated += completion.finish_reason == "length"
        if completion.prompt_id in self.texts:
            self.texts[completion.prompt_id].append(completion.text)
        if wanted and completion.finish_reason == "stop" and completion.text.strip():
            self.lengths[completion.id] = len(completion.text)

    def _judgment(self, judgment: Judgment, wanted: bool) -> None:
        self.n_judgments += 1
        self.judge = self.judge or judgment.judge[:_MAX_KEY]
        if (mass := mass_of(judgment)) is not None:
            self.masses.append(mass)
        score = judgment.score
        if not _known(score):
            self.failures[(judgment.reason or "unknown")[:_MAX_KEY]] += 1
            return
        if self.scale is not None and (grade := _nearest(score, self.scale)) is not None:
            self.grades[grade] += 1
        if wanted:
            self.repeated[f"{judgment.prompt_id}/{judgment.index}"].append(score)

    def _pair(self, pair: PreferencePair) -> None:
        if _known(margin := pair.chosen_score - pair.rejected_score):
            self.margins.append(margin)
        self.chosen.append(float(len(pair.chosen[-1].content) if pair.chosen else 0))
        self.rejected.append(float(len(pair.rejected[-1].content) if pair.rejected else 0))
        if self.truth is not None and pair.prompt and pair.chosen and pair.rejected and _known(margin):
            better, worse = (
                self.truth(pair.prompt[-1].content, side[-1].content) for side in (pair.chosen, pair.rejected)
            )
            if better is not None and worse is not None:
                self.gains.append((margin, (better > worse) - (better < worse)))

    def _grade_rewards(self) -> None:
        """Control rewards come without judgments; those on the judge's scale are shown as its grades."""
        scores = [score for group in self.rewards.values() for score, _ in group]
        if self.scale is not None and all(self.scale.low <= s <= self.scale.high for s in scores):
            self.grades.update(g for s in scores if (g := nearest_grade(s, self.scale)) is not None)


def records(path: Path, model: type[R], notes: Notes) -> Iterable[R]:
    """The records of a file as far as they can be read; what stops that is noted. Nothing where there is no file.

    Quicker than ``jsonl.iterate``, and less strict: numbers may be NaN or infinite.
    """
    if not path.is_file():
        return
    try:
        for number, line in jsonl.lines(path):
            try:
                record = model.model_validate_json(line, strict=True)
            except ValidationError:
                notes.append(f"{path.parent.name}/{path.name}:{number} is damaged; what stands before it was measured.")
                return
            yield record
    except SrbenchError as error:
        notes.append(str(error))


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def drawn(ids: Iterable[str], limit: int) -> list[str]:
    """At most ``limit`` ids, those of the smallest hash, in that order: which ones does not depend on their order."""
    return heapq.nsmallest(limit, dict.fromkeys(ids), key=lambda name: (zlib.crc32(name.encode()), name))


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """Mean and deciles; None of nothing."""
    if not values:
        return None
    p10, p50, p90 = (float(q) for q in np.quantile(values, (0.1, 0.5, 0.9)))
    return Quantiles(n=len(values), mean=float(np.mean(values)), p10=p10, p50=p50, p90=p90)


def _marker(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            values = json.loads(stream.read(_MAX_MARKER_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
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


def _readings(model: str, seen: _Seen, counts: Mapping[str, Mapping[str, int]], scale: Scale | None) -> list[Reading]:
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


_Found = tuple[float | None, int, int, str]  # value, resting on, of, why there is none


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _diversity(seen: _Seen) -> dict[str, _Found]:
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


def _top_share(seen: _Seen, scale: Scale | None) -> _Found:
    n = sum(seen.grades.values())
    total = seen.n_judgments or n
    value = _share(seen.grades[scale.grades[-1]], n) if scale is not None else None
    return value, n, total, "the scores are on no judge's scale"


def _agreement(groups: Iterable[Sequence[float]]) -> _Found:
    shares = [
        sum(a == b for a, b in pairs) / len(pairs) for group in groups if (pairs := list(combinations(group[:32], 2)))
    ]
    return _mean(shares), len(shares), len(shares), "each candidate was judged once"


def _reward_measures(seen: _Seen) -> dict[str, _Found]:
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


def _pair_measures(seen: _Seen) -> dict[str, _Found]:
    n, reason = len(seen.margins), "there are no pairs"
    return {
        "margin": (_mean(seen.margins), n, n, reason),
        **_true_gains(seen, n),
        "chosen_growth": (_share(sum(seen.chosen), sum(seen.rejected)), n, n, reason),
    }


def _true_gains(seen: _Seen, n_pairs: int) -> dict[str, _Found]:
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
