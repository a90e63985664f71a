"""Opens what the user names: candidates to evaluate, and judges. Served models share one store and one budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leaderboards.base import Calls, Finished, JudgeRole, Setting
from leaderboards.candidates import SERVED, Candidate, parse_candidate
from leaderboards.harness import ORACLE, SELF, Model, fingerprint_of, open_benchmark
from selfreward_bench.bases.examine import open_engine
from selfreward_bench.config import EngineConfig, EvalConfig, JudgeRequest
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.engines.templates import Chosen, brings_template, of_run
from selfreward_bench.errors import ConfigError, DataError, EngineError
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.storage.rundir import RunDir, hash_json

if TYPE_CHECKING:
    from selfreward_bench.engines.base import Engine
    from selfreward_bench.prices import Budget
    from selfreward_bench.storage.responses import ResponseStore

__all__ = [
    "CONCURRENCY",
    "ORACLE",
    "RETRIES",
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
_WHOLE_ANSWER: Final = 600.0  # seconds from the first to the last byte, at least
RETRIES: Final = 2  # more would choose verdicts by whether they can be read


@dataclass(frozen=True)
class Services:
    """What all models of one evaluation share.

    Attributes:
        store: answers of served models; None is the user's own.
        replay: no network: every answer of a served model comes from the store, a model of the hub from its cache.
        chat_template: named for models outside a run; of a judge only where it brings none.
        timeout: seconds that a served model may be silent.
        request: how a served judge is asked, where that is not as the benchmark says.
    """

    engine: EngineConfig
    threads: int | None = None
    store: ResponseStore | None = None
    budget: Budget | None = None
    replay: bool = False
    concurrency: int = CONCURRENCY
    chat_template: str | None = None
    timeout: float = EvalConfig().served_timeout
    request: JudgeRequest = field(default_factory=JudgeRequest)


@dataclass(frozen=True)
class Opened:
    """A model and its engine, which loads on first use; close it when the model is done with.

    Attributes:
        retries: as ``JudgeRole.retries``: a served model may answer the same question otherwise the next time.
    """

    model: Model
    engine: LazyEngine
    retries: int = 0


def open_candidate(
    candidate: Candidate, services: Services, name: str | None = None, *, judges: bool = False
) -> Opened:
    """What is to be evaluated, or judges; nothing is loaded yet.

    Raises:
        EngineError: a directory holds no checkpoint, or a model cannot be had from the hub.
    """
    source = _source(candidate, services)
    chosen = _chat_template(candidate, source, services, judges)
    engine = LazyEngine(_opener(candidate, source, services, chosen))
    fingerprint, commit = _fingerprint(candidate, source), _commit(candidate, source)
    model = Model(
        name or candidate.name, fingerprint, engine.open, lambda: engine.spent, commit, chosen, lambda: engine
    )
    return Opened(model, engine, RETRIES if candidate.kind == "served" else 0)


def finished_settings(candidate: Candidate, rows: Iterable[str], setting: Setting) -> dict[str, Setting]:
    """The rows of benchmarks whose files these are.

    Raises:
        DataError: there are none.
    """
    if candidate.path is None:
        raise DataError(f"{candidate.text} is no file.")
    found = {row: open_benchmark(row).recognise(candidate.path) for row in rows}
    settings = {
        row: replace(setting, finished=Finished(kind, candidate.path, candidate.model))
        for row, kind in found.items()
        if kind is not None
    }
    if candidate.model is not None and not all(
        kind.startswith(("alpaca", "fastchat")) for kind in found.values() if kind
    ):
        raise DataError(f"{candidate.path} is no file with models to choose from: leave out {candidate.model[:100]!r}.")
    if not settings:
        raise DataError(
            f"{candidate.path} is in no known format: neither outputs, annotations or judgments of AlpacaEval, "
            "FastChat or lm-eval, nor answers to IFEval, nor verdicts of LLMBar or PandaLM (docs/formats.md)."
        )
    return settings


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
    known = f"{asked.name} {served_name(given)}" if asked.name else given
    request = _described(asked)
    return JudgeRole(
        asked.name or given,
        LazyEngine(lambda: _open_served(candidate.text, services, asked)),
        _served_fingerprint(f"{known} {request}" if request else known),
        RETRIES,
        services.replay,
        request,
        given,
    )


def _described(asked: JudgeRequest) -> str:
    """How a judge is asked, for people and for the result's key; values of headers are in neither."""
    parts = [] if asked.temperature is None else [f"temperature {asked.temperature:g}"]
    parts += [] if asked.max_tokens is None else [f"{asked.max_tokens} tokens"]
    parts += [] if asked.seed is None else [f"seed {asked.seed}"]
    parts += [json.dumps(asked.extra_body, sort_keys=True)] if asked.extra_body else []
    parts += [f"headers {', '.join(sorted(asked.extra_headers, key=str.lower))}"] if asked.extra_headers else []
    return ", ".join(parts)


