"""Rendered records: as many as there are, in little memory, the same however many are rendered at once."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest

import trainers.rendering as rendering
from trainers import sft
from trainers.rendering import Chosen, Turn, Turns, digest, load_tokenizer, render_turns
from trainers.token_pairs import TokenPair, columns, distinct, fitting, render_pairs

from .conftest import pairs


def test_turns_come_back_as_they_were_added() -> None:
    given = [Turn([5, 6], [7, 1]), Turn([], [1]), Turn([2**31 - 1], [])]
    turns = Turns()
    for turn in given:
        turns.add(turn)
    assert list(turns) == turns[:] == given
    assert (turns[-1], turns[1:2], len(turns)) == (given[-1], given[1:2], 3)
    with pytest.raises(IndexError):
        turns[3]
    assert list(Chosen(turns, [2, 0])) == [given[2], given[0]]


def test_the_same_ids_whatever_is_rendered_at_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, given = load_tokenizer(tiny_model), pairs(20)
    whole = list(render_pairs(tokenizer, given))
    monkeypatch.setattr(rendering, "_AT_ONCE", 3)
    assert list(render_pairs(tokenizer, given)) == whole
    assert [pair.id for pair in whole] == [p.id for p in given]


@pytest.mark.slow
def test_a_pair_takes_little_memory(tiny_model: Path) -> None:
    """It was 40 bytes a token and more, and the tokenizer's own records of all texts at once."""
    tokenizer, given = load_tokenizer(tiny_model), pairs(3000)
    render_pairs(tokenizer, given[:600])  # what is made once
    tracemalloc.start()
    kept, truncated = fitting(distinct(render_pairs(tokenizer, given))[0], 64)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tokens = sum(len(pair.chosen) + len(pair.rejected) for pair in kept)
    assert (len(kept), truncated) == (3000, 0)
    assert held < 4 * tokens + 100 * len(kept)
    assert most - held < 4_000_000  # of 128 records


def test_the_digest_is_that_of_the_lists() -> None:
    """A training that was begun before goes on: its plan knows the data by this."""
    columns = [["a", "b"], [[1, 2], []], []]
    state = hashlib.sha256()
    for column in columns:
        state.update(repr(column).encode() + b"\0")
    assert digest(*(iter(column) for column in columns)) == state.hexdigest()


def test_records_are_taken_one_after_the_other(tiny_model: Path) -> None:
    asked = ((p.id, p.prompt, p.chosen) for p in pairs(4))
    assert len(render_turns(load_tokenizer(tiny_model), asked)) == 4


def test_what_is_not_learnt_is_data_too() -> None:
    """A prompt carries no loss, and a training on other prompts is another one."""
    mine, other = Turn([5, 6], [7, 1]), Turn([5, 8], [7, 1])
    assert [list(c) for c in sft.columns([mine])] == [[[5, 6, 7, 1]], [[-100, -100, 7, 1]]]
    assert digest(*sft.columns([mine])) != digest(*sft.columns([other]))
    first, second = (TokenPair("p", turn, Turn(turn.prompt, [9, 1])) for turn in (mine, other))
    assert [list(c) for c in columns([first])] == [[[5, 6]], [[7, 1]], [[9, 1]]]
    assert digest(*columns([first])) != digest(*columns([second]))
