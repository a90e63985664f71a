"""What the command line prints: no markup is read out of it, and nothing in it can steer a terminal.

At a terminal a table keeps to its width: numbers stay whole, words go on in the next line. Where there is none (a pipe,
a file) each row is one line of plain text, however long.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.segment import Segment
    from rich.table import Table
    from rich.text import Text

_UNBOUNDED: Final = 10_000_000  # cells in a line, where there is no terminal
_MAX_CELL: Final = 2_000  # characters; the name of a model may come out of anybody's file
_GAP: Final = 2  # cells between columns
_INDENT: Final = 2
_WORDS: Final = 20  # cells below which a column of words is no pleasure to read
_NAME: Final = 14  # cells of a name over numbers before it takes another line
KEPT: Final = "\xa0"  # in a cell: a space at which no line ends
_FOLDED: Final = 8  # cells that are left to a word that is too long, as far as possible


def visible(text: str) -> str:
    r"""The text with control characters, bidirectional overrides and lone surrogates as escapes.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str = "", *, err: bool = False) -> None:
    """Prints one text as it is, made visible: what is copied, or read by a program, is not broken into lines."""
    typer.echo(visible(text), err=err)


def stdout() -> Console:
    """Where results go: as wide as the terminal, or without bounds where there is none."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console


def show(*parts: RenderableType) -> None:
    """Prints texts (made visible) and tables, each on lines of its own; at a terminal words are not broken."""
    from rich.segment import SegmentLines
    from rich.text import Text

    console = stdout()
    for part in parts:
        lines = console.render_lines(Text(visible(part)) if isinstance(part, str) else part, pad=False)
        console.print(SegmentLines(map(_stripped, lines), new_lines=True), end="")


class Columns:
    """A table of texts that keeps to the room there is.

    A row is never cut. Where the columns do not fit, words go on in the next line; if that would leave too little to
    read, the first ``heads`` columns become a line above their rows. Only a word that no column can hold is broken.

    Args:
        header: the columns' names.
        rows: one text per column; a ``rich.text.Text`` where it has a style.
        right: the columns of numbers: flushed right, and never broken.
        whole: columns that are never broken, besides.
        heads: how many columns at the front can give way.
    """

    def __init__(
        self,
        header: Sequence[str | Text],
        rows: Sequence[Sequence[str | Text]] = (),
        *,
        right: Collection[int] = (),
        whole: Collection[int] = (),
        heads: int = 0,
    ) -> None:
        self._header = [_cell(name) for name in header]
        self._right = frozenset(right)
        self._whole = self._right | set(whole)
        self._heads = heads
        self._sections: list[tuple[list[Text], list[list[Text]]]] = [([], [])]
        for row in rows:
            self.add(*row)

    def section(self, *titles: str | Text) -> None:
        """Begins rows that stand under lines of their own."""
        self._sections.append(([_cell(title) for title in titles], []))

    def add(self, *cells: str | Text) -> None:
        """Adds one row."""
        self._sections[-1][1].append([_cell(cell) for cell in cells])

    def fits(self, room: int) -> bool:
        """Whether all rows can be read in so many cells, their first columns in their places."""
        return self._least(0) <= room

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.padding import Padding

        room = options.max_width
        for indent, part in self._parts(room, 0 if self.fits(room) else self._heads):
            yield Padding.indent(part, indent)

    def _parts(self, room: int, heads: int) -> Iterator[tuple[int, RenderableType]]:
        """What is drawn below each other, and how far it is indented."""
        indent = self._indent(heads)
        widths = self._widths(room - indent, heads)
        yield indent, self._table([], widths, heads)
        shown = [section for section in self._sections if any(section)]
        for n, (titles, rows) in enumerate(shown):
            if n:
                yield 0, " "
            yield from ((0, title) for title in titles)
            for names, group in groupby(rows, key=lambda row: [cell.plain for cell in row[:heads]]):
                found = list(group)
                if names:
                    yield _INDENT * bool(titles), _joined(found[0][:heads])
                yield indent, self._table(found, widths, heads)

    def _table(self, rows: Sequence[Sequence[Text]], widths: Sequence[int], first: int) -> Table:
        """The columns from ``first`` on: the rows, or the header where there are none."""
        from rich.table import Table

        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=not rows, header_style="bold")
        for i, width in enumerate(widths, first):
            table.add_column(
                self._header[i], width=width, justify="right" if i in self._right else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(_filled(cell, width) for cell, width in zip(row[first:], widths, strict=True)))
        return table

    def _widths(self, room: int, first: int) -> list[int]:
        """Cells of each column from ``first`` on, as much as it wants where all fit."""
        columns = range(first, len(self._header))
        room -= _GAP * (len(columns) - 1)
        widths = [max(c.cell_len for c in self._column(i)) for i in columns]
        words = [self._word(i) for i in columns]
        for least in (
            [self._readable(i) for i in columns],
            words,
            [w if i in self._whole else min(w, _FOLDED) for i, w in zip(columns, words, strict=True)],
        ):
            widths = _narrowed(widths, least, room)
        return widths

    def _least(self, first: int) -> int:
        """Cells in which all columns from ``first`` on can be read."""
        columns = range(first, len(self._header))
        return self._indent(first) + sum(map(self._readable, columns)) + _GAP * (len(columns) - 1)

    def _readable(self, i: int) -> int:
        """Cells in which a column can be read."""
        if i in self._whole:
            return self._word(i)
        return max(self._word(i), min(_WORDS, max(c.cell_len for c in self._column(i))))

    def _word(self, i: int) -> int:
        """Cells in which no word of a column is broken; names over columns that stay whole may be."""
        header, *cells = self._column(i)
        if i in self._whole:
            return max([min(_longest(header), _NAME), *(c.cell_len for c in cells)])
        return max(map(_longest, (header, *cells)))

    def _column(self, i: int) -> list[Text]:
        return [self._header[i], *(row[i] for _, rows in self._sections for row in rows)]

    def _indent(self, heads: int) -> int:
        return _INDENT * (any(titles for titles, _ in self._sections) + bool(heads))


def _cell(content: str | Text) -> Text:
    """One bounded line in which nothing is hidden."""
    from rich.text import Text

    text = content if isinstance(content, str) else content.plain
    if not isinstance(content, str) and text.isprintable() and len(text) <= _MAX_CELL:
        return content
    more = len(text) - _MAX_CELL
    shown = KEPT.join(map(visible, text[:_MAX_CELL].split(KEPT))).replace("\n", r"\n").replace("\t", r"\t")
    return Text(shown + (f" [{more:,} more characters]" if more > 0 else ""))


def _filled(cell: Text, width: int) -> Text:
    """A cell in lines of so many characters, if it has spaces that are kept: rich would break it there, too."""
    from rich.text import Text

    if KEPT not in cell.plain:
        return cell
    return Text("\n".join(textwrap.wrap(cell.plain, width, break_on_hyphens=False)).replace(KEPT, " "))


def _joined(cells: Sequence[Text]) -> Text:
    from rich.text import Text

    return Text("  ", "bold").join(cells)


def _longest(cell: Text) -> int:
    """Cells that the longest word takes."""
    from rich.cells import cell_len

    return max((cell_len(kept) for kept in re.split(r"[^\S\xa0]+", cell.plain)), default=0)


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Takes from the widest columns until all fit, or all are as narrow as they may be."""
    found = [min(width, max(room, low)) for width, low in zip(widths, least, strict=True)]
    while sum(found) > room and (wide := [i for i, low in enumerate(least) if found[i] > low]):
        found[max(wide, key=lambda i: found[i])] -= 1
    return found


def _stripped(line: Sequence[Segment]) -> list[Segment]:
    """A line without the blanks behind it."""
    from rich.segment import Segment

    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    return [*kept[:-1], Segment(kept[-1].text.rstrip(), kept[-1].style)] if kept else []


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
