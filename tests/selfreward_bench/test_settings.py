"""The settings as data: the schema takes what recipes take, and no more; defaults are those that hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from selfreward_bench import recipes
from selfreward_bench.config import LoraConfig, RunConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.settings import schema, settings

CHECK = fastjsonschema.compile(schema(), use_default=False)


def check(text: str) -> None:
    CHECK(recipes.parse(text, "test").values)


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_is_of_the_schema_and_names_it_for_editors(name: str) -> None:
    text = recipes.source(name)
    check(text)
    assert text.startswith("# yaml-language-server: $schema=recipe.schema.json\n# ")
    check(recipes.dump(recipes.load(name)))


@pytest.mark.parametrize(
    "text",
    [
        "extends: micro\nseed: 1\n",
        "judge: {sampling: {temperature: 0}}",
        "dpo: {beta: 1, learning_rate: 1e-7}",
        "threads: null\nseeds: {exclude: null, eft_flatten: null}",
        "eval: {nlp_tasks: [gsm8k, mmlu]}",
        "prompts: {max_rouge_l: 1}",
        "lora: {r: 8, targets: [q_proj, v_proj]}",
        "lora: {}",
        "lora: null",
    ],
)
def test_what_a_recipe_may_say_is_of_the_schema(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    recipes.load(file)
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        "extend: micro",
        "extends: 1",
        "dpo: {betta: 0.1}",
        "dpo: {extends: micro}",
        "dpo: {beta: 0}",
        "dpo: {beta: 'much'}",
        "dpo: 0.1",
        "dpo: null",
        "lora: {rank: 8}",
        "lora: {targets: all}",
        "lora: 16",
        "candidates: {count: 1}",
        "sft: {dropout: 1}",
        "prompts: {max_rouge_l: 1.1}",
        "rewards: none",
        "seed: 0.5",
        "seed: true",
        "name: 1",
        "eval: {nlp_tasks: gsm8k}",
    ],
)
def test_what_a_recipe_may_not_say_is_not_of_the_schema(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        recipes.load(file)
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        check(text)


def defaults(node: dict[str, Any]) -> Any:
    """What holds where nothing is said; a section that may be null is so."""
    if "default" in node:
        return node["default"]
    return {k: defaults(v) for k, v in node["properties"].items()}


def test_the_defaults_are_those_of_the_section_they_stand_in() -> None:
    whole = schema()
    del whole["properties"]["extends"]
    assert defaults(whole) == RunConfig().model_dump(mode="json")


def test_every_key_is_explained_where_it_stands() -> None:
    found = {s.key: s for s in settings()}
    assert [s for s in found.values() if not s.description] == []
    assert found["judge.sampling.max_new_tokens"].default == 256
    assert found["candidates.sampling.max_new_tokens"].default == 512
    assert found["engine"].description == "Which engine generates and judges."  # as its section's, which pydantic drops
    assert (found["judge.sampling"].section, found["judge.sampling"].name) == ("judge", "sampling")
    assert (found["judge"].section, found["judge"].name) == ("judge", "")
    assert (found["seed"].section, found["seed"].name) == ("", "seed")


def test_a_section_that_may_be_null_has_its_own_defaults() -> None:
    lora = schema()["properties"]["lora"]
    assert {key: node["default"] for key, node in lora["properties"].items()} == LoraConfig().model_dump(mode="json")
    assert (lora["default"], lora["additionalProperties"]) == (None, False)
    assert {s.key: s.kind for s in settings()}["lora"] == "section or null"


def test_types_are_said_in_words() -> None:
    kinds = {s.key: s.kind for s in settings()}
    assert kinds["dpo"] == kinds["judge.sampling"] == "section"
    assert kinds["base"] == "text"
    assert kinds["with_baseline"] == "true or false"
    assert kinds["judge.mode"] == "sampled, expected or reasoned"
    assert kinds["dpo.beta"] == "number > 0"
    assert kinds["sft.dropout"] == "number >= 0, < 1"
    assert kinds["eval.limit"] == "integer >= 1 or null"
    assert kinds["eval.nlp_tasks"] == "list of texts or null"
    assert kinds["judge.request.extra_body"] == "fields"
