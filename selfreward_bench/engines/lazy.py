"""An engine that is opened when it is first needed: what is done already never loads a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.types import Completion

__all__ = ["LazyEngine"]


class LazyEngine:
    """An ``Engine`` that ``opener`` opens on first use.

    Args:
        opener: opens the engine.
        keep: the engine is somebody else's; ``close`` leaves it open.
    """

    def __init__(self, opener: Callable[[], Engine], *, keep: bool = False) -> None:
        self._opener, self._keep = opener, keep
        self._engine: Engine | None = None

    @property
    def opened(self) -> Engine | None:
        """The engine, where it was needed."""
        return self._engine

    def open(self) -> Engine:
        """The engine itself."""
        if self._engine is None:
            self._engine = self._opener()
        return self._engine

    @property
    def name(self) -> str:
        """See ``Engine``."""
        return self.open().name

    @property
    def failures(self) -> Mapping[str, str]:
        """See ``Engine``."""
        return {} if self._engine is None else self._engine.failures

    @property
    def spent(self) -> float:
        """What its calls cost so far, in the currency of the price table; 0 for models in this process."""
        return float(getattr(self._engine, "spent", 0.0))

    @property
    def snapshot(self) -> str:
        """What a server says it runs, as far as it was asked; empty for models in this process."""
        return str(getattr(self._engine, "snapshot", ""))

    @property
    def version(self) -> str:
        """Of the servers that srbench renders for, such as ``vllm 0.32.0``; empty for other models."""
        return str(getattr(self._engine, "version", ""))

    @property
    def changes(self) -> Mapping[str, int]:
        """What a server or a chat template wanted otherwise in requests, and in how many."""
        found: Mapping[str, int] = getattr(self._engine, "changes", {})
        return found

    def take_notes(self) -> tuple[str, ...]:
        """What the user should know of a server's calls, and was not told before."""
        return tuple(getattr(self._engine, "take_notes", tuple)())

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        """See ``Engine``."""
        return self.open().generate(requests, done)

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        """See ``Engine``."""
        return self.open().choice_logprobs(requests, done)

    def count_tokens(self, text: str) -> int:
        """See ``Engine``."""
        return self.open().count_tokens(text)

    def close(self) -> None:
        """See ``Engine``; the next use opens it again."""
        if self._engine is not None and not self._keep:
            self._engine.close()
        self._engine = None
