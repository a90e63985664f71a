"""Opens what the user names: candidates to evaluate, and judges. Served models share one store and one budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leaderboards.base import Calls, Finished, JudgeRole, Setting
from leaderboards.candidates import SERVED, Candidate, parse_candidate
from leaderboards.harness import ORACLE, SELF, Model, fingerprint_of, open_benchmark
from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.errors import ConfigError, DataError, EngineError

if TYPE_CHECKING:
    from selfreward_bench.engines.base import Engine
    from selfreward_bench.prices import Budget
    from selfreward_bench.store import ResponseStore

__all__ = [
    "CONCURRENCY",
    "ORACLE",
    "SELF",
    "Opened",
    "Services",
    "as_self",
    "asked_of_served",
    "check_served",
    "finished_settings",
    "judge_role",
    "open_candidate",
    "served_name",
]

CONCURRENCY: Final = 32
_HUB_FILES: Final = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class Services:
    """What all models of one evaluation share.

    Attributes:
        store: answers of served models; None is the user's own.
        replay: no network: every answer of a served model comes from the store.
    """

    engine: EngineConfig
    threads: int | None = None
    store: ResponseStore | None = None
    budget: Budget | None = None
    replay: bool = False
    concurrency: int = CONCURRENCY


@dataclass(frozen=True)
class Opened:
    """A model and its engine, which loads on first use; close it when the model is done with."""

    model: Model
    engine: LazyEngine


def open_candidate(candidate: Candidate, services: Services, name: str | None = None) -> Opened:
    """What is to be evaluated; nothing is loaded yet.

    Raises:
        EngineError: a directory holds no checkpoint.
    """
    engine = LazyEngine(_opener(candidate, services))
    model = Model(name or candidate.name, _fingerprint(candidate), engine.open, lambda: engine.spent)
    return Opened(model, engine)


def finished_settings(candidate: Candidate, rows: Iterable[str], setting: Setting) -> dict[str, Setting]:
    """The rows of benchmarks whose files these are.

    Raises:
        DataError: there are none.
    """
    if candidate.path is None:
        raise DataError(f"{candidate.text} is no file.")
    found = {row: open_benchmark(row).recognise(candidate.path) for row in rows}
    settings = {
        row: replace(setting, finished=Finished(kind, candidate.path))
        for row, kind in found.items()
        if kind is not None
    }
    if not settings:
        raise DataError(
            f"{candidate.path} is in no known format: neither outputs, annotations or judgments of AlpacaEval, "
            "FastChat or lm-eval, nor verdicts of LLMBar or PandaLM (docs/formats.md)."
        )
    return settings


def judge_role(spec: str, services: Services) -> JudgeRole:
    """The judge that a text names: ``oracle``, ``self``, or any model that could be a candidate.

    ``self`` has no engine yet: each model judges itself (`as_self`).

    Raises:
        ConfigError: it names finished files, which cannot judge.
    """
    if spec in (ORACLE, SELF):
        return JudgeRole(spec)
    candidate = parse_candidate(spec)
    if candidate.kind == "finished":
        raise ConfigError(f"--judge {spec}: finished files cannot judge. Name a model: openai:NAME@URL, a directory.")
    opened = open_candidate(candidate, services)
    return JudgeRole(spec, opened.engine, opened.model.fingerprint)


def as_self(role: JudgeRole | None, opened: Opened) -> JudgeRole | None:
    """The role for one model: ``self`` becomes that model."""
    if role is None or role.name != SELF:
        return role
    return replace(role, engine=LazyEngine(opened.engine.open, keep=True), snapshot=opened.model.fingerprint)


def check_served(text: str, services: Services) -> None:
    """Finds out before any work what would stop a served model from being asked; other models pass.

    Raises:
        ConfigError: the cost is limited and the model has no price, or the variable that holds its key is not set.
    """
    from selfreward_bench.engines.served import parse_spec

    if text.startswith(SERVED) and not services.replay:
        spec = parse_spec(text)
        spec.key()
        if services.budget is not None:
            services.budget.check(spec.model)


def asked_of_served(asked: Iterable[tuple[str, Calls]]) -> tuple[tuple[str, Calls], ...]:
    """What is asked of served models, by their name in a price table."""
    return tuple((known, calls) for text, calls in asked if calls.calls and (known := served_name(text)))


def served_name(text: str) -> str | None:
    """What a served model is called in a price table; None for a model that is not served."""
    from selfreward_bench.engines.served import parse_spec

    return parse_spec(text).model if text.startswith(SERVED) else None


def _opener(candidate: Candidate, services: Services) -> Callable[[], Engine]:
    if candidate.kind == "served":
        return lambda: _open_served(candidate.text, services)
    if candidate.kind == "finished":
        return lambda: _refuse(candidate)
    source = candidate.path if candidate.path is not None else _hub_directory(candidate.text)
    return lambda: open_engine(services.engine, source, threads=services.threads)


def _refuse(candidate: Candidate) -> Engine:
    raise EngineError(f"{candidate.text} holds finished outputs; there is no model to ask for more.")


def _open_served(spec: str, services: Services) -> Engine:
    from selfreward_bench.engines.served import Limits, ServedEngine

    limits = Limits(concurrency=services.concurrency)
    return ServedEngine(spec, store=services.store, budget=services.budget, limits=limits, replay=services.replay)


def _fingerprint(candidate: Candidate) -> str:
    """Of the weights or files; of a served model its name and address, which is all one can know before asking."""
    if candidate.kind == "served":
        return "served-" + hashlib.sha256(candidate.text.split("#")[0].encode()).hexdigest()[:24]
    source = candidate.path if candidate.path is not None else _hub_directory(candidate.text)
    return fingerprint_of(source, finished=candidate.kind == "finished")


def _hub_directory(name: str) -> Path:
    """The files of a hub model, in the hub's own cache.

    Raises:
        EngineError: the hub does not have it, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # whatever a hub that is away, private or gated causes
        raise EngineError(
            f"Model {name!r} is neither a directory nor can it be had from the hub ({type(error).__name__}). "
            "Give a directory in Hugging Face layout, RUN:MODEL, or openai:NAME@URL."
        ) from error
