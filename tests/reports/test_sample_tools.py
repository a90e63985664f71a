"""The sample browser's tools in a real browser: categories, lengths, the picture, all checkpoints, points, files."""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reports import html
from selfreward_bench.micro import oracle

from .browser import OpenPage, chromium, open_page  # noqa: F401 - fixtures
from .sample_run import SampleRun, alpaca
from .test_browsing import SAMPLES, pick, wait_for
from .test_hostile import HARMLESS, PAYLOADS

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUALITY = "micro-quality@1"
PROMPTS = {"colour": "What colour is a cat?", **{noun: f"Describe a {noun}." for noun in ("cat", "dog", "bus")}}
WHOLE = "A cat is a small black animal. You find it in the house."
ANSWERS = {
    "M1": {"colour": "blub", "cat": "A cat is black.", "dog": "Dog.", "bus": "A bus is red."},
    "M2": {"colour": "Black.", "cat": "A cat is black.", "dog": "Dog.", "bus": "A bus is red."},
    "M3": {"colour": "A cat is black.", "cat": WHOLE, "dog": "", "bus": "x" * 90},
}  # fmt: skip
FORMULAS = ("=1+1", "  +cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\uff1d1", "\t=1", '"=1"', "a\n=1,b", '=HYPERLINK("x")')


def quality(name: str, answer: str, grade: int | None = None) -> dict[str, Any]:
    """A row as the benchmark leaves it; the answer lies beside it."""
    found = oracle.score(PROMPTS[name], answer) if grade is None else grade
    measures = {"quality_sampled": found, f"quality_sampled/{'colours' if name == 'colour' else 'describe'}": found}
    detail = {"measures": measures, "prompt": PROMPTS[name]}
    return {"sample_id": f"sampled/{name}/0", "value": found, "cluster": name, "reason": None, "detail": detail}


def grades(run: SampleRun, answers: Mapping[str, Mapping[str, str]]) -> None:
    for model, given in answers.items():
        run.scores(model, QUALITY, [quality(name, text) for name, text in given.items()])
        run.answers(model, QUALITY, given)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    run = SampleRun(folder / "demo")
    grades(run, ANSWERS)
    html.write([run.facts], folder / "report.html")
    return folder / "report.html"


def opened(open_page: OpenPage, report: Path, **options: Any) -> Page:
    page = open_page(report, fragment="#samples", **options)
    page.wait_for_selector(f"{SAMPLES} .detail h3")
    return page


def titles(page: Page) -> list[str]:
    return page.locator(f"{SAMPLES} .entry .name").all_text_contents()


