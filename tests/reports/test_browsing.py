"""Samples and preference pairs in a real browser: filters, keys, links, marked differences, hostile texts."""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reports import html

from .browser import OpenPage, chromium, open_page  # noqa: F401 - fixtures
from .sample_run import SampleRun, alpaca, verdict

if TYPE_CHECKING:
    from playwright.sync_api import Page

SAMPLES, PAIRS = "#samples .browser", "#pairs .browser"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe {{ 7*191 }}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine samples of two checkpoints, a tournament, three pairs."""
    folder = tmp_path_factory.mktemp("browsing")
    run = SampleRun(folder / "demo")
    both = {"ab": "The judge prefers <i>m</i>.", "ba": "Now it prefers M."}
    run.scores(
        "M1",
        "alpaca-eval@1",
        [
            alpaca("gain", 10.0, "A cat sat there.", judgments=both, measures={"order_agreement": 0.0}),
            alpaca("loss", 95.0, "A dog ran away."),
            alpaca("drift", 30.0, "About jokes."),
            alpaca("lost", None, "No words.", judgments={"ab": "I will not say."}),
            alpaca("cut/short & odd?", 40.0, "It goes on and", measures={"truncated": 1.0}),
            *(alpaca(f"same{k}", 50.0, f"Same {k}.") for k in range(3)),
            alpaca("evil", 60.0, HOSTILE, prompt=HOSTILE),
        ],
    )
    run.scores(
        "M3",
        "alpaca-eval@1",
        [
            alpaca("evil", 61.0, HOSTILE, prompt=HOSTILE),
            *(alpaca(f"same{k}", 50.0, f"Same {k}.") for k in range(3)),
            alpaca("cut/short & odd?", 45.0, "It ends."),
            alpaca("lost", 50.0, "No words at all."),
            alpaca("drift", 40.0, "About jackets."),
            alpaca("loss", 20.0, "A dog ran."),
            alpaca("gain", 90.0, "A small cat sat here."),
        ],
    )
    for name, text in (("M1", "One answer."), ("M3", "Another answer.")):
        run.answers(name, "head-to-head@1", {"duel": text})
    lines = [verdict("M3", "M1", "duel", "ab", 1.0, "First."), verdict("M3", "M1", "duel", "ba", 0.0, "Second.")]
    run.tournament(("M1", "M3"), lines)
    run.pairs(
        "M3",
        [
            ("Cats?", "Small cat.", "Big cat.", 4.0, 1.0),
            ("Dogs?", "d" * 40, "d", 3.0, 2.5),
            (HOSTILE, HOSTILE, "x", 5.0, 0),
        ],
    )
    said = {"prompt_id": "p0", "index": 2, "score": 4.0, "raw": "I like this cat.", "reason": None}
    run.lines(run.path / "M3" / "judgments.jsonl", [said])
    html.write([run.facts], folder / "report.html")
    return folder / "report.html"


def wait_for(page: Page, selector: str, *, count: int | None = None, text: str | None = None) -> None:
    """The page's policy forbids the driver's own polling of expressions."""
    from playwright.sync_api import expect

    expecting = expect(page.locator(selector))
    if count is not None:
        expecting.to_have_count(count, timeout=30_000)
    if text is not None:
        expecting.to_contain_text(text, timeout=30_000)


def names(page: Page, browser: str = SAMPLES) -> list[str]:
    return [called(text) for text in page.locator(f"{browser} .entry .name").all_text_contents()]


def chosen(page: Page, browser: str = SAMPLES) -> str:
    return called(page.locator(f"{browser} [aria-selected=true] .name").text_content() or "")


def called(title: str) -> str:
    """The id of a sample whose title, its prompt, is "What is ID?"."""
    return "evil" if "onerror" in title else re.sub(r"^What is (.*)\?$", r"\1", title)


def shown(page: Page, browser: str = SAMPLES) -> str:
    return page.locator(f"{browser} .detail").text_content() or ""


def pick(page: Page, control: str, label: str, browser: str = SAMPLES) -> None:
    page.select_option(f"{browser} [data-control={control}]", label=label)


def samples(open_page: OpenPage, report: Path, **options: Any) -> Page:
    page = open_page(report, fragment=options.pop("fragment", "#samples"), **options)
    page.wait_for_selector(f"{SAMPLES} .detail h3")
    return page


def test_the_largest_difference_comes_first_with_both_answers_and_their_differences(
    open_page: OpenPage, report: Path
) -> None:
    page = samples(open_page, report)
    assert names(page)[:4] == ["gain", "loss", "drift", "cut/short & odd?"]
    assert names(page)[-1] == "lost"
    assert page.locator(f"{SAMPLES} [aria-selected=true] .hidden").text_content() == (
        "What is gain? koala: M1 10.0 %, M3 90.0 %, difference +80.0"
    )
    panes = page.locator(f"{SAMPLES} .pane")
    assert panes.nth(0).locator("del").all_text_contents() == ["there"]
    assert [t.strip() for t in panes.nth(1).locator("ins").all_text_contents()] == ["small", "here"]
    assert "The judge prefers <i>m</i>." in (panes.nth(0).text_content() or "")
    assert "Judge, answer shown first" in (panes.nth(0).text_content() or "")
    page.uncheck(f"{SAMPLES} [data-control=marks]")
    assert page.locator(f"{SAMPLES} :is(del, ins)").count() == 0
    page.click(f"{SAMPLES} .entry:nth-child(2)")
    assert "A dog ran away." in shown(page)
    assert page.locator(f"{SAMPLES} .count").get_attribute("role") == "status"


def test_filters_and_search_leave_what_they_say(open_page: OpenPage, report: Path) -> None:
    page = samples(open_page, report)
    options = page.locator(f"{SAMPLES} [data-control=kind] option").all_text_contents()
    assert options == [
        "All (9)",
        "Flipped (2)",
        "Regressed (1)",
        "Improved (4)",
        "Orders disagree (1)",
        "Failed to parse (1)",
        "Truncated (1)",
        "Not scored (1)",
    ]
    for label, expected in zip(
        options[1:],
        (
            ["gain", "loss"],
            ["loss"],
            ["gain", "drift", "cut/short & odd?", "evil"],
            ["gain"],
            ["lost"],
            ["cut/short & odd?"],
            ["lost"],
        ),
        strict=True,
    ):
        pick(page, "kind", label)
        assert names(page) == expected
    assert "no_verdict" in shown(page)
    assert "I will not say." in shown(page)
    page.click(f"{SAMPLES} [data-action=swap]")
    pick(page, "kind", "Regressed (4)")
    assert names(page)[0] == "gain"
    pick(page, "kind", "All (9)")
    page.fill(f"{SAMPLES} [data-control=query]", "DOG away")
    wait_for(page, f"{SAMPLES} .entry", count=1)
    assert chosen(page) == "loss"
    assert page.text_content(f"{SAMPLES} .count") == "1 of 9 samples, the largest difference first"
    page.fill(f"{SAMPLES} [data-control=query]", "nowhere")
    page.wait_for_selector(f"{SAMPLES} .detail .empty")


def test_keys_move_through_the_list_and_leave_the_search_alone(open_page: OpenPage, report: Path) -> None:
    page = samples(open_page, report)
    page.focus(f"{SAMPLES} .list")
    for key, expected in (
        ("j", "loss"),
        ("ArrowDown", "drift"),
        ("k", "loss"),
        ("End", "lost"),
        ("Home", "gain"),
        ("k", "gain"),
    ):
        page.keyboard.press(key)
        assert chosen(page) == expected
    assert page.locator(f"{SAMPLES} .list").get_attribute("aria-activedescendant") == page.locator(
        f"{SAMPLES} [aria-selected=true]"
    ).get_attribute("id")
    page.focus(f"{SAMPLES} [data-control=query]")
    page.keyboard.type("j")
    wait_for(page, f"{SAMPLES} .entry", count=1)
    assert names(page) == ["drift"]  # jokes, jackets
    assert page.input_value(f"{SAMPLES} [data-control=query]") == "j"
    page.fill(f"{SAMPLES} [data-control=query]", "")
    wait_for(page, f"{SAMPLES} .entry", count=9)
    page.click(f"{SAMPLES} .steps button:has-text('Next')")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.className") == "list"


def test_a_link_leads_to_one_sample_and_survives_a_reload(open_page: OpenPage, report: Path) -> None:
    page = samples(open_page, report)
    page.click(f"{SAMPLES} [data-action=swap]")
    page.click(f"{SAMPLES} .entry:has-text('cut/short')")
    page.wait_for_url(re.compile("#sample="))
    assert page.url.endswith("#sample=alpaca-eval%401/cut%2Fshort%20%26%20odd%3F/M3/M1")
    page.reload()
    page.wait_for_selector(f"{SAMPLES} .detail h3")
    wait_for(page, f"{SAMPLES} [aria-selected=true] .name", text="cut/short")
    assert page.input_value(f"{SAMPLES} [data-control=a]") == "1"
    assert "A · M3 45.0 %" in shown(page)
    page.evaluate("location.hash = '#sample=head-to-head%401/duel/M1/M3'")
    wait_for(page, f"{SAMPLES} .detail", text="Another answer.")
    assert "Judge, M3 shown first: 100.0 % for it" in shown(page)
    assert "Second." in shown(page)
    page.evaluate("location.hash = '#sample=alpaca-eval@1/nothing/M1/M3'")
    wait_for(page, f"{SAMPLES} .count", text="leads to no sample")
    page.evaluate("location.hash = '#sample=%E0%A4%A'")
    wait_for(page, f"{SAMPLES} .count", text="%E0%A4%A")


def test_hostile_texts_are_text(open_page: OpenPage, report: Path) -> None:
    page = samples(open_page, report, fragment="#sample=alpaca-eval@1/evil/M1/M3")
    text = shown(page)
    assert text.count("<img src=x onerror=alert(1)><script>alert(2)</script> [U+202E]gnp.exe {{ 7*191 }}") == 3  # title
    assert page.locator(f"{SAMPLES} :is(img, .detail script)").count() == 0
    assert "The two answers are the same." in text


def test_pairs_are_browsed_with_the_judges_words(open_page: OpenPage, report: Path) -> None:
    page = open_page(report, fragment="#pair=M3/p0", width=390)
    page.wait_for_selector(f"{PAIRS} .detail h3")
    assert chosen(page, PAIRS) == "Cats?"
    assert "I like this cat." in shown(page, PAIRS)
    assert page.locator(f"{PAIRS} .chosen del").all_text_contents() == ["Small"]
    assert page.locator(f"{PAIRS} .rejected ins").all_text_contents() == ["Big"]
    pick(page, "kind", "Smallest margin", PAIRS)
    assert chosen(page, PAIRS) == "Dogs?"
    pick(page, "kind", "Chosen longest against rejected", PAIRS)
    assert names(page, PAIRS)[-1] == "Cats?"
    page.fill(f"{PAIRS} [data-control=query]", "small")
    wait_for(page, f"{PAIRS} .entry", count=1)
    assert page.text_content(f"{PAIRS} .count") == "1 of 3 pairs"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_and_in_print_the_few_in_the_html_are_there(open_page: OpenPage, report: Path) -> None:
    page = open_page(report, scripts=False)
    for section, text in (("#samples", "A dog ran away."), ("#pairs", "Small cat.")):
        assert page.locator(f"{section} .fallback").is_visible()
        assert text in page.locator(f"{section} .fallback").inner_text()
        assert not page.locator(f"{section} .browser").is_visible()
    page = samples(open_page, report)
    assert not page.locator("#samples .fallback").is_visible()
    page.emulate_media(media="print")
    assert page.locator("#samples .fallback").is_visible()
    assert not page.locator(SAMPLES).is_visible()


def test_data_are_unpacked_when_they_are_looked_at(open_page: OpenPage, report: Path) -> None:
    page = open_page(report, height=500)
    page.wait_for_load_state("load")
    assert page.locator(f"{SAMPLES} .entry").count() == 0
    page.locator("#pairs-title").scroll_into_view_if_needed()
    page.wait_for_selector(f"{PAIRS} .detail h3")
    page.evaluate("scrollTo(0, 0)")
    assert page.locator(f"{SAMPLES} .detail h3").count() <= 1
