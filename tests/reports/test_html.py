"""The page: self-contained, whole whatever a model wrote, and telling what partial runs lack."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import html
from reports.facts import collect

PAYLOADS = (
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "--><svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "{{ 7 * 191 }}{% raw %}{{ facts }}",
    "<iframe src=javascript:alert(1)>",
    "<meta http-equiv=refresh content=0;url=//x>",
    "<base href=//x>",
    "&lt;script&gt;",
    "</bdi></p></article></main></body></html>",
    "a\u202eb\u2066c\u200bd\ufeffe",
    "\x00\x1b[31m\x7f\x85",
    "Z" + "\u0301" * 60,
)
ALLOWED = set(
    re.findall(
        r"\w+",
        "html head meta title style body header main section article nav div p span a h1 h2 h3 h4 small strong b bdi "
        "table thead tbody tr th td ul li dl dt dd code details summary",
    )
)


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(run: Path) -> Page:
    page = Page(html.render([collect(run)]))
    assert page.open == []
    assert set(page.tags) <= ALLOWED
    return page


def test_the_page_says_what_the_run_shows(whole: Any) -> None:
    page = page_of(whole.path)
    text = " ".join(page.text.split())
    assert "Yes. True quality rose from 3.00 (M1) to 3.60 (M3): +0.60 [+0.40, +0.80]." in text
    assert "its win rate is 58.0 % [54.0, 62.0]" in text
    assert "No change shown. Agreement with human ranks" in text
    assert "better than M1 at: name; worse at: sort" in text
    assert "vs M1 +0.60 [+0.40, +0.80] ▲" in text
    assert "vs M2 +0.30 [−0.10, +0.70] ▲" not in text  # noqa: RUF001 - the minus sign the page shows
    assert "507 of 512 scored" in text
    assert "answers 9,000, truncated 12" in text
    assert "A cat is small." in text
    assert "loss 0.6931 → 0.41" in text


def test_nothing_is_fetched_and_the_policy_allows_the_own_style_only(whole: Any) -> None:
    text = html.render([collect(whole.path)])
    page = page_of(whole.path)
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(v for k, v in page.attributes if k == "content" and v and "default-src" in v)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in text
    assert "@import" not in text
    assert not {k for k, _ in page.attributes} & {"src", "srcset", "style"}
    assert all(v and v.startswith("#") for k, v in page.attributes if k == "href")


def poison(run: Any, payload: str) -> None:
    """Puts a payload wherever a model, a file or a person may."""
    run.pairs("M2", [(payload, payload, payload)])
    iteration = {"parent": payload, payload: payload, "list": [payload]}
    (run.path / "M2" / "iteration.json").write_text(json.dumps(iteration))
    run.stage("M2", "pairs", {payload: 1})
    path = run.path / "M2" / "eval" / "micro-quality@1" / "result.json"
    record = json.loads(path.read_text())
    record |= {"judge": payload, "config_hash": payload, "versions": {payload: payload}}
    path.write_text(json.dumps(record))
    folder = run.path / "M3" / "eval" / "other@1"
    folder.mkdir(parents=True)
    failure = {
        "checkpoint": payload,
        "fingerprint": payload,
        "benchmark": payload,
        "error": payload,
        "message": payload,
    }
    (folder / "failure.json").write_text(json.dumps(failure))
    yaml = (run.path / "srbench.yaml").read_text()
    (run.path / "srbench.yaml").write_text(yaml.replace("base: micro", f"base: {json.dumps(payload)}"))
    (run.path / "M2" / "train" / "log.jsonl").write_text(json.dumps({"step": 1, payload: 2.5}) + "\n")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_content_is_text_and_nothing_else(whole: Any, payload: str) -> None:
    clean = page_of(whole.path)
    poison(whole, payload)
    page = page_of(whole.path)
    assert not any(k.startswith("on") for k, _ in page.attributes)
    assert {k for k, _ in page.attributes} == {k for k, _ in clean.attributes}
    assert page.tags.count("meta") == clean.tags.count("meta")
    if payload.isprintable() and payload.isascii():
        assert page.text.count(payload) > 6
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\x00\x1b\x7f\x85]", page.text)
    assert "1337" not in page.text


def test_a_megabyte_of_model_text_stays_small(whole: Any) -> None:
    whole.pairs("M2", [("p", "<" * 1_000_000, "r")])
    text = html.render([collect(whole.path)])
    assert len(text) < 200_000
    assert "998,000 more characters" in text


def test_half_characters_do_not_break_the_page(whole: Any, tmp_path: Path) -> None:
    (whole.path / "M2" / "iteration.json").write_text('{"note": "\\ud800 half"}')
    target = tmp_path / "out" / "report.html"
    html.write([collect(whole.path)], target)
    assert "[U+D800] half" in target.read_text(encoding="utf-8")


def test_control_rewards_are_flagged(whole: Any) -> None:
    assert "rewards: self control" not in page_of(whole.path).text
    yaml = whole.path / "srbench.yaml"
    yaml.write_text(yaml.read_text().replace("rewards: self", "rewards: oracle"))
    assert "rewards: oracle control" in page_of(whole.path).text


def test_numbers_on_tuning_prompts_are_flagged(whole: Any) -> None:
    assert "validation prompts" not in page_of(whole.path).text
    yaml = whole.path / "srbench.yaml"
    yaml.write_text(yaml.read_text().replace("split: test", "split: validation"))
    assert "validation prompts" in page_of(whole.path).text


def test_partial_runs_render_and_say_what_is_missing(builder: Any) -> None:
    text = page_of(builder.path).text
    assert "no model yet" in text
    builder.result("M1", quality_sampled=3.0, quality_greedy=None)
    text = page_of(builder.path).text
    assert "there is M1 only" in text
    assert "There are no two compared models." in text
    builder.result("M2", quality_sampled=3.5)
    text = page_of(builder.path).text
    assert "have not been compared" in text
