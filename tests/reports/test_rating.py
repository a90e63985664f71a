"""The rating page and its CSV: blind, inert whatever models wrote, rated by keyboard, kept and saved."""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from leaderboards.human.labels import ratings, restored
from leaderboards.human.records import Item, Key, Sheet, Shown
from reports import rating
from selfreward_bench.types import Message, Prompt

from .browser import OpenPage, chromium, open_page  # noqa: F401 - fixtures
from .test_accessibility import AXE
from .test_hostile import PAYLOADS


def sheet(texts: Sequence[str]) -> Sheet:
    """A comparison per text; the models are called m-secret and n-secret."""
    items, shown = [], []
    for n, text in enumerate(texts):
        name = f"item{'abcdefghij'[n // 10 % 10]}{'abcdefghij'[n % 10]}"
        values = {"id": name, "a": "m-secret", "b": "n-secret", "prompt_id": f"prompt-secret-{n}"}
        items.append(Item.model_validate(values | {"first": "ab"[n % 2], "text_a": "hash-secret", "text_b": "h"}))
        prompt = Prompt(id=f"prompt-secret-{n}", messages=(Message(role="user", content=f"Q{n} {text}"),))
        shown.append(Shown(name, prompt, f"first {n} {text}", f"second {n} {text}"))
    pairs = (("m-secret", "n-secret"),)
    key = Key(
        sheet="thesheet",
        seed=4711,
        n=len(items),
        source="bench-secret",
        checkpoints={},
        pairs=pairs,
        items=tuple(items),
    )
    return Sheet(key, tuple(shown))


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    return rating.write(sheet(["one", "two", "three", "four"]), tmp_path)[0]


def test_neither_file_tells_whose_answer_stands_where(tmp_path: Path) -> None:
    for path in rating.write(sheet(["x", "y"]), tmp_path):
        text = path.read_text("utf-8")
        assert "secret" not in text
        assert "4711" not in text
    one, other = (sheet(["x", "y"]) for _ in range(2))
    turned = [i.model_copy(update={"first": "b" if i.first == "a" else "a"}) for i in other.key.items]
    other = Sheet(other.key.model_copy(update={"items": tuple(turned)}), other.shown)
    assert (rating.page(one), rating.table(one)) == (rating.page(other), rating.table(other))


def test_long_answers_are_whole(tmp_path: Path) -> None:
    text = rating.page(sheet(["word " * 1000 + "END"]))
    assert text.count("END</div>") == 3


def test_several_turns_say_who_spoke() -> None:
    turns = tuple(Message(role=r, content=c) for r, c in (("user", "Hi"), ("assistant", "Yes?"), ("user", "Go on")))
    one = sheet(["x"])
    shown = Shown(one.shown[0].id, Prompt(id="p", messages=turns), "f", "s")
    assert "user: Hi\n\nassistant: Yes?\n\nuser: Go on" in rating.page(Sheet(one.key, (shown,)))


def test_no_cell_of_the_csv_is_a_formula_and_nothing_is_lost(tmp_path: Path) -> None:
    hostile = ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\uff1d1", "'quoted", 'plain, with "quotes"\nand a line']
    one = sheet(["x"])
    prompt = Prompt(id="p", messages=(Message(role="user", content="=1"),))
    shown = tuple(Shown(f"item{'abcdefgh'[n]}", prompt, text, text) for n, text in enumerate(hostile))
    rows = list(csv.reader(io.StringIO(rating.table(Sheet(one.key, shown)))))
    assert rows[0] == ["sheet", "item", "prompt", "answer 1", "answer 2", "choice"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\uff1d"))]
    assert [restored(row[3]) for row in rows[1:]] == hostile
    assert {row[5] for row in rows[1:]} == {""}


def test_the_csv_filled_in_is_read_back(tmp_path: Path) -> None:
    one = sheet(["=1", "two"])
    path = rating.write(one, tmp_path)[1]
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))
    rows[1][5], rows[2][5] = "2", "3"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=";").writerows(rows)
    assert [(r.item, r.choice) for r in ratings([path], one.key)] == [("itemaa", "second"), ("itemab", "tie")]


# --- in a browser


def test_all_is_rated_by_keyboard_kept_and_saved(open_page: OpenPage, page_file: Path, tmp_path: Path) -> None:
    page = open_page(page_file)
    status = page.locator("#place")
    assert status.inner_text() == "Comparison 1 of 4, not rated"
    assert page.locator("article:visible").count() == 1
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    assert status.inner_text() == "Comparison 4 of 4, not rated"
    assert page.locator("#done").inner_text() == "3 of 4 are rated."
    page.keyboard.press("ArrowLeft")
    assert status.inner_text() == "Comparison 3 of 4, rated 3"
    assert page.locator('[aria-pressed="true"]').inner_text().endswith("Neither is better")
    page.keyboard.press("0")
    assert status.inner_text() == "Comparison 3 of 4, not rated"
    page.keyboard.press("2")
    page.keyboard.press("1")
    assert page.locator("#done").inner_text() == "All 4 are rated. Save them now."
    again = page.context.new_page()  # another tab of the same browser, later
    again.goto(page_file.as_uri())
    assert again.locator("#done").inner_text() == "All 4 are rated. Save them now."
    again.close()
    page.locator("#save").focus()
    with page.expect_download() as caught:
        page.keyboard.press("Enter")
    assert caught.value.suggested_filename == "ratings-thesheet.csv"
    saved = tmp_path / "a.csv"
    caught.value.save_as(saved)
    found = ratings([saved], sheet(["one", "two", "three", "four"]).key)
    assert [r.choice for r in found] == ["first", "second", "second", "first"]


def test_the_mouse_will_do_and_unrated_ones_are_saved_empty(
    open_page: OpenPage, page_file: Path, tmp_path: Path
) -> None:
    page = open_page(page_file)
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="The second is better").click()
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save").click()
    caught.value.save_as(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == (
        b"sheet,item,choice\r\nthesheet,itemaa,\r\nthesheet,itemab,2\r\nthesheet,itemac,\r\nthesheet,itemad,\r\n"
    )


def test_what_models_wrote_does_nothing(open_page: OpenPage, tmp_path: Path) -> None:
    path = rating.write(sheet(PAYLOADS), tmp_path)[0]
    page = open_page(path)
    assert page.locator("article").count() == len(PAYLOADS)
    for _ in range(len(PAYLOADS)):
        page.keyboard.press("3")
    assert page.evaluate("window.__pwned") is None
    assert page.locator("main script, main img, main iframe, main a, main svg, main form, main style").count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(open_page: OpenPage, page_file: Path, dark: bool) -> None:
    page = open_page(page_file, dark=dark)
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations.map((v) => v.id + ': ' + v.nodes[0].html)")
    assert found == []


def test_a_phone_shows_it_whole(open_page: OpenPage, tmp_path: Path) -> None:
    path = rating.write(sheet(["x" * 300, "word " * 200]), tmp_path)[0]
    page = open_page(path, width=390, height=800)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_policy_allows_one_script_and_no_request(page_file: Path) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page_file.read_text("utf-8"))
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "connect-src" not in policy
