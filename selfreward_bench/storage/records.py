"""Records of a finished file, read when they are asked for: what a stage holds of a file is 8 bytes a record. And
others that are held as bytes, or not at all."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar, overload

from pydantic import BaseModel, ValidationError

from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.decoding import decode
from selfreward_bench.storage.files import os_errors

__all__ = ["Made", "Records", "packed"]

T = TypeVar("T", bound=BaseModel)
V = TypeVar("V")


class Made(Sequence[V]):
    """A sequence whose items are made each time that they are asked for.

    Args:
        make: the item of an index from 0 to ``count`` - 1.
    """

    def __init__(self, count: int, make: Callable[[int], V]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> V: ...

    @overload
    def __getitem__(self, index: slice) -> list[V]: ...

    def __getitem__(self, index: int | slice) -> V | list[V]:
        if isinstance(index, slice):
            return [self._make(at) for at in range(*index.indices(self._count))]
        return self._make(range(self._count)[index])


def packed(records: Iterable[T]) -> Sequence[T]:
    """Records of one kind, held as their JSON: a small part of what they take as objects."""
    kinds: list[type[T]] = []
    held: list[bytes] = []
    for record in records:
        kinds = [type(record)]
        held.append(record.model_dump_json().encode())
    return Made(len(held), lambda at: kinds[0].model_validate_json(held[at]))


class Records(Sequence[T], Generic[T]):
    """The records of a JSONL file that nobody writes any more, in its order.

    Args:
        allow_empty: whether a file without records is fine.

    Raises:
        DataError: the file cannot be read, or holds no records; when a record is asked for: its line cannot be used.
    """

    def __init__(self, path: Path, model: type[T], *, allow_empty: bool = False) -> None:
        self.path, self._model = path, model
        self._starts = array("q")
        with os_errors(path, "read"):
            self._stream = path.open("rb")
            for _, line in jsonl.lines_of(self._stream, path):
                self._starts.append(self._stream.tell() - len(line))
        if not self._starts and not allow_empty:
            raise DataError(f"{path}: the file holds no records. Check that writing it was not cut off.")

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        with os_errors(self.path, "read"):
            self._stream.seek(self._starts[at])
            line = self._stream.readline(jsonl.MAX_LINE_BYTES)
        with suppress(ValidationError):  # quicker than ``decode``, which says what is wrong
            return self._model.model_validate_json(line, strict=True)
        return decode(line, self._model, f"{self.path}:{self._number(at)}")

    def _number(self, at: int) -> int:
        """Of the line on which a record stands."""
        with os_errors(self.path, "read"):
            self._stream.seek(0)
            before = sum(self._stream.tell() <= self._starts[at] for _ in iter(self._stream.readline, b""))
            return before + 1

    def __iter__(self) -> Iterator[T]:
        """In one go, which is faster than one by one."""
        return jsonl.iterate(self.path, self._model, allow_empty=True)

    def __reduce__(self) -> tuple[Callable[..., Records[T]], tuple[Path, type[T]]]:
        """Another process opens the file itself."""
        return partial(Records, allow_empty=True), (self.path.absolute(), self._model)

    def close(self) -> None:
        """Closes the file; iterating is still possible."""
        self._stream.close()

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self._stream.close()
