"""What engines share that render and tokenize prompts here, wherever the model computes: in this process or in others.

No torch at import: replicas and their settings are checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from selfreward_bench.engines.base import (
    ChoiceRequest,
    GenerationRequest,
    check_choices,
    check_generation,
    check_ids,
    failures_after,
)
from selfreward_bench.engines.chat import PromptEncoder
from selfreward_bench.engines.plan import Job, answer_job

if TYPE_CHECKING:
    from selfreward_bench.engines.scoring import Scorable

__all__ = ["Planned", "RenderingEngine"]

R = TypeVar("R", GenerationRequest, ChoiceRequest)
V = TypeVar("V")

PART: Final = 128  # requests that are rendered at a time: a tokenizer holds some 100 bytes a token of all of them
KEPT: Final = 2**22  # tokens of a call up to which what was rendered is kept: some 50 MB


@dataclass(frozen=True, slots=True)
class Planned(Generic[V]):
    """Those requests of a call that fit the model's context.

    A stage's prompts may take gigabytes, so of a call of many tokens lengths alone are held.

    Attributes:
        jobs: in the order of the requests.
        rendered: what the requests of these jobs came to, rendered again where it was not kept.
    """

    jobs: list[Job]
    rendered: Callable[[Sequence[Job]], list[V]]


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

    def _prompts(self, requests: Sequence[GenerationRequest]) -> Planned[tuple[GenerationRequest, list[int]]]:
        """The requests that fit the model's context, each with its prompt's token ids; others are ``failures``.

        Raises:
            EngineError: a request is not valid, or see ``PromptEncoder.encode``.
        """

        def render(part: Sequence[GenerationRequest]) -> list[tuple[GenerationRequest, list[int]] | None]:
            check_generation(part)
            part = [self._ending(r) for r in part]
            prompts = self._encoder.encode(part, [r.max_new_tokens for r in part])
            return [(r, p) if p is not None else None for r, p in zip(part, prompts, strict=True)]

        return self._planned(requests, render, answer_job)

    def _scorables(
        self,
        requests: Sequence[ChoiceRequest],
        *,
        more: int = 0,
        job: Callable[[int, Scorable], Job] | None = None,
    ) -> Planned[Scorable]:
        """The requests that fit the model's context, tokenized; others are ``failures``. See ``scoring.scorables``.

        Args:
            job: makes one of a request's number and what it came to; as ``score_batch`` computes if None.

        Raises:
            EngineError: a request is not valid, or see ``PromptEncoder.encode``.
        """
        from selfreward_bench.engines.scoring import choice_job, scorables

        def render(part: Sequence[ChoiceRequest]) -> list[Scorable | None]:
            check_choices(part)
            return scorables(self._encoder, part, more=more)

        return self._planned(requests, render, job or choice_job)

    def _planned(
        self, requests: Sequence[R], render: Callable[[Sequence[R]], list[V | None]], job: Callable[[int, V], Job]
    ) -> Planned[V]:
        ids: list[str] = []
        jobs: list[Job] = []
        kept: dict[int, V] | None = {}
        tokens = 0
        for start in range(0, len(requests), PART):
            part = requests[start : start + PART]
            ids += [r.id for r in part]
            for at, item in enumerate(render(part), start):
                if item is None:
                    continue
                jobs.append(job(at, item))
                tokens += jobs[-1].length
                if kept is not None:
                    kept[at] = item
            if tokens > KEPT:
                kept = None
        check_ids(ids)
        self.failures = failures_after(self.failures, ids, {j.id for j in jobs})

        def rendered(batch: Sequence[Job]) -> list[V]:
            if kept is not None:
                return [kept[j.index] for j in batch]
            counted = dict(self._encoder.changes)
            found = render([requests[j.index] for j in batch])
            self._encoder.changes = counted  # they were counted the first time
            return [item for item in found if item is not None]

        return Planned(jobs, rendered)

    def _ending(self, request: GenerationRequest) -> GenerationRequest:
        """A request whose answer also ends where its template's answers do."""
        if not self._stop or isinstance(request.prompt, str):
            return request
        return replace(request, stop=(*request.stop, *self._stop))
