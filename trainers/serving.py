"""The models that help in the loop and are none of the run's: known by their weights or address, opened when needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from selfreward_bench.bases.examine import examine
from selfreward_bench.bases.findings import Purpose, refuse
from selfreward_bench.config import JudgeRequest, RunConfig
from selfreward_bench.engines.base import Engine
from selfreward_bench.engines.templates import Chosen
from selfreward_bench.models.candidates import Candidate, parse_candidate
from selfreward_bench.models.opening import (
    Services,
    chat_template_of,
    check_served,
    described,
    directory_of,
    open_served,
    opener,
    served_fingerprint,
)
from selfreward_bench.prices import Budget
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.fingerprint import check_checkpoint
from selfreward_bench.storage.model_files import model_fingerprint
from selfreward_bench.types import Record
from trainers import roles
from trainers.prompt_files import load_prompts

__all__ = ["Helper", "Helpers", "ServedRecord", "services_of"]


def services_of(
    config: RunConfig, *, budget: Budget | None = None, replay: bool = False, concurrency: int | None = None
) -> Services:
    """What the helpers of a run share: store, budget, how they are asked."""
    services = Services(
        config.engine,
        config.threads,
        budget=budget,
        replay=replay,
        chat_template=config.chat_template,
        timeout=config.eval.served_timeout,
        request=config.judge.request,
    )
    return services if concurrency is None else replace(services, concurrency=concurrency)


class Helper:
    """One of them.

    Args:
        role: ``prompts.writer``, ``seeds.reviewer`` or ``judge.model``.

    Attributes:
        name: for people.
    """

    def __init__(self, config: RunConfig, role: str, services: Services) -> None:
        self.role, self.name = role, roles.shown(config, role)
        self._candidate: Candidate = parse_candidate(roles.given(config, role))
        self._services = services
        self._asked: JudgeRequest | None = None if role == roles.WRITER else services.request

    @property
    def served(self) -> bool:
        """Whether it is behind a server."""
        return self._candidate.kind == "served"

    @property
    def asked(self) -> tuple[str, ...]:
        """How a judge is asked by its own settings, in words."""
        told = described(self._asked) if self._asked else ""
        return (told,) if told else ()

    @cached_property
    def fingerprint(self) -> str:
        """Of all its files, and of a chat template that they do not bring; of a served one what it is known by."""
        if self._source is None:
            return served_fingerprint(self._candidate.text, self._asked)
        own, chosen = model_fingerprint(self._source), self._template
        return f"{own}+{chosen.content}" if chosen and chosen.named and not chosen.brought else own

    def open(self) -> Engine:
        """Its engine; close it after use."""
        if self._source is None:
            return open_served(self._candidate.text, self._services, self._asked)
        return opener(self._candidate, self._source, self._services, self._template)()

    def check(self) -> None:
        """Finds out what would stop it, before anything is trained or paid for.

        Raises:
            ConfigError: the cost is limited and it has no price, or a variable that holds its key is not set.
            EngineError: it is not there or cannot be used; says all that was found.
        """
        if self._source is None:
            check_served(self._candidate.text, self._services, judges=self._asked is not None)
            return
        check_checkpoint(self._source)
        given = self._template.given if self._template else None
        refuse(self.name, examine(self._source, Purpose(self._services.engine, chat_template=given)).findings)

    @cached_property
    def _source(self) -> Path | None:
        return directory_of(self._candidate, self._services)

    @cached_property
    def _template(self) -> Chosen | None:
        return chat_template_of(self._candidate, self._source, self._services, judges=True)


class ServedRecord(Record):
    """What is known of a served model's work on a stage, over all calls that worked on it; kept beside its records.

    Attributes:
        model: as the recipe names it.
        snapshots: what the server said it runs.
        asked: how it was asked, where that is not as the recipe says: its own settings, and what the server wanted.
    """

    model: str
    snapshots: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()


class Helpers:
    """All of a run's, by their role."""

    def __init__(self, config: RunConfig, services: Services | None) -> None:
        self.services = services or services_of(config)
        self._config = config
        self._known: dict[str, Helper] = {}

    def __contains__(self, who: str) -> bool:
        return who in (roles.WRITER, roles.REVIEWER, roles.JUDGE, roles.SELECTOR)

    def __getitem__(self, role: str) -> Helper:
        if role not in self._known:
            self._known[role] = Helper(self._config, role, self.services)
        return self._known[role]

    def record(self, role: str, engine: Engine, file: Path) -> None:
        """Writes down what a served model told of itself while it worked; of a local one there is nothing to say."""
        if not self[role].served:
            return
        try:
            before = ServedRecord.model_validate_json(file.read_bytes())
        except (OSError, ValueError):  # none yet, or damaged: what it told is told again
            before = ServedRecord(model=self[role].name)
        said = str(getattr(engine, "snapshot", "")).split(", ")
        changes: Iterable[str] = getattr(engine, "changes", ())
        found = ServedRecord(
            model=self[role].name,
            snapshots=tuple(sorted({*before.snapshots, *said} - {""})),
            asked=tuple(sorted({*before.asked, *self[role].asked, *changes})),
        )
        write_atomic(file, (found.model_dump_json(indent=2) + "\n").encode())

    def check(self) -> None:
        """Checks every role, before anything is trained or paid for.

        Raises:
            ConfigError, EngineError, DataError: a role cannot be filled.
        """
        roles.check(self._config)
        if roles.is_prompt_file(writer := self._config.prompts.writer):
            load_prompts(writer)
        if self._config.select.every and self._config.select.prompts != "micro":
            load_prompts(self._config.select.prompts)
        for role in roles.others(self._config):
            self[role].check()
