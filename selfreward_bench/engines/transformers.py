"""The ``transformers`` engine: any causal language model in Hugging Face layout, on CPU, CUDA or MPS."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

import torch

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.chat import PromptEncoder, TextDecoder
from selfreward_bench.engines.decode import ModelRunner, generate_batch
from selfreward_bench.engines.loading import LoadedModel, load_model, release_memory
from selfreward_bench.engines.plan import Job, plan_batches, tokens_of
from selfreward_bench.engines.rendering import RenderingEngine
from selfreward_bench.engines.scoring import score_batch
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Completion

T = TypeVar("T")


def open_transformers(
    config: EngineConfig, model: str | Path, *, threads: int | None = None, chat_template: str | None = None
) -> TransformersEngine:
    """Loads a model; see ``selfreward_bench.engines.open_engine``."""
    if threads is not None:
        torch.set_num_threads(threads)
    return TransformersEngine(load_model(config, model, chat_template), tokens_per_batch=config.tokens_per_batch)


class TransformersEngine(RenderingEngine):
    """An ``Engine`` over a loaded model.

    Attributes:
        halved: how often a batch did not fit the memory and was halved, since the last ``take_notes``.
    """

    def __init__(self, loaded: LoadedModel, *, tokens_per_batch: int) -> None:
        encoder = PromptEncoder(
            loaded.tokenizer, name=loaded.name, context=loaded.context, chat_template=loaded.chat_template
        )
        super().__init__(f"transformers:{loaded.name}", encoder, loaded.stop)
        self.tokens_per_batch = tokens_per_batch
        self.halved = 0
        self._shared_out = loaded.shared_out
        self._too_many: float = math.inf  # tokens of the smallest batch that did not fit the memory
        self._loaded: LoadedModel | None = loaded
        self._eos = loaded.eos
        self._decoder = TextDecoder(loaded.tokenizer)
        self._runner: ModelRunner | None = ModelRunner(loaded)

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        """Answers requests; see ``Engine``. All of them are checked and planned before the first batch.

        Raises:
            EngineError: a request is not valid, or its answer alone does not fit the model.
        """
        runner = self._open()
        planned = self._prompts(requests)

        def answer(batch: list[Job]) -> list[Completion]:
            chosen = planned.rendered(batch)
            return generate_batch(runner, self._decoder, self._eos, [r for r, _ in chosen], [p for _, p in chosen])

        return self._run(answer, self._plan(planned.jobs, done))

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        """Scores choices; see ``Engine``.

        Raises:
            EngineError: a request is not valid.
        """
        runner = self._open()
        planned = self._scorables(requests)
        return self._run(lambda batch: score_batch(runner, planned.rendered(batch)), self._plan(planned.jobs, done))

    @property
    def equal_lengths(self) -> bool:
        """Whether a batch may hold prompts of one length only, as the model cannot mask padding."""
        return not self._open().plain

    @property
    def loaded(self) -> LoadedModel:
        """The model and its tokenizer, for libraries that run them themselves; not to be changed.

        Raises:
            EngineError: the engine was closed.
        """
        self._open()
        return cast(LoadedModel, self._loaded)  # closing takes both

    def close(self) -> None:
        """Gives the model's memory back."""
        self._runner = self._loaded = None
        release_memory()

    def _open(self) -> ModelRunner:
        if self._runner is None:
            raise EngineError(f"The engine of {self.name} was closed; open a new one.")
        return self._runner

    def _plan(self, jobs: Sequence[Job], done: Collection[str]) -> list[list[Job]]:
        batches = plan_batches(jobs, self.tokens_per_batch, equal_lengths=self.equal_lengths)
        return [b for b in batches if not all(j.id in done for j in b)]

    def _run(self, answer: Callable[[list[Job]], list[T]], batches: Sequence[list[Job]]) -> Iterator[list[T]]:
        for batch in batches:
            yield self._answers(answer, batch)

    def _answers(self, answer: Callable[[list[Job]], list[T]], batch: list[Job]) -> list[T]:
        """A batch's answers; where it does not fit the memory, those of its halves, and so with all that is as large.

        The plan, and with it the unit of resuming, stays.
        """
        if len(batch) == 1 or tokens_of(batch) < self._too_many:
            try:
                with torch.inference_mode():  # not around the yield: the caller's own code runs there
                    return answer(batch)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise EngineError(_too_large(self.name, batch[0])) from error
                if self._shared_out:  # the others may have had room, and would compute the whole
                    raise EngineError(
                        f"{self.name}: a batch of {tokens_of(batch):,} tokens does not fit the memory of a process. "
                        "Lower engine.tokens_per_batch."
                    ) from error
                self._too_many = tokens_of(batch)
            release_memory()
        self.halved += 1
        half = len(batch) // 2
        return [*self._answers(answer, batch[:half]), *self._answers(answer, batch[half:])]

    def take_notes(self) -> tuple[str, ...]:
        """That memory was short, where it was since the last call."""
        halved, self.halved = self.halved, 0
        if not halved:
            return ()
        return (
            f"{halved} batches did not fit the memory and were halved; "
            f"set engine.tokens_per_batch below {self._too_many:,} to save the attempts.",
        )


def _too_large(name: str, job: Job) -> str:
    return (
        f"{name}: {job.rows} texts of up to {job.length + job.new:,} tokens, one request's, do not fit the memory. "
        "Lower max_new_tokens or the number of samples, set engine.dtype=bfloat16, or take engine.kind=vllm "
        "(docs/vllm.md)."
    )
