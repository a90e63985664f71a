"""Two arbitrary checkpoints against each other, from what their evaluations stored; also of different runs.

Nothing is generated, judged or written here. ``comparing`` does the same for all checkpoints of one run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leaderboards import descriptions, standings, suites
from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing, Side, Unlike, conditions
from leaderboards.comparing.run import (
    Columns,
    Stored,
    paired_columns,
    paired_metric,
    read_stored,
    replicated_metric,
    unpaired_metric,
)
from leaderboards.metrics import UNPAIRED
from leaderboards.standings import MATCHES, RESULT, HeadToHead
from selfreward_bench import stats
from selfreward_bench.errors import ConfigError, DataError, SrbenchError, did_you_mean
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.model_files import same_model
from selfreward_bench.types import EvalResult, Metric

__all__ = ["Evaluated", "locate", "pair"]

_FEATURED: Final = 2  # of a benchmark's metrics, so many of the first are in a short table in any case
_FORMS: Final = "Give RUN:MODEL, or a directory that `srbench eval` made (runs/eval/NAME)."
_SHOWN: Final = 200  # characters of a text in a message


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Where a checkpoint's results are.

    Attributes:
        root: of the run, or of evaluations in its layout: ``root/name/eval/BENCHMARK@VERSION/result.json``.
        given: as the user named it.
    """

    root: Path
    name: str
    given: str

    @property
    def results(self) -> dict[str, Path]:
        """Benchmark's key -> the directory of its result."""
        found = (self.root / self.name / "eval").glob(f"*@*/{RESULT}")
        return {path.parent.name: path.parent for path in sorted(found)}


# --- finding results


def locate(text: str) -> Evaluated:
    """The results that ``RUN:MODEL``, ``RUN/MODEL``, ``RUN/MODEL/checkpoint`` or a directory of ``srbench eval`` names.

    Raises:
        ConfigError: it names a run, or a directory with the results of several checkpoints.
        DataError: there are no results.
    """
    if not text.strip() or "\0" in text:
        raise DataError(f"{text[:_SHOWN]!r} names no checkpoint. {_FORMS}")
    with os_errors(Path(text[:_SHOWN]), "read"):
        for found in _candidates(text):
            if found.results:
                return found
        raise _nothing(text)


def _candidates(text: str) -> Iterator[Evaluated]:
    run, colon, model = text.rpartition(":")
    if colon and run and model and Path(model).name == model:
        yield Evaluated(Path(run), model, text)
    path = Path(text)
    if path.name in ("checkpoint", "eval"):
        path = path.parent
    absolute = path if path.name not in ("", "..") else path.resolve()
    yield Evaluated(absolute.parent, absolute.name, text)


def _nothing(text: str) -> SrbenchError:
    shown = text[:_SHOWN]
    run, colon, model = text.rpartition(":")
    root = Path(run) if colon and Path(run).is_dir() else Path(text)
    names = standings.evaluated_models(root) if root.is_dir() else []
    listed = ", ".join(f"{root}:{name}" for name in names)
    if names and root == Path(text):
        return ConfigError(f"{shown} holds the results of several checkpoints. Name one of them: {listed}.")
    if names:
        return DataError(f"{shown} has no results.{did_you_mean(model, names)} Evaluated are: {listed}.")
    if root.is_dir():
        return DataError(
            f"{shown} has not been evaluated. Do that first: srbench eval --checkpoint {shown}; then give RUN:MODEL, "
            "or its directory under runs/eval."
        )
    return DataError(f"{shown} is not there. {_FORMS}")


# --- comparing


def pair(a: Evaluated, b: Evaluated, *, benchmarks: Collection[str] = (), compare_unlike: bool = False) -> Pairing:
    """The difference of ``b`` to ``a``, for every metric that is a mean over samples both have.

    Args:
        benchmarks: keys or names, such as ``micro-nlp@1`` or ``nlp``; empty takes all that both have.
        compare_unlike: compares also what was made under unlike conditions; these are told all the same.

    Raises:
        UnknownNameError: neither has a result of such a benchmark.
        DataError: a result cannot be read, or there is no benchmark that both have.
    """
    left, right = a.results, b.results
    keys = _chosen(benchmarks, {*left, *right})
    common = [key for key in keys if key in left and key in right]
    if not common:
        raise DataError(
            f"There is no benchmark that both {a.given} ({_listed(left)}) and {b.given} ({_listed(right)}) have a "
            "result of. Evaluate them alike: srbench eval --checkpoint ... --benchmarks ..."
        )
    names = _names(a, b)
    found = [(read_stored(left[key]), read_stored(right[key])) for key in common]
    paired = [_benchmark(x, y, names, compare_unlike) for x, y in found]
    sides = [_side(who, n, [s[i].result for s in found]) for i, (who, n) in enumerate(zip((a, b), names, strict=True))]
    return Pairing(
        a=sides[0].model_copy(update={"absent": tuple(k for k in keys if k not in left)}),
        b=sides[1].model_copy(update={"absent": tuple(k for k in keys if k not in right)}),
        benchmarks=_with_holm(paired),
        head_to_head=_match(a, b, sides) if _wants_match(benchmarks) else None,
    )


def _listed(found: Mapping[str, Path]) -> str:
    return ", ".join(found) or "none"


def _chosen(wanted: Collection[str], there: Collection[str]) -> list[str]:
    """The keys that names mean, in the order of the page."""
    keys = standings.keys_of([n for n in wanted if n != suites.HEAD_TO_HEAD], there) if wanted else there
    return sorted(keys, key=lambda k: (descriptions.place(k), k))


