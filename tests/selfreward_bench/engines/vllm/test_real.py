"""The real vLLM, in an environment of its own: ``make test-vllm`` names its command in ``SRBENCH_TEST_VLLM``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.engines.processes import state_directory
from selfreward_bench.engines.transformers import open_transformers
from selfreward_bench.types import Message

COMMAND = os.environ.get("SRBENCH_TEST_VLLM", "")
ARGS = "--enforce-eager --max-num-seqs 16 --max-model-len 512 --max-num-batched-tokens 8192"
MICRO = Path(__file__).parents[4] / "selfreward_bench" / "data" / "micro" / "base"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not COMMAND, reason="`make test-vllm` tests the real vLLM"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        patch.setenv("SRBENCH_VLLM", COMMAND)
        opened = open_engine(EngineConfig(kind="vllm", args=ARGS), MICRO)
        yield opened
        opened.close()
        assert list(state_directory().iterdir()) == []


@pytest.fixture(scope="module")
def own() -> Engine:
    return open_transformers(EngineConfig(), MICRO)


def question(number: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"Name {number} red things."),)


def texts(engine: Engine, requests: list[GenerationRequest]) -> dict[tuple[str, int], object]:
    return {(c.prompt_id, c.index): c for batch in engine.generate(requests) for c in batch}


def test_greedy_completions_are_those_of_the_own_engine(engine: Engine, own: Engine) -> None:
    plain = [GenerationRequest(f"q{i}", question(i), temperature=0.0, max_new_tokens=40) for i in range(2, 22)]
    stopped = [GenerationRequest(f"s{i}", question(i), temperature=0.0, max_new_tokens=40, stop=("e",)) for i in (2, 3)]
    held = [GenerationRequest("h", question(4), temperature=0.0, max_new_tokens=30, min_new_tokens=30)]
    requests = [*plain, *stopped, *held]
    assert texts(engine, requests) == texts(own, requests)


def test_a_seed_gives_the_same_text_alone_and_in_a_crowd(engine: Engine) -> None:
    requests = [GenerationRequest(f"q{i}", question(i), seeds=(i, i + 1), n=2, max_new_tokens=24) for i in range(2, 22)]
    crowd = texts(engine, requests)
    assert texts(engine, requests) == crowd
    assert texts(engine, requests[:1]).items() <= crowd.items()
    assert len({c.text for c in crowd.values()}) > 20  # type: ignore[attr-defined]


def test_choices_have_the_own_engines_log_probabilities(engine: Engine, own: Engine) -> None:
    requests = [
        *(ChoiceRequest(f"g{i}", question(i), tuple("012345"), assistant_prefix="Score: ") for i in range(2, 8)),
        *(ChoiceRequest(f"w{i}", question(i), (" a red apple", " green")) for i in range(2, 8)),
    ]
    found, expected = ({c.id: c.logprobs for b in e.choice_logprobs(requests) for c in b} for e in (engine, own))
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values == pytest.approx(expected[name], abs=1e-4)
