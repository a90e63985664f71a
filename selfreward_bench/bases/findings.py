"""What an examination finds: refusals with the way out, warnings, and notes of what was decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from selfreward_bench.config import EngineConfig, RunConfig
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Record

__all__ = ["Examination", "Finding", "Purpose", "Severity", "note", "refusal", "refuse", "warning"]

Severity = Literal["refusal", "warning", "note"]


class Finding(Record):
    """One thing that was found.

    Attributes:
        severity: with a ``refusal`` it cannot work; a ``warning`` may not be what is wanted; a ``note`` tells what was
            decided.
        topic: what it is about: ``config``, ``weights``, ``tokenizer``, ``template``, ``generation``, ``context``,
            ``memory``, or a step of the preflight.
    """

    severity: Severity
    topic: str
    text: str


class Examination(Record):
    """What is known of a model.

    Attributes:
        base: as the user named it.
        facts: name -> what was read: architecture, parameters, embeddings, positions and the like.
    """

    base: str
    facts: dict[str, str | int | float] = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def refused(self) -> bool:
        return any(f.severity == "refusal" for f in self.findings)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a model is wanted for.

    Attributes:
        engine: how it is run.
        run: it is to be trained with these settings; None where it only answers.
        chat_template: what renders its messages where it only answers, and not by a template of its own.
    """

    engine: EngineConfig
    run: RunConfig | None = None
    chat_template: str | None = None

    @property
    def trainable_adapter(self) -> bool:
        """Whether its own weights stay as they are and an adapter beside them is trained."""
        return self.run is not None and self.run.lora is not None


def refusal(topic: str, text: str) -> Finding:
    return Finding(severity="refusal", topic=topic, text=text)


def warning(topic: str, text: str) -> Finding:
    return Finding(severity="warning", topic=topic, text=text)


def note(topic: str, text: str) -> Finding:
    return Finding(severity="note", topic=topic, text=text)


def refuse(base: str, findings: Iterable[Finding]) -> None:
    """Raises EngineError with every refusal, if there is one."""
    texts = [f.text for f in findings if f.severity == "refusal"]
    if len(texts) == 1:
        raise EngineError(f"Model {base!r} cannot be used: {texts[0]}")
    if texts:
        listing = "\n".join(f"  {text}" for text in texts)
        raise EngineError(f"Model {base!r} cannot be used:\n{listing}")