def _names(a: Evaluated, b: Evaluated) -> tuple[str, str]:
    if a.name != b.name:
        return a.name, b.name
    runs = [who.root.resolve().name for who in (a, b)]
    if runs[0] != runs[1]:
        return f"{runs[0]}:{a.name}", f"{runs[1]}:{b.name}"
    return (a.given, b.given) if a.given != b.given else (f"{a.name} (A)", f"{b.name} (B)")


def _side(who: Evaluated, name: str, results: Sequence[EvalResult]) -> Side:
    prints = {r.fingerprint for r in results}
    return Side(
        name=name,
        given=who.given,
        checkpoint=who.name,
        fingerprint=prints.pop() if len(prints) == 1 else "",
    )


def _benchmark(a: Stored, b: Stored, names: tuple[str, str], compare_unlike: bool) -> PairedBenchmark:
    unlike = _unlike(conditions(a.result), conditions(b.result))
    settings = (a.result.settings, b.result.settings)
    said = all(settings)
    apart = _unlike(*settings) if said else ()
    compared = compare_unlike or not unlike
    return PairedBenchmark(
        benchmark=a.result.benchmark,
        judges=(a.result.judge, b.result.judge),
        unlike=unlike,
        compared=compared,
        # finished files have other hashes, and may have all settings in common
        settings_differ=not unlike and a.result.config_hash != b.result.config_hash and (bool(apart) or not said),
        settings=apart,
        incomplete=(a.result.incomplete, b.result.incomplete),
        metrics=tuple(_metrics(a, b, names, compared)),
    )


def _unlike(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[Unlike, ...]:
    return tuple(
        Unlike(condition=key, a=left.get(key, ""), b=right.get(key, ""))
        for key in dict.fromkeys((*left, *right))
        if left.get(key) != right.get(key)
    )


def _metrics(a: Stored, b: Stored, names: tuple[str, str], compared: bool) -> Iterator[PairedMetric]:
    key = a.result.benchmark
    description = descriptions.described(key)
    declared = description.paired
    told = [m for m in list(description.metrics)[:_FEATURED] if m not in a.samples]  # shown, though it is no mean
    there = descriptions.in_order(key, sorted({*a.result.metrics, *b.result.metrics}))
    directed = any(descriptions.info(key, metric).better for metric in there)
    has_main = False
    for metric in there:
        apart = compared and metric in UNPAIRED.get(key, ())
        columns = _columns(a, b, metric, metric in declared) if compared and not apart else None
        difference = paired_metric(key, metric, names[::-1], columns) if columns else None
        may_be = not has_main and (descriptions.info(key, metric).better != 0 or not directed)
        main = may_be and difference is not None and difference.value is not None
        has_main = has_main or main
        if apart:
            difference = unpaired_metric(key, metric, names[::-1], b, a)
        elif difference is None and compared:
            difference = replicated_metric(key, metric, names[::-1], b, a)
        yield PairedMetric(
            metric=metric,
            a=a.result.metrics.get(metric),
            b=b.result.metrics.get(metric),
            difference=difference,
            main=main,
            featured=main or (metric in declared and "/" not in metric) or metric in told,
        )


def _columns(a: Stored, b: Stored, metric: str, declared: bool) -> Columns | None:
    """A metric of both, sample by sample, told from the side of ``b``.

    What the benchmark does not declare must be, in both results, the mean over the same samples.
    """
    columns = paired_columns(b, a, metric)
    if columns is None or declared:
        return columns
    means = _is_mean(columns.a, b.result.metrics.get(metric)) and _is_mean(columns.b, a.result.metrics.get(metric))
    return columns if a.samples[metric].keys() == b.samples[metric].keys() and means else None


def _is_mean(values: Sequence[float | None], metric: Metric | None) -> bool:
    scored = [v for v in values if v is not None and math.isfinite(v)]
    if metric is None or metric.value is None or not scored:
        return False
    return math.isclose(math.fsum(scored) / len(scored), metric.value, rel_tol=1e-9, abs_tol=1e-12)


def _with_holm(found: Sequence[PairedBenchmark]) -> tuple[PairedBenchmark, ...]:
    """The p-values of the main metrics, adjusted for there being several."""
    main = [(b.benchmark, m.difference.p_value) for b in found for m in b.metrics if m.main and m.difference]
    tested = [(key, p) for key, p in main if p is not None]
    adjusted = dict(zip((key for key, _ in tested), stats.holm([p for _, p in tested]), strict=True))
    return tuple(
        b.model_copy(
            update={
                "metrics": tuple(
                    m.model_copy(update={"p_holm": adjusted.get(b.benchmark)}) if m.main else m for m in b.metrics
                )
            }
        )
        for b in found
    )


# --- head to head


def _wants_match(benchmarks: Collection[str]) -> bool:
    return not benchmarks or suites.HEAD_TO_HEAD in benchmarks


def _match(a: Evaluated, b: Evaluated, sides: Sequence[Side]) -> HeadToHead | None:
    """The comparison of the two in the tournament of their run, where it is of the weights evaluated."""
    folder = a.root / MATCHES
    if a.root.resolve() != b.root.resolve() or not (folder / standings.TOURNAMENT).is_file():
        return None
    held = standings.read_tournament(folder)
    if not all(same_model(held.checkpoints.get(s.checkpoint, "none"), s.fingerprint) for s in sides):
        return None
    return next((p for p in held.pairs if {p.a, p.b} == {a.name, b.name} and a.name != b.name), None)
