"""Single samples as the page shows them: what each checkpoint answered, its score and the judge's words, joined by id.

Everything comes from files that evaluation left; nothing is scored here. What is listed has something to read: rows
that only sum up others (whole orders, correlations) are left out. ``reports.samples.blobs`` packs what is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reports.facts import tables
from reports.facts.run import RunFacts
from reports.samples import choosing, files
from reports.samples.matches import matched
from reports.samples.records import Sample, SampleSet, Side, Texts, start_pair
from reports.samples.rows import Glimpse, RowReader

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


@dataclass(frozen=True, slots=True)
class _Outline:
    """A sample without its texts: rows by the checkpoint's number."""

    id: str
    metric: str
    category: str
    rows: dict[int, Glimpse]

    @property
    def change(self) -> float:
        values = [g.value for g in self.rows.values() if g.value is not None]
        return max(values) - min(values) if values else 0.0

    @property
    def lost(self) -> bool:
        return any(g.lost for g in self.rows.values())

    def values(self, a: int, b: int) -> tuple[float | None, float | None]:
        first, later = (g.value if (g := self.rows.get(i)) else None for i in (a, b))
        return first, later


def _evaluated(runs: Sequence[RunFacts], labels: Sequence[str], key: str, gaps: list[str]) -> SampleSet | None:
    """One benchmark's rows of all checkpoints, joined where the question is the same, and not its id alone."""
    found: dict[bytes, _Outline] = {}
    ids: Counter[str] = Counter()
    checkpoints: list[str] = []
    readers: list[RowReader] = []
    ends: list[int] = []  # of each run, the last checkpoint
    for facts, label in zip(runs, labels, strict=True):
        before = len(checkpoints)
        for model in facts.models:
            if key not in model.results:
                continue
            name = f"{label}{files.name(model.name)}"
            reader = RowReader(Path(facts.path) / model.name / "eval" / key, key, f"{name}/eval/{key}", gaps)
            for asked, metric, category, row in reader.glimpses():
                if asked not in found:
                    sample_id = files.name(row.id)
                    ids[sample_id] += 1
                    shown = sample_id if ids[sample_id] == 1 else f"{sample_id} ({ids[sample_id]})"
                    found[asked] = _Outline(shown, metric, category, {})
                found[asked].rows[len(checkpoints)] = row
            checkpoints.append(name)
            readers.append(reader)
        if len(checkpoints) > before:
            ends.append(len(checkpoints) - 1)
    if not found:
        return None
    if unlike := sum(n > 1 for n in ids.values()):
        gaps.append(
            f"{key}: checkpoints were asked different questions under the same id; they stand apart ({unlike:,} ids)."
        )
    outlines = list(found.values())
    found.clear()  # the digests are no longer needed
    return _with_texts(key, checkpoints, readers, outlines, start_pair(checkpoints, ends))


def _with_texts(
    key: str,
    checkpoints: Sequence[str],
    readers: Sequence[RowReader],
    outlines: Sequence[_Outline],
    start: tuple[int, int],
) -> SampleSet:
    """The samples that are shown; for their texts the files are read again."""
    kept, ends = choosing.most_changed(outlines), choosing.extremes(outlines, start)
    wanted = {i: outlines[i] for i in sorted({*kept, *ends})}
    sides = [reader.sides({o.rows[k].id for o in wanted.values() if k in o.rows}) for k, reader in enumerate(readers)]
    samples = {i: found for i, o in wanted.items() if (found := _ranked(_sample(o, sides))).sides}
    return SampleSet(
        key,
        tuple(checkpoints),
        tuple(samples[i] for i in kept if i in samples),
        start,
        len(outlines),
        tuple(dict.fromkeys(o.metric for o in outlines)),
        tuple(samples[i] for i in ends if i in samples),
    )


def _sample(outline: _Outline, sides: Sequence[Mapping[str, Side]]) -> Sample:
    there = {k: sides[k][row.id] for k, row in outline.rows.items() if row.id in sides[k]}
    return Sample(outline.id, outline.metric, outline.category, there)


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
