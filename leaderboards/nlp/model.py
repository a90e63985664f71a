"""A loaded model as lm-eval's, and one task evaluated with it. Imports lm-eval and torch: import this module lazily.

lm-eval's response cache (``use_cache``) is not keyed by model and is never used here.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import lm_eval.api.task
import lm_eval.utils
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from transformers.utils import logging as hf_logging

from selfreward_bench.engines.loading import LoadedModel
from selfreward_bench.errors import EngineError, SrbenchError

__all__ = ["Evaluated", "LocalModel", "evaluate_task", "quiet"]

FEWSHOT_SEED: Final = 1234  # lm-eval's own default: the same worked examples as its command line draws
MAX_BATCH: Final = 256


class LocalModel(HFLM):  # type: ignore[misc]  # lm_eval has no types
    """A model that is loaded already. Neither it nor its tokenizer is changed.

    Batches are as large as ``tokens_per_batch`` allows for the requests at hand, instead of a fixed number of rows or
    lm-eval's search for one.

    Attributes:
        cut: hashes of the prompts whose beginning did not fit the model's context and was left out.
    """

    def __init__(self, loaded: LoadedModel, *, tokens_per_batch: int) -> None:
        tokenizer = copy.deepcopy(loaded.tokenizer)  # lm-eval sets a padding token where there is none
        if tokenizer.eos_token_id is None:
            end = min(loaded.eos, default=loaded.fill)
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
        super().__init__(
            pretrained=loaded.model, tokenizer=tokenizer, backend="causal", batch_size=1, max_length=loaded.context
        )
        self.tokens_per_batch = tokens_per_batch
        self.cut: set[int] = set()

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-probabilities of continuations; see lm-eval's ``LM``."""
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-probabilities of whole texts; see lm-eval's ``LM``."""
        answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
        return answers

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = True,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Log-probabilities of tokenized continuations, in groups of like length.

        Groups go by the context's length alone: the choices of one question stay together, as lm-eval reads a context
        once for all its one-token choices.
        """
        groups: dict[int, list[int]] = {}
        for place, (texts, context, continuation) in enumerate(requests):
            groups.setdefault(len(context).bit_length(), []).append(place)
            if texts and len(context) + len(continuation) > self.max_length + 1:
                self.cut.add(hash(texts[0]))
        answers: dict[int, tuple[float, bool]] = {}
        for _, places in sorted(groups.items(), reverse=True):  # the longest first: what does not fit fails at once
            chosen = [requests[p] for p in places]
            self._fit(max(len(context) + len(continuation) for _, context, continuation in chosen))
            answers.update(zip(places, super()._loglikelihood_tokens(chosen, disable_tqdm=True), strict=True))
        return [answers[place] for place in range(len(requests))]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """Generated texts; see lm-eval's ``LM``."""
        new = max(int(r.args[1].get("max_gen_toks", self.max_gen_toks)) for r in requests)
        if new >= self.max_length:
            raise EngineError(
                f"{requests[0].task_name} generates up to {new} tokens, and the model's context holds "
                f"{self.max_length}. Leave the task out (eval.nlp_tasks), or take a model with a longer context."
            )
        lengths = {r.args[0]: len(self.tok_encode(r.args[0])) for r in requests}
        self.cut |= {hash(text) for text, length in lengths.items() if length > self.max_length - new}
        self._fit(max(lengths.values()) + new)
        texts: list[str] = super().generate_until(requests, disable_tqdm=True)
        return texts

    def _fit(self, longest: int) -> None:
        rows = self.tokens_per_batch // min(longest, self.max_length)
        self.batch_size_per_gpu = max(1, min(MAX_BATCH, rows))


@dataclass(frozen=True)
class Evaluated:
    """What lm-eval found on one task.

    Attributes:
        metrics: ``METRIC,FILTER`` -> number, without standard errors.
        samples: one per document and filter, as lm-eval logs them.
        version, shots: of the task that was run.
        cut: hashes of the prompts that did not fit.
    """

    metrics: dict[str, float]
    samples: list[dict[str, Any]]
    version: str
    shots: int
    cut: frozenset[int]


def evaluate_task(
    lm: Any, task: Any, *, limit: int | None = None, advanced: Callable[[int], None] = lambda _: None
) -> Evaluated:
    """Evaluates one task.

    Args:
        lm: any of lm-eval's models.
        task: a task object of lm-eval.
        limit: the first so many documents.
        advanced: told of each document one of whose requests is answered; choices of a document mostly come together.

    Raises:
        EngineError: lm-eval or the model failed.
    """
    name = task.task_name
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    lm.cache_hook = _Progress(advanced)
    try:
        with quiet(), _templates_compiled_once():
            found = evaluate(
                lm=lm,
                task_dict={"tasks": {name: task}, "groups": {}},
                limit=limit,
                bootstrap_iters=0,
                apply_chat_template=False,
            )
    except SrbenchError:
        raise
    except Exception as error:  # out of memory, a task's own code, an assertion of lm-eval's: all end here
        first = next(iter(str(error).strip().splitlines()), "")
        raise EngineError(f"lm_eval could not evaluate {name}: {type(error).__name__}: {first[:300]}") from error
    numbers = {k: v for k, v in found["results"][name].items() if "," in k and "_stderr," not in k}
    return Evaluated(
        metrics={k: float(v) for k, v in numbers.items() if isinstance(v, int | float)},
        samples=found["samples"][name],
        version=str(found["versions"].get(name)),
        shots=int(found["n-shot"].get(name) or 0),
        cut=frozenset(getattr(lm, "cut", ())),
    )


class _Progress:
    """Stands where lm-eval's response cache would listen; keeps nothing but which prompts were seen."""

    def __init__(self, advanced: Callable[[int], None]) -> None:
        self._advanced = advanced
        self._seen: set[int] = set()

    def add_partial(self, attr: str, req: Sequence[Any], res: Any) -> None:
        """Called by lm-eval for each answered request."""
        if (prompt := hash(req[0])) not in self._seen:
            self._seen.add(prompt)
            self._advanced(1)


@contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """lm-eval compiles the templates of a task anew for each document, several times."""
    environment = lm_eval.utils.env
    environment.from_string = lru_cache(maxsize=64)(environment.from_string)
    try:
        yield
    finally:
        del environment.from_string  # the class's own is behind it


@contextmanager
def quiet() -> Iterator[None]:
    """Without lm-eval's and transformers' log lines and progress bars; everything is as it was afterwards."""
    root, own = logging.getLogger(), logging.getLogger("lm_eval")
    levels, handlers, verbosity = (root.level, own.level), list(root.handlers), hf_logging.get_verbosity()
    bar = lm_eval.api.task.tqdm
    own.setLevel(logging.CRITICAL)
    hf_logging.set_verbosity_error()
    lm_eval.api.task.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        hf_logging.set_verbosity(verbosity)
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        root.handlers[:] = handlers
