"""Results in a Hugging Face model card: the hub's classes read them, and nothing else in the card changes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from leaderboards.comparing import OverSeeds, Together
from leaderboards.nlp.tasks import TASKS
from leaderboards.standings import write_record
from reports.exports import model_card
from reports.facts import reading as facts
from selfreward_bench.errors import DataError, EngineError
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import EvalResult, Metric

CARD = """---
license: apache-2.0
library_name: transformers
srbench:
  name: M2
  recipe: {beta: 0.1, learning_rate: 3.0e-05}
model_name: Own Name
tags: [a, a, b]
---

# M2

Text — with ünicode and a table.

| a | b |
|---|---|
"""
FOREIGN = {
    "name": "their-name",
    "results": [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": "cais/mmlu", "name": "MMLU", "unknown": {"kept": True}},
            "metrics": [{"type": "accuracy", "value": "61.5 ± 0.4", "verified": False}],
            "source": {"name": "Leaderboard", "url": "https://leaderboard.example"},
        }
    ],
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "checkpoint").mkdir()
    content = struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0)
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(content)
    return tmp_path / "checkpoint"


@pytest.fixture
def evaluated(builder: Any, checkpoint: Path) -> Any:
    store(builder.path, "M2", weights_fingerprint(checkpoint), 3.4)
    store(builder.path, "M1", "other", 1.0)
    return builder


def store(run: Path, model: str, fingerprint: str, value: float | None, judge: str | None = "gpt-4 <b>|x") -> None:
    result = EvalResult(
        checkpoint=model,
        fingerprint=fingerprint,
        benchmark="micro-quality@1",
        judge=judge,
        metrics={
            "quality_sampled": Metric(value=value, low=3.3, high=3.5, n_scored=509, n_total=512),
            "quality_sampled/name": Metric(value=2.0, n_scored=9, n_total=9),
            "exact_greedy": Metric(value=None, n_scored=0, n_total=9),
        },
        config_hash="c",
        versions={"srbench": "0.1.0"},
        seconds=1,
    )
    write_record(run / model / "eval" / "micro-quality@1" / "result.json", result)


def write(builder: Any, checkpoint: Path) -> str:
    written = model_card.write([facts.collect(builder.path)], checkpoint)
    assert written.path == checkpoint / "README.md"
    return written.path.read_bytes().decode()


def front_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_hub_reads_the_results(evaluated: Any, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text(CARD, encoding="utf-8")
    write(evaluated, checkpoint)
    (found,) = ModelCard.load(checkpoint / "README.md").data.eval_results  # type: ignore[attr-defined]
    assert (found.dataset_type, found.metric_type, found.metric_value) == (
        "srbench/micro-quality@1",
        "quality_sampled",
        3.4,
    )
    assert found.metric_name == "True quality, sampled"
    assert found.metric_args == {"low": 3.3, "high": 3.5, "n_scored": 509, "n_total": 512, "unit": "points"}
    assert found.dataset_args["judge"] == "gpt-4 <b>|x"


def test_everything_else_in_the_card_stays(evaluated: Any, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text(CARD, encoding="utf-8")
    text = write(evaluated, checkpoint)
    kept = {k: v for k, v in front_of(text).items() if k != "model-index"}
    assert kept == front_of(CARD) | {"language": "en"}  # filled in: the card did not say it
    assert text.split("---\n", 2)[2].startswith(CARD.split("---\n", 2)[2].rstrip())
    who = r"| Answer quality (micro-world) | gpt-4 \<b\>\|x | True quality, sampled |"
    assert f"{who} 3.40 | [3.30, 3.50] | 509 of 512 |" in text


def test_writing_again_replaces_only_what_was_written(evaluated: Any, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text(CARD, encoding="utf-8")
    first = write(evaluated, checkpoint)
    assert write(evaluated, checkpoint) == first
    (checkpoint / "README.md").write_text(first + "\n## Later words\n", encoding="utf-8")
    store(evaluated.path, "M2", weights_fingerprint(checkpoint), 4.9)
    text = write(evaluated, checkpoint)
    assert text.count("srbench results: begin") == 1
    assert "4.90" in text
    assert "3.40" not in text
    assert text.endswith("\n## Later words\n")


def test_results_of_others_stay_to_the_letter(evaluated: Any, checkpoint: Path) -> None:
    front = yaml.safe_dump({"license": "mit", "model-index": [FOREIGN]}, allow_unicode=True)
    (checkpoint / "README.md").write_text(f"---\n{front}---\n# Theirs\n", encoding="utf-8")
    for _ in range(2):
        (index,) = front_of(write(evaluated, checkpoint))["model-index"]
        assert index["name"] == "their-name"
        assert index["results"][0] == FOREIGN["results"][0]
        assert [r["dataset"]["type"] for r in index["results"]] == ["cais/mmlu", "srbench/micro-quality@1"]


def test_a_card_is_made_where_there_is_none(evaluated: Any, checkpoint: Path) -> None:
    text = write(evaluated, checkpoint)
    assert front_of(text)["model-index"][0]["name"] == "M2"
    assert "## Evaluation" in text


def test_a_card_without_metadata_keeps_its_text(evaluated: Any, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("# Only text\n\n---\n\nwith a rule\n", encoding="utf-8")
    assert "# Only text\n\n---\n\nwith a rule\n" in write(evaluated, checkpoint)


def test_windows_line_ends_stay(evaluated: Any, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_bytes(CARD.replace("\n", "\r\n").encode())
    text = write(evaluated, checkpoint)
    assert text.count("\r\n") == text.count("\n")
    assert write(evaluated, checkpoint) == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"---\na: [\n---\n", "YAML block"),
        (b"---\n- a\n- b\n---\n", "YAML block"),
        (b"---\nmodel-index: [{name: x}]\n---\n", "YAML block"),
        (b"\xff\xfe", "not UTF-8"),
        (b"# x\n<!-- srbench results: end -->\n", "marks"),
        (b"# x" + 2 * b"\n<!-- srbench results: begin (replaced by `srbench report --model-card`) -->\n", "marks"),
    ],
)
def test_a_damaged_card_is_refused_and_left_alone(evaluated: Any, checkpoint: Path, content: bytes, words: str) -> None:
    (checkpoint / "README.md").write_bytes(content)
    with pytest.raises(DataError, match=words):
        write(evaluated, checkpoint)
    assert (checkpoint / "README.md").read_bytes() == content


def test_results_of_other_weights_are_not_written(builder: Any, checkpoint: Path) -> None:
    store(builder.path, "M2", "other", 3.4)
    with pytest.raises(DataError, match=r"no results of the weights.*srbench eval"):
        write(builder, checkpoint)
    assert not (checkpoint / "README.md").exists()


def test_a_directory_without_weights_is_no_checkpoint(evaluated: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        write(evaluated, tmp_path)


def test_a_card_says_what_it_was_made_from(evaluated: Any, checkpoint: Path, tmp_path: Path) -> None:
    base = tmp_path / "hub" / "models--them--base-7b" / "snapshots" / ("0" * 40)
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: llama3.1\nlanguage: [en, de]\ntags: [x]\n---\n", encoding="utf-8")
    header = evaluated.path / "srbench.yaml"
    header.write_text(header.read_text().replace("base: micro", f"base: {base}"), encoding="utf-8")
    front = front_of(write(evaluated, checkpoint))
    assert {k: v for k, v in front.items() if k != "model-index"} == {
        "base_model": "them/base-7b",
        "base_model_relation": "finetune",
        "license": "llama3.1",
        "language": ["en", "de"],
    }


def test_what_is_not_known_is_told_and_not_guessed(evaluated: Any, checkpoint: Path) -> None:
    header = evaluated.path / "srbench.yaml"
    header.write_text(header.read_text().replace("base: micro", "base: them/base-7b"), encoding="utf-8")
    (checkpoint / "README.md").write_text("---\nlanguage: de\n---\n", encoding="utf-8")
    written = model_card.write([facts.collect(evaluated.path)], checkpoint)
    assert written.missing == ("license",)
    front = front_of(written.path.read_text("utf-8"))
    assert (front["base_model"], front["language"]) == ("them/base-7b", "de")


def test_the_embedded_base_is_srbenchs_own(evaluated: Any, checkpoint: Path) -> None:
    written = model_card.write([facts.collect(evaluated.path)], checkpoint)
    assert written.missing == ()
    front = front_of(written.path.read_text("utf-8"))
    assert "base_model" not in front
    assert (front["license"], front["language"]) == ("apache-2.0", "en")


def test_a_hostile_card_of_a_base_gives_nothing(evaluated: Any, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text('---\nlicense: {a: [1]}\nlanguage: "x\\u202ey"\n---\n', encoding="utf-8")
    header = evaluated.path / "srbench.yaml"
    header.write_text(header.read_text().replace("base: micro", f"base: {tmp_path}"), encoding="utf-8")
    written = model_card.write([facts.collect(evaluated.path)], checkpoint)
    assert written.missing == ("base_model", "license", "language")


def test_a_card_has_a_pages_worth_of_numbers(full: Any, checkpoint: Path) -> None:
    fingerprint = weights_fingerprint(checkpoint)
    for path in full.path.rglob("*.json"):
        path.write_text(path.read_text("utf-8").replace('"f-M2"', f'"{fingerprint}"'), encoding="utf-8")
    text = write(full, checkpoint)
    assert len(text.split(model_card.BEGIN)[1].splitlines()) < 60
    assert "| M1 | ▲ 58.0 % [54.0, 62.0] | 30.0 % | 56.0 % | 14.0 % | 250 of 256 |" in text
    assert "| M3 | ▼ 42.0 % [38.0, 46.0] | 14.0 % | 56.0 % | 30.0 % | 250 of 256 |" in text
    index = front_of(text)["model-index"][0]["results"]
    of_nlp = {(r["dataset"]["config"], m["type"]) for r in index for m in r["metrics"] if "config" in r["dataset"]}
    assert {("gsm8k", "exact_match"), ("mmlu", "acc"), ("micro_choice", "acc")} <= of_nlp


def test_tasks_stand_under_lm_evals_own_names() -> None:
    known = {name: task.main.partition(",")[0] for name, task in TASKS.items()}
    assert {name: model_card._OF_TASKS[name] for name in known} == known


def test_hostile_names_end_neither_block_nor_table(builder: Any, checkpoint: Path) -> None:
    judge = "x -->\n---\n<script>|`[a](http://e.example)\x00\u202e"
    store(builder.path, "M2", weights_fingerprint(checkpoint), 3.4, judge)
    text = write(builder, checkpoint)
    body = text.split("\n---\n", 1)[1]
    assert "<script>" not in body
    assert body.count("-->") == 2
    assert write(builder, checkpoint) == text


def test_seeds_of_its_method_are_in_the_text(evaluated: Any, checkpoint: Path) -> None:
    one = facts.collect(evaluated.path)
    settings = {"name": "micro|x", "rewards": "self"}
    runs = [one.model_copy(update={"name": f"s{k}", "settings": settings | {"seed": str(k)}}) for k in range(3)]
    over = OverSeeds(
        benchmark="micro-quality@1", metric="quality_sampled", model="M2", value=3.5, sd=0.1, low=3.2, high=3.8,
        n_seeds=3, n_prompts=256,
    )  # fmt: skip
    others = (over.model_copy(update={"model": "M1"}), over.model_copy(update={"against": "M1"}))
    written = model_card.write(runs, checkpoint, Together(pooled=((over, *others),)))
    text = written.path.read_text()
    assert r"M2 of 3 runs that differ in their seed alone (micro\|x)" in text
    rows = [line for line in text.splitlines() if "3.20, 3.80" in line]
    assert rows == ["| Answer quality (micro-world) | True quality, sampled | 3.50 ± 0.10 | [3.20, 3.80] | 256 |"]
    assert "Over seeds" not in model_card.write(runs[:1], checkpoint).path.read_text()
