"""New prompts from a file: what is drawn, what is passed over, and that later rounds go on where earlier ones ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfreward_bench.config import PromptsConfig
from selfreward_bench.errors import DataError
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Example, Message, Prompt
from trainers.prompt_files import answers_to, asked, digest, load_prompts, take_prompts

FILE = "mine.jsonl"


def prompt(name: str, text: str, *before: Message) -> Prompt:
    return Prompt(id=name, messages=(*before, Message(role="user", content=text)))


GIVEN = [prompt(f"g{i}", f"What is {i} and {i * i}?") for i in range(10)]


def take(
    tmp_path: Path,
    given: list[Prompt],
    count: int,
    *,
    used: list[Prompt] | None = None,
    stage: str = "M2/prompts",
    writer: str = FILE,
) -> tuple[list[Prompt], dict[str, float]]:
    path = tmp_path / "prompts.jsonl"
    counts = take_prompts(
        given,
        PromptsConfig(count=count, writer=writer),
        path=path,
        used=used or [],
        excluded=[prompt("x", "What colour has the sky at noon in May?")],
        run_seed=3,
        stage=stage,
        reporter=Silent(),
    )
    return jsonl.read(path, Prompt), counts


def test_a_draw_keeps_conversations_whole_and_says_where_they_are_from(tmp_path: Path) -> None:
    system = Message(role="system", content="Be brief.")
    taken, counts = take(tmp_path, [prompt("talk", "And you?", system)], 5)
    assert [(p.id, p.source) for p in taken] == [("M2-p0001", f"{FILE}#talk")]
    assert taken[0].messages == (system, Message(role="user", content="And you?"))
    assert counts == {"prompts": 1, "asked": 5, "given": 1, "excluded": 0, "duplicate": 0}


def test_the_draw_depends_on_ids_and_not_on_the_files_order(tmp_path: Path) -> None:
    forth, _ = take(tmp_path, GIVEN, 4)
    back, _ = take(tmp_path, GIVEN[::-1], 4)
    assert forth == back
    assert digest(GIVEN) != digest(GIVEN[::-1])


def test_rounds_share_no_prompt_and_come_to_an_end(tmp_path: Path) -> None:
    first, _ = take(tmp_path, GIVEN, 6)
    second, counts = take(tmp_path, GIVEN, 6, used=first, stage="M3/prompts")
    texts = [p.text for p in [*first, *second]]
    assert len(texts) == len(set(texts)) == 10
    assert (counts["prompts"], counts["duplicate"]) == (4, 6)
    with pytest.raises(DataError, match=rf"M4/prompts: none of the 10 prompts of {FILE} is left: 0 .* 10 were taken"):
        take(tmp_path, GIVEN, 6, used=[*first, *second], stage="M4/prompts")


def test_held_out_prompts_and_seeds_are_passed_over_and_counted(tmp_path: Path) -> None:
    given = [
        prompt("a", "what colour has the sky at noon in may"),
        prompt("b", "What colour has the sky at noon in June?"),
        prompt("c", "Name a bird."),
        prompt("d", "Name a BIRD!"),
        prompt("e", "Go."),  # short is the user's choice
    ]
    taken, counts = take(tmp_path, given, 9, used=[prompt("seed", "name a bird")])
    assert [p.text for p in taken] == ["Go."]
    assert (counts["excluded"], counts["duplicate"]) == (2, 2)


def test_a_file_is_read_as_seed_data_are(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text(json.dumps({"instruction": "Name a bird.", "output": "An owl."}) + "\n")
    assert [p.text for p in load_prompts(str(file))] == ["Name a bird."]
    file.write_text('{"id": "a", "prompt": "Fine."}\n{"id": "b", "prompt": 7}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl:2"):
        load_prompts(str(file))


def test_answers_are_found_again_whatever_the_data_set_and_its_ids_are_called(tmp_path: Path) -> None:
    examples = [
        Example(id=f"#{i}#", prompt=p.messages, completion=(Message(role="assistant", content=f"Answer {i}."),))
        for i, p in enumerate(GIVEN)
    ]
    taken, _ = take(tmp_path, asked(examples), 3, writer="hf:me/mine#train")
    found = {a.prompt_id: a.text for a in answers_to(taken, examples, "hf:me/mine#train")}
    texts = {p.text: f"Answer {i}." for i, p in enumerate(GIVEN)}
    assert found == {p.id: texts[p.text] for p in taken}
