"""Seed data: layouts that are accepted, mistakes that are named, draws that are seeded."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import micro
from selfreward_bench.config import SeedConfig
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.types import Example, Message
from trainers import seeds
from trainers.filters import normalised

ROW: dict[str, Any] = {"id": "a", "prompt": "Name a red food.", "completion": "An apple."}
RANKED: dict[str, Any] = {
    "id": "a",
    "prompt": "Name a food.",
    "responses": [{"text": "x", "rank": 0}, {"text": "y", "rank": 1}],
}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(rows: Sequence[object], name: str = "data.jsonl") -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(tmp_path / name)

    return write


def ift(path: str, seed: int = 0, **settings: Any) -> list[Example]:
    return seeds.load_ift(SeedConfig(ift=path, **{"exclude": None} | settings), seed)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def test_layouts_of_ift_come_to_the_same_example(written: Any) -> None:
    expected = Example(id="a", prompt=(user("Name a red food."),), completion=(assistant("An apple."),), source="mine")
    turns = [{"role": "user", "content": "Name a red food."}]
    rows = (
        ROW | {"source": "mine"},
        {"id": "a", "messages": turns, "completion": "An apple.", "source": "mine"},
        json.loads(expected.model_dump_json()),
    )
    for row in rows:
        assert ift(written([row])) == [expected]


def test_conversations_keep_their_turns(written: Any) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Count."},
    ]
    (example,) = ift(written([{"id": "a", "messages": turns, "completion": "1, 2"}]))
    assert [m.role for m in example.prompt] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " \n"}, r"2: field 'prompt': the text is empty"),
        ({"prompt": []}, r"2: field 'prompt': the last turn must be the user's"),
        ({"prompt": [{"role": "user", "content": "\t"}]}, r"2: field 'prompt': the text of turn 0 is empty"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, r"2: field 'prompt': the last turn must be the user's"),
        ({"prompt": [{"role": "human", "content": "x"}]}, r"2: field 'prompt\.0\.role'"),
        ({"prompt": 3}, r"2: field 'prompt': must be a text or a list"),
        ({"prompt": None}, r"2: give the instruction once"),
        ({"messages": [{"role": "user", "content": "x"}]}, r"2: give the instruction once"),
        ({"prompt": "x" * 1_000_001}, r"2: field 'prompt': the text is longer than 1,000,000 characters"),
        ({"prompt": "a\0b"}, r"2: field 'prompt': the text holds a NUL"),
        ({"prompt": "\ud800"}, r"2: field 'prompt' holds a lone surrogate"),
        ({"completion": ""}, r"2: field 'completion': the text is empty"),
        ({"completion": 5}, r"2: field 'completion': must be a text or a list"),
        ({"id": ""}, r"2: field 'id'"),
        ({"id": 7}, r"2: field 'id'"),
        ({"id": "first"}, r"2: the id 'first' is on line 1 already"),
        ({"promt": "x"}, r"2: field 'promt' is unknown\. Did you mean 'prompt'"),
    ],
)
def test_mistakes_name_file_line_and_field(written: Any, change: dict[str, Any], message: str) -> None:
    path = written([ROW | {"id": "first"}, ROW | change])
    with pytest.raises(DataError, match=r"data\.jsonl:" + message) as caught:
        ift(path)
    assert len(str(caught.value)) < 600


def test_a_missing_completion_and_empty_or_missing_files(written: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'completion' is missing"):
        ift(written([{"id": "a", "prompt": "x"}]))
    with pytest.raises(DataError, match="no records"):
        ift(written([]))
    with pytest.raises(DataError, match="no such file"):
        ift(str(tmp_path / "nowhere.jsonl"))


def test_ift_draw_is_seeded_nested_and_in_file_order(written: Any) -> None:
    path = written([ROW | {"id": f"e{i:02d}", "prompt": f"Task {i}"} for i in range(40)])

    def draw(size: int | None, seed: int = 0) -> list[str]:
        return [e.id for e in ift(path, seed, ift_size=size)]

    assert len(draw(None)) == 40
    assert len(draw(10)) == 10
    assert draw(10) == sorted(draw(10)) == draw(10) != draw(10, seed=1)
    assert draw(10) != draw(None)[:10]
    assert set(draw(10)) < set(draw(20))
    assert draw(99) == draw(None)


def test_eft_size_counts_responses_of_whole_prompts(written: Any) -> None:
    rows = [
        RANKED | {"id": f"r{i}", "responses": [{"text": f"t{k}", "rank": k} for k in range(2 + i % 3)]}
        for i in range(20)
    ]
    path = written(rows)

    def draw(size: int | None, seed: int = 0) -> list[str]:
        prompts = seeds.load_eft(SeedConfig(eft=path, eft_size=size, exclude=None), seed)
        assert size is None or size - 1 <= sum(len(p.responses) for p in prompts) <= size
        assert all(len(p.responses) == 2 + int(p.id[1:]) % 3 for p in prompts)
        return [p.id for p in prompts]

    assert len(draw(None)) == 20
    assert draw(24) == draw(24) != draw(24, seed=1)
    with pytest.raises(ConfigError, match="eft_size=1 counts responses"):
        draw(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"responses": [{"text": "x", "rank": 0}]}, "'responses'"),
        ({"responses": [{"text": "x", "rank": 0}, {"text": "", "rank": 1}]}, "the text of response 1 is empty"),
        ({"responses": [{"text": "x", "rank": 0}, {"text": "y", "rank": -1}]}, r"'responses\.1\.rank'"),
        ({"responses": [{"text": "x", "rank": 0}, {"text": "y"}]}, r"'responses\.1\.rank' is missing"),
    ],
)
def test_mistakes_in_ranked_responses(written: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:1: .*" + message):
        seeds.load_eft(SeedConfig(eft=written([RANKED | change]), exclude=None), 0)


def test_held_out_prompts_in_the_seeds_are_refused(written: Any) -> None:
    held_out = written([{"id": "h", "prompt": "name a RED food"}], "held_out.jsonl")
    with pytest.raises(DataError, match=r"data\.jsonl: 1 of 2 prompts are held out .*'b'"):
        ift(written([ROW | {"prompt": "Another."}, ROW | {"id": "b"}]), exclude=held_out)
    config = SeedConfig(eft=written([RANKED | {"prompt": "Name a red food?"}]), exclude=held_out)
    with pytest.raises(DataError, match="held out"):
        seeds.load_eft(config, 0)
    assert len(ift(written([ROW | {"prompt": "Another."}]), exclude=held_out)) == 1


def test_a_shared_last_turn_is_not_the_same_conversation(written: Any) -> None:
    def turns(first: str) -> list[dict[str, str]]:
        contents = (("user", first), ("assistant", "Fine."), ("user", "Say it again."))
        return [{"role": role, "content": content} for role, content in contents]

    held_out = written([{"id": "h", "messages": turns("One.")}], "held_out.jsonl")
    row = {"id": "a", "messages": turns("Two."), "completion": "Fine."}
    assert len(ift(written([row]), exclude=held_out)) == 1
    with pytest.raises(DataError, match="held out"):
        ift(written([row | {"messages": turns("one!")}]), exclude=held_out)


def test_excluded_prompts(written: Any) -> None:
    path = written([{"id": "h", "prompt": "One.", "category": "list"}])
    (prompt,) = seeds.load_excluded(SeedConfig(exclude=path))
    assert (prompt.text, prompt.category) == ("One.", "list")
    assert seeds.load_excluded(SeedConfig(exclude=None)) == []


def test_micro_stands_for_the_embedded_files(written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "data_path", lambda name: tmp_path / f"{name}.jsonl")
    assert {"ift", "eft", "exclude"} <= set(micro.FILES)
    written([ROW], "ift.jsonl")
    written([RANKED], "eft.jsonl")
    written([{"id": "h", "prompt": "Held out."}], "exclude.jsonl")
    assert [e.id for e in seeds.load_ift(SeedConfig(), 0)] == ["a"]
    assert [p.id for p in seeds.load_eft(SeedConfig(), 0)] == ["a"]
    assert [p.id for p in seeds.load_excluded(SeedConfig())] == ["h"]


# --- Open Assistant


def tree(number: int, *answers: dict[str, Any], **prompt: Any) -> dict[str, Any]:
    replies = [{"text": f"answer {i}", "role": "assistant", "lang": "en"} | a for i, a in enumerate(answers)]
    first = {"text": f"question {number}", "role": "prompter", "lang": "en", "replies": replies} | prompt
    return {"message_tree_id": f"t{number}", "tree_state": "ready_for_export", "prompt": first}


def oasst(path: str) -> tuple[list[Example], list[Any]]:
    config = SeedConfig(ift=f"oasst:{path}", eft=f"oasst:{path}", exclude=None)
    return seeds.load_ift(config, 0), seeds.load_eft(config, 0)


def test_oasst_trees_are_split_without_overlap(written: Any) -> None:
    examples, ranked = oasst(written([tree(i, {"rank": 1}, {"rank": 0}) for i in range(90)]))
    assert len(examples) + len(ranked) == 90
    assert 15 < len(ranked) < 45
    assert not {e.id for e in examples} & {p.id for p in ranked}
    assert {e.completion[0].content for e in examples} == {"answer 1"}
    assert {tuple((r.text, r.rank) for r in p.responses) for p in ranked} == {(("answer 1", 0), ("answer 0", 1))}


def test_oasst_takes_english_first_turns_that_passed_review(written: Any) -> None:
    good = {"rank": 0}
    rows = [
        tree(1, good),
        tree(2, good, lang="de"),
        tree(3, good, deleted=True),
        tree(4, good, review_result=False),
        tree(5, {"rank": None}),
        tree(6, {"rank": 0, "deleted": True}),
        tree(7, {"rank": 0, "lang": "fr"}),
        tree(8, good, text=" "),
    ]
    config = SeedConfig(ift=f"oasst:{written(rows)}", exclude=None)
    assert [e.id for e in seeds.load_ift(config, 0)] == ["t1"]


def test_oasst_drops_held_out_prompts(written: Any) -> None:
    path = written([tree(i, {"rank": 0}) for i in range(3)])
    config = SeedConfig(ift=f"oasst:{path}", exclude=written([{"id": "h", "prompt": "Question 1!"}], "held_out.jsonl"))
    assert [e.id for e in seeds.load_ift(config, 0)] == ["t0", "t2"]


def test_oasst_mistakes(written: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:1: field 'message_tree_id'.*trees\.jsonl"):
        ift(f"oasst:{written([ROW])}")
    with pytest.raises(DataError, match=r"data\.jsonl:1: field 'message_tree_id': .*at least 1 character"):
        ift(f"oasst:{written([tree(1) | {'message_tree_id': ''}])}")
    with pytest.raises(DataError, match="no usable English"):
        ift(f"oasst:{written([tree(1)])}")
    with pytest.raises(DataError, match="no such file"):
        ift(f"oasst:{tmp_path / 'nowhere.jsonl.gz'}")
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(json.dumps(tree(1, {"rank": 0})).encode() * 99, mtime=0)[:-9])
    with pytest.raises(DataError, match="damaged or cut off"):
        ift(f"oasst:{torn}")


def test_oasst_export_as_published() -> None:
    if "SRBENCH_DATA_DIR" not in os.environ:
        pytest.skip("SRBENCH_DATA_DIR is not set")
    path = Path(os.environ["SRBENCH_DATA_DIR"]) / "oasst" / "en_100_tree.jsonl.gz"
    examples, ranked = oasst(str(path))
    assert len(examples) + len(ranked) == 99  # one of the 100 trees has no ranks
    texts = {normalised(e.prompt[0].content) for e in examples}
    assert not texts & {normalised(p.messages[0].content) for p in ranked}
