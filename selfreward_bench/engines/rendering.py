"""What engines share that render and tokenize prompts here, wherever the model computes: in this process or in others.

No torch at import: replicas and their settings are checked without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from selfreward_bench.engines.base import (
    ChoiceRequest,
    GenerationRequest,
    check_choices,
    check_generation,
    failures_after,
)
from selfreward_bench.engines.chat import PromptEncoder

if TYPE_CHECKING:
    from selfreward_bench.engines.scoring import Scorable

__all__ = ["RenderingEngine"]


class RenderingEngine:
    """The part of an ``Engine`` between requests and token ids.

    Args:
        encoder: of the model's prompts.
        stop: texts that end an answer to messages besides a request's own, where the template's answers end so.
    """

    def __init__(self, name: str, encoder: PromptEncoder, stop: tuple[str, ...] = ()) -> None:
        self.name = name
        self.failures: Mapping[str, str] = {}
        self._encoder, self._stop = encoder, stop

    @property
    def changes(self) -> Mapping[str, int]:
        """What was asked otherwise than requests say, in words, and how often."""
        return dict(self._encoder.changes)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by itself, without control tokens."""
        return len(self._encoder.tokenize([(text.encode("utf-8", "replace").decode("utf-8"), True)])[0])

    def _prompts(self, requests: Sequence[GenerationRequest]) -> list[tuple[GenerationRequest, list[int]]]:
        """The requests that fit the model's context, each with its prompt's token ids; others are ``failures``.

        Raises:
            EngineError: a request is not valid, or see ``PromptEncoder.encode``.
        """
        check_generation(requests)
        requests = [self._ending(r) for r in requests]
        prompts = self._encoder.encode(requests, [r.max_new_tokens for r in requests])
        asked = [(r, p) for r, p in zip(requests, prompts, strict=True) if p is not None]
        self.failures = failures_after(self.failures, requests, {r.id for r, _ in asked})
        return asked

    def _scorables(self, requests: Sequence[ChoiceRequest], *, more: int = 0) -> list[Scorable]:
        """The requests that fit the model's context, tokenized; others are ``failures``. See ``scoring.scorables``.

        Raises:
            EngineError: a request is not valid, or see ``PromptEncoder.encode``.
        """
        from selfreward_bench.engines.scoring import scorables

        check_choices(requests)
        items = scorables(self._encoder, requests, more=more)
        self.failures = failures_after(self.failures, requests, {s.id for s in items})
        return items

    def _ending(self, request: GenerationRequest) -> GenerationRequest:
        """A request whose answer also ends where its template's answers do."""
        if not self._stop or isinstance(request.prompt, str):
            return request
        return replace(request, stop=(*request.stop, *self._stop))
