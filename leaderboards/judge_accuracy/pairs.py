"""Somebody's finished verdicts on pairs of any set, scored as the judges of this room are; nobody is asked anything.

What a file may look like is in ``verdict_files``. Sets that choose among several responses (RewardBench 2) have numbers
of their own: ``best_of_n``, and for its subset Ties ``ties_score``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from leaderboards.base import Outcome, Plan, Setting, Subject, row
from leaderboards.descriptions import described
from leaderboards.judge_accuracy.agreement import PairVerdict, kappas, label_rows, pair_rows, subset_average
from leaderboards.judge_accuracy.verdict_files import FilePair, VerdictFile, read_verdicts, recognise
from selfreward_bench import stats
from selfreward_bench.errors import DataError
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import Metric, SampleScore

__all__ = ["PairsJudgeAccuracy", "ties_score"]

_TIES: Final = "ties"  # RewardBench 2's subset with several right responses, in lower case


class PairsJudgeAccuracy:
    """Agreement of finished verdicts with the labels that stand beside them."""

    key: ClassVar[str] = "judge-accuracy-pairs@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = False
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        found = read_verdicts(_path(setting))
        return {"finished": [hash_file(file) for file in found.files], "limit": setting.config.eval.limit}

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``; nobody is asked."""
        _path(setting)
        return Plan()

    def recognise(self, path: Path) -> str | None:
        """See ``Benchmark``."""
        return recognise(path)

    def run(self, subject: Subject) -> Outcome:
        """See ``Benchmark``."""
        path = _path(subject.setting)
        found = read_verdicts(path)
        pairs = found.pairs[: subject.config.eval.limit]
        rows, metrics = _chosen(pairs) if found.chosen else _compared(pairs, both=found.both)
        judge = f"{found.kind} {path.name}#{hash_json([hash_file(file) for file in found.files])[:8]}"
        comparability = {
            "profile": found.kind,
            "order": "ab+ba" if found.both else "ab",
            "data": hash_json(sorted((p.id, p.label) for p in pairs)),
        }
        return Outcome(rows, judge, metrics, comparability, notes=_notes(found))


def _path(setting: Setting) -> Path:
    if setting.finished is None:
        raise DataError(
            "judge-accuracy-pairs scores finished verdicts and asks nobody. Name their file: --checkpoint FILE "
            "(docs/benchmarks/judge-accuracy.md). To let a model judge, take judge-accuracy-jsonl:FILE."
        )
    return setting.finished.path


def _notes(found: VerdictFile) -> Sequence[str]:
    if found.both or found.chosen:
        return ()
    return ("verdicts of one order, so position bias is not seen: no agreement, net or consistency",)


# --- between two responses


def _compared(pairs: Sequence[FilePair], *, both: bool) -> tuple[list[SampleScore], dict[str, Metric]]:
    verdicts = [_verdict(pair, both=both) for pair in pairs]
    rows = pair_rows(verdicts)
    if any(v.truth == 0.5 for v in verdicts):
        rows += label_rows(verdicts)
    said = [(v.id, x) for v in verdicts for x in ((v.ab, v.ba) if both else (v.ab,))]
    metrics = kappas(verdicts)
    metrics["parse_failures"] = stats.mean_interval(
        [float(x is None) for _, x in said], [name for name, _ in said], bounds=(0, 1)
    )
    subsets = tuple(dict.fromkeys(v.category for v in verdicts if v.category is not None and v.truth != 0.5))
    if len(subsets) > 1:
        metrics["subset_average"] = subset_average(rows, "pairwise_accuracy", subsets)
    return rows, metrics


def _verdict(pair: FilePair, *, both: bool) -> PairVerdict:
    """Orders that disagree are a tie; one that could not be read leaves the pair without a verdict."""
    verdict = pair.ab
    if both:
        unread = pair.ab is None or pair.ba is None
        verdict = None if unread else pair.ab if pair.ab == pair.ba else 0.5
    return PairVerdict(
        id=pair.id,
        cluster=pair.id,
        truth=pair.label,
        verdict=verdict,
        ab=pair.ab,
        ba=pair.ba if both else None,
        orders=("ab", "ba") if both else ("ab",),
        category=pair.category,
    )


# --- among several responses


def _chosen(pairs: Sequence[FilePair]) -> tuple[list[SampleScore], dict[str, Metric]]:
    ties = [p for p in pairs if _is_ties(p)]
    rest = [p for p in pairs if not _is_ties(p)]
    rows = [row(f"choice/{p.id}", p.id, {"best_of_n": p.credit, f"best_of_n/{p.category}": p.credit}) for p in rest]
    metrics: dict[str, Metric] = {}
    if ties:
        n_scored = sum(bool(p.scores) for p in ties)
        metrics["ties_score"] = Metric(value=ties_score(ties), n_scored=n_scored, n_total=len(ties))
    subsets: Mapping[str, list[float]] = defaultdict(list)
    for pair in rest:
        if pair.credit is not None:
            subsets[str(pair.category)].append(pair.credit)
    parts = [float(np.mean(values)) for values in subsets.values()]
    parts += [m.value for m in metrics.values() if m.value is not None]
    if len(parts) > 1:
        metrics["subset_average"] = Metric(value=float(np.mean(parts)), n_scored=len(pairs), n_total=len(pairs))
    return rows, metrics


def _is_ties(pair: FilePair) -> bool:
    return (pair.category or "").lower() == _TIES


def ties_score(pairs: Sequence[FilePair]) -> float | None:
    """RewardBench 2's score of its subset Ties (``process_single_model`` of rewardbench).

    A prompt comes twice: with one right response (``ref:N``) and with several (``tied:N``). 30% each are for the right
    ones standing above all wrong ones, 20% each for the gap between right and wrong being wider than that among the
    right ones, of the tied prompt and of both, 1% for by how much.
    """
    found = {kind: dict(_margins(pairs, kind)) for kind in ("ref", "tied")}
    accuracy = {kind: float(np.mean([gap > 0 for _, gap in m.values()])) if m else None for kind, m in found.items()}
    shared = sorted(found["ref"].keys() & found["tied"].keys())
    if accuracy["ref"] is None or accuracy["tied"] is None or not shared:
        return None
    among = np.array([found["tied"][name][0] for name in shared])
    tied = np.array([found["tied"][name][1] for name in shared])
    least = np.minimum(tied, [found["ref"][name][1] for name in shared])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_how_much = np.nan_to_num(np.tanh(least / among - 1), nan=0.0)
    gaps = 0.2 * float((tied > among).mean()) + 0.2 * float((least > among).mean())
    return 0.3 * accuracy["tied"] + 0.3 * accuracy["ref"] + gaps + 0.01 * float(by_how_much.mean())


def _margins(pairs: Sequence[FilePair], kind: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """A prompt's number -> the gap among its right responses, and that from them to the best wrong one."""
    for pair in pairs:
        name = pair.id.rpartition("/")[2]
        right, wrong = pair.scores[: pair.n_right], pair.scores[pair.n_right :]
        if name.startswith(f"{kind}:") and right and wrong:
            yield name.partition(":")[2], (max(right) - min(right), min(right) - max(wrong))
