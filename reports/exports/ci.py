"""A comparison for continuous integration: JUnit XML of its gates, and a Markdown summary of all.

Names and messages are text of unknown origin: XML is built by its library from text in which nothing invisible is
left, and Markdown has everything escaped that could be markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from leaderboards.comparing.records import Pairing
from reports import wording
from reports.exports.escaping import MAX_TEXT, markdown
from reports.exports.gates import GateResult
from reports.facts import paired

__all__ = ["junit", "summary"]

_SIGNS: Final = {"passed": "✅ passed", "failed": "❌ FAILED", "untested": "⚠️ not tested"}


# --- JUnit


def junit(pairing: Pairing, results: Sequence[GateResult]) -> bytes:
    """The gates as test cases: what failed is a failure, what could not be tested an error."""
    counts = {s: sum(r.status == s for r in results) for s in _SIGNS}
    totals = {
        "tests": str(len(results)),
        "failures": str(counts["failed"]),
        "errors": str(counts["untested"]),
        "time": "0",
    }
    root = ET.Element("testsuites", {"name": "srbench compare", **totals})
    name = _text(f"{pairing.b.name} against {pairing.a.name}")
    suite = ET.SubElement(root, "testsuite", {"name": name, **totals, "skipped": "0"})
    properties = ET.SubElement(suite, "properties")
    for key, side in (("a", pairing.a), ("b", pairing.b)):
        ET.SubElement(properties, "property", {"name": key, "value": _text(side.given)})
        ET.SubElement(properties, "property", {"name": f"{key}.weights", "value": side.fingerprint})
    for result in results:
        _case(suite, result)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: ET.Element, result: GateResult) -> None:
    attributes = {"classname": _text(f"srbench.{result.benchmark}"), "name": _text(result.gate.text), "time": "0"}
    case = ET.SubElement(suite, "testcase", attributes)
    message = _text(result.message)
    if result.status == "failed":
        ET.SubElement(case, "failure", {"type": "gate", "message": message}).text = message
    elif result.status == "untested":
        ET.SubElement(case, "error", {"type": "untested", "message": message}).text = message
    else:
        ET.SubElement(case, "system-out").text = message


def _text(value: str) -> str:
    """Text that XML 1.0 can hold: no control characters, no half characters."""
    return wording.visible(wording.clip(value, MAX_TEXT))


# --- Markdown


def summary(pairing: Pairing, results: Sequence[GateResult], *, full: bool = False) -> str:
    """The comparison as a page of Markdown, gates first."""
    lines = [f"## {markdown(pairing.b.name)} against {markdown(pairing.a.name)}", ""]
    lines += [f"- **{markdown(name)}**: {markdown(what)}" for name, what in paired.header(pairing)]
    lines.append("")
    if results:
        lines += ["| Gate | | |", "|---|---|---|"]
        lines += [f"| {markdown(r.gate.text)} | {_SIGNS[r.status]} | {markdown(r.message)} |" for r in results]
        lines.append("")
    names = [markdown(n) for n in (pairing.a.name, pairing.b.name)]
    for part in paired.parts(pairing, full=full):
        lines += _part(part, names)
    lines += [markdown(paired.match(pairing)), ""] if pairing.head_to_head else []
    lines += [f"- {markdown(note)}" for note in paired.notes(pairing)]
    lines += ["", markdown(paired.EXPLANATION), ""]
    return "\n".join(lines)


def _part(part: paired.Part, names: Sequence[str]) -> list[str]:
    lines = [f"### {markdown(part.title)}", ""]
    if part.judge:
        lines += [f"Judge: {markdown(part.judge)}", ""]
    if part.unlike:
        lines += [f"**{markdown(part.unlike)}**", ""]
    lines += [f"| Metric | {names[0]} | {names[1]} | Difference | p | n | Detects |", "|---|--:|--:|:--|--:|--:|--:|"]
    for line in part.lines:
        label = f"**{markdown(line.label)}**" if line.main else markdown(line.label)
        change = " ".join(filter(None, (line.arrow, line.change, line.interval)))
        cells = (line.a, line.b, change, line.p, line.n, line.detects)
        lines.append(f"| {label} | {' | '.join(cells)} |")  # numbers: nothing in them is markup
    return [*lines, ""]
