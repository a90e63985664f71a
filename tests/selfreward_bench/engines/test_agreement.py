"""The measures of an engine's agreement with its model: small for a right engine, large for a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfreward_bench.engines.agreement import batch_error, cache_error, future_error, padding_error, training_error
from selfreward_bench.engines.cache import RoomyLayer
from selfreward_bench.engines.decode import ModelRunner


@pytest.mark.parametrize(
    ("name", "changes"), [("Llama", {}), ("Gemma2", {"sliding_window": 6, "head_dim": 8}), ("Mamba", {"state_size": 4})]
)
@pytest.mark.parametrize("tokens", [16, 40])
def test_a_right_engine_agrees(
    build_model: Callable[..., Any], engine_of: Callable[..., Any], name: str, changes: dict[str, Any], tokens: int
) -> None:
    loaded = engine_of(build_model(name, **changes)).loaded
    assert cache_error(loaded, tokens) < 1e-4
    assert batch_error(loaded, tokens) < 1e-4
    assert future_error(loaded.model) < 1e-4
    assert padding_error(loaded.model) < 1e-4
    assert training_error(loaded.model) < 1e-4
    assert not loaded.model.training


def test_an_encoder_sees_later_tokens_and_the_padding(build_model: Callable[..., Any]) -> None:
    encoder = build_model("Bert", pad_token_id=0, num_key_value_heads=None)
    assert future_error(encoder) > 1e-2
    assert padding_error(build_model("Llama")) < 1e-4


@pytest.mark.parametrize(
    ("name", "changes"),
    [("Mixtral", {"router_jitter_noise": 0.01, "num_local_experts": 4}), ("Llama", {"attention_dropout": 0.1})],
)
def test_what_is_drawn_in_training_is_measured(
    build_model: Callable[..., Any], name: str, changes: dict[str, Any]
) -> None:
    model = build_model(name, **changes)
    assert training_error(model) > 1e-4
    assert not model.training


def test_padding_that_pushes_away_what_a_window_sees_is_measured(
    build_model: Callable[..., Any], engine_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engine_of(build_model("Gemma2", sliding_window=6, head_dim=8)).loaded
    monkeypatch.setattr(ModelRunner, "_counts_columns", lambda self, columns: False)
    assert batch_error(loaded, 40) > 1e-2


def test_a_cache_that_forgets_is_measured(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    update = RoomyLayer.update

    def forgetful(self: RoomyLayer, keys: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        return update(self, keys * (1 if self.get_seq_length() == 0 else 0), values, *args, **kwargs)

    monkeypatch.setattr(RoomyLayer, "update", forgetful)
    assert cache_error(engine.loaded, 16) > 1e-2
