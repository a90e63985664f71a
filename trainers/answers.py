"""A round's answers and judgments by prompt: of their files only the places of records are held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from selfreward_bench.errors import DataError
from selfreward_bench.types import Completion, Judgment, Prompt

__all__ = ["Answers", "Marks", "places_of"]


class _OfPrompt(Protocol):
    @property
    def prompt_id(self) -> str: ...

    @property
    def index(self) -> int: ...


R = TypeVar("R", bound=_OfPrompt)


def places_of(prompts: Iterable[Prompt]) -> dict[str, int]:
    """The place of each prompt, by its id."""
    return {prompt.id: at for at, prompt in enumerate(prompts)}


class Grouped(Generic[R]):
    """Records by the prompt that they belong to, each group in the order of indices, equal ones in that of the records.

    Args:
        places: the place of each prompt.
        records: those of unknown prompts are in no group.
    """

    def __init__(self, places: dict[str, int], records: Sequence[R]) -> None:
        import numpy as np  # not where a run is only looked at

        at, index = np.empty(len(records), np.int64), np.empty(len(records), np.int64)
        for number, record in enumerate(records):
            at[number], index[number] = places.get(record.prompt_id, -1), record.index
        self._records, self._order = records, np.lexsort((index, at))
        self._at, self._index = at[self._order], index[self._order]
        self._starts = np.searchsorted(self._at, np.arange(len(places) + 1))

    def numbers(self, place: int) -> list[int]:
        """Which records are of the prompt at a place."""
        numbers: list[int] = self._order[self._starts[place] : self._starts[place + 1]].tolist()
        return numbers

    def of(self, place: int) -> list[R]:
        """The records of the prompt at a place."""
        return [self._records[number] for number in self.numbers(place)]

    def strangers(self) -> list[int]:
        """Which records are of no prompt."""
        numbers: list[int] = self._order[: self._starts[0]].tolist()
        return numbers

    def twice(self) -> int | None:
        """A record that has prompt and index of another one; None where there is none."""
        same = (self._at[1:] == self._at[:-1]) & (self._index[1:] == self._index[:-1]) & (self._at[1:] >= 0)
        return int(self._order[1:][same][0]) if same.any() else None


class Answers:
    """The answers to each prompt, by index; prompts in their order, also those without answers.

    Attributes:
        prompts, completions: all of them.

    Raises:
        DataError: an answer is there twice or belongs to none of the prompts.
    """

    def __init__(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> None:
        self.prompts, self.completions = prompts, completions
        self.places = places_of(prompts)
        self._groups = Grouped(self.places, completions)
        if strangers := self._groups.strangers():
            name = completions[strangers[0]].id
            raise DataError(f"Completion {name!r} belongs to none of the {len(prompts)} prompts of this stage.")
        if (twice := self._groups.twice()) is not None:
            raise DataError(f"Completion {completions[twice].id!r} is there twice; its file was written twice.")

    def of(self, place: int) -> list[Completion]:
        """The answers to the prompt at a place."""
        return self._groups.of(place)

    def numbers(self, place: int) -> list[int]:
        """Which of the completions these are."""
        return self._groups.numbers(place)

    def __iter__(self) -> Iterator[tuple[Prompt, list[Completion]]]:
        return ((prompt, self.of(at)) for at, prompt in enumerate(self.prompts))

    def judged(self, judgments: Sequence[Judgment]) -> Iterator[list[Judgment]]:
        """The judgments of each prompt's answers, prompt by prompt; those of other prompts are left out."""
        groups = Grouped(self.places, judgments)
        return (groups.of(at) for at in range(len(self.places)))


class Marks:
    """Which samples of which requests are there: a byte for each, and the ids."""

    def __init__(self, ids: Iterable[str], each: int) -> None:
        self.each = each
        self._places = {name: at for at, name in enumerate(ids)}
        self._there = bytearray(len(self._places) * each)

    def __len__(self) -> int:
        """How many samples are there."""
        return sum(self._there)

    def knows(self, name: str, sample: int) -> bool:
        return name in self._places and 0 <= sample < self.each

    def has(self, name: str, sample: int) -> bool:
        return bool(self._there[self._places[name] * self.each + sample])

    def add(self, name: str, sample: int) -> None:
        self._there[self._places[name] * self.each + sample] = 1

    def whole(self) -> frozenset[str]:
        """The requests of which all samples are there."""
        full = b"\x01" * self.each
        return frozenset(n for n, at in self._places.items() if self._row(at) == full)

    def missing(self) -> list[str]:
        """The requests of which a sample is not there, in their order."""
        full = b"\x01" * self.each
        return [name for name, at in self._places.items() if self._row(at) != full]

    def _row(self, at: int) -> bytes:
        return bytes(self._there[at * self.each : (at + 1) * self.each])
