"""What raters get: a page that opens from disk and asks no network, and the same as CSV for spreadsheet programs.

Neither says which model wrote what, nor anything it could be told from. Answers are whole and shown as text: escaped,
with everything invisible or active written out, under a Content-Security-Policy that allows the page's own script.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markupsafe import Markup, escape

from leaderboards.human.labels import COLUMNS, neutralised
from leaderboards.human.records import Sheet, Shown
from reports import wording
from reports.page import rendering
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.types import Message

__all__ = ["PAGE", "TABLE", "page", "table", "write"]

PAGE: Final = "sheet.html"
TABLE: Final = "sheet.csv"

_MOST: Final = 20_000  # characters of a text on the page
_MOST_IN_CELL: Final = 30_000  # characters of a cell; spreadsheet programs hold 32,767


@dataclass(frozen=True, slots=True)
class _Item:
    id: str
    prompt: Markup
    first: Markup
    second: Markup


def write(sheet: Sheet, directory: Path) -> tuple[Path, Path]:
    """Writes both files; returns where they are.

    Raises:
        DataError: the operating system refuses.
    """
    write_atomic(directory / PAGE, page(sheet).encode())
    write_atomic(directory / TABLE, table(sheet).encode("utf-8-sig"))  # the mark tells spreadsheets that it is UTF-8
    return directory / PAGE, directory / TABLE


def page(sheet: Sheet) -> str:
    """The rating page."""
    script = rendering.asset("rating.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'"
    return str(
        rendering.render(
            "rating.html.j2",
            sheet=sheet.key.sheet,
            items=[_Item(s.id, *map(_shown, _texts(s))) for s in sheet.shown],
            style=Markup(rendering.asset("rating.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file; its hash is in the policy
            policy=f"{policy}; base-uri 'none'; form-action 'none'",
        )
    )


def table(sheet: Sheet) -> str:
    """The CSV: a row per comparison, the column ``choice`` empty."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    name, item, choice = COLUMNS
    writer.writerow([name, item, "prompt", "answer 1", "answer 2", choice])
    for shown in sheet.shown:
        cells = (neutralised(wording.visible(wording.clip(text, _MOST_IN_CELL))) for text in _texts(shown))
        writer.writerow([sheet.key.sheet, shown.id, *cells, ""])
    return stream.getvalue()


def _texts(shown: Shown) -> Iterable[str]:
    return _told(shown.prompt.messages), shown.first, shown.second


def _told(messages: Sequence[Message]) -> str:
    """What was asked: a single turn as it is; of several, who said what."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in messages)


def _shown(text: str) -> Markup:
    """A whole text; the templates' own values are cut far earlier."""
    return escape(wording.visible(wording.clip(text, _MOST)))
