"""How far the ``vllm`` engine is from the ``transformers`` engine, and how fast, on one model.

    SRBENCH_VLLM='/opt/vllm/bin/vllm serve' python perf/vllm.py --args '--enforce-eager' [--model DIR] [--prompts 120]

Texts: greedy ones of both engines; sampled ones of the same seeds asked again, in the same crowd and one by one.
Log-probabilities: of the grades 0 to 5 (one call), and of choices of several tokens (one call each).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.micro import base_path, data_path
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Example, Message

SAMPLES, NEW_TOKENS = 4, 48
GRADES, WORDS = tuple("012345"), (" a good answer", " wrong", " not what was asked")


def requests(count: int) -> list[GenerationRequest]:
    """Sampled answers to the micro-world's instructions."""
    examples = jsonl.read(data_path("ift"), Example)[:count]
    return [GenerationRequest(e.id, e.prompt, tuple(range(SAMPLES)), SAMPLES, 0.7, 0.9, NEW_TOKENS) for e in examples]


def texts(engine: Engine, asked: list[GenerationRequest]) -> tuple[dict[tuple[str, int], str], float]:
    """By request and sample, and seconds."""
    start = time.perf_counter()
    found = {(c.prompt_id, c.index): c.text for batch in engine.generate(asked) for c in batch}
    return found, time.perf_counter() - start


def grades(engine: Engine, asked: list[ChoiceRequest]) -> tuple[dict[str, tuple[float, ...]], float]:
    """By request, and seconds."""
    start = time.perf_counter()
    found = {c.id: c.logprobs for batch in engine.choice_logprobs(asked) for c in batch}
    return found, time.perf_counter() - start


def equal(first: dict[tuple[str, int], str], second: dict[tuple[str, int], str]) -> str:
    return f"{sum(first[key] == second[key] for key in second)} of {len(second)} equal"


def farthest(first: dict[str, tuple[float, ...]], second: dict[str, tuple[float, ...]]) -> float:
    return max(abs(a - b) for key in first for a, b in zip(first[key], second[key], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--args", default="")
    parser.add_argument("--model", type=Path, default=base_path())
    parser.add_argument("--prompts", type=int, default=120)
    given = parser.parse_args()
    sampled = requests(given.prompts)
    greedy = [GenerationRequest(r.id, r.prompt, temperature=0.0, max_new_tokens=NEW_TOKENS) for r in sampled]
    judged = [(Message(role="user", content=f"{r.prompt[-1].content}\nIs this right?"),) for r in sampled]
    one = [ChoiceRequest(r.id, p, GRADES, assistant_prefix="Score: ") for r, p in zip(sampled, judged, strict=True)]
    many = [ChoiceRequest(r.id, p, WORDS, assistant_prefix="It is") for r, p in zip(sampled, judged, strict=True)]

    own = open_engine(EngineConfig(), given.model)
    start = time.perf_counter()
    other = open_engine(EngineConfig(kind="vllm", args=given.args), given.model)
    print(f"{other.version}: ready after {time.perf_counter() - start:.0f} s")
    try:
        (a, seconds), (b, theirs) = texts(own, greedy), texts(other, greedy)
        print(f"greedy texts: {equal(a, b)}; {seconds:.1f} s own, {theirs:.1f} s vllm")
        (_, seconds), (first, theirs) = texts(own, sampled), texts(other, sampled)
        print(f"sampled texts: {len(first)} in {seconds:.1f} s own, {theirs:.1f} s vllm")
        print(f"sampled again, same seeds: {equal(first, texts(other, sampled)[0])}")
        alone: dict[tuple[str, int], str] = {}
        for request in sampled[: given.prompts // 4]:
            alone |= texts(other, [request])[0]
        print(f"alone and in a crowd: {equal(first, alone)}")
        for name, asked in (("grades", one), ("choices of several tokens", many)):
            (c, seconds), (d, theirs) = grades(own, asked), grades(other, asked)
            print(f"{name}: farthest log-probability {farthest(c, d):.1e}; {seconds:.1f} s own, {theirs:.1f} s vllm")
    finally:
        other.close()


if __name__ == "__main__":
    main()
