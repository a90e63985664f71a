"""Every setting explains itself in one line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from selfreward_bench.config import RunConfig


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, info in model.model_fields.items():
        yield prefix + name, info.description
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from settings(info.annotation, f"{prefix}{name}.")


ALL = dict(settings(RunConfig))


@pytest.mark.parametrize("key", ALL)
def test_a_setting_has_a_description_of_one_line(key: str) -> None:
    text = ALL[key]
    assert text
    assert text == text.strip()
    assert text.isprintable()
    assert text.endswith(".")
    assert len(text) <= 110


def test_settings_of_every_section_are_looked_at() -> None:
    assert {"seed", "dpo", "dpo.beta", "judge.sampling.temperature", "eval.answering.max_new_tokens"} <= set(ALL)
    assert len(ALL) > 90
