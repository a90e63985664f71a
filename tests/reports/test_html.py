"""The page: self-contained, whole whatever a model wrote, and telling what partial runs lack."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import html
from reports.facts.reading import collect

from .browser import OpenPage, chromium, open_page  # noqa: F401 - fixtures

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
        "html head meta title style body header main section article nav div p span a h1 h2 h3 h4 small strong b i em "
        "bdi table thead tbody tr th td ul ol li dl dt dd code pre kbd details summary figure footer script noscript "
        "select option label input button fieldset legend output template datalist time br hr wbr mark del ins",
    )
)
VOID = ("meta", "input", "br", "hr", "wbr")
RAW = ("script", "style")
CELLS = ("td", "th", "li", "p", "div", "dt", "dd", "h1", "h2", "h3", "h4")


class Page(HTMLParser):
    """Elements, attributes and what a reader sees of a page; what scripts and styles say is no text."""

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
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in CELLS:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if not {*RAW} & {*self.open}:
            self.text += data


def page_of(*runs: Path) -> Page:
    page = Page(html.render([collect(run) for run in runs]))
    assert page.open == []
    assert set(page.tags) <= ALLOWED
    return page


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_the_page_says_what_the_run_shows(whole: Any) -> None:
    text = words(page_of(whole.path))
    assert "M3 follows instructions better than M1 on 1 of 2 measures; for the rest no difference is shown." in text
    assert "Answer quality: True quality, sampled 3.00 → 3.60 ▲ +0.60 [+0.40, +0.80] n 500 of 512 vs M1" in text
    assert "Head to head: win rate ▲ 58.0 % [54.0, 62.0] vs M1" in text
    assert "No difference to M1 is shown on the one measure there is." in text
    assert "better than M1 at name (Answer quality), and worse at sort (Answer quality)" in text
    assert "vs M1 ▲ +0.60 [+0.40, +0.80]" in text
    assert "vs M2 ▲" not in text
    assert "507 of 512 scored" in text
    assert "A cat is small." in text


def test_every_benchmark_has_its_section(full: Any) -> None:
    built = html.sections([collect(full.path)])
    found = [s.id for s in built]
    assert found[:8] == [
        *("verdict", "quality", "alpaca-eval", "mt-bench", "nlp", "head-to-head", "judge-accuracy", "benchmarks")
    ]
    charts = {name: c for s in built for name, c in s.charts.items()}
    drawn = re.findall(r'data-chart="([^"]+)"', html.render([collect(full.path)]))
    assert sorted(drawn) == sorted(charts)
    assert len(drawn) == len(set(drawn))


def test_the_glance_holds_measured_and_published_numbers_apart(full: Any) -> None:
    text = html.render([collect(full.path)])
    rows = re.findall(r"<tr>(?:(?!</tr>).)*MT-Bench</a>.*?</tr>", text, re.S)
    cells = re.findall(r"<td([^>]*)>(.*?)</td>", rows[0], re.S)
    published = [body for attributes, body in cells if "published" in attributes]
    assert published == ["SFT 6.85 → M1 6.78 → M2 7.01 → M3 7.25"]
    assert not any("7.25" in body for attributes, body in cells if "published" not in attributes)
    assert "comparable with no number of this run" in text


def test_what_the_samples_could_have_shown_stands_beside_the_difference(whole: Any, difference: Any) -> None:
    still = difference("M3", "M1", 0.0, -0.1, 0.1, "quality_sampled").model_copy(update={"detectable": 0.1234})
    whole.standings([still])
    assert "vs M1 0.00 [−0.10, +0.10] n 500 of 512 could show ±0.12" in words(page_of(whole.path))  # noqa: RUF001


def test_a_regression_panel_compares_with_m0_m1_and_the_baseline(full: Any) -> None:
    (nlp,) = [s for s in html.sections([collect(full.path)]) if s.id == "nlp"]
    (chart,) = [c for c in nlp.charts.values() if c.title == "Gains and regressions of M3"]
    series = [(r["series"], r["value"], r["high"]) for r in chart.rows if r["label"].startswith("GSM8K")]
    assert series == [("vs M0", -20.0, -10.0), ("vs SFT", -20.0, -10.0), ("vs M1", -20.0, -10.0)]


def test_three_tie_policies_and_the_drift_matrix(full: Any) -> None:
    (judging,) = [s for s in html.sections([collect(full.path)]) if s.id == "judge-accuracy"]
    titles = [c.title for c in judging.charts.values()]
    assert titles.count("Pairwise accuracy under three tie policies") == 3  # of each data set
    assert titles.count("Mean score by judge and author") == 1
    (drift,) = [c for c in judging.charts.values() if c.title == "Mean score by judge and author"]
    assert len(drift.rows) == 25


def test_numbers_that_were_not_made_alike_are_marked(full: Any) -> None:
    assert "Not comparable." not in page_of(full.path).text
    full.result("M3", "alpaca-eval@1", metrics={"win_rate": 50.0}, conditions={"judge": "other", "data": "d" * 32})
    text = words(page_of(full.path))
    assert "AlpacaEval: judge: judge-x (M0, SFT, M1 and M2), other (M3)" in text  # in the verdict
    assert "must not be read against each other: judge: judge-x (M0, SFT, M1 and M2), other (M3)" in text
    assert "M2 A M3 B" in text


def test_runs_stand_side_by_side(whole: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(whole.path, other)
    yaml = other / "srbench.yaml"
    yaml.write_text(yaml.read_text().replace("seed: 0", "seed: 1"))
    text = words(page_of(whole.path, other))
    assert "2 runs, equal but for the seed" in text
    assert "run 2 seeds 3.00 ± 0.00 3.30 ± 0.00 3.60 ± 0.00 +0.60 ± 0.00" in text
    yaml.write_text(yaml.read_text().replace("rewards: self", "rewards: random"))
    text = words(page_of(whole.path, other))
    assert "other 1 run 3.00 [2.90, 3.10] 507 of 512 scored" in text


def test_nothing_is_fetched_and_the_policy_allows_the_pages_own_scripts_only(full: Any) -> None:
    text = html.render([collect(full.path)])
    page = page_of(full.path)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    policy = next(v for k, v in page.attributes if k == "content" and v and "default-src" in v)
    allowed = " ".join(f"'sha256-{d}'" for d in digests)
    assert policy == (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert not {k for k, _ in page.attributes} & {"src", "srcset", "style"}
    assert all(v and v.startswith("#") for k, v in page.attributes if k == "href")


def test_the_data_of_the_charts_ends_no_script(whole: Any) -> None:
    evil = "</script><script>alert(1)</script><!--"
    whole.result("M1", "new@1", metrics={"score": 1.0, f"score/{evil}": 2.0})
    text = html.render([collect(whole.path)])
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)
    assert data is not None
    assert "<" not in data[1]
    assert any(evil in str(r) for c in json.loads(data[1]).values() for r in c["rows"])


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert json.loads(html.script_json({"a": [float("nan"), float("inf"), 1.5]})) == {"a": [None, None, 1.5]}


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
    for model in ("M1", "M2", "M3"):  # settings are told where they differ
        path = run.path / model / "eval" / "micro-quality@1" / "result.json"
        said = {"settings": {payload: f"{payload}{model}", "seed": f"{model}{payload}"}}
        path.write_text(json.dumps(json.loads(path.read_text()) | said))
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


@pytest.mark.slow
@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_content_is_text_and_nothing_else(whole: Any, payload: str) -> None:
    clean = page_of(whole.path)
    poison(whole, payload)
    page = page_of(whole.path)
    assert not any(k.startswith("on") for k, _ in page.attributes)
    assert {k for k, _ in page.attributes} <= {k for k, _ in clean.attributes} | {"open"}
    assert page.tags.count("meta") == clean.tags.count("meta")
    if payload.isprintable() and payload.isascii():
        assert page.text.count(payload) > 6
        assert page.text.count(f"M3{payload}") > 0
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\x00\x1b\x7f\x85]", page.text)
    assert "1337" not in page.text


def test_half_characters_do_not_break_the_page(whole: Any, tmp_path: Path) -> None:
    (whole.path / "M2" / "iteration.json").write_text('{"parent": "\\ud800 half"}')
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
    assert "Head to head" not in text
    builder.result("M2", quality_sampled=3.5)
    text = page_of(builder.path).text
    assert "have not been compared" in text


def test_a_failed_benchmark_a_nan_and_a_single_sample_render(full: Any) -> None:
    shutil.rmtree(full.path / "M3" / "eval" / "nlp@1")
    failed = {"checkpoint": "M3", "fingerprint": "f-M3", "benchmark": "nlp@1", "error": "E", "message": "no memory"}
    (full.path / "M3" / "eval" / "nlp@1").mkdir()
    (full.path / "M3" / "eval" / "nlp@1" / "failure.json").write_text(json.dumps(failed))
    path = full.path / "M2" / "eval" / "mt-bench@1" / "result.json"
    record = json.loads(path.read_text())
    record["metrics"] = {"grade": {"value": float("nan"), "low": None, "high": None, "n_scored": 0, "n_total": 1}}
    path.write_text(json.dumps(record))
    text = words(page_of(full.path))
    assert "M3 has no result: no memory" in text
    assert "— 0 of 1 scored" in text


def test_results_without_a_comparison_render(full: Any) -> None:
    for name in ("standings.json", "drift.json", "head-to-head/head_to_head.json"):
        (full.path / name).unlink()
    text = words(page_of(full.path))
    assert "so there are no differences" in text
    assert "not compared" in text
    assert "Gains and regressions" not in text


def test_checkpoints_that_are_no_run_stand_side_by_side(tmp_path: Path, builder: Any) -> None:
    (builder.path / "srbench.yaml").unlink()
    for name in ("llama", "qwen"):
        builder.result(name, "nlp@1", metrics={"average": 0.5}, conditions={"data": "x"})
    text = words(page_of(builder.path))
    assert "llama and qwen are no iterations of one run" in text
    assert "50.0 %" in text
    assert text.count("Models evaluated on their own: there is no run here") == 1
    for about_training in ("srbench.yaml", "Nothing has been trained", "What was trained on what", "preference pairs"):
        assert about_training not in text
    gaps = collect(builder.path).gaps
    assert [g for g in gaps if "not been compared" in g] == list(gaps)


def test_the_page_works_in_a_browser(full: Any, tmp_path: Path, open_page: OpenPage) -> None:  # noqa: F811
    target = tmp_path / "report.html"
    html.write([collect(full.path)], target)
    page = open_page(target)  # fails on any error, and on any request
    page.wait_for_selector("#verdict figure[data-width] svg")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = "[...document.querySelectorAll('.glance .diff')].filter((e) => e.offsetParent).length"
    both = page.evaluate(shown)
    page.select_option("#versus", "none")
    assert page.evaluate(shown) == 0
    page.select_option("#versus", "all")
    assert page.evaluate(shown) > both > 0
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for section in ("alpaca-eval", "mt-bench", "nlp", "head-to-head", "judge-accuracy", "benchmarks"):
        page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
        page.wait_for_selector(f"#{section} figure[data-width] svg[role=img]")


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone(full: Any, tmp_path: Path, open_page: OpenPage, dark: bool) -> None:  # noqa: F811
    target = tmp_path / "report.html"
    html.write([collect(full.path)], target)
    page = open_page(target, width=390, height=800, dark=dark)
    page.wait_for_selector("#verdict h2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_all_numbers_are_there(full: Any, tmp_path: Path, open_page: OpenPage) -> None:  # noqa: F811
    target = tmp_path / "report.html"
    html.write([collect(full.path)], target)
    page = open_page(target, scripts=False)
    assert page.locator("#mt-bench table.results").first.is_visible()
    assert "5.40" in page.locator("#mt-bench").inner_text()


def test_a_page_is_small_and_quick_to_make(full: Any) -> None:
    assert len(html.render([collect(full.path)])) < 1_500_000


def test_rewards_of_another_model_are_called_rlaif(whole: Any) -> None:
    yaml = whole.path / "srbench.yaml"
    settings = yaml.read_text()
    assert settings.count("  model: self\n") == 1
    yaml.write_text(settings.replace("  model: self\n", "  model: openai:gpt@https://host/v1#MY_KEY\n"))
    text = words(page_of(whole.path))
    assert "rewards: RLAIF, judged by openai:gpt@https://host/v1: no self-reward" in text
    assert "Rewards RLAIF, not self-reward: judge.model openai:gpt@https://host/v1" in text
    yaml.write_text(yaml.read_text().replace("rewards: self", "rewards: random"))
    assert "RLAIF" not in page_of(whole.path).text  # a control asks no judge