def as_self(role: JudgeRole | None, opened: Opened) -> JudgeRole | None:
    """The role for one model: ``self`` becomes that model."""
    if role is None or role.name != SELF:
        return role
    engine = LazyEngine(opened.engine.open, keep=True)
    return replace(role, engine=engine, snapshot=opened.model.snapshot, retries=opened.retries)


def check_served(text: str, services: Services, *, judges: bool = False) -> None:
    """Finds out before any work what would stop a served model from being asked; other models pass.

    Raises:
        ConfigError: the cost is limited and the model has no price, or a variable that holds its key is not set.
    """
    from selfreward_bench.engines.served import parse_spec

    if text.startswith(SERVED) and not services.replay:
        spec = parse_spec(text)
        spec.headers(services.request.extra_headers if judges else None)
        if services.budget is not None:
            services.budget.check(spec.model)


def asked_of_served(asked: Iterable[tuple[str, Calls]]) -> tuple[tuple[str, Calls], ...]:
    """What is asked of served models, by their name in a price table."""
    return tuple((known, calls) for text, calls in asked if calls.calls and (known := served_name(text)))


def served_name(text: str) -> str | None:
    """What a served model is called in a price table; None for a model that is not served."""
    from selfreward_bench.engines.served import parse_spec

    return parse_spec(text).model if text.startswith(SERVED) else None


def _opener(
    candidate: Candidate, source: Path | None, services: Services, chosen: Chosen | None
) -> Callable[[], Engine]:
    if candidate.kind == "finished":
        return lambda: _refuse(candidate)
    if source is None:
        return lambda: _open_served(candidate.text, services)
    given = chosen.given if chosen else None
    return lambda: open_engine(services.engine, source, threads=services.threads, chat_template=given)


def _chat_template(candidate: Candidate, source: Path | None, services: Services, judges: bool) -> Chosen | None:
    """What renders a model's messages instead of its own template: of a run's model, as that run's recipe says."""
    if source is None or candidate.kind == "finished":
        return None
    if candidate.run is not None:
        return of_run(RunDir.open(candidate.run).config, candidate.model or "", source)
    own = brings_template(source)
    if services.chat_template is None or (judges and own):
        return None
    return Chosen(services.chat_template, replaces=own)


def _refuse(candidate: Candidate) -> Engine:
    raise EngineError(f"{candidate.text} holds finished outputs; there is no model to ask for more.")


def _open_served(spec: str, services: Services, request: JudgeRequest | None = None) -> Engine:
    from selfreward_bench.engines.served import Limits, ServedEngine

    silence, whole = services.timeout, max(_WHOLE_ANSWER, 2 * services.timeout)
    limits = Limits(concurrency=services.concurrency, read_timeout=silence, total_timeout=whole)
    return ServedEngine(
        spec, store=services.store, budget=services.budget, limits=limits, replay=services.replay, request=request
    )


def _source(candidate: Candidate, services: Services) -> Path | None:
    """The directory or files of a model; None where it is served. A model of the hub is asked for now, and once."""
    source = candidate.hub or candidate.path
    return None if source is None else model_directory(source, offline=services.replay)


def _commit(candidate: Candidate, source: Path | None) -> str:
    """Which commit of the hub's model it is: the cache calls the directory like it."""
    return f"{candidate.hub.partition('@')[0]}@{source.name}" if candidate.hub and source else ""


def _served_fingerprint(text: str) -> str:
    return "served-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _fingerprint(candidate: Candidate, source: Path | None) -> str:
    """Of the weights or files; of a served model its name and address, which is all one can know before asking."""
    if source is None:
        return _served_fingerprint(candidate.text.split("#")[0])
    found = fingerprint_of(source, finished=candidate.kind == "finished")
    one_of_several = candidate.kind == "finished" and candidate.model is not None
    return hash_json([found, candidate.model]) if one_of_several else found
