"""Steps of fixed shapes say what steps of growing ones say; their recording needs a GPU (test_accelerator.py)."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.cache import GROWTH
from selfreward_bench.engines.replay import FixedStep, replayable

PROMPTS = ("Once upon a time", "Water", "Water rises as vapour, cools and falls again as rain over the sea")


def requests(n: int) -> list[GenerationRequest]:
    """Answers of many lengths, so that rows leave, the longest past the room of a cache."""
    return [
        GenerationRequest(
            id=f"p{i}",
            prompt=PROMPTS[i % 3] + f" {i}",
            n=2,
            seeds=(i, i + 100),
            temperature=0.8,
            top_p=0.9,
            min_new_tokens=5 * i,
            max_new_tokens=5 * i + 4 if i < n - 1 else 3 * GROWTH,
        )
        for i in range(n)
    ]


def said(engine: Any) -> dict[str, str]:
    return {c.id: c.text for batch in engine.generate(requests(8)) for c in batch}


@pytest.mark.parametrize("architecture", ["Llama", "Qwen2"])
def test_steps_of_fixed_shapes_say_the_same(
    architecture: str, build_model: Callable[..., Any], engine_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(build_model(architecture))
    growing = said(engine)
    steps: list[FixedStep] = []
    make = FixedStep.__init__

    def counted(self: FixedStep, *args: Any, **kwargs: Any) -> None:
        steps.append(self)
        make(self, *args, **kwargs)

    monkeypatch.setattr(FixedStep, "__init__", counted)
    monkeypatch.setattr(engine._runner, "fixed", True)
    assert said(engine) == growing
    assert len(steps) > 3, "rows left and buffers grew"


@pytest.mark.parametrize(
    ("changes", "window", "expected"),
    [
        ({}, None, True),
        ({}, 64, False),
        ({"num_local_experts": 4}, None, False),
        ({"_attn_implementation": "eager"}, None, False),
        ({"rope_parameters": {"rope_type": "dynamic"}}, None, False),
        ({"rope_parameters": {"full_attention": {"rope_type": "longrope"}}}, None, False),
    ],
)
def test_only_where_shapes_are_all_that_changes(changes: dict[str, Any], window: int | None, expected: bool) -> None:
    values = {"_attn_implementation": "sdpa", "rope_parameters": {"rope_type": "llama3"}} | changes
    config = SimpleNamespace(**values)
    config.get_text_config = lambda: config
    assert replayable(SimpleNamespace(config=config), window) is expected
