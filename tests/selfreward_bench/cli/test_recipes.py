"""`recipes`: what there is, and what one comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfreward_bench import recipes, settings
from selfreward_bench.cli.settings import shown

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


# --- settings explained


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Key with its mark -> value and description, of the table's lines put together again."""
    found: dict[str, tuple[str, str]] = {}
    key = ""
    for line in text.splitlines()[3:]:
        name, value, words = line[:28].rstrip(), line[28:46].strip(), line[46:].strip()
        if name:
            key = name
            found[key] = (value, words)
        elif key:
            found[key] = (found[key][0] + value, f"{found[key][1]} {words}".strip())
    return found


def test_a_recipe_is_explained_in_80_columns_and_what_it_changes_is_marked(cli: Cli) -> None:
    text = cli("recipes", "micro", "--explain").stdout
    assert max(map(len, text.splitlines())) <= 80
    found = rows(text)
    assert len(found) > 80
    assert found["* nll_weight"][0] == "0.2"
    assert found["* nll_weight"][1].endswith("(paper: none). Default: 0.0")
    assert found["* max_rouge_l"][0] == "null"
    assert found["  beta"] == ("0.1", "DPO's beta: how strongly the policy is held to the reference (paper: 0.1).")
    assert found["dpo"][0] == ""
    assert found["  annotator"][0] == "weighted_alpaca_eval_gpt4_turbo"  # over two lines
    assert "Default" not in found["  annotator"][1]


def test_every_setting_is_explained_and_the_defaults_differ_from_themselves_in_nothing(cli: Cli) -> None:
    text = cli("recipes", "--explain").stdout
    assert text.startswith("The defaults.")
    assert "* " not in text
    listed = [line[:28].strip() for line in text.splitlines()[3:] if line[:28].strip()]
    assert listed == [s.name or s.key for s in settings.settings()]


def test_an_own_recipe_is_explained_and_cannot_steer_the_terminal(cli: Cli) -> None:
    name = '"[red]x\\e[2J\\u202e\\n  seed   9 :smile:' + "y" * 500_000 + '"'
    Path("mine.yaml").write_text(f"extends: micro\nname: {name}\nbase: ' '\n", encoding="utf-8")
    text = cli("recipes", "mine.yaml", "--explain").stdout
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert max(map(len, text.splitlines())) <= 80
    found = rows(text)
    assert found["* name"][0].startswith('"[red]x\\u001b[2J\\u202e')
    assert ":smile:yyy" in found["* name"][0]
    assert found["* name"][0].endswith("yyy...")
    assert len(text) < 40_000  # the explained settings themselves take 31,000
    assert found["* base"][0] == '" "'
    assert found["  seed"][0] == "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [("a b", "a b"), ("é", "é"), ("", '""'), ("a\nb", '"a\\nb"'), (None, "null"), (True, "true"), (["a"], '["a"]')],
)
def test_a_value_is_shown_in_one_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_schema_is_printed_as_a_file_that_editors_read(cli: Cli) -> None:
    assert json.loads(cli("recipes", "--schema").stdout) == settings.schema()


@pytest.mark.parametrize(
    "options", [("--schema", "--explain"), ("micro", "--source", "--explain"), ("micro", "--schema")], ids=" ".join
)
def test_options_that_do_not_go_together_are_refused(cli: Cli, options: tuple[str, ...]) -> None:
    result = cli("recipes", *options)
    assert result.exit_code == 2
    assert not result.stdout
