"""Hostile content wherever a model, a judge or a file can put it: none of it runs, and the page stays whole."""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from leaderboards import chain
from leaderboards.health.run import write_health
from reports import html
from reports.exports import tables
from reports.facts.reading import collect

from . import whole_run
from .browser import OpenPage, chromium, open_page  # noqa: F401 - fixtures
from .conftest import RunBuilder, difference

PWN = "window.__pwned=1"
PAYLOADS = (
    # elements and their handlers
    f"<script>{PWN}</script>",
    f"<ScRiPt >{PWN}</sCrIpT>",
    "<script src=https://x.test/a.js></script>",
    "<script src=data:text/javascript,window.__pwned=1></script>",
    f"<img src=x onerror={PWN}>",
    f"<img src=x: onerror='{PWN}'//",
    f"<svg onload={PWN}>",
    f"<svg><script>{PWN}</script></svg>",
    f"<svg><animate onbegin={PWN} attributeName=x dur=1s>",
    f"<svg><set attributeName=onmouseover to='{PWN}'>",
    "<svg><use href='https://x.test/a.svg#b'/></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img src=x onerror={PWN}>",
    f"<math href='javascript:{PWN}'>x</math>",
    f"<body onload={PWN}>",
    f"<details open ontoggle={PWN}>",
    f"<video><source onerror={PWN}></video>",
    f"<audio src=x onerror={PWN}>",
    f"<input autofocus onfocus={PWN}>",
    f"<marquee onstart={PWN}>x</marquee>",
    f"<a href='javascript:{PWN}'>x</a>",
    f"<a href='java\tscript:{PWN}'>x</a>",
    f"<iframe src='javascript:{PWN}'></iframe>",
    f"<iframe srcdoc='<script>parent.{PWN}</script>'></iframe>",
    "<object data='https://x.test/a'></object>",
    f"<embed src='javascript:{PWN}'>",
    "<link rel=stylesheet href=https://x.test/a.css>",
    "<link rel=dns-prefetch href=//x.test>",
    "<meta http-equiv=refresh content='0;url=https://x.test'>",
    "<base href=https://x.test/>",
    f"<form action='javascript:{PWN}'><button>x</button></form>",
    "<template><section id=verdict></section></template>",
    "<dialog open>x</dialog>",
    "<noscript><p title='</noscript><img src=x>'>",
    # ways out of where it stands
    f"</script><script>{PWN}</script>",
    f"</style><script>{PWN}</script>",
    f"</title><script>{PWN}</script>",
    f"</textarea><img src=x onerror={PWN}>",
    "</bdi></p></td></tr></table></section></main></body></html>",
    f"--><img src=x onerror={PWN}>",
    "<!--",
    "<!-- <script>",
    "<!--<script></script>",
    f"]]><script>{PWN}</script>",
    "<![CDATA[",
    "<?xml version='1.0'?>",
    "<!DOCTYPE html>",
    "<plaintext>",
    f'" onmouseover="{PWN}" x="',
    f"' onfocus='{PWN}' autofocus x='",
    f"` onmouseover=`{PWN}",
    f"x onmouseover={PWN} ",
    '"><section id="samples">',
    "&lt;script&gt;&#60;img src=x&#62;&quot;&amp",
    "\\u003cscript\\u003e\\x3cimg\\x3e",
    f'\\";{PWN};//',
    f"';{PWN};'",
    f"\u2028{PWN}\u2029",
    # templates
    "{{7*7}}",
    "${7*7}",
    "#{7*7}<%= 7*7 %>",
    "{% for x in ().__class__.__mro__ %}{{ x }}{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{# comment #}{% raw %}{% endraw %}",
    "%s %(x)s {0} {x!r}",
    # styles and addresses
    "<style>*{display:none!important}</style>",
    "<p style='position:fixed;inset:0;background:url(https://x.test/a)'>",
    "}</style>*{background:url(//x.test)}",
    "expression(window.__pwned=1)",
    f"javascript:{PWN}",
    f"data:text/html,<script>{PWN}</script>",
    "#sample=__proto__/constructor/a/b",
    # what cannot be seen
    "user\u202egnp.exe\u2066\u2069\u200f",
    "zero\u200bwidth\u200d\u2060\ufeff",
    "\u00ad\u034f\u115f\u3164",
    "\x00\x01\x1b[31m\x7f\x85",
    "Z" + "\u0301" * 200,
    "\ud83d\ude00 \U000e0041\U000e0042".encode("utf-16", "surrogatepass").decode("utf-16"),
    # names that objects have
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "__defineGetter__",
    # numbers, and text that seems to be one
    "1e999",
    "NaN",
    "-Infinity",
    "9" * 400,
    "null",
    # size
    "long " + "x" * 20_000,
    "a/" * 300,
    "\n" * 300,
)
HARMLESS = tuple(f"word {i}" for i in range(len(PAYLOADS)))
SHIFTS = (0, 17, 34, 51, 68)
HIDDEN = "[\u202a-\u202e\u2066-\u2069\u200b-\u200f\u2060\ufeff\u2028\u2029\x00-\x08\x0b-\x1f\x7f]"
VOID = {"meta", "input", "br", "hr", "wbr"}
WHOLE = """() => [document.title.length > 0, document.querySelectorAll("main > section").length,
  document.querySelectorAll("script").length,
  document.querySelectorAll("iframe, img, object, embed, base, link").length,
  "__pwned" in window, Object.keys(Object.prototype).length]"""


