"""Opens models: local ones when they are first needed, served ones over one store and within one budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from selfreward_bench.bases.examine import open_engine
from selfreward_bench.config import EngineConfig, EvalConfig, JudgeRequest
from selfreward_bench.engines.templates import OUTSIDE_RUNS, Chosen, brings_template, of_run, shows_date
from selfreward_bench.errors import EngineError
from selfreward_bench.models.bounds import Calls
from selfreward_bench.models.candidates import SERVED, Candidate
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.storage.rundir import RunDir

if TYPE_CHECKING:
    from selfreward_bench.engines.base import Engine
    from selfreward_bench.prices import Budget
    from selfreward_bench.storage.responses import ResponseStore

__all__ = [
    "CONCURRENCY",
    "RETRIES",
    "Services",
    "asked_of_served",
    "chat_template_of",
    "check_served",
    "commit_of",
    "day_shown",
    "described",
    "directory_of",
    "open_served",
    "opener",
    "served_fingerprint",
    "served_name",
]

CONCURRENCY: Final = 32
RETRIES: Final = 2  # more would choose verdicts by whether they can be read
_WHOLE_ANSWER: Final = 600.0  # seconds from the first to the last byte, at least


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


def opener(
    candidate: Candidate, source: Path | None, services: Services, chosen: Chosen | None
) -> Callable[[], Engine]:
    """What opens a candidate's engine.

    Args:
        source: as ``directory_of`` found it.
        chosen: as ``chat_template_of`` found it.
    """
    if candidate.kind == "finished":
        return lambda: _refuse(candidate)
    if source is None:
        return lambda: open_served(candidate.text, services)
    given = chosen.given if chosen else None
    config = services.engine.model_copy(update={"date": _day(candidate, services.engine)})
    return lambda: open_engine(config, source, threads=services.threads, chat_template=given)


def open_served(spec: str, services: Services, request: JudgeRequest | None = None) -> Engine:
    """The engine of ``openai:NAME@URL``.

    Args:
        request: how it is asked, where that is not as its requests say.
    """
    from selfreward_bench.engines.served import Limits, ServedEngine

    silence, whole = services.timeout, max(_WHOLE_ANSWER, 2 * services.timeout)
    limits = Limits(concurrency=services.concurrency, read_timeout=silence, total_timeout=whole)
    return ServedEngine(
        spec, store=services.store, budget=services.budget, limits=limits, replay=services.replay, request=request
    )


def chat_template_of(candidate: Candidate, source: Path | None, services: Services, judges: bool) -> Chosen | None:
    """What renders a model's messages instead of its own template: of a run's model, as that run's recipe says."""
    if source is None or candidate.kind == "finished":
        return None
    if candidate.run is not None:
        return of_run(RunDir.open(candidate.run).config, candidate.model or "", source)
    own = brings_template(source)
    if services.chat_template is None or (judges and own):
        return None
    return Chosen(services.chat_template, replaces=own)


def day_shown(candidate: Candidate, source: Path | None, services: Services, chosen: Chosen | None) -> str | None:
    """The day that a model's chat template shows; None where it shows none. Arguments as in ``opener``."""
    if source is None or candidate.kind == "finished" or not shows_date(source, chosen):
        return None
    return _day(candidate, services.engine)


def _day(candidate: Candidate, config: EngineConfig) -> str:
    """The one that is set, else that of the run's making, else always the same."""
    if config.date is None and candidate.run is not None:
        config = RunDir.open(candidate.run).config.engine
    return config.date or OUTSIDE_RUNS


def directory_of(candidate: Candidate, services: Services) -> Path | None:
    """The directory or files of a model; None where it is served. A model of the hub is asked for now, and once."""
    source = candidate.hub or candidate.path
    return None if source is None else model_directory(source, offline=services.replay)


def commit_of(candidate: Candidate, source: Path | None) -> str:
    """Which commit of the hub's model it is: the cache calls the directory like it."""
    return f"{candidate.hub.partition('@')[0]}@{source.name}" if candidate.hub and source else ""


def served_fingerprint(text: str, asked: JudgeRequest | None = None) -> str:
    """Of a served model: of its name and address, or a name of its own, which is all one can know before asking.

    Args:
        asked: how a judge is asked, where that is not as its requests say.
    """
    text = text.partition("#")[0]  # where its key is found is no part of it
    if asked:
        known = f"{asked.name} {served_name(text)}" if asked.name else text
        text = f"{known} {described(asked)}".rstrip()
    return "served-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def described(asked: JudgeRequest) -> str:
    """How a judge is asked, for people and for the result's key; values of headers are in neither."""
    parts = [] if asked.temperature is None else [f"temperature {asked.temperature:g}"]
    parts += [] if asked.max_tokens is None else [f"{asked.max_tokens} tokens"]
    parts += [] if asked.seed is None else [f"seed {asked.seed}"]
    parts += [json.dumps(asked.extra_body, sort_keys=True)] if asked.extra_body else []
    parts += [f"headers {', '.join(sorted(asked.extra_headers, key=str.lower))}"] if asked.extra_headers else []
    return ", ".join(parts)


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


def _refuse(candidate: Candidate) -> Engine:
    raise EngineError(f"{candidate.text} holds finished outputs; there is no model to ask for more.")
