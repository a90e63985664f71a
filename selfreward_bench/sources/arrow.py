"""Rows of Arrow tables: Parquet files, directories that ``datasets`` saved, data sets of the Hugging Face hub.

pyarrow reads the bytes; nothing is unpickled, no image or sound is decoded, and no code of a data set is run
(``datasets`` has none since version 4). Only columns that some shape has are read, a few rows at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selfreward_bench.errors import DataError
from selfreward_bench.sources.shapes import COLUMNS
from selfreward_bench.sources.tables import Row, Table, unpacked_limit
from selfreward_bench.storage.files import os_errors

if TYPE_CHECKING:
    import pyarrow

__all__ = ["HUB_PREFIX", "Parquet", "directory", "holds_table", "hub", "is_hub_name"]

HUB_PREFIX: Final = "hf:"
_HUB_NAME: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:/(?P<subset>[\w.-]{1,100}))?"
    r"(?:@(?P<revision>[A-Za-z0-9][\w./-]{0,250}))?(?:#(?P<split>[\w.-]{1,100}))?",
    re.ASCII,
)
#: files of the hub's data sets, by split: train-00000-of-00002.parquet, validation.parquet
_SPLIT: Final = re.compile(
    r"([\w.]{1,100})-[0-9]{5}-of-[0-9]{5}(?:-[0-9a-f]+)?\.parquet|(train|test|valid(?:ation)?|val|dev|eval)\.parquet",
    re.ASCII,
)
_MAX_FILES: Final = 10_000
_SAVED: Final = ("state.json", "dataset_dict.json")  # by ``datasets``
_ROWS: Final = 16  # of a batch
_MAX_BATCH_BYTES: Final = 64 * 2**20


class Parquet:
    """A Parquet file.

    Args:
        path: where it is; ``content`` takes its place where it was packed.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        from pyarrow import BufferReader, parquet

        self._path = path
        with _arrow_errors(path):
            self._limit = unpacked_limit(path.stat().st_size if content is None else len(content))
            self._file = parquet.ParquetFile(path if content is None else BufferReader(content))
            self.columns = tuple(self._file.schema_arrow.names)

    def rows(self) -> Iterator[Row]:
        """See ``Table.rows``."""
        columns = [c for c in self.columns if c in COLUMNS]
        with _arrow_errors(self._path):
            yield from _rows(self._file.iter_batches(_ROWS, columns=columns), str(self._path), self._limit)


def holds_table(path: Path) -> bool:
    """Whether a directory is one that ``directory`` reads, and not a model's."""
    if any((path / name).is_file() for name in (*_SAVED, "dataset_info.json")):
        return True
    return not (path / "config.json").exists() and bool(_parquet_files(path))


def _parquet_files(path: Path) -> list[Path]:
    with os_errors(path, "read"):
        return sorted({*path.glob("*.parquet"), *path.glob("data/*.parquet")})


def directory(path: Path) -> Table:
    """What ``Dataset.save_to_disk`` wrote, or a data set as the hub keeps it, in Parquet files (``data/train-*``).

    Of several splits it is ``train``, or the only one.

    Raises:
        DataError: it is another directory, is damaged, or has several splits and none called ``train``.
    """
    if not any((path / name).is_file() for name in _SAVED):
        return _files(path)
    import datasets

    with _dataset_errors(str(path)):
        found = datasets.load_from_disk(str(path))
    return _table(str(path), "a directory of datasets", found, lambda split: f"{path}/{split}")


def _files(path: Path) -> Table:
    splits: defaultdict[str, list[Path]] = defaultdict(list)
    for file in _parquet_files(path):
        found = _SPLIT.fullmatch(file.name)
        splits[(found[1] or found[2]) if found else ""].append(file)
    if not splits:
        raise DataError(
            f"{path}: a directory, but not one that `datasets` wrote (save_to_disk), and without Parquet files. Name a "
            "file in it."
        )
    chosen = splits.get("train") or (next(iter(splits.values())) if len(splits) == 1 else None)
    if chosen is None:
        listing = ", ".join(str(files[0].relative_to(path)) for files in list(splits.values())[:10])
        raise DataError(f"{path}: has several splits, and none is called train. Name a file in it: {listing}.")
    if len(chosen) > _MAX_FILES:
        raise DataError(f"{path}: has {len(chosen):,} Parquet files, more than {_MAX_FILES:,}. Name a file in it.")
    columns = dict.fromkeys(column for file in chosen for column in Parquet(file).columns)

    def rows() -> Iterator[Row]:
        return chain.from_iterable(Parquet(file).rows() for file in chosen)

    return Table(str(path), "a directory of Parquet files", tuple(columns), rows, lambda: _digest(rows()))


