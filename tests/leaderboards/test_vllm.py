"""Evaluation with the vllm engine: what a result says of it, and which benchmarks need another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderboards.harness import evaluate_checkpoint
from leaderboards.session import prepare
from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.micro import base_path
from selfreward_bench.models.candidates import parse_candidates

from ..vllm_server import Model, StandIn, stand_in


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with stand_in(Model(str(base_path())), base_path()) as server:
        yield server


def config(server: StandIn, *settings: str) -> RunConfig:
    return recipes.load("micro", ["engine.kind=vllm", f"engine.urls=[{server.url}]", "eval.limit=3", *settings])


@pytest.mark.slow
def test_a_result_names_engine_and_version_and_resumes_without_the_server(server: StandIn, tmp_path: Path) -> None:
    asked = {"name": "M0", "config": config(server), "out_dir": tmp_path, "benchmarks": ["micro-quality"]}
    (first,) = evaluate_checkpoint(base_path(), **asked)
    assert first.comparability["engine"] == "vllm 0.32.0+standin"
    server.asked.clear()
    (again,) = evaluate_checkpoint(base_path(), **asked)
    assert again == first
    assert server.asked == []
    (other,) = evaluate_checkpoint(base_path(), **asked | {"config": config(server, "engine.args=--dtype float16")})
    assert other.config_hash != first.config_hash


def test_benchmarks_that_need_given_texts_log_probabilities_say_so(server: StandIn, tmp_path: Path) -> None:
    session = prepare(parse_candidates([str(base_path())]), config(server), suite="micro", output=tmp_path)
    impossible = {p.benchmark: p.problem for p in session.plan() if p.problem}
    assert list(impossible) == ["micro-nlp@1"]
    assert "engine.kind=transformers" in impossible["micro-nlp@1"]
