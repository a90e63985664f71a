"""Imports: every container gives the same records, ids last, what is lost is counted, too much of it is refused."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from selfreward_bench import recipes
from selfreward_bench.config import SeedConfig
from selfreward_bench.errors import DataError, IncompatibleRunError
from selfreward_bench.micro import data_path
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Example, Message, Prompt, RankedPrompt
from trainers import importing, seeds
from trainers.importing import Imported, Purpose
from trainers.iteration import _Loop

Rows = list[dict[str, Any]]


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(rows: Rows, path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


CONTAINERS: dict[str, Callable[[Rows, Path], object]] = {
    "jsonl": lambda rows, path: path.write_bytes(lines(rows)),
    "jsonl.gz": lambda rows, path: path.write_bytes(gzip.compress(lines(rows), mtime=0)),
    "json": lambda rows, path: path.write_text(json.dumps(rows, indent=1)),
    "json.gz": lambda rows, path: path.write_bytes(gzip.compress(json.dumps(rows).encode(), mtime=0)),
    "parquet": _parquet,
    "datasets": lambda rows, path: datasets.Dataset.from_list(rows).save_to_disk(str(path)),
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    def write(rows: Rows, container: str = "jsonl") -> str:
        path = tmp_path / f"data.{container}"
        CONTAINERS[container](rows, path)
        return str(path)

    return write


def ids(found: Imported) -> list[str]:
    return [record.id for record in found.records]


# --- the micro-world's own seeds, in every container


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_loops_seeds_are_the_same_from_every_container(written: Any, container: str) -> None:
    given = {}
    for name in ("ift", "eft", "exclude"):
        rows = [json.loads(line) for line in data_path(name).read_text("utf-8").splitlines()[:150]]
        for kind in ("jsonl", container):
            path = Path(written(rows, kind))
            given[name, kind] = str(path.rename(path.with_name(f"{name}.{kind}")))
    config, plain = (
        SeedConfig(**{name: given[name, kind] for name in ("ift", "eft", "exclude")}, ift_size=100, eft_size=200)
        for kind in (container, "jsonl")
    )
    assert seeds.load_ift(config, 3) == seeds.load_ift(plain, 3)
    assert seeds.load_eft(config, 3) == seeds.load_eft(plain, 3)
    assert seeds.load_excluded(config) == seeds.load_excluded(plain)
    assert seeds.load_ift(SeedConfig(), 3)[:150] == seeds.load_ift(plain.model_copy(update={"ift_size": None}), 3)
    facts = seeds.facts(config)
    assert seeds.facts(SeedConfig()) == seeds.facts(plain) == {}
    if container == "jsonl":
        assert facts == {}
    else:
        assert facts["ift"]["shape"] == facts["eft"]["shape"] == "srbench"
        assert len(str(facts["ift"]["sha256"])) == 64
        assert facts["ift"]["rows"] == 150


def test_own_layouts_are_strict_in_every_container(written: Any) -> None:
    row = {"id": "a", "prompt": "Name a food.", "completion": "An apple."}
    for container, place in (("jsonl", ":2: "), ("json", ", row 2: "), ("parquet", ", row 2: ")):
        with pytest.raises(DataError, match=rf"data\.{container}{place}field 'completion': the text is empty"):
            importing.load(written([row, row | {"id": "b", "completion": ""}], container), "ift")
        with pytest.raises(DataError, match=rf"data\.{container}{place}the id 'a' is (on line 1|at .*, row 1) already"):
            importing.load(written([row, row], container), "ift")
    bad = written([row | {"completion": "\ud800"}], "json")
    with pytest.raises(DataError, match="lone surrogate"):
        importing.load(bad, "ift")


def test_an_unknown_field_makes_it_another_shape_in_every_container(written: Any) -> None:
    row = {"id": "a", "prompt": "Name a food.", "completion": "An apple.", "extra": 1}
    for container in CONTAINERS:
        found = importing.load(written([row], container), "ift")
        assert (found.shape, found.unused, ids(found)) == ("question-answer", ("extra",), ["a"])


@pytest.mark.parametrize("container", ["json", "json.gz", "parquet"])
def test_tables_without_rows_are_no_data(written: Any, container: str) -> None:
    path = written([], container)
    with pytest.raises(DataError, match="holds no records"):
        importing.load(path, "ift")


# --- other shapes

ALPACA: Rows = [
    {"instruction": f"Name food {i}.", "input": "" if i % 2 else "red", "output": f"{i}"} for i in range(20)
]


@pytest.mark.parametrize("container", CONTAINERS)
def test_alpaca_from_every_container(written: Any, container: str) -> None:
    found = importing.load(written(ALPACA, container), "ift")
    assert (found.shape, found.n_rows, found.n_bad, found.n_made_ids) == ("alpaca", 20, 0, 20)
    first = found.records[0]
    assert isinstance(first, Example)
    assert first.prompt == (Message(role="user", content="Name food 0.\n\nred"),)
    assert first.completion == (Message(role="assistant", content="0"),)
    assert ids(found) == ids(importing.load(written(ALPACA), "ift"))


@pytest.mark.parametrize("container", CONTAINERS)
def test_columns_that_were_not_looked_at_are_told(written: Any, container: str) -> None:
    """Also one that another shape has: what it says is not in the records."""
    rows: Rows = [{"messages": [{"role": "user", "content": "Hi."}], "context": "Bob", "response": "Ho.", "made": "x"}]
    found = importing.load(written(rows, container), "ift")
    assert (found.shape, sorted(found.unused)) == ("messages", ["context", "made"])


def test_ids_are_taken_where_they_differ_and_lasting_where_they_are_made(written: Any) -> None:
    rows = [
        {"id": name, "question": q, "answer": "x"} for name, q in (("a", "1?"), ("b", "2?"), ("b", "3?"), (None, "4?"))
    ]
    found = importing.load(written(rows), "ift")
    assert ids(found)[0] == "a"
    assert found.n_made_ids == 3
    assert len(set(ids(found))) == 4
    again = importing.load(written([*reversed(rows), {"question": "5?", "answer": "y"}]), "ift")
    assert set(ids(found)) < set(ids(again))


def test_equal_rows_without_an_id_are_counted_once(written: Any) -> None:
    found = importing.load(written([*ALPACA, *ALPACA[:3]]), "ift")
    assert (len(found.records), found.n_duplicates, found.n_rows) == (20, 3, 23)
    named = [row | {"id": str(i)} for i, row in enumerate([*ALPACA, *ALPACA[:3]])]
    assert len(importing.load(written(named), "ift").records) == 23


def test_bad_rows_are_counted_with_their_places_and_too_many_are_refused(written: Any) -> None:
    rows = [*ALPACA, {"instruction": "x", "output": ""}, {"instruction": "y"}]
    path = written(rows)
    found = importing.load(path, "ift")
    assert found.bad == {"the answer is empty": 1, "it has no output or response": 1}
    assert found.places == {"the answer is empty": ["line 21"], "it has no output or response": ["line 22"]}
    with Path(path).open("ab") as stream:
        stream.write(b"{torn\n" + b"[1]\n" * 7)
    with pytest.raises(DataError, match=r"10 of 30 rows \(shape alpaca\) cannot be used as ift, over 10%") as caught:
        importing.load(path, "ift")
    assert "  8 x cannot be read: line 23 (not valid JSON" in str(caught.value)
    assert "line 27" in str(caught.value)
    assert "line 28" not in str(caught.value)
    found = importing.load(path, "ift", skip_bad=True)
    assert (len(found.records), found.n_bad) == (20, 10)
    with pytest.raises(DataError, match="none of 1 rows can be used"):
        importing.load(written([{"instruction": "x", "output": ""}]), "ift", skip_bad=True)


def test_a_tenth_is_still_let_through(written: Any) -> None:
    assert importing.load(written([*ALPACA[:9], {"instruction": "x", "output": ""}]), "ift").n_bad == 1


def test_limit_ends_the_reading(written: Any) -> None:
    path = written([*ALPACA, {"instruction": "x"}])
    found = importing.load(path, "ift", limit=7)
    assert (len(found.records), found.n_rows, found.n_bad) == (7, 7, 0)
    own = [{"id": str(i), "prompt": "x", "completion": "y"} for i in range(5)]
    assert ids(importing.load(written(own), "ift", limit=2)) == ["0", "1"]


PAIRS: Rows = [{"prompt": f"Say {i}.", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(3)]


def test_a_ranked_row_can_be_everything(written: Any) -> None:
    path = written(PAIRS, "parquet")
    eft, ift, prompts = (importing.load(path, purpose).records for purpose in ("eft", "ift", "prompts"))
    assert isinstance(eft[0], RankedPrompt)
    assert [(r.text, r.rank, r.review) for r in eft[0].responses] == [("yes 0", 0, None), ("no 0", 1, None)]
    assert isinstance(ift[0], Example)
    assert ift[0].completion[0].content == "yes 0"
    assert isinstance(prompts[0], Prompt)
    assert prompts[0].text == "Say 0."


def test_the_best_of_rated_responses_is_the_answer(written: Any) -> None:
    listed = [{"response": text, "overall_score": score} for text, score in (("a", 2.0), ("b", 9.0), ("c", 9.0))]
    row = {"instruction": "Go.", "completions": listed, "models": ["x"]}
    (ift,) = importing.load(written([row], "parquet"), "ift").records
    assert isinstance(ift, Example)
    assert ift.completion[0].content == "b"
    (eft,) = importing.load(written([row]), "eft").records
    assert isinstance(eft, RankedPrompt)
    assert [r.rank for r in eft.responses] == [1, 0, 0]


@pytest.mark.parametrize(
    ("rows", "purpose", "message"),
    [
        (ALPACA, "eft", "without ranked answers: it can be ift or prompts, not eft"),
        ([{"prompt": "x"}], "ift", "without answers: it can be prompts, not ift"),
        ([{"prompt": "x", "completion": "y", "label": False}], "ift", "it can be none of ift, eft and prompts"),
        ([{"a": 1}], "ift", "the columns are a, which is no known shape"),
    ],
)
def test_what_a_shape_cannot_be_is_said(written: Any, rows: Rows, purpose: Purpose, message: str) -> None:
    with pytest.raises(DataError, match=message):
        importing.load(written(rows), purpose)


def test_a_shape_can_be_said(written: Any) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi."}], "instruction": "Name a food.", "output": "An apple."}]
    path = written(rows)
    with pytest.raises(DataError, match="alike"):
        importing.load(path, "ift")
    (record,) = importing.load(path, "ift", shape="alpaca").records
    assert isinstance(record, Example)
    assert record.prompt[0].content == "Name a food."


def test_a_conversation_without_its_answer_is_a_prompt_only(written: Any) -> None:
    talk = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    path = written([{"messages": [*talk, {"role": "user", "content": "Bye."}]}])
    with pytest.raises(DataError, match="no answer follows the last user's turn"):
        importing.load(path, "ift")
    (prompt,) = importing.load(path, "prompts").records
    assert isinstance(prompt, Prompt)
    assert (len(prompt.messages), prompt.text) == (3, "Bye.")


def test_seeds_take_such_files_and_write_down_what_was_read(written: Any, tmp_path: Path) -> None:
    ift = written([*ALPACA, {"instruction": "x", "output": " "}], "json")
    eft = written(PAIRS, "parquet")
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_bytes(lines([{"question": "Say 7.", "answer": "7"}]))
    config = SeedConfig(ift=ift, eft=eft, exclude=str(held_out))
    assert len(seeds.load_ift(config, 0)) == 20
    assert len(seeds.load_eft(config, 0)) == 3
    assert [p.text for p in seeds.load_excluded(config)] == ["Say 7."]
    facts = seeds.facts(config)
    assert facts["ift"] | {"sha256": ""} == {
        "container": "a JSON array", "shape": "alpaca", "sha256": "", "rows": 21, "bad": 1, "duplicates": 0
    }  # fmt: skip
    held_out.write_bytes(lines([{"question": "say 1", "answer": "7"}]))
    with pytest.raises(DataError, match="1 of 3 prompts are held out"):
        seeds.load_eft(config, 0)


def test_a_run_refuses_a_file_that_changed(written: Any, tmp_path: Path) -> None:
    path = written(ALPACA, "json")
    changes = (f"seeds.ift={path}", f"seeds.eft={written(PAIRS)}", "seeds.exclude=null")
    run = RunDir.create(tmp_path / "run", recipes.load("micro", changes))
    loop = _Loop(run, Silent(), None)
    loop.seed_ift()
    loop.seed_ift()
    done = run.finished_stage("M1/ift")
    assert done is not None
    assert done.counts == {"examples": 20, "rows": 20, "bad": 0, "duplicates": 0}
    with Path(path).open("a") as stream:
        stream.write("\n")
    with pytest.raises(IncompatibleRunError, match="M1/ift"):
        loop.seed_ift()


def test_what_is_written_reads_as_the_same(written: Any, tmp_path: Path) -> None:
    for purpose in importing.PURPOSES:
        found = importing.load(written(PAIRS), purpose)
        out = tmp_path / f"{purpose}.jsonl"
        jsonl.write(out, found.records)
        again = importing.load(str(out), purpose)
        assert again.shape == "srbench"
        assert list(again.records) == list(found.records)


# --- Open Assistant


def messages(n_trees: int) -> Rows:
    """A table of messages as oasst2 has it, replies before their parents."""
    rows: Rows = []
    for i in range(n_trees):
        common = {"message_tree_id": f"t{i}", "lang": "en", "deleted": False, "review_result": True, "emojis": None}
        rows += [
            common
            | {"message_id": f"{i}.{k}", "parent_id": f"t{i}", "text": f"answer {k}", "role": "assistant", "rank": k}
            for k in (1, 0)
        ]
        rows.append(
            common | {"message_id": f"{i}.x", "parent_id": f"{i}.0", "text": "why?", "role": "prompter", "rank": 0}
        )
        rows.append(
            common
            | {"message_id": f"t{i}", "parent_id": None, "text": f"question {i}", "role": "prompter", "rank": None}
        )
    return rows


def trees(n_trees: int, *, wrapped: bool) -> Rows:
    rows = []
    for i in range(n_trees):
        replies = [{"message_id": f"{i}.{k}", "text": f"answer {k}", "role": "assistant", "rank": k} for k in (1, 0)]
        root = {"message_id": f"t{i}", "text": f"question {i}", "role": "prompter", "lang": "en", "replies": replies}
        rows.append({"message_tree_id": f"t{i}", "prompt": root} if wrapped else root)
    return rows


@pytest.mark.parametrize("purpose", importing.PURPOSES)
def test_both_versions_of_open_assistant_give_the_same(written: Any, purpose: Purpose) -> None:
    wanted = importing.load(written(trees(30, wrapped=True)), purpose)
    assert wanted.shape == "oasst-trees"
    for rows, container in (
        (trees(30, wrapped=False), "jsonl"),
        (messages(30), "parquet"),
        (messages(30), "jsonl.gz"),
        (messages(30), "datasets"),
    ):
        path = written(rows, container)
        found = importing.load(path, purpose)
        assert found.records == wanted.records
        assert (found.n_rows, found.left_out) == (30, wanted.left_out)
        assert importing.load(path, purpose, shape="oasst").records == wanted.records
        assert importing.load(f"oasst:{path}", purpose).records == wanted.records  # as a recipe says it


def test_open_assistant_without_a_file_is_told() -> None:
    with pytest.raises(DataError, match="oasst: names no file"):
        importing.load("oasst:", "ift")


def test_split_of_open_assistant_is_told(written: Any) -> None:
    path = written([*messages(30), *trees(1, wrapped=False)][:-1], "parquet")
    ift, eft = importing.load(path, "ift"), importing.load(path, "eft")
    assert ift.left_out["kept for EFT"] == len(eft.records)
    assert eft.left_out["kept for IFT"] == len(ift.records)
    assert len(ift.records) + len(eft.records) == 30
    rows = messages(3)
    for row in rows:
        row["lang"] = "de"
    with pytest.raises(DataError, match="no usable English first turn"):
        importing.load(written(rows), "ift")


def test_a_broken_message_is_named(written: Any) -> None:
    rows = messages(2)
    rows[4] |= {"rank": -1}
    with pytest.raises(DataError, match=r"data\.parquet, row 5: field 'rank'.*greater than or equal to 0"):
        importing.load(written(rows, "parquet"), "ift")
    whole = [row | {"rank": float("nan") if row["rank"] is None else float(row["rank"])} for row in messages(5)]
    assert len(importing.load(written(whole, "parquet"), "prompts").records) == 5


# --- real files

REAL = [
    ("instructions/stanford_alpaca/seed_tasks.jsonl", "ift", "self-instruct", 175),
    ("instructions/self_instruct/user_oriented_instructions.jsonl", "ift", "self-instruct", 252),
    ("instructions/self_instruct/user_oriented_instructions.jsonl", "prompts", "self-instruct", 252),
    ("oasst/en_100_tree.jsonl.gz", "ift", "oasst-trees", 67),
    ("oasst/en_100_tree.jsonl.gz", "eft", "oasst-trees", 32),
    ("oasst/en_100_message.jsonl.gz", "prompts", "oasst-trees", 100),
    ("alpaca_eval/alpaca_eval.json.gz", "ift", "alpaca", 805),
]


@pytest.mark.parametrize(("file", "purpose", "shape", "count"), REAL)
def test_published_files(file: str, purpose: Purpose, shape: str, count: int) -> None:
    if "SRBENCH_DATA_DIR" not in os.environ:
        pytest.skip("SRBENCH_DATA_DIR is not set")
    found = importing.load(str(Path(os.environ["SRBENCH_DATA_DIR"]) / file), purpose)
    assert (found.shape, len(found.records), found.n_bad) == (shape, count, 0)
