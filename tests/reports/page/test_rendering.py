"""Names that are written from right to left stand by themselves; texts of others, and what is no text, stay."""

from __future__ import annotations

from reports.page import rendering

HEBREW = "\u05e0\u05de\u05e8"


def test_numbers_behind_a_name_from_right_to_left_keep_their_places() -> None:
    told = rendering._isolated(f"<p title='{HEBREW} 1'>{HEBREW} {HEBREW}-1 +0.1 &lt; a</p>")
    assert told == f"<p title='{HEBREW} 1'><bdi>{HEBREW} {HEBREW}</bdi>-1 +0.1 &lt; a</p>"


def test_what_is_no_running_text_stays() -> None:
    for kept in (
        f"<script>x = '{HEBREW} < 1'</script>",
        f"<title>{HEBREW}</title>",
        f"<svg><text x='1'>{HEBREW}</text></svg>",
        f'<bdi class="text">{HEBREW} 5 {HEBREW}</bdi>',
        "<p>M1 +0.1</p>",
    ):
        assert rendering._isolated(kept) == kept
