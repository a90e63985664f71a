"""The examination of a run's base: its files, then a preflight; kept as ``check.json`` in the run.

It is made again when the base, the settings or the libraries change, and skipped while they do not.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import Field

from selfreward_bench import __version__
from selfreward_bench.bases.examine import examine
from selfreward_bench.bases.findings import Examination, Finding, Purpose, refuse, warning
from selfreward_bench.bases.optimizers import largest_optimizer, needs_bitsandbytes
from selfreward_bench.config import EngineConfig, RunConfig
from selfreward_bench.engines import RENDER_NOTHING
from selfreward_bench.engines.templates import Chosen
from selfreward_bench.errors import SrbenchError
from selfreward_bench.hardware import gib
from selfreward_bench.micro import base_path
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.fingerprint import tensors
from selfreward_bench.storage.rundir import RunDir, hash_file, hash_json
from selfreward_bench.types import Record
from trainers.description import Description, describe
from trainers.environment import one_process
from trainers.preflight import STEPS, preflight
from trainers.stages import models

__all__ = ["CHECK_FILE", "CheckRecord", "ended_at_check", "examine_base", "examine_run", "kept_description"]

CHECK_FILE: Final = "check.json"
STAGE: Final = "M0/check"
_SEEDS: Final = "ift.start.json"  # begins before the examination
_LIBRARIES: Final = ("torch", "transformers", "trl")
_MODEL_BYTES: Final = 4  # of a parameter, in float32
_APART: Final = ("name", "eval", "track", "cluster")  # settings that the examination does not depend on
_DESCRIBING: Final = ("*.json", "*.jinja", "*.model", "*.txt")  # files beside the weights


class CheckRecord(Record):
    """What a run knows of its base.

    Attributes:
        identity: what it was found of: base, settings and libraries, as hashes and versions. Of the weights names,
            types and shapes count: their values are hashed where they are trained.
        measured: what the preflight measured; empty where there was none.
        description: of base and seed data, for plans; None where it could not be counted.
    """

    identity: dict[str, str]
    preflight: bool
    examination: Examination
    measured: dict[str, float] = Field(default_factory=dict)
    description: Description | None = None


def examine_base(config: RunConfig, *, flight: bool = True, reporter: Reporter | None = None) -> Examination:
    """Examines the base of a configuration, with a preflight in a temporary directory.

    Args:
        flight: whether a round in small is trained, too, where the files allow it.

    Raises:
        EngineError: the base is not there and cannot be had from the hub.
    """
    told = reporter or Silent()
    with one_process(told.message), tempfile.TemporaryDirectory(prefix="srbench-check-") as room:
        return _examined(_directory(config), config, flight, Path(room) / "preflight", told)[0]


def examine_run(run: RunDir, base: Path, *, flight: bool = True, reporter: Reporter) -> None:
    """Examines the base of a run, unless ``check.json`` says that just this was done.

    Args:
        base: where it is.

    Raises:
        EngineError: the base cannot be trained with the run's settings; says all that was found.
    """
    path = run.path / CHECK_FILE
    identity = _identity(base, run.config)
    kept = _read(path)
    if kept and kept.identity == identity and (kept.preflight or not flight) and not kept.examination.refused:
        reporter.finished(STAGE, _counts(kept.examination), 0.0, skipped=True)
        return
    started = time.monotonic()
    reporter.started(STAGE, STEPS if flight else None, "steps")
    found, measured = _examined(base, run.config, flight, run.path / ".preflight", reporter)
    found = found.model_copy(update={"findings": (*found.findings, *_disk_findings(run, found))})
    described = None if found.refused else _described(run.config)
    record = CheckRecord(
        identity=identity, preflight=flight, examination=found, measured=measured, description=described
    )
    write_atomic(path, (json.dumps(record.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode())
    refuse(run.config.base, found.findings)
    for finding in found.findings:
        if finding.severity == "warning":
            reporter.message(f"Warning: {finding.text}")
    reporter.finished(STAGE, _counts(found), time.monotonic() - started)


def ended_at_check(run: RunDir) -> bool:
    """Whether a run's base was refused and nothing was begun but reading the seed data: no stage knows its settings."""
    kept = _read(run.path / CHECK_FILE)
    begun = any(path.name != _SEEDS for path in run.path.glob("*/*.start.json"))
    return kept is not None and kept.examination.refused and not begun


