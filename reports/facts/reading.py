"""Everything a report shows, read from a run's directory into records (``run``). Nothing is measured or compared here.

A run may be unfinished, killed or damaged: what is missing or cannot be read becomes a gap with its
reason, never an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from leaderboards import chain, standings
from leaderboards.human import records as people
from leaderboards.human.records import HumanEvaluation
from leaderboards.standings import DRIFT, FAILURE, RESULT, TOURNAMENT, DriftMatrix, Failure, Standings, Tournament
from reports import wording
from reports.facts.run import ModelFacts, RunFacts, Stage
from selfreward_bench import recipes
from selfreward_bench.errors import SrbenchError
from selfreward_bench.storage.files import open_file
from selfreward_bench.storage.jsonl import lines
from selfreward_bench.storage.model_files import same_model
from selfreward_bench.types import EvalResult, Metric

__all__ = ["collect"]

_MAX_JSON_BYTES = 4 * 2**20
_MAX_LEAVES = 400
_MAX_DEPTH = 12
_HUGE = 1e300
_HEADER = "srbench.yaml"
_HIDDEN_STAGES = ("eval",)
_MATCHES = (
    "head-to-head"  # answers to its prompts are in ``NAME/eval/head-to-head@1``, what came of them in the run's root
)

T = TypeVar("T")


def collect(run_path: Path) -> RunFacts:
    """Reads a run's directory.

    Raises:
        Nothing for what is in the directory; a directory that is not there gives facts with that gap.
    """
    reader = _Reader(run_path)
    is_run = reader.is_run()
    header = reader.header() if is_run else {}
    names = reader.ordered(reader.model_names())
    models = tuple(reader.model(name) for name in names)
    compared = reader.standings(models)
    tournament, drift, human = reader.tournament(models), reader.drift(models), reader.human(models)
    config = header.get("config")
    settings = _flatten(config if isinstance(config, dict) else {})
    if not models:
        reader.gaps.append("There is no model yet. `srbench run-iteration` makes the first one.")
    return RunFacts(
        name=run_path.resolve().name,
        path=str(run_path),
        srbench=str(header["srbench"]) if "srbench" in header else None,
        settings=settings,
        is_run=is_run,
        models=models,
        standings=compared,
        tournament=tournament,
        drift=drift,
        human=human,
        gaps=tuple(reader.gaps),
    )


class _Reader:
    """Reads one run; what cannot be read is noted in ``gaps``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gaps: list[str] = []

    def is_run(self) -> bool:
        """Whether there is a recipe, or a sign that a model was made; else all there can be are evaluations."""
        made = ("*/iteration.json", "*/*.start.json", "*/*.stage.json", "*/checkpoint", "*/pairs.jsonl")
        evaluated = (f"*/eval/*/{RESULT}", f"*/eval/*/{FAILURE}")
        return self._has(_HEADER, *made) or not self._has(*evaluated)

    def _has(self, *patterns: str) -> bool:
        return any(path for pattern in patterns for path in self.root.glob(pattern))

    def header(self) -> dict[str, Any]:
        path = self.root / _HEADER
        layer = self._try(lambda: recipes.parse(recipes.read_text(path), str(path)))
        return layer.values if layer else {}

    def ordered(self, names: Iterable[str]) -> list[str]:
        """In the order of training, or as the user gave them."""
        return chain.model_order(names, chain.given_order(self.root))

    def model_names(self) -> list[str]:
        """Directories that hold a model, or the beginnings of one."""
        signs = ("*/iteration.json", "*/*.start.json", "*/*.stage.json", "*/checkpoint", f"*/eval/*/{RESULT}")
        found = {
            path.relative_to(self.root).parts[0]
            for sign in (*signs, f"*/eval/*/{FAILURE}")
            for path in self.root.glob(sign)
        }
        return sorted(name for name in found if not name.startswith("."))

    def model(self, name: str) -> ModelFacts:
        folder = self.root / name
        results, failures = self._evaluations(name)
        if self._is_empty(folder / "pairs.jsonl"):
            self.gaps.append(f"{name} has no preference pairs to learn from.")
        if not results and not failures:
            self.gaps.append(f"{name} has not been evaluated (`srbench eval`).")
        return ModelFacts(
            name=name,
            iteration=_flatten(self._json(folder / "iteration.json")),
            results=results,
            failures=failures,
            stages=tuple(self._stages(folder)),
        )

    def standings(self, models: Iterable[ModelFacts]) -> Standings | None:
        """The comparison, as far as it belongs to the results beside it."""
        present = {(m.name, k): r.fingerprint for m in models for k, r in m.results.items()}
        if not (self.root / standings.STANDINGS).is_file():
            if len({name for name, _ in present}) > 1:
                self.gaps.append(
                    "The checkpoints have not been compared, so there are no differences (`srbench eval`)."
                )
            return None
        compared = self._try(lambda: standings.read_standings(self.root))
        if compared is None:
            return None
        known = {(name, k): f for name, found in compared.fingerprints.items() for k, f in found.items()}
        self.gaps += compared.notes
        self._note_uncompared(present.keys() - known.keys(), present)
        return self._without_stale(compared, {key for key, f in known.items() if present.get(key) != f})

    def _note_uncompared(self, uncompared: Set[tuple[str, str]], present: Iterable[tuple[str, str]]) -> None:
        evaluated = Counter(benchmark for _, benchmark in present)
        for key in sorted({benchmark for _, benchmark in uncompared if evaluated[benchmark] > 1}):
            names = self.ordered(name for name, benchmark in uncompared if benchmark == key)
            has = "has" if len(names) == 1 else "have"
            self.gaps.append(f"{key}: {wording.listing(names)} {has} not been compared (`srbench eval`).")

    def _without_stale(self, compared: Standings, stale: set[tuple[str, str]]) -> Standings:
        """Leaves out what was compared with other weights than the results beside it are of."""
        if not stale:
            return compared
        listed = wording.listing([f"{name} ({benchmark})" for name, benchmark in sorted(stale)])
        self.gaps.append(
            f"The comparison is older than the results of {listed}; their differences are left out. Evaluate again "
            "(`srbench eval`) to renew it."
        )
        names = {name for name, _ in stale}
        kept = (d for d in compared.differences if not stale & {(d.a, d.benchmark), (d.b, d.benchmark)})
        matches = (h for h in compared.head_to_head if not names & {h.a, h.b})
        return compared.model_copy(update={"differences": tuple(kept), "head_to_head": tuple(matches)})

    def tournament(self, models: Iterable[ModelFacts]) -> Tournament | None:
        """All pairs under one judge, where that is of the weights beside it."""
        answered = self.ordered({f.parts[-3] for f in self.root.glob(f"*/eval/{_MATCHES}@*")})
        if not (self.root / _MATCHES / TOURNAMENT).is_file():
            if len(answered) > 1:
                listed = wording.listing(answered)
                self.gaps.append(f"Head to head: {listed} have answered, and nobody compared them (`srbench eval`).")
            return None
        found = self._try(lambda: standings.read_tournament(self.root / _MATCHES))
        if found is not None and self._is_old(found.checkpoints, models):
            self.gaps.append("The head-to-head comparison is of other weights than the results and is left out.")
            return None
        if found is not None:
            self.gaps += found.notes
        return found

    def drift(self, models: Iterable[ModelFacts]) -> DriftMatrix | None:
        """The judges of one pool, where that is of the weights beside it."""
        path = next((p for p in (self.root / DRIFT, self.root / "drift" / DRIFT) if p.is_file()), None)
        found = self._try(partial(standings.read_drift, path)) if path else None
        if found is not None and self._is_old({j.name: j.fingerprint for j in found.judges if j.fingerprint}, models):
            self.gaps.append("The drift matrix is of other weights than the results and is left out.")
            return None
        return found

    def human(self, models: Iterable[ModelFacts]) -> HumanEvaluation | None:
        """What people said, where that is of the weights beside it."""
        if not (self.root / people.DIRECTORY / people.RESULT).is_file():
            return None
        found = self._try(lambda: people.read_human(self.root))
        if found is not None and self._is_old({n: f for n, f in found.checkpoints.items() if f}, models):
            self.gaps.append("The human evaluation is of other weights than the results and is left out.")
            return None
        return found

    def _is_old(self, fingerprints: Mapping[str, str], models: Iterable[ModelFacts]) -> bool:
        evaluated = {m.name: {r.fingerprint for r in m.results.values()} for m in models if m.results}
        return any(
            name in evaluated and not any(same_model(f, present) for present in evaluated[name])
            for name, f in fingerprints.items()
        )

    def _evaluations(self, name: str) -> tuple[dict[str, EvalResult], dict[str, Failure]]:
        results: dict[str, EvalResult] = {}
        failures: dict[str, Failure] = {}
        for folder in sorted((self.root / name / "eval").glob("*@*")):
            if folder.name.startswith(f"{_MATCHES}@"):
                continue
            if (folder / RESULT).is_file() and (result := self._try(partial(standings.read_result, folder / RESULT))):
                results[result.benchmark] = _finite(result)
            elif (folder / FAILURE).is_file() and (
                failure := self._try(partial(standings.read_failure, folder / FAILURE))
            ):
                failures[failure.benchmark] = failure
                self.gaps.append(f"{name}: {failure.benchmark} failed: {failure.message}")
            elif not (folder / RESULT).exists():
                self.gaps.append(f"{name}: {folder.name} was begun and not finished.")
        return results, failures

    def _stages(self, folder: Path) -> Iterator[Stage]:
        started = {p.name.removesuffix(".start.json") for p in folder.glob("*.start.json")}
        done = {p.name.removesuffix(".stage.json"): self._json(p) for p in folder.glob("*.stage.json")}
        for name in sorted(started | done.keys(), key=lambda n: (str(done.get(n, {}).get("finished_at", "~")), n)):
            if name in _HIDDEN_STAGES:
                continue
            marker = done.get(name)
            if not marker:
                yield Stage(name=name, status="partial")
                continue
            yield Stage(
                name=name,
                status="done",
                counts=_numbers(marker.get("counts")),
                seconds=_number(marker.get("seconds")),
                resumed=marker.get("resumed") is True,
                finished_at=_text(marker.get("finished_at")),
                srbench=_text(marker.get("srbench")),
            )

    def _is_empty(self, path: Path) -> bool:
        """Whether a file of records is there and holds none; nothing behind its first line is read."""
        return path.is_file() and self._try(lambda: next(lines(path), None) is None) is True

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            with open_file(path) as stream:
                values = json.loads(stream.read(_MAX_JSON_BYTES + 1))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self.gaps.append(f"{path.relative_to(self.root)} cannot be read ({_cause(error)}).")
            return {}
        return values if isinstance(values, dict) else {}

    def _try(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except SrbenchError as error:
            self.gaps.append(str(error))
            return None


# --- small things


def _finite(result: EvalResult) -> EvalResult:
    """A number that is none (a NaN in the file) is not there."""
    metrics = {name: _finite_metric(m) for name, m in result.metrics.items()}
    return result.model_copy(update={"metrics": metrics})


def _finite_metric(metric: Metric) -> Metric:
    numbers = {name: _number(getattr(metric, name)) for name in ("value", "low", "high")}
    return metric.model_copy(update=numbers)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as dotted keys; at most a few hundred."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value and prefix.count(".") < _MAX_DEPTH:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else _plain(value)
        if len(flat) > _MAX_LEAVES:
            break
    return flat


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict) and value:
        return "{…}"
    return "none" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _numbers(values: object) -> dict[str, float]:
    items = values.items() if isinstance(values, dict) else ()
    return {str(key): number for key, value in items if (number := _number(value)) is not None}


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE:  # also no NaN
        return value
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _cause(error: Exception) -> str:
    return "it is missing" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: it is damaged"
