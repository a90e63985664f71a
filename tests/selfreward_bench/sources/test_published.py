"""The table of published files: sound in itself, and true of files that are there."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

import pytest

from selfreward_bench.errors import UnknownNameError
from selfreward_bench.sources.directory import ENVIRONMENT_VARIABLE, DataDir
from selfreward_bench.sources.published import DataFile, DataSet, select, set_of, sets

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
FILES = [file for data in sets().values() for file in data.files]


def test_the_sets_are_those_that_are_documented() -> None:
    assert list(sets()) == [
        "alpaca-eval",
        "mt-bench",
        "llmbar",
        "pandalm",
        "oasst",
        *(f"nlp/{part}" for part in ("arc", "hellaswag", "siqa", "piqa", "gsm8k", "mmlu", "openbookqa", "nq")),
        "instructions",
        "ifeval",
    ]


@pytest.mark.parametrize("data", sets().values(), ids=lambda data: data.name)
def test_every_set_has_files_of_its_own_folder(data: DataSet) -> None:
    assert data.wanted()
    for file in data.files:
        path = PurePosixPath(file.path)
        assert path.is_relative_to(data.folder)
        assert ".." not in path.parts
        assert not path.name.startswith(".")
        assert path.suffix != ".gz"  # the published bytes are plain; a user may gzip them
    assert len({file.path for file in data.files}) == len(data.files)
    assert data.holds
    assert data.commercial == ("NC" not in data.licence)


def test_every_address_is_https_and_names_a_revision_that_cannot_change() -> None:
    for file in FILES:
        assert re.fullmatch(
            r"https://(raw\.githubusercontent\.com/[\w.-]+/[\w.-]+|huggingface\.co/datasets/[\w.-]+/[\w.-]+/resolve)"
            r"/[0-9a-f]{40}/[\w./-]+",
            file.url,
        ), file.url
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert 0 < file.size < 2**24


def test_a_file_of_two_sets_is_the_same_in_both() -> None:
    assert len(set(FILES)) == len({file.path for file in FILES}) == len({file.url for file in FILES})


def test_what_only_verifies_is_no_part_of_the_usual_download() -> None:
    (alpaca,) = select(["alpaca-eval"])
    assert [PurePosixPath(file.path).name for file in alpaca.wanted()] == [
        "alpaca_eval.json",
        "alpaca_eval_gpt4_baseline.json",
        "instruction_difficulty.csv",
        "df_gamed.csv",
        "weights_baseline_gpt4_1106_preview.csv",
        "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv",
    ]
    assert len(alpaca.wanted(verification=True)) == 20
    for file in FILES:
        by_others = re.search(r"results/|/runs/|evaluators/|solutions|gpt-3.5|pandalm-7b", file.path)
        assert file.verification == bool(by_others), file.path


def test_a_group_stands_for_its_parts_and_nothing_is_selected_twice() -> None:
    assert [data.name for data in select(["nlp"])] == [name for name in sets() if name.startswith("nlp/")]
    assert [data.name for data in select(["nlp/arc", "ifeval", "nlp/arc"])] == ["nlp/arc", "ifeval"]
    assert len(select(["nlp/arc", "nlp"])) == len(select(["nlp"]))


@pytest.mark.parametrize(
    ("given", "meant"), [("alpaca_eval", "alpaca-eval"), ("gsm8k", "nlp/gsm8k"), ("lmbar", "llmbar")]
)
def test_an_unknown_set_is_told_with_what_may_be_meant(given: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{meant}'"):
        select([given])


def test_the_set_of_a_file() -> None:
    found = set_of("nlp/gsm8k/example_model_solutions.jsonl")
    assert found is not None
    assert (found[0].name, found[1].verification) == ("nlp/gsm8k", True)
    assert set_of("nlp/gsm8k") is None


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://raw.githubusercontent.com/me/mine/0123456789/a/b", "github.com/me/mine@0123456"),
        ("https://huggingface.co/datasets/me/mine/resolve/0123456789/a", "huggingface.co/datasets/me/mine@0123456"),
        ("http://127.0.0.1:80/a", "127.0.0.1:80"),
    ],
)
def test_where_a_file_comes_from_in_words(url: str, source: str) -> None:
    assert DataFile("a", url, 1, "").source == source


@pytest.mark.parametrize("data", sets().values(), ids=lambda data: data.name)
def test_the_page_tells_every_set_with_its_size_and_licence(data: DataSet) -> None:
    size = sum(file.size for file in data.wanted()) / 1e6
    extra = sum(file.size for file in data.files if file.verification) / 1e6
    verification = f"{extra:.1f} MB" if extra else "-"
    row = f"| `{data.name}` | {data.holds} | {len(data.wanted())} | {size:.1f} MB | {verification} | {data.licence} |"
    assert row in PAGE.read_text(encoding="utf-8")


def test_the_page_names_every_source() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [file.source for file in FILES if file.source not in text] == []


@pytest.mark.skipif(not os.environ.get(ENVIRONMENT_VARIABLE), reason="needs the real files")
@pytest.mark.parametrize("data", sets().values(), ids=lambda data: data.name)
def test_the_files_that_are_there_have_the_published_bytes(data: DataSet) -> None:
    there = DataDir.find()
    states = {file.path: there.state(file, verify=True) for file in data.files}
    if set(states.values()) == {"missing"}:
        pytest.skip("the set is not there")
    assert [path for path, state in states.items() if state == "other"] == []
    for file in data.files:
        if states[file.path] == "same":
            assert len(there.read(file.path)) == file.size