def kept_description(run: RunDir) -> Description | None:
    """What a run keeps of its base and its seed data; None where anything it depends on is another now.

    Nothing is downloaded: of a base that is no directory of this machine nothing is taken for known.
    """
    kept = _read(run.path / CHECK_FILE)
    base = base_path() if run.config.base == "micro" else Path(run.config.base)
    if kept is None or kept.description is None or not base.is_dir():
        return None
    try:
        return kept.description if kept.identity == _identity(base, run.config) else None
    except SrbenchError:  # its files are damaged, or gone
        return None


def _described(config: RunConfig) -> Description | None:
    try:
        return describe(config)
    except SrbenchError:  # an estimate's sake stops no run
        return None


def _directory(config: RunConfig) -> Path:
    """The base's directory, whatever is in it."""
    if config.base == "micro":
        return base_path()
    return model_directory(config.base)


def _examined(
    base: Path, config: RunConfig, flight: bool, room: Path, reporter: Reporter
) -> tuple[Examination, dict[str, float]]:
    found = examine(base, Purpose(config.engine, config), config.base)
    if found.refused or not flight or config.engine.kind in RENDER_NOTHING:
        return found, {}
    more, measured = preflight(base, config, room, reporter.advanced, reporter.message)
    return found.model_copy(update={"findings": (*found.findings, *more)}), measured


def _identity(base: Path, config: RunConfig) -> dict[str, str]:
    places = list(dict.fromkeys((base, parts(base).weights)))
    files = sorted(p for place in places for pattern in _DESCRIBING for p in place.glob(pattern) if p.is_file())
    found = (tensor for place in places for tensor in sorted(tensors(place), key=lambda t: t.name))
    libraries = [*_LIBRARIES, *(["peft"] if config.lora or len(places) > 1 else [])]
    libraries += ["bitsandbytes"] if needs_bitsandbytes(config) else []
    return {
        "weights": hash_json([(t.name, t.dtype, t.shape) for t in found]),
        "files": hash_json([(p.name, hash_file(p)) for p in files]),
        "settings": hash_json({k: v for k, v in _without_places(config).recorded().items() if k not in _APART}),
        **({"chat_template": Chosen(config.chat_template).key} if config.chat_template else {}),
        "srbench": __version__,
        **{name: metadata.version(name) for name in libraries if find_spec(name)},
    }


def _without_places(config: RunConfig) -> RunConfig:
    """Whether there are servers counts, and not where, nor how long one may take to start."""
    places = {"urls": config.engine.urls and ("elsewhere",), "start_timeout": EngineConfig().start_timeout}
    return config.model_copy(update={"engine": config.engine.model_copy(update=places)})


def _disk_findings(run: RunDir, found: Examination) -> Iterator[Finding]:
    """Whether the models of a run and two saved states have room on the disk."""
    parameters = int(found.facts.get("parameters", 0))
    made = sum((run.path / model / "checkpoint").is_dir() for model in models(run.config))
    lora = run.config.lora
    whole = 0 if lora and not lora.merge else len(models(run.config)) - made
    needed = parameters * (
        _MODEL_BYTES * whole + (0 if lora else 2 * (_MODEL_BYTES + largest_optimizer(run.config).moments))
    )
    free = shutil.disk_usage(run.path).free
    if needed > free:
        yield warning(
            "disk",
            f"The models to be made and two saved states take about {gib(needed)}, and {gib(free)} are free.",
        )


def _read(path: Path) -> CheckRecord | None:
    try:
        return CheckRecord.model_validate_json(path.read_bytes())
    except (OSError, ValueError):  # not there, cut off, or of another version: it is made anew
        return None


def _counts(found: Examination) -> dict[str, float]:
    return {
        "warnings": sum(f.severity == "warning" for f in found.findings),
        "notes": sum(f.severity == "note" for f in found.findings),
    }
