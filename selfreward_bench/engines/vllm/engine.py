"""The ``vllm`` engine: srbench renders, plans and reads back; a vLLM server computes.

Servers get token ids and give token ids, one sample a call with the sample's own seed, so that what a text is depends
on no server's template or tokenizer, and a stop string is looked for as the ``transformers`` engine looks for it. The
sampler is vLLM's: its texts are others than those of the ``transformers`` engine, of the same distribution.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.chat import PromptEncoder, TextDecoder
from selfreward_bench.engines.decode import Row
from selfreward_bench.engines.files import read_files
from selfreward_bench.engines.plan import Job, plan_batches
from selfreward_bench.engines.rendering import RenderingEngine
from selfreward_bench.engines.scoring import Scorable
from selfreward_bench.engines.vllm.client import AT_ONCE
from selfreward_bench.engines.vllm.serving import Serving, serving
from selfreward_bench.errors import EngineError
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.types import Completion

T = TypeVar("T")

_AHEAD: Final = 4 * AT_ONCE  # calls that are waiting, so that no server is idle at the end of a batch
_MOST_CHOICES: Final = 128  # tokens that vLLM tells the probabilities of at once
#: what else vLLM samples with, where a model's generation_config.json or a server's arguments say something
_PLAIN: Final = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "ignore_eos": True,  # its ends are named: stop_token_ids
}


class VllmEngine(RenderingEngine):
    """An ``Engine`` over vLLM servers.

    Attributes:
        version: of vLLM, such as ``vllm 0.32.0``: part of a result's key.

    Raises:
        EngineError: the model's files cannot be read, or no server comes to serve it.
        ConfigError: a setting names no program, no address or no template.
    """

    def __init__(self, config: EngineConfig, model: str | Path, chat_template: str | None = None) -> None:
        source = model_directory(model)
        files = read_files(config, source, chat_template)
        self._eos, self._vocabulary = files.eos, files.vocabulary
        self._budget = config.tokens_per_batch
        self._decoder = TextDecoder(files.tokenizer)
        self._serving: Serving | None = serving(config, source)
        self._pool = ThreadPoolExecutor(AT_ONCE * len(self._serving.replicas), thread_name_prefix="vllm")
        self.version = f"vllm {self._serving.version}"
        context = min((n for n in (files.context, self._serving.context) if n), default=None)
        encoder = PromptEncoder(files.tokenizer, name=str(model), context=context, chat_template=chat_template)
        super().__init__(f"vllm:{model}", encoder, files.stop)

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        """Answers requests; see ``Engine``.

        Raises:
            EngineError: a request is not valid, or a server gives no answer.
        """
        self._open()
        planned = self._prompts(requests)

        def calls(batch: Sequence[Job]) -> list[Callable[[], Completion]]:
            asked = planned.rendered(batch)
            return [partial(self._sample, request, prompt, at) for request, prompt in asked for at in range(request.n)]

        return self._run(planned.jobs, done, calls)

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        """Scores choices; see ``Engine``.

        Raises:
            EngineError: a request is not valid, or a server gives no answer.
        """
        self._open()
        planned = self._scorables(requests, more=1, job=_job)  # vLLM generates a token, always
        return self._run(
            planned.jobs, done, lambda batch: [partial(self._score, item) for item in planned.rendered(batch)]
        )

    def close(self) -> None:
        """Ends the server, where srbench started it; of others, calls that are under way are waited for."""
        if self._serving is None:
            return
        self._serving.stop()
        self._pool.shutdown(cancel_futures=True)
        for client, _ in self._serving.replicas:
            client.close()
        self._serving = None

    def _open(self) -> Serving:
        if self._serving is None:
            raise EngineError(f"The engine of {self.name} was closed; open a new one.")
        return self._serving

    def _sample(self, request: GenerationRequest, prompt: Sequence[int], index: int) -> Completion:
        row = Row(request, index, before=prompt[-1])
        client, served = self._dealt(request.id)
        found = client.generate(
            prompt,
            self._vocabulary,
            model=served,
            max_tokens=request.max_new_tokens,
            min_tokens=request.min_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p if request.temperature else 1.0,
            seed=row.seed % 2**63 if request.temperature else None,
            stop=list(request.stop),
            stop_token_ids=sorted(self._eos),
            **_PLAIN,
        )
        for token in found.tokens:
            row.take(token, self._eos, self._decoder)
            if row.finished:
                break
        row.finished = row.finished or ("stop" if found.stopped else "length")
        return row.completion(self._decoder)

    def _score(self, item: Scorable) -> ChoiceLogprobs:
        client, served = self._dealt(item.id)
        start = len(item.context)
        if len(item.choices) <= _MOST_CHOICES and all(len(choice) == 1 for choice in item.choices):
            told = client.next_logprobs(item.context, [token for (token,) in item.choices], model=served)
            if told is not None:
                return ChoiceLogprobs(id=item.id, logprobs=told, n_prompt_tokens=item.n_prompt_tokens)
        found = [sum(client.logprobs([*item.context, *choice], start, model=served)) for choice in item.choices]
        return ChoiceLogprobs(id=item.id, logprobs=tuple(found), n_prompt_tokens=item.n_prompt_tokens)

    def _dealt(self, name: str) -> tuple[Any, str]:
        """The server for a request, and what it calls the model: always the same for the same id."""
        replicas = self._open().replicas
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return replicas[int.from_bytes(digest, "big") % len(replicas)]

    def _run(
        self, jobs: Sequence[Job], done: Collection[str], calls: Callable[[Sequence[Job]], list[Callable[[], T]]]
    ) -> Iterator[list[T]]:
        """Makes the calls of all batches, many at once and the next batch's with them; yields batch by batch."""
        batches = [b for b in plan_batches(jobs, self._budget) if not all(j.id in done for j in b)]
        waiting: deque[list[Future[T]]] = deque()
        try:
            for batch in batches:
                waiting.append([self._pool.submit(call) for call in calls(batch)])
                while sum(map(len, waiting)) > _AHEAD:
                    yield [future.result() for future in waiting[0]]
                    waiting.popleft()
            while waiting:
                yield [future.result() for future in waiting[0]]
                waiting.popleft()
        except EngineError:
            if self._serving is not None:
                self._serving.check()  # whether the server ended says more
            raise
        finally:
            for future in (f for batch in waiting for f in batch):
                future.cancel()


def _job(index: int, item: Scorable) -> Job:
    return Job(index, item.id, len(item.context), rows=len(item.choices), new=item.longest)
