"""A round's answers and judgments by prompt: of their files only the places of records are held."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from selfreward_bench.errors import DataError
from selfreward_bench.types import Completion, Judgment, Prompt

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Answers", "Marks", "Places"]


class _OfPrompt(Protocol):
    @property
    def prompt_id(self) -> str: ...

    @property
    def index(self) -> int: ...


R = TypeVar("R", bound=_OfPrompt)


class Places:
    """Where ids stand in a sequence: 12 bytes an id, of which 64 bits are looked at."""

    def __init__(self, ids: Iterable[str]) -> None:
        import numpy as np  # not where a run is only looked at

        hashes = np.fromiter(map(hash, ids), np.int64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = array("q", hashes[order].tobytes())
        self._order = array("i", order.astype(np.int32).tobytes())

    def __len__(self) -> int:
        return len(self._order)

    def of(self, name: str) -> int | None:
        """The place of an id; None of an unknown one."""
        wanted = hash(name)
        at = bisect_left(self._hashes, wanted)
        return self._order[at] if at < len(self) and self._hashes[at] == wanted else None

    def of_all(self, wanted: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """The places of ids given by their hashes; -1 of unknown ones."""
        import numpy as np

        if not len(self):
            return np.full(len(wanted), -1, np.int32)
        hashes, order = np.frombuffer(self._hashes, np.int64), np.frombuffer(self._order, np.int32)
        at = np.searchsorted(hashes, wanted).clip(max=len(self) - 1)
        return np.where(hashes[at] == wanted, order[at], np.int32(-1))


class Grouped(Generic[R]):
    """Records by the prompt that they belong to, each group in the order of indices, equal ones in that of the records.

    Args:
        places: of the prompts.
        records: those of unknown prompts are in no group.
    """

    def __init__(self, places: Places, records: Sequence[R]) -> None:
        import numpy as np

        ids, index = np.empty(len(records), np.int64), np.empty(len(records), np.int32)
        for number, record in enumerate(records):
            ids[number], index[number] = hash(record.prompt_id), record.index
        at = places.of_all(ids)
        self._records, self._order = records, np.lexsort((index, at)).astype(np.int32)
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
        self.places = Places(prompt.id for prompt in prompts)
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
    """Which samples of which requests are there: a byte for each, and the places of ids.

    Args:
        ids: gives those of the requests, in their order, whenever it is called.
        each: samples of a request.
    """

    def __init__(self, ids: Callable[[], Iterable[str]], each: int) -> None:
        self.each = each
        self._ids, self._places = ids, Places(ids())
        self._there = bytearray(len(self._places) * each)

    def __len__(self) -> int:
        """How many samples are there."""
        return self._there.count(1)

    def knows(self, name: str, sample: int) -> bool:
        return 0 <= sample < self.each and self._places.of(name) is not None

    def has(self, name: str, sample: int) -> bool:
        return bool(self._there[self._at(name, sample)])

    def add(self, name: str, sample: int) -> None:
        self._there[self._at(name, sample)] = 1

    def whole(self) -> frozenset[str]:
        """The requests of which all samples are there."""
        if not any(self._there):
            return frozenset()
        return frozenset(name for at, name in enumerate(self._ids()) if self._is_whole(at))

    def missing(self) -> list[str]:
        """The requests of which a sample is not there, in their order."""
        if all(self._there):
            return []
        return [name for at, name in enumerate(self._ids()) if not self._is_whole(at)]

    def _is_whole(self, at: int) -> bool:
        return all(self._there[at * self.each : (at + 1) * self.each])

    def _at(self, name: str, sample: int) -> int:
        place = self._places.of(name)
        if place is None:
            raise KeyError(name)
        return place * self.each + sample
