"""AlpacaEval's files: found by instruction, never by position; whatever is in them is checked."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboards.alpaca_eval.files import (
    Annotation,
    ModelOutput,
    by_instruction,
    data_hashes,
    load_gamed,
    load_instructions,
    read_annotations,
    read_outputs,
    recognise,
    write_annotations,
    write_outputs,
)
from selfreward_bench.errors import DataError
from selfreward_bench.sources.directory import DataDir

TEXTS = ["Name a fruit.", "Say hello.", "Name a fruit.", "Count to two."]


def build(root: Path, **changes: Any) -> DataDir:
    folder = root / "alpaca_eval"
    (folder / "lc_glm").mkdir(parents=True)
    instructions = [{"instruction": t, "dataset": "koala", "output": "x", "generator": "d"} for t in TEXTS]
    references = [{"instruction": t, "output": f"ref {i}", "generator": "base"} for i, t in enumerate(TEXTS)]
    files = {
        "alpaca_eval.json": json.dumps(instructions),
        "alpaca_eval_gpt4_baseline.json": json.dumps(references),
        "lc_glm/instruction_difficulty.csv": "index,instruction_difficulty\n"
        + "".join(f"{i},{i / 2}\n" for i in (2, 0, 3, 1)),
        "lc_glm/df_gamed.csv": "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"
        "0.25,1,-1.5,0.5,False,concise\n",
    } | changes
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return DataDir(root)


def test_instructions_have_their_references_and_difficulties(tmp_path: Path) -> None:
    found = load_instructions(build(tmp_path))
    assert [i.text for i in found] == TEXTS
    assert [i.reference for i in found] == ["ref 0", "ref 1", "ref 2", "ref 3"]
    assert [i.difficulty for i in found] == [0, 0.5, 1, 1.5]
    assert [i.key for i in found] == [(TEXTS[0], 0), (TEXTS[1], 0), (TEXTS[2], 1), (TEXTS[3], 0)]
    assert len({i.id for i in found}) == 4  # the same text twice is two instructions


def test_references_are_joined_by_instruction(tmp_path: Path) -> None:
    shuffled = [{"instruction": TEXTS[i], "output": f"ref {i}", "generator": "base"} for i in (3, 0, 2, 1)]
    data = build(tmp_path, **{"alpaca_eval_gpt4_baseline.json": json.dumps(shuffled)})
    assert [i.reference for i in load_instructions(data)] == ["ref 0", "ref 1", "ref 2", "ref 3"]


def test_an_id_does_not_depend_on_the_position(tmp_path: Path) -> None:
    first = {i.text: i.id for i in load_instructions(build(tmp_path / "a")) if i.occurrence == 0}
    rows = [{"instruction": t, "output": "x"} for t in reversed(TEXTS)]
    other = load_instructions(build(tmp_path / "b", **{"alpaca_eval.json": json.dumps(rows)}))
    assert {i.text: i.id for i in other if i.occurrence == 0} == first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("alpaca_eval_gpt4_baseline.json", json.dumps([{"instruction": "Sing.", "output": "la"}]), "no output for"),
        ("lc_glm/instruction_difficulty.csv", "index,instruction_difficulty\n0,1\n", "different versions"),
        ("lc_glm/instruction_difficulty.csv", "index,instruction_difficulty\n0,x\n", ":2: column"),
        ("lc_glm/instruction_difficulty.csv", "index,instruction_difficulty\n0,nan\n", "is nan"),
        ("lc_glm/instruction_difficulty.csv", "index\n0\n", "missing or no number"),
        ("alpaca_eval.json", "{}", "JSON list of objects"),
        ("alpaca_eval.json", "[" * 100_000, "nested too deeply"),
        ("alpaca_eval.json", "[1]", "JSON list of objects"),
        ("alpaca_eval.json", json.dumps([{"instruction": 3, "output": "x"}]), "row 0: field 'instruction'"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_instructions(build(tmp_path, **{name: content}))


def test_gamed_baselines(tmp_path: Path) -> None:
    gamed = load_gamed(build(tmp_path))
    values = (*gamed.wins, *gamed.scaled_deltas, *gamed.difficulties, *gamed.positions)
    assert values == (0.25, -1.5, 0.5, 1)


def test_hashes_change_with_the_content_and_not_with_packing(tmp_path: Path) -> None:
    before = data_hashes(build(tmp_path))
    file = tmp_path / "alpaca_eval/lc_glm/df_gamed.csv"
    packed = gzip.compress(file.read_bytes(), mtime=0)
    file.unlink()
    file.with_name("df_gamed.csv.gz").write_bytes(packed)
    assert data_hashes(DataDir(tmp_path)) == before
    file.write_text("other")
    assert data_hashes(DataDir(tmp_path)) != before


def annotation(text: str, preference: float | None = 1.25, **more: Any) -> dict[str, Any]:
    return {"instruction": text, "output_1": "a", "output_2": "b", "preference": preference, **more}


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_recognised_by_content(tmp_path: Path, packed: bool) -> None:
    def write(name: str, content: object) -> Path:
        path = tmp_path / (name + (".gz" if packed else ""))
        data = json.dumps(content).encode()
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
        return path

    assert recognise(write("any.json", [{"instruction": "a", "output": "b", "extra": 1}])) == "alpaca-outputs"
    assert recognise(write("other.json", [annotation("a")])) == "alpaca-annotations"
    assert recognise(write("no.json", [{"question": "a"}])) is None
    assert recognise(write("dict.json", {"instruction": "a", "output": "b"})) is None


def test_other_files_are_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "y.json").write_bytes(b'\xef\xbb\xbf {"results": {}, "cut": ')  # an object is somebody else's
    assert [recognise(p) for p in (*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "none.json")] == [None] * 3


ROWS = json.dumps([{"instruction": "a", "output": "b"}] * 3).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("torn.json.gz", gzip.compress(ROWS, mtime=0)[:-9], r"torn\.json\.gz is damaged"),
        ("empty.json", b"", r"empty\.json is no JSON in UTF-8 \(Expecting value: line 1 column 1"),
        ("none.json", b"[]", r"none\.json holds no rows"),
        ("wide.json", ROWS.decode().encode("utf-16")[:-1], r"wide\.json is damaged .*utf-16.* cut off"),
    ],
)
def test_broken_files_are_told_from_unknown_ones(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        recognise(tmp_path / name)


def test_a_file_that_is_cut_after_its_first_row_is_told_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_bytes(ROWS[:50])
    assert recognise(tmp_path / "cut.json") == "alpaca-outputs"
    with pytest.raises(DataError, match=r"cut\.json is no JSON in UTF-8 \(Unterminated string .* column 40"):
        read_outputs(tmp_path / "cut.json")


def test_a_null_in_a_field_that_is_not_used_does_not_refuse_a_file(tmp_path: Path) -> None:
    (tmp_path / "nulls.json").write_text(
        '[{"instruction": "a", "output": "x", "generator": null, "dataset": null, "datasplit": null},'
        '{"instruction": "b", "output": null, "generator": "m", "dataset": null, "datasplit": 3}]'
    )
    assert [(r.output, r.generator) for r in read_outputs(tmp_path / "nulls.json")] == [("x", ""), (None, "m")]


def test_columns_of_others_are_let_through_and_missing_preferences_are_none(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(
        '[{"instruction": "a", "output_1": "x", "output_2": "y", "preference": NaN, "price_per_example": 0.1},'
        '{"instruction": "b", "output_1": "x", "output_2": "y", "preference": null},'
        '{"instruction": "c", "output_1": "x", "output_2": "y", "preference": 2}]'
    )
    assert [a.preference for a in read_annotations(file)] == [None, None, 2]


@pytest.mark.parametrize("bad", ['"2"', "[2]", '{"a": 2}'])
def test_a_preference_that_is_no_number_is_refused(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(f'[{{"instruction": "a", "output_1": "x", "output_2": "y", "preference": {bad}}}]')
    with pytest.raises(DataError, match="row 0: field 'preference'"):
        read_annotations(file)


def test_verdicts_of_several_annotators_on_the_same_outputs_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    apart = [annotation("a", annotator="x"), annotation("a", annotator="y", generator_2="other")]
    file.write_text(json.dumps([*apart, annotation("b", annotator="y"), annotation("b", annotator="y")]))
    assert len(read_annotations(file)) == 4
    file.write_text(json.dumps([annotation("a", annotator="x"), annotation("a", annotator="y")]))
    with pytest.raises(DataError, match=r"several annotators judge the same outputs \('x', 'y'\)"):
        read_annotations(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json is no file"):
        read_outputs(tmp_path / "none.json")


def test_rows_are_told_apart_by_occurrence() -> None:
    rows = [ModelOutput(instruction=t, output=str(i)) for i, t in enumerate(["a", "b", "a"])]
    assert {key: r.output for key, r in by_instruction(rows).items()} == {("a", 0): "0", ("b", 0): "1", ("a", 1): "2"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.one_of(st.none(), st.floats(1, 2))), min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("files")
    outputs = [ModelOutput(instruction=a, output=b, generator="m", dataset="d") for a, b, _ in rows]
    write_outputs(folder / "o.json", outputs)
    assert read_outputs(folder / "o.json") == outputs
    annotations = [Annotation(instruction="i", output_1="x", output_2="y", preference=p) for _, _, p in rows]
    write_annotations(folder / "a.json", annotations)
    assert read_annotations(folder / "a.json") == annotations


def test_half_characters_keep_their_place(tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    file.write_text('[{"instruction": "a", "output": "x\\ud800y \\ud83d\\ude00"}]')
    (row,) = read_outputs(file)
    assert row.output == "x\ufffdy \N{GRINNING FACE}"
    write_outputs(file, [row])
    assert read_outputs(file) == [row]
