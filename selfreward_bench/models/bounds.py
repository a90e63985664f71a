"""What a model will be asked, at most, told before it is: given text has at most a token per byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfreward_bench.config import JudgeConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.judges.pairwise import PairItem
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.types import Message

__all__ = ["Calls", "generating", "grading", "pairing", "total"]


@dataclass(frozen=True)
class Calls:
    """Requests to one model. Token numbers are at most that many; ``exact`` where they are not a bound."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    exact: bool = False


def generating(requests: Iterable[GenerationRequest]) -> Calls:
    """A call per sample; each reads its prompt and writes up to ``max_new_tokens``."""
    return total(Calls(r.n, r.n * _size(r.prompt), r.n * r.max_new_tokens) for r in requests)


def grading(config: JudgeConfig, items: Sequence[JudgeItem], unwritten: int = 0) -> Calls:
    """What a pointwise judge is asked about ``items``.

    With ``mode: reasoned`` one judgment is counted per response, and it reads the prompt twice: to write its reasons,
    and to grade after them.

    Args:
        unwritten: tokens that each response may still get, where it is not there yet.
    """
    prompt, new = load_judge_prompt(config.prompt), config.sampling.max_new_tokens
    times = config.samples if config.mode == "sampled" else 1
    reads, writes = {"sampled": (1, new), "expected": (1, 1), "reasoned": (2, new + 1)}[config.mode]
    shown = (_size(prompt.render(i.messages, response=i.response)) + unwritten for i in items)
    again = new if config.mode == "reasoned" else 0
    return total(Calls(times, times * (reads * size + again), times * writes) for size in shown)


def pairing(config: JudgeConfig, items: Sequence[PairItem]) -> Calls:
    """What a pairwise judge is asked about ``items``, in both orders."""
    prompt, new = load_judge_prompt(config.prompt), config.sampling.max_new_tokens
    shown = (_size(prompt.render(i.messages, response_a=i.first, response_b=i.second)) for i in items)
    return total(Calls(2, 2 * size, 2 * new) for size in shown)


def total(parts: Iterable[Calls]) -> Calls:
    """All of them together."""
    calls = list(parts)
    return Calls(
        sum(c.calls for c in calls), sum(c.prompt_tokens for c in calls), sum(c.completion_tokens for c in calls)
    )


def _size(prompt: str | Sequence[Message]) -> int:
    texts = [prompt] if isinstance(prompt, str) else [m.content for m in prompt]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
