"""A run's numbers for other programs and people: tables, LaTeX, model cards, gates and JUnit for CI.

Text of unknown origin goes through ``escaping``.
"""

from reports.exports.tables import FORMATS, render

__all__ = ["FORMATS", "render"]
