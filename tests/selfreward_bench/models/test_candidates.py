"""What the user may name to be evaluated, and what is said of all else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError, DataError, IncompatibleRunError, SrbenchError
from selfreward_bench.micro import base_path
from selfreward_bench.models.candidates import Candidate, Kind, parse_candidate, parse_candidates
from selfreward_bench.storage.rundir import RunDir

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _in_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(path: str, content: str = "{}") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content, encoding="utf-8")
    return Path(path)


def make_run(path: str = "runs/first", base: str = "micro") -> RunDir:
    return RunDir.create(Path(path), recipes.load("micro", [f"base={base}"]))


# --- directories


@pytest.mark.parametrize("file", ["config.json", "model-00001-of-00002.safetensors", "adapter_config.json"])
def test_a_checkpoint_is_a_directory(file: str) -> None:
    make(f"models/mine/{file}")
    expected = Candidate("directory", "mine", "models/mine", Path("models/mine"))
    assert parse_candidate("models/mine") == expected  # and no model of the hub, though it could be one
    assert parse_candidate("./models/mine/").path == Path("models/mine")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a/M3/checkpoint", "M3"),
        ("checkpoint", "checkpoint"),
        ("a/checkpoint-500", "checkpoint-500"),
        ("a/x y!", "x-y"),
    ],
)
def test_the_name_of_a_directory(given: str, name: str) -> None:
    make(f"{given}/config.json")
    assert parse_candidate(given).name == name


def test_the_working_directory_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("here/config.json")
    monkeypatch.chdir(tmp_path / "here")
    assert parse_candidate(".").name == "here"
    assert parse_candidate("../here").name == "here"


def test_a_directory_without_anything_to_evaluate() -> None:
    make("models/mine/notes.txt")
    with pytest.raises(DataError, match=r"models/mine holds neither a checkpoint .* nor finished files"):
        parse_candidate("models/mine")


# --- models of runs


@pytest.mark.parametrize("model", ["M2", "M12", "SFT"])
def test_a_model_of_a_run(model: str) -> None:
    make_run()
    expected = Candidate(
        "run-model", model, f"runs/first:{model}", Path(f"runs/first/{model}/checkpoint"), Path("runs/first"), model
    )
    assert parse_candidate(f"runs/first:{model}") == expected
    for text in (f"runs/first/{model}/checkpoint", f"runs/first/{model}/checkpoint/", f"runs/first/{model}"):
        found = parse_candidate(text)
        assert (found.kind, found.path, found.run, found.model) == (
            "run-model",
            expected.path,
            expected.run,
            model,
        )


def test_a_copy_outside_a_run_is_a_directory() -> None:
    make("copy/M2/checkpoint/config.json")
    assert parse_candidate("copy/M2/checkpoint").kind == "directory"


def test_the_base_of_a_run() -> None:
    make_run("runs/a")
    make_run("runs/b", base="./mine")
    found = parse_candidate("runs/a:M0")
    assert (found.name, found.path, found.run) == ("M0", base_path(), Path("runs/a"))
    assert parse_candidate("runs/b:M0").path == Path("mine").resolve()
    with pytest.raises(IncompatibleRunError, match="no run directory runs/none"):
        parse_candidate("runs/none:M0")


def test_a_run_is_no_model() -> None:
    make_run()
    with pytest.raises(ConfigError, match=r"runs/first is a run\. Name a model of it, as runs/first:M1, or take --run"):
        parse_candidate("runs/first")


def test_an_unknown_model_of_a_run() -> None:
    make_run()
    Path("runs/first/M2").mkdir()
    with pytest.raises(ConfigError, match=r"'m2' is no model of runs/first\. There are: M0, M2\."):
        parse_candidate("runs/first:m2")


# --- models of finished files


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("vicuna-13b-v1.3", "vicuna-13b-v1.3"),
        ("M2", "M2"),
        ("org/a:b@http://x", "org-a-b-http-x"),
        ("x.jsonl", "x.jsonl"),
    ],
)
@pytest.mark.parametrize("file", ["judged/gpt-4_single.jsonl", "one.jsonl.gz", "annotations.json", "a.json.gz"])
def test_a_model_of_a_file(file: str, model: str, name: str) -> None:
    make(file)
    assert parse_candidate(f"{file}:{model}") == Candidate("finished", name, f"{file}:{model}", Path(file), model=model)


def test_models_of_one_file_are_told_apart() -> None:
    make("a.jsonl")
    make("b.jsonl")
    found = parse_candidates(["a.jsonl:x", "a.jsonl:y", "./a.jsonl:x", "b.jsonl:x", "a.jsonl"])
    assert [(c.name, c.model, str(c.path)) for c in found] == [
        ("x", "x", "a.jsonl"),
        ("y", "y", "a.jsonl"),
        ("x-2", "x", "b.jsonl"),
        ("a", None, "a.jsonl"),
    ]


def test_a_model_of_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"^none\.jsonl is not there\."):
        parse_candidate("none.jsonl:m")
    make("a.jsonl:m.jsonl")
    assert parse_candidate("a.jsonl:m.jsonl").model is None  # a file of that name


# --- elsewhere


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("openai-community/gpt2", "gpt2"),
        ("meta-llama/Llama-3.1-8B", "Llama-3.1-8B"),
        ("a/b_c-d.e@v1.0", "b_c-d.e-v1.0"),
        ("a/b@refs/pr/1", "b-refs-pr-1"),
        ("a/b@" + "0123456789" * 4, "b-0123456"),
    ],
)
def test_a_model_of_the_hub(text: str, name: str) -> None:
    assert parse_candidate(text) == Candidate("hub", name, text, hub=text)


@pytest.mark.parametrize("base", ["a/b", "a/b@v1"])
def test_the_base_of_a_run_may_be_a_model_of_the_hub(base: str) -> None:
    make_run(base=base)
    found = parse_candidate("runs/first:M0")
    assert (found.kind, found.path, found.hub) == ("run-model", None, base)
    make(f"{base}/config.json")
    found = parse_candidate("runs/first:M0")
    assert (found.path, found.hub) == (Path(base), None)


@pytest.mark.parametrize(
    ("text", "name", "usual"),
    [
        ("openai:gpt-4o@https://api.openai.com/v1", "gpt-4o", "openai:gpt-4o@https://api.openai.com/v1"),
        ("openai:org/mine@http://localhost:8000/v1/", "mine", "openai:org/mine@http://localhost:8000/v1"),
        ("openai:m:8b@http://h/v1#MY_KEY", "m-8b", "openai:m:8b@http://h/v1#MY_KEY"),
    ],
)
def test_a_served_model(text: str, name: str, usual: str) -> None:
    assert parse_candidate(text) == Candidate("served", name, usual)


@pytest.mark.parametrize(
    "text", ["openai:gpt-4o", "openai:@https://h/v1", "openai:m@ftp://h", "openai:m@https://h/v1#sk-secret", "openai:"]
)
def test_a_served_model_of_another_form(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("openai:NAME@URL")) as told:
        parse_candidate(text)
    assert "secret" not in str(told.value)


def test_a_served_model_without_its_kind_and_with_a_key() -> None:
    with pytest.raises(ConfigError, match="`openai:` is missing in front") as told:
        parse_candidate("gpt-4o@https://api.openai.com/v1#sk-secret")
    assert "secret" not in str(told.value)


# --- finished files


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("model_answer/vicuna-7b.jsonl", "vicuna-7b"),
        ("model_answer/vicuna-7b.jsonl.gz", "vicuna-7b"),
        ("results/claude-2/model_outputs.json", "claude-2"),
        ("results/claude-2/weighted/annotations.json.gz", "claude-2"),
        ("mine/annotations.json", "mine"),
        ("Natural/evaluators/GPT-4/Swap_CoT/result.json", "GPT-4-Swap_CoT"),
        ("model_outputs.json", "model_outputs"),
        ("out/org__model/results_2026-01-01T00-00-00.json", "org__model"),
        ("judgments/gpt-4_single.jsonl", "gpt-4_single"),
    ],
)
def test_finished_files(file: str, name: str) -> None:
    make(file)
    assert parse_candidate(file) == Candidate("finished", name, file, Path(file))


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"instruction": "a", "output": "b", "generator": "org/M2"}], "M2"),
        ([{"instruction": "a", "generator_1": "gpt4", "generator_2": "M3"}], "M3"),
        ([{"question_id": 81, "model": "M1", "judge": ["gpt-4", "single-v1"]}], "M1"),
        ([{"question_id": 81, "model_id": "mine"}, {"question_id": 82, "model_id": "mine"}], "mine"),
        ([{"model_1": "org/M4", "model_2": "gpt-3.5-turbo", "g1_winner": "tie"}], "M4"),  # FastChat's pairs
        ([{"generator": "a"}, {"generator": "b"}], "gpt-4_single"),  # whose it is, has to be said
        ([{"generator": None}, {"generator": 3}], "gpt-4_single"),
    ],
)
def test_a_file_is_called_after_the_model_it_is_of(rows: list[dict[str, object]], name: str) -> None:
    make("a/gpt-4_single.json", json.dumps(rows))
    assert parse_candidate("a/gpt-4_single.json").name == name


def test_files_of_one_name_are_called_after_the_folders_that_tell_them_apart() -> None:
    for model in ("M1", "M2"):
        make(f"outputs/{model}/gpt-4/in.json", '[{"instruction": "a", "output": "b"}]')
    found = parse_candidates(["outputs/M1/gpt-4/in.json", "outputs/M2/gpt-4/in.json"])
    assert [c.name for c in found] == ["M1", "M2"]
    make("here/in.json", '[{"instruction": "a", "output": "b"}]')
    assert parse_candidate("here/in.json").name == "in"


def test_the_date_of_lm_evals_files_is_no_part_of_a_name() -> None:
    make("out/mine_2026-01-02T03-04-05.678901.json")
    assert parse_candidate("out/mine_2026-01-02T03-04-05.678901.json").name == "mine"


@pytest.mark.parametrize("file", ["a.csv", "a.tsv.gz", "a.csv.gz"])
def test_tables_are_finished_files_too(file: str) -> None:
    make(file, "x")
    assert parse_candidate(file).kind == "finished"
    assert parse_candidate(f"{file}:M1").model == "M1"


@pytest.mark.parametrize("file", ["answers/a.jsonl", "answers/model/results_1.json", "answers/a.json.gz"])
def test_a_directory_of_finished_files(file: str) -> None:
    make(file)
    make("answers/readme.txt")
    found = parse_candidate("answers")
    assert (found.kind, found.path) == ("finished", Path("answers"))


def test_another_file() -> None:
    make("mine/model.safetensors")
    with pytest.raises(DataError, match="Of a checkpoint, give the directory"):
        parse_candidate("mine/model.safetensors")


# --- nothing of these


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("", ConfigError, "names no model"),
        ("  ", ConfigError, "names no model"),
        ("gpt2", ConfigError, "'gpt2' names no model"),
        ("M2", ConfigError, "'M2' names no model"),
        ("./models/mine", DataError, "./models/mine is not there"),
        ("a/b/c", DataError, "a/b/c is not there"),
        ("outputs.json", DataError, "outputs.json is not there"),
        ("results/outputs.jsonl.gz", DataError, "is not there"),
        ("/", DataError, "holds neither"),
        ("a\0b", ConfigError, "names no model"),
        ("x" * 5000, SrbenchError, "x" * 200),
        ("../" + "y" * 300, SrbenchError, "yyy"),
    ],
)
def test_what_names_nothing(text: str, error: type[SrbenchError], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfreward_bench.models.candidates._entries", lambda _: iter(()))  # not of the whole machine
    with pytest.raises(error, match=re.escape(told)) as raised:
        parse_candidate(text)
    assert len(str(raised.value)) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_read() -> None:
    os.mkfifo("pipe.json")
    with pytest.raises(DataError, match="it is a pipe or a device, not a file"):
        parse_candidate("pipe.json")


# --- several


def test_names_differ() -> None:
    for path in ("a/M2", "b/M2", "c/m2", "d/M2-2"):
        make(f"{path}/config.json")
    found = parse_candidates(["a/M2", "d/M2-2", "b/M2", "c/m2", "x/M2"])
    assert [c.name for c in found] == ["M2", "M2-2", "M2-3", "m2-4", "M2-5"]
    assert [c.text for c in found] == ["a/M2", "d/M2-2", "b/M2", "c/m2", "x/M2"]


def test_what_is_named_twice_is_one() -> None:
    make_run()
    texts = ["runs/first:M2", "runs/first/M2/checkpoint", "./runs/first:M2", "a/b", "a/b", "openai:m@http://h/v1/"]
    found = parse_candidates([*texts, "openai:m@http://h/v1"])
    kinds: list[Kind] = [c.kind for c in found]
    assert kinds == ["run-model", "hub", "served"]


def test_nothing_heavy_is_loaded() -> None:
    program = (
        "import sys\nfrom selfreward_bench.models.candidates import parse_candidates\n"
        "parse_candidates(['a/b', 'x:M1', 'openai:m@http://h/v1'])\n"
        "print(sorted({'torch', 'transformers', 'openai', 'httpx', 'pandas', 'numpy'} & sys.modules.keys()))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