def is_hub_name(given: str) -> bool:
    """Whether it could name a data set of the hub, without the prefix that says so."""
    return _HUB_NAME.fullmatch(given) is not None


def hub(given: str) -> Table:
    """A data set of the hub: ``hf:OWNER/NAME``, with ``/SUBSET``, ``@REVISION`` and ``#SPLIT`` where needed.

    It is downloaded into the cache of ``datasets``. Without a split ``train`` is taken, or the only one.

    Raises:
        DataError: the name is none, or it cannot be had.
    """
    parts = _HUB_NAME.fullmatch(given.removeprefix(HUB_PREFIX))
    if parts is None:
        raise DataError(f"{given!r} names no data set. The form is hf:OWNER/NAME[/SUBSET][@REVISION][#SPLIT].")
    if Path(parts["name"]).exists():
        raise DataError(f"{given}: {parts['name']} is here, too, and `datasets` would take it. Call from elsewhere.")
    import datasets

    with _dataset_errors(given):
        found = datasets.load_dataset(
            parts["name"], parts["subset"], revision=parts["revision"], split=parts["split"] or None
        )
    return _table(given, "a data set of the hub", found, lambda split: f"{given}#{split}")


def _table(name: str, container: str, found: Any, with_split: Any) -> Table:
    if not hasattr(found, "column_names"):
        raise DataError(f"{name}: holds no table.")
    if isinstance(found, dict):
        splits = list(found)
        chosen = "train" if "train" in splits else splits[0] if len(splits) == 1 else None
        if chosen is None:
            listing = ", ".join(with_split(split) for split in splits[:10])
            raise DataError(f"{name}: has no split called train. Name one: {listing or 'it has none'}.")
        found = found[chosen]

    def rows() -> Iterator[Row]:
        columns = [c for c in found.column_names if c in COLUMNS]
        tables = found.select_columns(columns).with_format("arrow").iter(_ROWS)
        with _arrow_errors(Path(name)):
            yield from _rows(tables, name, 2**62)

    return Table(name, container, tuple(found.column_names), rows, lambda: _digest(rows()))


def _rows(batches: Iterable[pyarrow.RecordBatch | pyarrow.Table], name: str, left: int) -> Iterator[Row]:
    """Rows of batches that hold at most ``left`` bytes together."""
    number = 0
    for batch in batches:
        left -= batch.nbytes
        if left < 0:
            raise DataError(f"{name}: unpacks to far more than its size, from row {number + 1} on; no texts do.")
        if batch.nbytes > _MAX_BATCH_BYTES:
            raise DataError(f"{name}: {_ROWS} rows from row {number + 1} on take {batch.nbytes:,} bytes; no texts do.")
        for values in batch.to_pylist():
            number += 1
            yield Row(f"{name}, row {number}", {str(k): v for k, v in values.items() if v is not None})


def _digest(rows: Iterable[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row.values, sort_keys=True, default=repr).encode() + b"\n")
    return digest.hexdigest()


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    from pyarrow import ArrowException

    with os_errors(path, "read"):
        try:
            yield
        except (ArrowException, UnicodeDecodeError, OverflowError) as error:
            raise DataError(f"{path}: damaged, or no such table ({_line(error)}). Write or fetch it again.") from error


@contextmanager
def _dataset_errors(name: str) -> Iterator[None]:
    """Whatever the library raises for what is not there, damaged, private or out of reach. No progress bars."""
    import datasets

    hidden = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    except Exception as error:
        raise DataError(f"{name}: `datasets` cannot load it: {type(error).__name__}: {_line(error)}") from error
    finally:
        if hidden:
            datasets.enable_progress_bars()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
