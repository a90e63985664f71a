"""Single samples as the page shows them: what each checkpoint answered, its score and the judge's words, joined by id.

Everything comes from files that evaluation left; nothing is scored here. What is listed has something to read: rows
that only sum up others (whole orders, correlations) are left out. ``reports.samples.blobs`` packs what is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reports.facts import tables
from reports.facts.run import RunFacts
from reports.samples import files
from reports.samples.matches import matched
from reports.samples.records import Sample, SampleSet, Texts, start_pair
from reports.samples.rows import RowReader

__all__ = ["collect"]


def collect(runs: Sequence[RunFacts]) -> tuple[list[SampleSet], list[str]]:
    """All benchmarks' samples, and in words what could not be read."""
    gaps: list[str] = []
    labels = _run_labels(runs)
    sets = [_evaluated(runs, labels, key, gaps) for key in tables.benchmarks(runs)]
    sets += [matched(facts, label, gaps) for facts, label in zip(runs, labels, strict=True)]
    return [s for s in sets if s is not None and s.samples], gaps


def _run_labels(runs: Sequence[RunFacts]) -> list[str]:
    """What stands before a checkpoint's name: nothing where there is one run."""
    if len(runs) < 2:
        return ["" for _ in runs]
    names = [files.name(facts.name) for facts in runs]
    return [f"{n} · " if names.count(n) == 1 else f"{n} ({i}) · " for i, n in enumerate(names, 1)]


def _evaluated(runs: Sequence[RunFacts], labels: Sequence[str], key: str, gaps: list[str]) -> SampleSet | None:
    """One benchmark's rows of all checkpoints, joined where the question is the same, and not its id alone."""
    found: dict[tuple[object, ...], Sample] = {}
    ids: Counter[str] = Counter()
    checkpoints: list[str] = []
    ends: list[int] = []  # of each run, the last checkpoint
    for facts, label in zip(runs, labels, strict=True):
        before = len(checkpoints)
        for model in facts.models:
            if key not in model.results:
                continue
            folder = Path(facts.path) / model.name / "eval" / key
            place = f"{label}{files.name(model.name)}/eval/{key}"
            for sample_id, metric, category, side in RowReader(folder, key, place, gaps).sides():
                question = (sample_id, side.prompt, side.beside)
                if question not in found:
                    ids[sample_id] += 1
                    shown = sample_id if ids[sample_id] == 1 else f"{sample_id} ({ids[sample_id]})"
                    found[question] = Sample(shown, metric, category, {})
                found[question].sides[len(checkpoints)] = side
            checkpoints.append(f"{label}{files.name(model.name)}")
        if len(checkpoints) > before:
            ends.append(len(checkpoints) - 1)
    if not found:
        return None
    if unlike := sum(n > 1 for n in ids.values()):
        gaps.append(
            f"{key}: checkpoints were asked different questions under the same id; they stand apart ({unlike:,} ids)."
        )
    samples = tuple(_ranked(s) for s in found.values())
    return SampleSet(key, tuple(checkpoints), samples, start_pair(checkpoints, ends))


def _ranked(sample: Sample) -> Sample:
    """Of two judged responses, the one that people ranked higher is called so on all sides."""
    better = next((s.better for s in sample.sides.values() if s.better is not None), None)
    if better is None:
        return sample
    sides = {i: replace(side, beside=_called(side.beside, better)) for i, side in sample.sides.items()}
    return replace(sample, sides=sides)


def _called(beside: Texts, better: int) -> Texts:
    return tuple(
        (f"{label}, ranked {'higher' if k == better else 'lower'}", text) for k, (label, text) in enumerate(beside)
    )
