"""What a run's directory tells of how its models were made: every training step, every stage's hashes, health.

Like ``reports.facts.reading`` this reads and never measures, and what cannot be read is a gap, not an error. Long logs
are thinned to what a chart can show.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from leaderboards.chain import model_order
from leaderboards.health.records import Health, read_health
from reports.facts.run import RunFacts
from selfreward_bench import recipes
from selfreward_bench.errors import SrbenchError
from selfreward_bench.storage.files import open_file
from selfreward_bench.types import Record

__all__ = ["POINTS", "Curve", "Log", "Marker", "configuration", "health", "logs", "markers"]

POINTS: Final = 300  # of a curve, at most
TENTH: Final = 10

_MAX_LINES: Final = 200_000
_MAX_LINE_BYTES: Final = 64 * 2**10
_MAX_KEYS: Final = 40
_MAX_KEY: Final = 80  # characters
_MAX_JSON_BYTES: Final = 2**20
_MAX_HASHES: Final = 40
_MAX_TEXT: Final = 200  # characters


class Curve(Record):
    """One logged number over the steps of a training.

    Attributes:
        points: ``(step, value)``; where ``per_point`` is more than 1, means of so many steps at the last one's place.
        first, last: means of the first and of the last tenth of the steps; one step is one batch, and tells of that.
        lowest, highest: of all steps.
    """

    points: tuple[tuple[float, float], ...]
    per_point: int
    first: float
    last: float
    lowest: float
    highest: float


class Log(Record):
    """One training's log, ``M2/log.jsonl``.

    Attributes:
        complete: False where the file ends in something that is no step.
    """

    name: str
    steps: int
    curves: dict[str, Curve]
    complete: bool = True


class Marker(Record):
    """What a finished stage says of itself.

    Attributes:
        inputs, outputs: name -> hash of what it read and made.
        seed: the run's seed, as the stage was given it.
        hardware: what the process that finished it ran on; empty where that was not recorded.
    """

    model: str
    stage: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    seed: str = ""
    hardware: dict[str, str] = Field(default_factory=dict)


def logs(folder: Path) -> list[Log]:
    """The training logs of a model's directory, its own and those of sub-directories."""
    paths = [folder / "log.jsonl", *sorted(folder.glob("*/log.jsonl"))]
    return [log for path in paths if (log := _log(path, folder)) is not None]


def markers(run_path: Path) -> list[Marker]:
    """The finished stages of all models, in the order of training."""
    found = [(path.parent.name, path) for path in run_path.glob("*/*.stage.json")]
    order = {name: i for i, name in enumerate(model_order({name for name, _ in found}))}
    dated = [
        (order[name], str(values.get("finished_at", "")), name, path, values)
        for name, path in found
        if (values := _json(path))
    ]
    return [_marker(name, path, values) for _, _, name, path, values in sorted(dated, key=lambda d: d[:2])]


def health(facts: RunFacts) -> tuple[Health | None, str]:
    """What ``health.json`` says, and what is wrong with it: not there, damaged, or older than the results beside it."""
    try:
        found = read_health(Path(facts.path))
    except SrbenchError as error:
        return None, str(error)
    if found is None:
        return None, "Health was not measured (`srbench eval` does it)."
    results = {m.name: m.results[found.answers_from] for m in facts.models if found.answers_from in m.results}
    old = [n for n, r in results.items() if found.fingerprints.get(n) != r.fingerprint]
    if old:
        return found, f"Health was measured before {', '.join(old)} was evaluated. Evaluate again (`srbench eval`)."
    return found, ""


def configuration(facts: RunFacts) -> dict[str, Any]:
    """The resolved configuration as it stands in ``srbench.yaml``; empty where that cannot be read."""
    path = Path(facts.path) / "srbench.yaml"
    try:
        config = recipes.parse(recipes.read_text(path), path.name).values.get("config")
    except SrbenchError:
        return {}
    return config if isinstance(config, dict) else {}


# --- logs


def _log(path: Path, folder: Path) -> Log | None:
    columns: dict[str, array[float]] = {}
    steps, complete = 0, True
    for line in _lines(path):
        numbers = _step(line)
        if numbers is None:
            complete = False
            break
        for key, value in numbers.items():
            if key not in columns and len(columns) < _MAX_KEYS:
                columns[key] = array("d", [math.nan] * steps)
            if key in columns:
                columns[key].append(value)
        steps += 1
        for column in columns.values():
            column.extend([math.nan] * (steps - len(column)))
    if not steps:
        return None
    axis = columns.pop("step", None) or array("d", range(1, steps + 1))
    name = path.parent.name if path.parent != folder else "training"
    found = {key: curve for key, values in columns.items() if (curve := _curve(axis, values)) is not None}
    return Log(name=name, steps=steps, curves=found, complete=complete)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open_file(path) as stream:
            for _ in range(_MAX_LINES):
                line = stream.readline(_MAX_LINE_BYTES)
                if not line:
                    return
                yield line
    except OSError:
        return


def _step(line: bytes) -> dict[str, float] | None:
    """The numbers of one step; None where the line is no step."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    return {key[:_MAX_KEY]: float(value) for key, value in values.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300  # also false of NaN and the infinite


def _curve(axis: Sequence[float], values: Sequence[float]) -> Curve | None:
    known = [(x, y) for x, y in zip(axis, values, strict=True) if not (math.isnan(x) or math.isnan(y))]
    if not known:
        return None
    per_point = math.ceil(len(known) / POINTS)
    parts = [known[i : i + per_point] for i in range(0, len(known), per_point)]
    numbers = [y for _, y in known]
    tenth = max(1, len(numbers) // TENTH)
    return Curve(
        points=tuple((part[-1][0], sum(y for _, y in part) / len(part)) for part in parts),
        per_point=per_point,
        first=sum(numbers[:tenth]) / tenth,
        last=sum(numbers[-tenth:]) / tenth,
        lowest=min(numbers),
        highest=max(numbers),
    )


# --- stages


def _marker(model: str, path: Path, values: Mapping[str, Any]) -> Marker:
    identity = values.get("identity")
    identity = identity if isinstance(identity, dict) else {}
    settings = identity.get("settings")
    seed = settings.get("seed") if isinstance(settings, dict) else None
    return Marker(
        model=model,
        stage=path.name.removesuffix(".stage.json"),
        inputs=_texts(identity.get("inputs")),
        outputs=_texts(values.get("outputs")),
        seed=str(seed) if isinstance(seed, int) and abs(seed) < 2**64 else "",
        hardware=_hardware(values.get("hardware")),
    )


def _hardware(values: object) -> dict[str, str]:
    items = list(values.items())[:_MAX_HASHES] if isinstance(values, dict) else []
    return {
        key[:_MAX_KEY]: str(value)[:_MAX_TEXT] for key, value in items if isinstance(value, str) or _is_number(value)
    }


def _texts(values: object) -> dict[str, str]:
    items = list(values.items())[:_MAX_HASHES] if isinstance(values, dict) else []
    return {str(key): value for key, value in items if isinstance(value, str)}


def _json(path: Path) -> dict[str, Any]:
    try:
        with open_file(path) as stream:
            values = json.loads(stream.read(_MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
