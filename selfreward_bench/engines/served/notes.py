"""What many answers of a server say together, and the user should know: what it changed, cut, or left no room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.served.dialect import told
from selfreward_bench.storage.responses import Response
from selfreward_bench.types import Completion

__all__ = ["Notes"]

_LEAST_CUT: Final = 2_000  # bytes of a prompt of which a server may have read a part only
_BYTES_PER_TOKEN: Final = 8  # more than any language's; a server that counts fewer tokens has not read all
_HINTS: Final = {"top_p": " To ask so from the start: --set eval.answering.top_p=1."}


class Notes:
    """Kept by one engine over all its answers, stored ones too.

    Attributes:
        snapshots: the models that the server said it runs.
        changes: names of ``served_dialect.CHANGES``, and in how many answers' requests.
    """

    def __init__(self) -> None:
        self.snapshots: set[str] = set()
        self.changes: Counter[str] = Counter()
        self._thought_only = 0
        self._cut: list[tuple[int, int]] = []  # bytes and tokens of prompts
        self._told: set[str] = set()

    def hear(self, request: GenerationRequest | ChoiceRequest, responses: Sequence[Response]) -> None:
        """A request has its responses."""
        prompt = request.prompt
        text = prompt if isinstance(prompt, str) else "".join(m.content for m in prompt)
        size = len(text.encode("utf-8", "replace"))
        for response in responses:
            self.snapshots.update({response.snapshot} - {""})
            self.changes.update(filter(None, response.changes.split(",")))
            tokens = response.prompt_tokens
            if tokens and size >= max(_LEAST_CUT, _BYTES_PER_TOKEN * tokens):
                self._cut.append((size, tokens))

    def read(self, answers: Sequence[Completion | ChoiceLogprobs]) -> None:
        """What was read out of them."""
        self._thought_only += sum(isinstance(a, Completion) and bool(a.thinking) and not a.text for a in answers)

    def take(self, most: int, asked: int) -> list[str]:
        """What there is to tell and was not told before.

        Args:
            most: calls that are made at once.
            asked: calls that were to be made at once.
        """
        new = [note for note in self._all(most, asked) if note not in self._told]
        self._told.update(new)
        return new

    def _all(self, most: int, asked: int) -> Iterator[str]:
        for change in sorted(self.changes):
            yield f"asked with {told(change)}, as the server refused it otherwise.{_HINTS.get(change, '')}"
        if most < asked:
            yield f"at most {most} calls at once instead of {asked}: this process may open no more files (ulimit -n)."
        if self._thought_only:
            yield (
                f"{self._thought_only:,} answers were cut off while thinking. Allow more tokens: a judge by --set "
                "judge.request.max_tokens=8192, a model by eval.answering.max_new_tokens or "
                "eval.mt_bench_max_new_tokens."
            )
        if self._cut:
            size, tokens = max(self._cut)
            yield (
                f"the server may have cut {len(self._cut):,} prompts: of one of {size:,} bytes it counted {tokens:,} "
                "tokens. Let it take longer prompts (its context, num_ctx)."
            )
