"""What is evaluated, and who judges it: the models that texts name, as the harness takes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from leaderboards.base import Finished, JudgeRole, Setting
from leaderboards.registry import open_benchmark
from leaderboards.suites import HEAD_TO_HEAD, NAMES
from selfreward_bench.config import JudgeRequest
from selfreward_bench.engines.base import Engine
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.engines.templates import Chosen
from selfreward_bench.errors import ConfigError, DataError, SrbenchError
from selfreward_bench.models.candidates import Candidate, parse_candidate
from selfreward_bench.models.opening import (
    RETRIES,
    Services,
    chat_template_of,
    commit_of,
    day_shown,
    described,
    directory_of,
    open_served,
    opener,
    served_fingerprint,
)
from selfreward_bench.storage.model_files import model_fingerprint, weights_in
from selfreward_bench.storage.rundir import RunDir, hash_file, hash_json

__all__ = [
    "ORACLE",
    "SELF",
    "Model",
    "Opened",
    "as_self",
    "fingerprint_of",
    "finished_settings",
    "judge_role",
    "open_candidate",
]

ORACLE: Final = "oracle"
SELF: Final = "self"  # each model judges itself
_OF_SEVERAL: Final = ("alpaca", "fastchat")  # kinds of files that can hold several models


@dataclass(frozen=True)
class Model:
    """What is evaluated.

    Attributes:
        name: what it is called in results, such as ``M2``.
        fingerprint: of its content; a result belongs to it.
        open: loads it.
        spent: what its calls cost so far; 0 for models in this process.
        source: of a model of the hub, ``OWNER/NAME@COMMIT``; else empty.
        chat_template: where a setting has to do with how its messages are rendered.
        date: the day that its chat template shows; None where it shows none.
        engine: the engine as far as it was opened, for what it tells of its calls.
        judging: the same as a judge, where that is asked otherwise; None where it is not.
        asked: how that is, in words; for the key of what measures it as a judge.
    """

    name: str
    fingerprint: str
    open: Callable[[], Engine]
    spent: Callable[[], float] = lambda: 0.0
    source: str = ""
    chat_template: Chosen | None = None
    date: str | None = None
    engine: Callable[[], object] = lambda: None
    judging: LazyEngine | None = None
    asked: str = ""

    @property
    def rendering(self) -> dict[str, str]:
        """How its messages are rendered, as far as its files do not say it; results belong to it."""
        chosen = self.chat_template
        named = {"chat_template": chosen.content} if chosen and chosen.named else {}
        return named | ({"date": self.date} if self.date else {})

    @property
    def snapshot(self) -> str:
        """What it is as a judge: its fingerprint, a chat template that its files do not bring, and the day shown."""
        brought = self.chat_template is not None and self.chat_template.brought
        told = {key: value for key, value in self.rendering.items() if not (brought and key == "chat_template")}
        return "+".join([self.fingerprint, *told.values()])


@dataclass(frozen=True)
class Opened:
    """A model and its engine, which loads on first use; close it when the model is done with.

    Attributes:
        retries: as ``JudgeRole.retries``: a served model may answer the same question otherwise the next time.
    """

    model: Model
    engine: LazyEngine
    retries: int = 0

    @property
    def judging(self) -> LazyEngine:
        """The model as a judge: the same, unless a served one is asked as ``judge.request`` says."""
        return self.model.judging or self.engine

    def close(self) -> None:
        """Closes what was opened."""
        self.engine.close()
        self.judging.close()


def open_candidate(
    candidate: Candidate, services: Services, name: str | None = None, *, judges: bool = False
) -> Opened:
    """What is to be evaluated, or judges; nothing is loaded yet.

    Raises:
        EngineError: a directory holds no checkpoint, or a model cannot be had from the hub.
    """
    source = directory_of(candidate, services)
    chosen = chat_template_of(candidate, source, services, judges)
    engine = LazyEngine(opener(candidate, source, services, chosen))
    asked = services.request if candidate.kind == "served" else JudgeRequest()
    judging = LazyEngine(lambda: open_served(candidate.text, services, asked)) if asked else None
    model = Model(
        name or candidate.name,
        _fingerprint(candidate, source),
        engine.open,
        lambda: engine.spent,
        commit_of(candidate, source),
        chosen,
        day_shown(candidate, source, services, chosen),
        lambda: engine,
        judging,
        described(asked),
    )
    return Opened(model, engine, RETRIES if candidate.kind == "served" else 0)


def fingerprint_of(path: Path, *, finished: bool = False) -> str:
    """Of the model in a directory, or of a file's bytes; of finished files in a directory, of all their bytes.

    Raises:
        EngineError: the directory holds no checkpoint.
    """
    if finished and path.is_dir():
        return hash_json({str(f.relative_to(path)): hash_file(f) for f in sorted(path.rglob("*")) if f.is_file()})
    return hash_file(path) if path.is_file() else model_fingerprint(path)


def finished_settings(candidate: Candidate, rows: Iterable[str], setting: Setting) -> dict[str, Setting]:
    """The rows of benchmarks whose files these are.

    Raises:
        DataError: there are none.
    """
    if candidate.path is None:
        raise DataError(f"{candidate.text} is no file.")
    asked = list(rows)
    found = {row: kind for row in asked if (kind := open_benchmark(row).recognise(candidate.path))}
    if candidate.model is not None and not all(kind.startswith(_OF_SEVERAL) for kind in found.values()):
        raise DataError(f"{candidate.path} is no file with models to choose from: leave out {candidate.model[:100]!r}.")
    if not found:
        raise DataError(_unknown(candidate.path, asked))
    path, model = candidate.path, candidate.model
    return {row: replace(setting, finished=Finished(kind, path, model)) for row, kind in found.items()}


def _unknown(path: Path, asked: Collection[str]) -> str:
    """That a file is of none of the benchmarks asked for; of which it is, where that is known."""
    for row in (r for r in dict.fromkeys(NAMES["real"].values()) if r not in (HEAD_TO_HEAD, *asked)):
        with suppress(SrbenchError):
            if kind := open_benchmark(row).recognise(path):
                return (
                    f"{path} belongs to another benchmark: {row} ({kind}). Take --benchmarks {row}, or leave "
                    "--benchmarks away, and it is found."
                )
    return (
        f"{path} is in no known format: neither outputs, annotations or judgments of AlpacaEval, FastChat or lm-eval, "
        "nor answers to IFEval, nor verdicts of judges on pairs (docs/formats.md)."
    )


def judge_role(spec: str, services: Services) -> JudgeRole:
    """The judge that a text names: ``oracle``, ``self``, or any model that could be a candidate.

    ``self`` has no engine yet: each model judges itself (`as_self`).

    Raises:
        ConfigError: it names finished files, which cannot judge, or is to be asked as only served models can be.
    """
    candidate = None if spec in (ORACLE, SELF) else parse_candidate(spec)
    if services.request and (candidate is None or candidate.kind != "served"):
        raise ConfigError(
            f"judge.request says how a served judge is asked, and --judge {spec.partition('#')[0]} names none. Leave "
            "it out, or name the judge as openai:NAME@URL."
        )
    if candidate is None:
        return JudgeRole(spec, replays=services.replay)
    if candidate.kind == "finished":
        raise ConfigError(f"--judge {spec}: finished files cannot judge. Name a model: openai:NAME@URL, a directory.")
    if candidate.kind == "served":
        return _served_judge(candidate, services)
    opened = open_candidate(candidate, services, judges=True)
    return JudgeRole(spec, opened.engine, opened.model.snapshot, opened.retries, services.replay)


def _served_judge(candidate: Candidate, services: Services) -> JudgeRole:
    """Known by its name and address, or by a name of its own; and by how it is asked."""
    asked = services.request
    given = candidate.text.partition("#")[0]  # where its key is found is no part of it
    return JudgeRole(
        asked.name or given,
        LazyEngine(lambda: open_served(candidate.text, services, asked)),
        served_fingerprint(given, asked),
        RETRIES,
        services.replay,
        described(asked),
        given,
    )


def as_self(role: JudgeRole | None, opened: Opened) -> JudgeRole | None:
    """The role for one model: ``self`` becomes that model."""
    if role is None or role.name != SELF:
        return role
    engine = LazyEngine(opened.engine.open, keep=True)
    return replace(role, engine=engine, snapshot=opened.model.snapshot, retries=opened.retries)


def _fingerprint(candidate: Candidate, source: Path | None) -> str:
    """Of the model or files; of a served model its name and address, which is all one can know before asking.

    Raises:
        IncompatibleRunError: a model of a run has other weights than the run gave it.
    """
    if source is None:
        return served_fingerprint(candidate.text)
    found = fingerprint_of(source, finished=candidate.kind == "finished")
    if candidate.run is not None and candidate.model not in (None, "M0"):
        RunDir.open(candidate.run).check_weights(str(candidate.model), weights_in(found))
    one_of_several = candidate.kind == "finished" and candidate.model is not None
    return hash_json([found, candidate.model]) if one_of_several else found
