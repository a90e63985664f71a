"""One line of JSON as a record or as plain values, strictly; what is wrong with it is said with its field.

``json_file`` alone is lenient: for small files of srbench's own that are as good as not there where they are damaged.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from selfreward_bench.errors import DataError, did_you_mean

__all__ = ["decode", "find_fault", "json_file", "parse", "shown"]

_SHOWN_PROBLEMS: Final = 5
_SHOWN_CHARACTERS: Final = 60
_INT_DIGITS: Final = 300  # more would be infinite as a double
_FILE_BYTES: Final = 2**20

T = TypeVar("T", bound=BaseModel)


def decode(line: bytes, model: type[T], place: str) -> T:
    """One line as a record.

    Args:
        place: ``FILE:LINE``, which messages begin with.

    Raises:
        DataError: the line cannot be used.
    """
    text = _text(line, place)
    values = _parse(text, place)
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(_describe(error, values, model, place)) from error


def parse(line: bytes, place: str) -> object:
    """One line as plain values.

    Raises:
        DataError: it is no JSON in UTF-8, or holds what JSON cannot (NaN, lone surrogates, a field twice).
    """
    return _parse(_text(line, place), place)


def json_file(path: Path, max_bytes: int = _FILE_BYTES) -> object:
    """What a small file holds; None where it is not there, cannot be read, is larger, or is no JSON."""
    try:
        if not path.is_file():  # a pipe might never end
            return None
        with path.open("rb") as stream:
            return json.loads(stream.read(max_bytes))
    except (OSError, ValueError, RecursionError):
        return None


def _text(line: bytes, place: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not valid UTF-8. Save the "
            "file as UTF-8."
        ) from error


def _parse(text: str, place: str) -> object:
    """The line as plain values; strict where Python's json is not (NaN, overflow, repeated keys, surrogates)."""
    fault = None
    try:
        try:
            values = json.loads(
                text,
                parse_constant=_suspect,
                parse_float=_finite_float,
                parse_int=_finite_int,
                object_pairs_hook=_unrepeated,
            )
            suspicious = "\\u" in text
        except _SuspiciousNumber:
            values = json.loads(text)
            suspicious = True
        fault = find_fault(values) if suspicious else None
    except RecursionError as error:
        raise DataError(f"{place}: the value is nested too deeply to be a record. Remove the line.") from error
    except json.JSONDecodeError as error:
        hint = "" if text.endswith("\n") else " The file ends here: its last line was probably cut off while written."
        raise DataError(
            f"{place}: not valid JSON: {error.msg} at column {error.colno}.{hint} Mend or remove the line."
        ) from error
    except ValueError as error:
        raise DataError(f"{place}: {error}. Mend or remove the line.") from error
    if fault:
        raise DataError(f"{place}: field {fault[0]!r} {fault[1]}. Mend or remove the line.")
    return values


class _SuspiciousNumber(Exception):
    """A number that JSON or a double cannot hold; the line is looked at again to name its field."""


def _suspect(_: str) -> NoReturn:
    raise _SuspiciousNumber


def _finite_float(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _suspect(text)


def _finite_int(text: str) -> int:
    return int(text) if len(text) <= _INT_DIGITS else _suspect(text)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the field {shown(repeated)} is there more than once")
    return values


def _describe(error: ValidationError, values: object, model: type[BaseModel], place: str) -> str:
    if not isinstance(values, dict):
        return f"{place}: the line holds a {_json_type(values)}, not an object like {{...}}. Mend or remove the line."
    problems = error.errors(include_url=False, include_context=False)
    parts = [_problem(p["type"], p["loc"], p["msg"], p["input"], model) for p in problems[:_SHOWN_PROBLEMS]]
    more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    return f"{place}: {'; '.join(parts)}{more}. Mend or remove the line."


def _problem(kind: str, location: tuple[int | str, ...], message: str, value: object, model: type[BaseModel]) -> str:
    field = ".".join(str(part) for part in location)
    if not location:
        return message.removeprefix("Value error, ")
    if kind == "missing":
        return f"field {field!r} is missing"
    if kind == "extra_forbidden":
        known = list(model.model_fields) if len(location) == 1 else []
        names = f" Known: {', '.join(known)}" if known else ""
        return f"field {shown(field)} is unknown.{did_you_mean(field, known)}{names}"
    return f"field {field!r}: {message[:1].lower()}{message[1:]} (it is {shown(value)})"


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """A value as a message shows it: short, and in characters that can be written."""
    text = ascii(value) if isinstance(value, str) and not _encodable(value) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text):,} characters)"


def find_fault(value: object, path: str = "") -> tuple[str, str] | None:
    """The dotted path of the first value that JSON in UTF-8 cannot hold, and what is wrong with it."""
    if isinstance(value, dict):
        children = [(str(key), child) for key, child in value.items()]
        for key, _ in children:
            if not _encodable(key):
                return f"{path}.{shown(key)}".lstrip("."), "has a lone surrogate in its name, which UTF-8 cannot hold"
    elif isinstance(value, list | tuple):
        children = [(str(index), child) for index, child in enumerate(value)]
    elif isinstance(value, str) and not _encodable(value):
        return path, "holds a lone surrogate (half of a character), which UTF-8 cannot hold"
    elif isinstance(value, float) and not math.isfinite(value):
        return path, f"is {value}: not a finite number ('unknown' is null)"
    elif isinstance(value, int) and abs(value) >= 10**_INT_DIGITS:
        return path, f"is a number of more than {_INT_DIGITS} digits"
    elif value is not None and not isinstance(value, str | int | float):
        return path, f"is of type {type(value).__name__}, which JSON cannot hold"
    else:
        return None
    return next((f for key, child in children if (f := find_fault(child, f"{path}.{key}".lstrip(".")))), None)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
