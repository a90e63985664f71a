"""lm-eval's checker as srbench opens it: what it says, offline, and the same every time."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from leaderboards.ifeval import checker as checking
from leaderboards.ifeval.checker import Checked, Checker, open_checker, versions
from leaderboards.ifeval.files import Task
from selfreward_bench.errors import MissingDependencyError
from selfreward_bench.storage.rundir import hash_json

from .conftest import CASES, Case, case, task


@pytest.fixture(scope="module")
def checker() -> Checker:
    return open_checker()


def test_there_is_a_case_of_every_kind() -> None:
    open_checker()
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    assert sorted(c.instruction for c in CASES) == sorted(INSTRUCTION_DICT)


@pytest.mark.parametrize("given", CASES, ids=[c.instruction for c in CASES])
def test_what_follows_and_what_does_not(checker: Checker, given: Case) -> None:
    asked = task(given)
    assert checker.check(asked, given.follows) == Checked((True,), (True,))
    assert checker.check(asked, given.fails) == Checked((False,), (False,))
    assert checker.check(asked, "  \n ") == Checked((False,), (False,))


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("no_comma", "Sure, here you are:\nOne and two."),  # without the first line
        ("no_comma", "One and two.\nHope that helps, bye."),  # without the last one
        ("quotation", 'Sure:\n"One."\nDone.'),  # without both
        ("quotation", '**"One."**'),  # without asterisks
        ("json_format", 'Sure:\n**{"a": 1}**\nDone.'),  # without all of them
    ],
)
def test_loosely_a_line_or_asterisks_may_be_too_much(checker: Checker, name: str, answer: str) -> None:
    assert checker.check(task(case(name)), answer) == Checked((False,), (True,))


def test_each_instruction_has_a_verdict_of_its_own(checker: Checker) -> None:
    asked = task(case("no_comma"), case("quotation"), case("title"))
    assert checker.check(asked, '"<<One>>, two"') == Checked((False, True, True), (False, True, True))


def test_the_sentence_tables_are_punkts() -> None:
    """The hash was made from the four files of nltk's ``punkt_tab`` for English, whose sha256 are public."""
    from punkt.data import english

    tables = [
        sorted(english.ABBREV_TYPES),
        sorted(english.SENT_STARTERS),
        sorted(map(list, english.COLLOCATIONS)),
        sorted(map(list, english.ORTHO_CONTEXT.items())),
    ]
    assert hash_json(tables) == "c6d9041306f87f94ea9364c4855a8d65"


@pytest.mark.slow
def test_it_needs_no_network_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """In a process of its own, without nltk's data anywhere: nothing is asked of the network, nothing is printed."""
    probe = """
import os, random, socket, sys, tempfile
os.environ["NLTK_DATA"] = "/nowhere"
def refuse(*_, **__):
    raise SystemExit("it asked the network")
socket.getaddrinfo = socket.socket.connect = refuse
import nltk
nltk.data.path[:] = ["/nowhere"]
from leaderboards.ifeval.checker import open_checker
from leaderboards.ifeval.files import Task
checker = open_checker()
task = Task(key=1, prompt="p", instruction_id_list=("length_constraints:number_sentences",),
            kwargs=({"num_sentences": 2, "relation": "at least"},))
assert checker.check(task, "One is here. Two is here.").strict == (True,)
assert nltk.data.path == ["/nowhere"]
assert not [n for n in os.listdir(tempfile.gettempdir()) if n.startswith("srbench-punkt-")]
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_languages_are_recognised_the_same_every_time(checker: Checker) -> None:
    """lm-eval's own checker says now this, now that of "Hello world" (lm-evaluation-harness#4213)."""
    asked = task(Case("language:response_language", {"language": "en"}, "", ""))
    assert len({checker.check(asked, "Hello world") for _ in range(20)}) == 1


def test_a_sign_that_is_no_letter_counts_the_same_letter_every_time(checker: Checker) -> None:
    """As prompts 1122 and 1129 ask; whatever the letter is, strict and loose count the same one."""
    kwargs: dict[str, object] = {"letter": "#", "let_frequency": 1, "let_relation": "at least"}
    asked = task(Case("keywords:letter_frequency", kwargs, "", ""))
    said = {}
    for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        random.seed(number)  # whatever was drawn elsewhere in the meantime
        said[letter] = checker.check(asked, letter)
    assert [c.strict for c in said.values()] == [c.loose for c in said.values()]
    assert sum(c.strict == (True,) for c in said.values()) == 1


def test_it_leaves_no_trace_in_random_numbers_and_logs(checker: Checker, caplog: pytest.LogCaptureFixture) -> None:
    from langdetect import DetectorFactory

    random.seed(5)
    state, seed = random.getstate(), DetectorFactory.seed
    checker.check(task(case("response_language")), "1, 2, 3")  # in no language: lm-eval logs the whole answer
    assert (random.getstate(), DetectorFactory.seed) == (state, seed)
    assert not logging.getLogger("lm_eval.tasks.ifeval.instructions").disabled
    assert caplog.records == []


def test_what_is_missing_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package in ("langdetect", "immutabledict"):
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(checking, "version", version)
    with pytest.raises(MissingDependencyError, match=r"pip install langdetect immutabledict$"):
        versions()


def test_a_task_of_the_data_can_be_checked_as_it_stands(checker: Checker) -> None:
    line = (
        '{"key": 1, "prompt": "P", "instruction_id_list": ["length_constraints:number_words", "punctuation:no_comma"], '
        '"kwargs": [{"relation": "at least", "num_words": 2, "keywords": null}, {}]}'
    )
    assert checker.check(Task.model_validate_json(line), "One two") == Checked((True, True), (True, True))
