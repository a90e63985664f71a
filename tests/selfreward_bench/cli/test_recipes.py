"""`recipes`: what there is, and what one comes to."""

from __future__ import annotations

from pathlib import Path

from selfreward_bench import recipes

from .conftest import Cli


def test_all_recipes_are_listed_with_what_they_are(cli: Cli) -> None:
    lines = cli("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == recipes.names()
    assert all(len(line.split()) > 4 for line in lines[1:])


def test_a_recipe_is_shown_with_every_setting_and_can_be_read_back(cli: Cli) -> None:
    Path("full.yaml").write_text(cli("recipes", "micro-fast").stdout, encoding="utf-8")
    assert recipes.load("./full.yaml") == recipes.load("micro-fast")


def test_the_source_is_the_recipes_own_text(cli: Cli) -> None:
    assert cli("recipes", "micro", "--source").stdout.strip() == recipes.source("micro").strip()


def test_an_own_recipe_can_be_shown(cli: Cli) -> None:
    Path("mine.yaml").write_text("extends: micro\ndpo: {beta: 0.3}\n", encoding="utf-8")
    assert "  beta: 0.3\n" in cli("recipes", "mine.yaml").stdout


def test_an_unknown_recipe(cli: Cli) -> None:
    result = cli("recipes", "mikro")
    assert result.exit_code == 2
    assert "Did you mean 'micro'?" in result.stderr
