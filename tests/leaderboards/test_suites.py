"""What names and suites mean in each world, and which world a model belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboards import suites
from leaderboards.metrics import BUILT_IN
from leaderboards.registry import BENCHMARKS, open_benchmark
from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError, UnknownNameError
from selfreward_bench.micro import base_path
from selfreward_bench.models.candidates import parse_candidates
from selfreward_bench.storage.rundir import RunDir

Checkpoint = Callable[..., Path]


@pytest.mark.parametrize("world", ["micro", "real"])
def test_every_name_is_a_row_with_metrics(world: suites.World) -> None:
    rows = set(suites.NAMES[world].values()) - set(suites.NO_ROWS)
    assert rows <= BENCHMARKS.keys()
    for row in rows:
        benchmark = open_benchmark(f"{row}:file" if row == "judge-accuracy-jsonl" else row)
        assert benchmark.key in BUILT_IN
        assert benchmark.key.startswith("micro-") == (world == "micro")


def test_every_row_can_be_named() -> None:
    named = {row for rows in suites.NAMES.values() for row in rows.values()}
    assert named - set(suites.NO_ROWS) == BENCHMARKS.keys()


def test_every_suite_means_something_in_a_world() -> None:
    for name, suite in suites.SUITES.items():
        worlds = ["micro"] if name == "micro" else ["micro", "real"]
        for world in worlds:
            assert suites.chosen(suite.benchmarks, world)  # type: ignore[arg-type]  # one of the two literals
    assert {suites.default_suite("micro"), suites.default_suite("real")} == {"micro", "paper"}


def test_names_rows_and_files() -> None:
    found = suites.chosen(["nlp", "micro-nlp", "alpaca-eval", "nlp"], "micro")
    assert found == ["micro-nlp", "micro-alpaca-eval"]
    assert suites.chosen(["judge-accuracy-jsonl:a:b.jsonl", "judge-accuracy"], "real") == [
        "judge-accuracy-jsonl:a:b.jsonl",
        "judge-accuracy-oasst",
    ]
    with pytest.raises(UnknownNameError, match=r"benchmark \(real data\).*Did you mean 'mt-bench'"):
        suites.chosen(["mt-bnch"], "real")
    with pytest.raises(UnknownNameError):
        suites.chosen(["quality"], "real")


@pytest.fixture
def real(checkpoint: Checkpoint) -> Path:
    return checkpoint("real")


@pytest.fixture
def micro(checkpoint: Checkpoint) -> Path:
    made = checkpoint("micro")
    shutil.copy(base_path() / "tokenizer.json", made)
    return made


def test_a_directory_belongs_where_its_tokenizer_does(real: Path, micro: Path) -> None:
    assert suites.world_of(parse_candidates([str(micro)])) == "micro"
    assert suites.world_of(parse_candidates([str(real)])) == "real"
    shutil.copy(base_path() / "tokenizer_config.json", real / "tokenizer.json")
    assert suites.world_of(parse_candidates([str(real)])) == "real"


def test_served_and_hub_models_and_finished_files_are_of_real_data(tmp_path: Path, micro: Path) -> None:
    (tmp_path / "outputs.json").write_text("[]")
    served, hub, finished = "openai:m@http://127.0.0.1:9/v1", "owner/name", str(tmp_path / "outputs.json")
    for text in (served, hub, finished):
        assert suites.world_of(parse_candidates([text])) == "real"
    assert suites.world_of(parse_candidates([finished, str(micro)])) == "micro"
    with pytest.raises(ConfigError, match=r"micro-world \(micro\).*--world real"):
        suites.world_of(parse_candidates([served, str(micro)]))


def test_a_run_belongs_where_its_base_does(tmp_path: Path, real: Path, micro: Path) -> None:
    ours = RunDir.create(tmp_path / "ours", recipes.load("micro"))
    theirs = RunDir.create(tmp_path / "theirs", recipes.load("micro", [f"base={real}"]))
    assert suites.world_of(parse_candidates([f"{ours.path}:M1"])) == "micro"
    assert suites.world_of(parse_candidates([f"{theirs.path}:M0"])) == "real"
    (theirs.path / "M1").mkdir()
    shutil.copytree(micro, theirs.path / "M1/checkpoint")  # its base was a trained micro model
    assert suites.world_of(parse_candidates([f"{theirs.path}:M1"])) == "micro"


def test_the_user_decides(real: Path, micro: Path) -> None:
    both = parse_candidates([str(real), str(micro)])
    assert (suites.world_of(both, "micro"), suites.world_of(both, "real")) == ("micro", "real")
    with pytest.raises(ConfigError, match="no world 'both'"):
        suites.world_of(both, "both")
