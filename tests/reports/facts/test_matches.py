"""Head-to-head comparisons, from either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leaderboards.standings import HeadToHead, Positions
from reports.facts import collect, matches
from reports.sections import head_to_head

Match = Callable[..., HeadToHead]


def test_a_match_is_the_same_from_both_sides(match: Match) -> None:
    one = match("M3", "M1")
    other = matches.flipped(one)
    assert (other.a, other.b, other.win, other.loss, other.wins, other.losses) == ("M1", "M3", 0.14, 0.3, 35, 75)
    assert [round(x, 9) for x in (other.win_rate or 0, other.low or 0, other.high or 0)] == [0.42, 0.38, 0.46]
    assert matches.flipped(other).win == one.win


def test_an_arrow_stands_where_the_interval_excludes_one_half(match: Match) -> None:
    cases = {(0.51, 0.6): "\u25b2", (0.4, 0.49): "\u25bc", (0.45, 0.6): "", (0.5, 0.6): ""}
    for (low, high), arrow in cases.items():
        assert matches.win_rate_change(match("M3", "M1", 0.5, low, high)).arrow == arrow


def test_the_tournament_goes_before_the_oracles_comparisons(whole: Any, full: Any) -> None:
    facts = collect(full.path)
    assert matches.judge_of(facts) == "judge-x"
    assert matches.names(facts) == ["M0", "SFT", "M1", "M2", "M3"]
    assert len(matches.grid(facts).rows) == 10
    assert matches.grid(facts).rows[0][0] == "M3 vs M2"


def test_a_run_without_matches(builder: Any) -> None:
    builder.result("M1", quality_sampled=3.0)
    facts = collect(builder.path)
    assert (list(matches.pairs(facts)), matches.names(facts), matches.match(facts, "M1", "M0")) == ([], [], None)


def test_the_rule_is_told_in_words_where_the_judge_sees_an_order(full: Any, match: Match) -> None:
    found = collect(full.path)
    assert found.tournament is not None

    def caption(rule: str, positions: Positions | None) -> str:
        pairs = tuple(p.model_copy(update={"positions": positions}) for p in (match("M3", "M1"),))
        told = found.tournament.model_copy(update={"rule": rule, "pairs": pairs}) if found.tournament else None
        return head_to_head._caption(found.model_copy(update={"tournament": told}))

    both = Positions(consistency=0.9, first_preferred=0.5, n_both=9, n_decided=9)
    assert "a win is one that both verdicts agree on" in caption("agree", both)
    assert caption("agree", None).endswith("prompts.")
    assert "in one order, drawn by the seed" in caption("first-order-only", None)
    assert caption("some <new> rule", None).endswith("Rule: some <new> rule.")
