"""What the command line prints, as plain text: no markup is read out of it, and nothing in it can steer a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer


def visible(text: str) -> str:
    r"""The text with control characters, bidirectional overrides and lone surrogates as escapes.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str = "", *, err: bool = False) -> None:
    """Prints one text, made visible."""
    typer.echo(visible(text), err=err)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows in aligned columns; those whose numbers are in ``right`` are flushed right."""
    lines = [[visible(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (lines[0], rule, *lines[1:])
    )


def duration(seconds: float) -> str:
    """A time in words, as exact as its size asks for.

    >>> duration(7.31), duration(200), duration(7500)
    ('7.3 s', '3 min 20 s', '2 h 05 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def counted(value: float) -> str:
    """A count with its thousands apart, or a measure in four digits."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"


def listed(counts: Mapping[str, float], first: str = "", most: int | None = None) -> str:
    """Counts in one line: ``first`` in front, and what is zero left out; ``most`` of them.

    >>> listed({"cut": 0, "empty": 2, "pairs": 1410}, "pairs")
    'pairs 1,410, empty 2'
    """
    shown = sorted((name for name in counts if counts[name] or name == first), key=lambda name: name != first)
    return ", ".join(f"{name} {counted(counts[name])}" for name in shown[:most])