class Structure(HTMLParser):
    """Elements with the names of their attributes; all are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(" ".join([tag, *(name for name, _ in attrs)]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.found.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:80]}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data[:80]}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data[:80]}")


def page_of(folder: Path, texts: Sequence[str], shift: int, template: Path) -> str:
    copy = folder / f"copy {shift}"
    shutil.copytree(template, copy)
    return html.render([collect(whole_run.fill(copy, texts, shift))])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run.write(tmp_path_factory.mktemp("template") / "run")


@pytest.fixture(scope="module")
def hostile(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    folder = tmp_path_factory.mktemp("hostile")
    return {shift: page_of(folder, PAYLOADS, shift, template) for shift in SHIFTS}


def test_there_are_enough_payloads() -> None:
    assert len({*PAYLOADS}) == len(PAYLOADS) >= 60


@pytest.mark.slow
def test_hostile_words_make_the_same_page_as_harmless_ones(
    hostile: dict[int, str], template: Path, tmp_path: Path
) -> None:
    for shift in SHIFTS:
        expected = Structure(page_of(tmp_path, HARMLESS, shift, template)).found
        assert Structure(hostile[shift]).found == expected


@pytest.mark.slow
def test_several_hostile_runs_make_the_same_page_as_harmless_ones(template: Path, tmp_path: Path) -> None:
    pages = []
    for texts in (PAYLOADS, HARMLESS):
        runs = []
        for k, shift in enumerate(SHIFTS[:2]):
            copy = tmp_path / f"{texts[0] == HARMLESS[0]} {k}"
            shutil.copytree(template, copy)
            runs.append(collect(whole_run.fill(copy, texts, shift)))
        pages.append(Structure(html.render(runs)).found)
    assert pages[0] == pages[1]


@pytest.mark.parametrize("shift", SHIFTS[:2])
def test_hostile_words_are_cells_of_the_exports_and_nothing_else(template: Path, tmp_path: Path, shift: int) -> None:
    made = {}
    for name, texts in (("hostile", PAYLOADS), ("harmless", HARMLESS)):
        shutil.copytree(template, tmp_path / name)
        runs = [collect(whole_run.fill(tmp_path / name, texts, shift))]
        made[name] = {form: tables.render(runs, form) for form in ("csv", "markdown", "latex", "json")}
    rows = {name: list(csv.reader(io.StringIO(found["csv"]))) for name, found in made.items()}
    assert len(rows["hostile"]) == len(rows["harmless"])
    assert {len(row) for row in rows["hostile"]} == {len(rows["harmless"][0])}
    assert not [c for row in rows["hostile"] for c in row if c[:1] in ("=", "@") or re.search(HIDDEN, c)]
    told = {name: found["markdown"].count("\n") for name, found in made.items()}
    assert told["hostile"] == told["harmless"]
    assert not re.search(r"(?<!\\)<(?!br)", made["hostile"]["markdown"])
    tabulars = {name: found["latex"].count(r"\begin{tabular}") for name, found in made.items()}
    assert tabulars["hostile"] >= tabulars["harmless"] > 5  # long names may need a further table
    assert made["hostile"]["latex"].isascii()
    assert len(json.loads(made["hostile"]["json"])["results"]) == len(rows["hostile"]) - 1


def test_what_hides_is_written_out_and_what_is_data_stays_data(hostile: dict[int, str]) -> None:
    for text in hostile.values():
        data = text[: text.index("<script>")]  # what follows are our own scripts
        assert not re.search(HIDDEN, data)
        (charts,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)
        assert not set("<>&") & set(charts)
        assert json.loads(charts)
        assert "49" not in re.findall(r"<bdi[^>]*>([^<]*)</bdi>", text)  # no template was filled in


def ranked_page(root: Path, texts: Sequence[str]) -> str:
    """Models outside a run, ranked, with texts for names, in the order that a hostile file gives them."""
    run = RunBuilder(root)
    (root / "srbench.yaml").unlink()
    names = [whole_run.file_name(f"{n} {text}") for n, text in enumerate(texts)]
    for n, name in enumerate(names):
        run.result(name, quality_sampled=3.0 + n)
        run.result(name, "alpaca-eval@1", win_rate=40.0 + n, length_controlled_winrate=40.0, avg_length=100.0 + 90 * n)
    (root / chain.ORDER).write_text(json.dumps([*names, *texts, {"a": 1}, None]))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    run.standings(
        [difference(a, b, 0.5, 0.2, 0.8, "quality_sampled") for a, b in pairs]
        + [difference(a, b, -5.0, -8.0, -2.0, "win_rate", "alpaca-eval@1") for a, b in pairs]
    )
    write_health(root)
    return html.render([collect(root)])


@pytest.mark.parametrize("start", range(0, len(PAYLOADS), 12))
def test_hostile_names_are_ranked_and_judged_as_text(tmp_path: Path, start: int) -> None:
    texts = PAYLOADS[start : start + 12 : 3]
    harmless = [f"model {n}" for n in range(len(texts))]
    pages = [ranked_page(tmp_path / name, names) for name, names in (("hostile", texts), ("harmless", harmless))]
    assert Structure(pages[0]).found == Structure(pages[1]).found
    assert "is the best of" in pages[0]


@pytest.mark.parametrize("shift", SHIFTS[::2])
def test_nothing_runs_in_a_browser(hostile: dict[int, str], shift: int, open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(hostile[shift], encoding="utf-8")
    page = open_page(path)
    whole = [True, len(whole_run.SECTIONS), hostile[shift].count("<script"), 0, False, 0]
    assert page.evaluate(WHOLE) == whole
    for browser in ("samples", "pairs"):
        page.evaluate(f"document.querySelector('#{browser}').scrollIntoView()")
        page.wait_for_selector(f"[data-browser={browser}] .detail h3", state="attached")
        listed = page.locator(f"[data-browser={browser}] .entry").count()
        assert listed > 1
        page.focus(f"[data-browser={browser}] .list")
        for _ in range(listed):
            page.keyboard.press("j")
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.evaluate("for (const e of document.querySelectorAll('figure')) e.scrollIntoView({ behavior: 'instant' })")
    page.mouse.move(300, 300)
    assert page.evaluate(WHOLE) == whole


def test_files_that_are_no_text_leave_the_page_whole(template: Path, tmp_path: Path) -> None:
    """Broken bytes, half characters, NUL, a line of a megabyte, numbers beyond all bounds."""
    run = tmp_path / "run"
    shutil.copytree(template, run)
    row = '{"sample_id": "%s", "value": %s, "detail": {"measures": {"win_rate": %s}, "prompt": "%s", "answer": "%s"}}\n'
    scores = run / "M3" / "eval" / "alpaca-eval@1" / "scores.jsonl"
    big = "9" * 400
    with scores.open("ab") as stream:
        for n, number in enumerate(("NaN", "Infinity", "-Infinity", "1e999", big, "-" + big, "9" * 5000, "true", "[]")):
            stream.write((row % (f"n{n}", number, number, "p", "a")).encode())
        stream.write((row % ("half", "1", "1", "\\ud800", "\\udfff x \\u0000")).encode())
        stream.write((row % ("long", "1", "1", "p", "x" * 2**20)).encode())
        stream.write(b'{"sample_id": "\xff\xfe", "value": 1}\n\x00\x00\n[]\nnull\n"\xc3\x28"\n' + b"[" * 60_000 + b"\n")
    for name in ("log.jsonl", "pairs.jsonl", "judgments.jsonl"):
        with (run / "M3" / name).open("ab") as stream:
            stream.write(
                b'{"step": ' + big.encode() + b', "loss": ' + big.encode() + b', "prompt_id": "\\ud800"}\n\xff\n'
            )
    for name in ("candidates.stage.json", "iteration.json"):
        (run / "M2" / name).write_text(
            f'{{"counts": {{"x": {big}, "\\ud800": NaN}}, "seconds": {big}, "parent": "\\udc00"}}'
        )
    for name in ("drift.json", "health.json"):
        (run / name).write_bytes(b"\xff\x00{")
    result = run / "M2" / "eval" / "nlp@1" / "result.json"
    result.write_text(re.sub(r'"value": ?[\d.]+', f'"value": {big}', result.read_text(), count=1))
    text = html.render([collect(run)])
    found = Structure(text).found
    text.encode()  # no half characters
    assert sum(tag.startswith("section ") for tag in found) == len(whole_run.SECTIONS)
    assert "scores.jsonl" in text  # what could not be read is told
    assert "x" * 10_000 not in text