def saved(page: Page, form: str) -> tuple[str, str]:
    with page.expect_download() as waiting:
        page.click(f"{SAMPLES} [data-action={form}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text("utf-8")


def test_the_prompt_is_the_title_and_categories_and_lengths_filter(open_page: OpenPage, report: Path) -> None:
    page = opened(open_page, report)
    assert titles(page)[0] == "What colour is a cat?"
    categories = page.locator(f"{SAMPLES} [data-control=category] option").all_text_contents()
    assert categories == ["All", "colours (1)", "describe (3)"]
    pick(page, "category", "describe (3)")
    assert sorted(titles(page)) == sorted(set(PROMPTS.values()) - {PROMPTS["colour"]})
    lengths = page.locator(f"{SAMPLES} [data-control=length] option").all_text_contents()
    assert lengths[:4] == ["Any", "B 1.5 times as long, or more", "B two thirds as long, or less", "Alike"]
    pick(page, "length", "B 1.5 times as long, or more")
    assert sorted(titles(page)) == [PROMPTS["bus"], PROMPTS["cat"]]
    pick(page, "length", "B two thirds as long, or less")
    assert titles(page) == [PROMPTS["dog"]]
    pick(page, "length", lengths[-1])  # the longest third
    assert titles(page) == [PROMPTS["bus"]]
    assert page.text_content(f"{SAMPLES} .count") == "1 of 4 samples, the largest difference first"


def test_a_circle_lists_its_samples_and_lets_them_go_by_mouse_and_by_keys(open_page: OpenPage, report: Path) -> None:
    page = opened(open_page, report)
    circles = page.locator(f"{SAMPLES} .scatter [role=button]")
    told = [circles.nth(k).get_attribute("aria-label") for k in range(circles.count())]
    rows = {p: [oracle.score(p, ANSWERS[m][n]) for m in ("M1", "M3")] for n, p in PROMPTS.items()}
    expected = {f"M1 {a}.00, M3 {b}.00" for a, b in rows.values()}
    assert {str(t).partition(":")[0] for t in told} == expected
    a, b = rows[PROMPTS["colour"]]
    circle = page.locator(f"{SAMPLES} .scatter [aria-label^='M1 {a}.00, M3 {b}.00']")
    circle.click()
    assert titles(page) == [PROMPTS["colour"]]
    assert circle.get_attribute("aria-pressed") == "true"
    circle.click()
    assert len(titles(page)) == 4
    assert page.locator(f"{SAMPLES} .scatter [tabindex='0']").count() == 1  # one stop for the whole picture
    circle.focus()
    page.keyboard.press("Enter")
    assert titles(page) == [PROMPTS["colour"]]
    page.keyboard.press("ArrowDown")
    other = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert other != circle.get_attribute("aria-label")
    assert float(other.split("M3 ")[1][:4]) < b
    page.keyboard.press("Space")
    assert [titles(page)[0]] != [PROMPTS["colour"]]
    assert circle.get_attribute("aria-pressed") == "false"
    kinds = page.locator(f"{SAMPLES} [data-control=kind] option").all_text_contents()
    pick(page, "kind", next(t for t in kinds if t.startswith("Improved")))
    assert page.locator(f"{SAMPLES} .scatter .worse").count() == 0


def test_all_checkpoints_of_a_prompt_stand_in_a_row_with_the_oracles_points(open_page: OpenPage, report: Path) -> None:
    page = opened(open_page, report)
    cells = page.locator(f"{SAMPLES} .all .cell")
    assert [cells.nth(k).locator("p").text_content() for k in range(3)] == ["blub", "Black.", "A cat is black."]
    table = page.locator(f"{SAMPLES} .points table")
    assert table.locator("thead th").all_text_contents() == ["Point", "M1", "M2", "M3"]
    rows = [r.split() for r in table.locator("tbody tr").all_inner_texts()]
    assert [r[0] for r in rows] == ["relevant", "substantial", "complete", "correct", "well"]
    given = [oracle.criteria(PROMPTS["colour"], ANSWERS[m]["colour"]) for m in ANSWERS]
    found = [cell.split()[-1] for cell in table.locator("tbody td").all_text_contents()]
    assert found == ["yes" if c[k] else "no" for k in range(5) for c in given if c is not None]
    assert "M1 \u2192 M3: gained relevant, substantial, complete, correct, well formed" in (
        page.text_content(f"{SAMPLES} .points h4") or ""
    )
    page.click(f"{SAMPLES} .all button")
    assert page.input_value(f"{SAMPLES} [data-control=b]") == "1"
    assert titles(page)[0] == PROMPTS["colour"]
    assert "B \u00b7 M2" in (page.text_content(f"{SAMPLES} .detail") or "")


def test_points_that_do_not_add_up_to_the_grade_are_not_shown(open_page: OpenPage, tmp_path: Path) -> None:
    run = SampleRun(tmp_path / "demo")
    for model, grade in (("M1", 0), ("M3", 2)):  # the oracle says 5
        run.scores(model, QUALITY, [quality("colour", "A cat is black.", grade)])
        run.answers(model, QUALITY, {"colour": "A cat is black."})
    html.write([run.facts], tmp_path / "report.html")
    page = opened(open_page, tmp_path / "report.html")
    assert page.locator(f"{SAMPLES} .points").count() == 0


def test_the_listed_samples_are_saved_as_they_are_filtered(open_page: OpenPage, report: Path) -> None:
    page = opened(open_page, report)
    pick(page, "category", "describe (3)")
    name, text = saved(page, "json")
    assert name == "samples-micro-quality@1-M1-M3.json"
    found = json.loads(text)
    assert found["filters"] == {"kind": "All (3)", "category": "describe (3)", "length": "Any", "search": ""}
    assert {s["prompt"] for s in found["samples"]} == set(PROMPTS.values()) - {PROMPTS["colour"]}
    (cat,) = (s for s in found["samples"] if s["prompt"] == PROMPTS["cat"])
    assert [c["answer"] for c in cat["checkpoints"]] == [ANSWERS[m]["cat"] for m in ANSWERS]
    scores = [oracle.score(PROMPTS["cat"], ANSWERS[m]["cat"]) for m in ANSWERS]
    assert [c["value"] for c in cat["checkpoints"]] == scores
    pressed = page.locator(f"{SAMPLES} .scatter [role=button]").first
    pressed.press("Enter")
    circle = json.loads(saved(page, "json")[1])
    assert circle["filters"]["circle"].endswith(
        f": {len(circle['samples'])} sample{'s' * (len(circle['samples']) > 1)}"
    )
    pressed.press("Enter")  # lets them go
    assert len(cat["checkpoints"][2]["points"]) == cat["checkpoints"][2]["value"]
    name, text = saved(page, "csv")
    assert name.endswith(".csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [r["prompt"] for r in rows] == titles(page)
    assert {r["M3 answer"] for r in rows} == {ANSWERS["M3"][n] for n in ("cat", "dog", "bus")}


def hostile_rows(texts: Sequence[str]) -> list[dict[str, Any]]:
    judged = [{"ab": text, "ba": json.dumps({"justification": text, "probs": {text: 0.5}})} for text in texts]
    return [
        alpaca(f"s{k} {text[:90]}", 10.0 * (k % 9), text, prompt=text, category=text[:90], judgments=said)
        for k, (text, said) in enumerate(zip(texts, judged, strict=True))
    ]


def test_hostile_texts_stay_texts_in_every_new_place(open_page: OpenPage, tmp_path: Path) -> None:
    run = SampleRun(tmp_path / "demo")
    texts = (*PAYLOADS, *FORMULAS)
    for model, shift in (("M1", 0), ("M2", 3), ("M3", 5)):
        rows = hostile_rows(texts)
        for k, row in enumerate(rows):
            row["value"] = 10.0 * ((k + shift) % 11)
        run.scores(model, "alpaca-eval@1", rows)
    html.write([run.facts], tmp_path / "report.html")
    page = opened(open_page, tmp_path / "report.html")
    assert page.locator(f"{SAMPLES} .entry").count() == len(texts) > 60
    page.focus(f"{SAMPLES} .list")
    for _ in texts:
        page.keyboard.press("j")
        assert page.locator(f"{SAMPLES} :is(img, iframe, object, embed, base, link, form, script, style)").count() == 0
    for circle in page.locator(f"{SAMPLES} .scatter [role=button]").all()[:12]:
        circle.click()
    options = page.locator(f"{SAMPLES} [data-control=category] option")
    assert options.count() > 60
    page.select_option(f"{SAMPLES} [data-control=category]", index=7)
    page.select_option(f"{SAMPLES} [data-control=category]", index=0)
    assert page.evaluate("'__pwned' in window || Object.keys(Object.prototype).length") == 0
    _, text = saved(page, "json")
    assert len(json.loads(text)["samples"]) == len(texts)
    _, text = saved(page, "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert {len(r) for r in rows} == {len(rows[0])}
    assert len(rows) == len(texts) + 1
    begins = tuple("=+-@\uff1d\uff0b\uff0d\uff20\u2212")
    columns = [i for i, head in enumerate(rows[0]) if head not in ("value a", "value b", "difference")]
    cells = [r[i] for r in rows[1:] for i in columns if not rows[0][i].endswith((" value", " characters"))]
    assert not [c for c in cells if c.lstrip().startswith(begins)]
    assert sum(c.startswith("'") for c in cells) > 20
    assert not [c for c in cells if "\n" in c]


def test_hostile_words_make_the_list_that_harmless_ones_make(open_page: OpenPage, tmp_path: Path) -> None:
    shapes = []
    for name, texts in (("hostile", PAYLOADS[:20]), ("harmless", HARMLESS[:20])):
        run = SampleRun(tmp_path / name / "demo")
        for model in ("M1", "M3"):
            run.scores(model, "alpaca-eval@1", hostile_rows(texts))
        html.write([run.facts], tmp_path / name / "report.html")
        page = opened(open_page, tmp_path / name / "report.html")
        wait_for(page, f"{SAMPLES} .entry", count=20)
        tags = "[...document.querySelector('#samples .browser').querySelectorAll('*')].map((e) => e.tagName).join(' ')"
        page.uncheck(f"{SAMPLES} [data-control=marks]")
        page.focus(f"{SAMPLES} .list")
        page.keyboard.press("End")
        shapes.append(page.evaluate(tags))
    assert shapes[0] == shapes[1]
