"""Text of unknown origin made safe for the formats that reports are exported to; HTML is Jinja's work.

In each, what is invisible or would act on its surroundings is written out first (``wording.visible``), and a text
becomes one line.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from reports import wording

__all__ = ["latex", "line", "markdown", "spelled", "spreadsheet"]

MAX_TEXT: Final = 500  # characters

_MARKUP: Final = re.compile(
    r"([\\`*_\[\]<>#!|~$&@])|(?<=[A-Za-z])(:)(?=//)|(?<=www)(\.)|^([-+.)])|(?<=^\d)([.)])(?=\s|$)"
)

#: what a spreadsheet takes for the beginning of a formula, full-width forms included
_FORMULA: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20\u2212")

_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",  # some languages make commands of it
    "[": "{[}",  # behind a line's end it would begin an argument
    "]": "{]}",
    "*": "{*}",
    "\u2212": "$-$",
    "\u2013": "--",
    "\u2014": "---",
    "\u2026": r"\ldots{}",
    "\u2260": r"$\neq$",
    "\u2264": r"$\leq$",
    "\u2265": r"$\geq$",
    "\u2248": r"$\approx$",
    "\u2190": r"$\leftarrow$",
    "\u03b1": r"$\alpha$",
    "\u03b2": r"$\beta$",
    "\u0394": r"$\Delta$",
    "\u03b4": r"$\delta$",
    "\u03ba": r"$\kappa$",
    "\u03bb": r"$\lambda$",
    "\u03bc": r"$\mu$",
    "\u03c1": r"$\rho$",
    "\u03c3": r"$\sigma$",
    "\u03c4": r"$\tau$",
    "\u00bd": r"$\frac{1}{2}$",
    "\u00b1": r"$\pm$",
    "\u00d7": r"$\times$",
    "\u2192": r"$\rightarrow$",
    "\u25b2": r"$\uparrow$",
    "\u25bc": r"$\downarrow$",
}


#: letters of the T1 encoding besides those of Latin-1
_LETTERS: Final = "ŒœŠšŽžŁłĄąĆćĘęŃńŚśŹźŻżČčĎďĚěŇňŘřŤťŮůĞğİıŞşŐőŰű"


def line(text: str, limit: int = MAX_TEXT) -> str:
    """One line of visible text, of ``limit`` characters at most."""
    return " ".join(wording.visible(wording.clip(text, limit)).split())


def markdown(text: str, limit: int = MAX_TEXT) -> str:
    r"""One line of text in which nothing is markup.

    >>> print(markdown("a|b <i>"))
    a\|b \<i\>
    """
    return _MARKUP.sub(lambda found: f"\\{found[0]}", line(text, limit))


def spreadsheet(text: str, limit: int = MAX_TEXT) -> str:
    """One line of text that no spreadsheet takes for a formula: an apostrophe goes in front of what could begin one.

    >>> spreadsheet("=1+1")
    "'=1+1"
    """
    shown = line(text, limit)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def latex(text: str) -> str:
    r"""One line of text in which nothing is a command; letters that pdfLaTeX does not have are written as their code.

    >>> print(latex("50 % of \\x"))
    50 \% of \textbackslash{}x
    """
    return "".join(_LATEX.get(c, c) for c in spelled(text))


def spelled(text: str) -> str:
    """One line of text in which letters that pdfLaTeX does not have are their code, as ``latex`` writes them.

    >>> spelled("M1 \u4e2d")
    'M1 [U+4E2D]'
    """
    return "".join(c if _is_set(c) else f"[U+{ord(c):04X}]" for c in unicodedata.normalize("NFC", line(text)))


def _is_set(character: str) -> bool:
    known = character in _LATEX or character in _LETTERS
    return known or character.isascii() or (character.isalpha() and "\u00c0" <= character <= "\u00ff")
