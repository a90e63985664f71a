"""What came of an evaluation, as records and as pandas tables: of one that was just made, or of an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from leaderboards import chain, standings
from leaderboards.descriptions import described, place
from leaderboards.metrics import BUILT_IN
from leaderboards.standings import FAILURE, MATCHES, RESULT, TOURNAMENT, Tournament
from leaderboards.texts import matches, texts
from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.model_files import same_model
from selfreward_bench.types import EvalResult, SampleScore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evaluation", "Names", "listed"]

Names = str | Iterable[str]

_COLUMNS: Final = ("checkpoint", "benchmark", "metric", "value", "low", "high", "n_scored", "n_total", "judge")
_SAMPLE: Final = ("checkpoint", "sample_id", "cluster", "value", "reason")


def listed(names: Names) -> list[str]:
    """One name or several, as a list."""
    return [names] if isinstance(names, str) else list(names)


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        root: a run's directory, or one in its layout: results are in ``NAME/eval/BENCHMARK@VERSION/``.
        results: one per model and benchmark that went well, in the order asked for.
        errors: what went wrong, in words; the other results are there all the same.
        tournament: all pairs of the models that answered, where head-to-head was asked for and there were two.
        preferences: of models whose training pairs were judged, in this call: chosen held against rejected.
    """

    root: Path
    results: tuple[EvalResult, ...]
    errors: tuple[str, ...] = ()
    tournament: Tournament | None = None
    preferences: Mapping[str, Tournament] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The results that earlier evaluations stored.

        Args:
            path: a run, a directory of evaluations (``runs/eval``), or one model's in it.

        Raises:
            DataError: there are no results, or one cannot be read.
        """
        given = path
        with os_errors(path, "read"):
            if path.name == "eval" and any(_marks(path, "*@*")):
                path = path.parent
            one = any(_marks(path, "eval/*@*"))
            path = path.resolve() if one and path.name in ("", "..") else path
            models = {mark.parts[-4] for mark in _marks(path, "*/eval/*@*")}
        root, names = (path.parent, [path.name]) if one else (path, chain.model_order(models, chain.given_order(path)))
        tournament = None if one else _tournament(path)
        if not (names or tournament):
            there = "is not there" if not given.exists() else "holds no results"
            raise DataError(
                f"{given} {there}. Give a run, a directory that `srbench eval` made (runs/eval), or a model's "
                "directory in one of them."
            )
        results = tuple(r for name in names for r in _stored(root, name))
        failures = tuple(text for name in names for text in _failures(root, name))
        return cls(root, results, failures, tournament if tournament and _is_of(tournament, results) else None)

    @property
    def is_scored(self) -> bool:
        """Whether anything got a score: a sample of any benchmark, or a comparison of two models."""
        held = [*([self.tournament] if self.tournament else []), *self.preferences.values()]
        return any(p.n_scored for h in held for p in h.pairs) or any(map(_is_scored, self.results))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Keys of the benchmarks there is something of, such as ``nlp@1``."""
        matched = [self.tournament.benchmark] if self.tournament else []
        return tuple(dict.fromkeys([*(r.benchmark for r in self.results), *matched]))

    def metrics(self, benchmarks: Names = (), metrics: Names = ()) -> pd.DataFrame:
        """One row per model, benchmark and metric: value, interval, how many samples it rests on, and the judge.

        Args:
            benchmarks: one or several, such as ``nlp``, ``micro-nlp`` or ``micro-nlp@1``; empty takes all.
            metrics: one or several, such as ``win_rate``; empty takes all.

        Raises:
            UnknownNameError: no such benchmark or metric is there.
        """
        import pandas as pd

        wanted = listed(benchmarks)
        keys = standings.keys_of(wanted, self.benchmarks) if wanted else self.benchmarks
        rows = [r for r in self._metric_rows() if r["benchmark"] in keys]
        if names := listed(metrics):
            there = {str(r["metric"]) for r in rows}
            for name in names:
                if name not in there:
                    raise UnknownNameError("metric", name, there)
            rows = [r for r in rows if r["metric"] in names]
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def _metric_rows(self) -> Iterator[dict[str, Any]]:
        for r in self.results:
            for name, m in r.metrics.items():
                whose = {"checkpoint": r.checkpoint, "benchmark": r.benchmark, "metric": name}
                yield {**whose, **m.model_dump(), "judge": r.judge}
        if held := self.tournament:
            for rating in held.ratings:
                whose = {"checkpoint": rating.checkpoint, "benchmark": held.benchmark, "metric": "rating"}
                scored = {"n_scored": rating.n_scored, "n_total": rating.n_total, "judge": held.judge}
                yield {**whose, "value": rating.rating, "low": rating.low, "high": rating.high, **scored}

    def samples(self, benchmark: str) -> pd.DataFrame:
        """One row per model and sample: its value, its texts as far as they are stored, and its measures.

        Which texts there are depends on the benchmark (docs/python.md): ``prompt``, ``answer``, what it is held
        against (``reference``, ``baseline``, ``target``, ``response_1``, ...) and the judge's words (``judgment``,
        ``judgment_ab``, ...). Head to head has a row per pair of models, prompt and order.

        Args:
            benchmark: such as ``nlp``, ``micro-nlp`` or ``micro-nlp@1``.

        Raises:
            UnknownNameError: no such benchmark is there.
            DataError: the scores of a model cannot be read.
        """
        import pandas as pd

        (key,) = standings.keys_of([benchmark], self.benchmarks)
        if self.tournament and key == self.tournament.benchmark:
            return pd.DataFrame(list(matches(self.root, self.tournament)))
        rows: list[dict[str, Any]] = []
        told: dict[str, None] = {}
        measured: dict[str, None] = {}
        for result in self.results:
            if result.benchmark == key:
                for row, said, numbers in self._samples(result):
                    rows.append({**said, **numbers, **row})
                    told |= dict.fromkeys(said)
                    measured |= dict.fromkeys(numbers)
        columns = dict.fromkeys([*_SAMPLE, *(t for t in told if t not in measured), *measured])
        return pd.DataFrame(rows, columns=list(columns))

    def _samples(self, result: EvalResult) -> Iterator[tuple[dict[str, Any], Mapping[str, Any], Mapping[str, Any]]]:
        """Each row of ``scores.jsonl``, its texts and its measures."""
        folder = self.root / result.checkpoint / "eval" / result.benchmark
        rows = jsonl.read(folder / standings.SCORES, SampleScore, allow_empty=True)
        told = texts(folder, result.benchmark, rows)
        for s in rows:
            row = {"checkpoint": result.checkpoint, **{name: getattr(s, name) for name in _SAMPLE[1:]}}
            yield row, told[s.sample_id], s.detail.get("measures", {})


# --- what is stored


def _marks(root: Path, folders: str) -> Iterator[Path]:
    """What says that an evaluation came to its end, well or not."""
    return (path for name in (RESULT, FAILURE) for path in root.glob(f"{folders}/{name}"))


def _stored(root: Path, name: str) -> Iterator[EvalResult]:
    """A model's results. It is called as its directory is, wherever that was copied from."""
    found = {path.parent.name: path for path in (root / name / "eval").glob(f"*@*/{RESULT}")}
    for key in sorted(found, key=lambda k: (place(k), k)):
        result = standings.read_result(found[key])
        if result.benchmark != key:
            raise DataError(
                f"{found[key]} is a result of {result.benchmark[:100]!r}, not of {key!r}. Put it back, or evaluate "
                "again."
            )
        yield result.model_copy(update={"checkpoint": name})


def _failures(root: Path, name: str) -> Iterator[str]:
    for path in sorted((root / name / "eval").glob(f"*@*/{FAILURE}")):
        failure = standings.read_failure(path)
        yield f"{name}: {failure.benchmark}: {failure.message}"


def _tournament(root: Path) -> Tournament | None:
    return standings.read_tournament(root / MATCHES) if (root / MATCHES / TOURNAMENT).is_file() else None


def _is_of(held: Tournament, results: Iterable[EvalResult]) -> bool:
    """Whether a tournament is of the weights that the results are of."""
    return all(same_model(held.checkpoints.get(r.checkpoint, r.fingerprint), r.fingerprint) for r in results)


def _is_scored(result: EvalResult) -> bool:
    """By what is meant to be high; lengths and counts are there for samples without a score too."""
    known = (BUILT_IN.get(result.benchmark) or described(result.benchmark)).metrics
    told = ((m, known.get(name)) for name, m in result.metrics.items() if m.value is not None)
    return any(info is None or (info.better == 1 and info.unit != "count") for _, info in told)
