"""`data import`: what is shown of a file, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfreward_bench.cli.console import visible
from trainers import importing

from .conftest import Cli

ROWS = [{"instruction": f"Name food {i}.", "input": "", "output": "An apple.", "id_card": 1} for i in range(30)]


def written(rows: list[Any], name: str = "data.json") -> str:
    Path(name).write_text(json.dumps(rows), encoding="utf-8")
    return name


def test_what_was_understood_is_shown_and_nothing_is_written(cli: Cli) -> None:
    rows = [*ROWS, ROWS[0], {"instruction": "", "output": "x"}, {"instruction": "More.", "output": "y" * 5000}]
    done = cli("data", "import", written(rows), "--as", "ift")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("data.json: a JSON array, shape alpaca, sha256 ")
    assert lines[1:7] == [
        "33 rows read, 31 usable as ift",
        "1 bad rows left out:",
        "  1 x the instruction is empty: row 32",
        "duplicates left out: 1",
        "ids made from the content: 31",
        "columns not looked at: id_card",
    ]
    assert done.stdout.count("  user: Name food ") == 5
    assert lines[-1] == "Nothing was written. Add --out FILE.jsonl, or use it as it is: seeds.ift=data.json"
    assert [path.name for path in Path().iterdir()] == ["data.json"]


def test_srbenchs_own_jsonl_is_written_once(cli: Cli) -> None:
    done = cli("data", "import", written(ROWS), "--as", "ift", "--limit", "12", "--out", "ift.jsonl")
    assert done.stdout.endswith("Written: ift.jsonl (12 records).\n")
    assert cli("validate", "ift.jsonl").stdout == "ift.jsonl: fine (12 ift records)\n"
    assert list(importing.load("ift.jsonl", "ift").records) == importing.load("data.json", "ift").records[:12]
    again = cli("data", "import", "data.json", "--as", "ift", "--out", "ift.jsonl")
    assert again.exit_code == 2
    assert "ift.jsonl is there already, and nothing is written over" in again.stderr


def test_every_purpose_can_be_written_and_is_valid(cli: Cli) -> None:
    pairs = [{"prompt": f"Say {i}.", "chosen": "yes", "rejected": "no"} for i in range(3)]
    for purpose in ("ift", "eft", "prompts"):
        done = cli("data", "import", written(pairs), "--as", purpose, "--out", f"{purpose}.jsonl")
        assert done.exit_code == 0
        assert ("  rank 1: no\n" in done.stdout) == (purpose == "eft")
        assert "fine (3 " in cli("validate", f"{purpose}.jsonl", "--format", purpose).stdout


def test_bad_rows_can_be_skipped_by_the_user_alone(cli: Cli) -> None:
    path = written([*ROWS[:3], {"instruction": "x"}])
    refused = cli("data", "import", path, "--as", "ift")
    assert refused.exit_code == 2
    assert "1 of 4 rows (shape alpaca) cannot be used as ift, over 10%." in refused.stderr
    assert "3 usable as ift" in cli("data", "import", path, "--as", "ift", "--skip-bad").stdout
    assert "Unknown purpose (--as) 'itf'. Did you mean 'ift'?" in cli("data", "import", path, "--as", "itf").stderr
    wrong = cli("data", "import", path, "--as", "ift", "--shape", "alpacca")
    assert "Unknown shape 'alpacca'. Did you mean 'alpaca'?" in wrong.stderr


def test_hostile_texts_are_shown_harmless_and_bounded(cli: Cli) -> None:
    evil = "\x1b[2J\u202e" + "x" * 20_000
    turns = [{"role": ("user", "assistant")[i % 2], "content": f"{evil}{i}"} for i in range(200)]
    rows = [{"messages": turns, "k" * 10_000: 1, **{f"\x1b{i}": 1 for i in range(99)}}] * 9
    done = cli("data", "import", written(rows), "--as", "ift")
    assert done.stdout == visible(done.stdout)
    assert "  ... (194 turns before)" in done.stdout
    assert len(done.stdout) < 20_000


def test_validate_calls_other_files_by_their_names(cli: Cli) -> None:
    done = cli("validate", written(ROWS))
    assert done.exit_code == 1
    assert "data.json: this is a JSON array, not JSONL" in done.stdout
    assert "`srbench data import` reads JSON arrays, Parquet and gzip" in done.stdout
    Path("data.jsonl").write_text(json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    assert "`srbench data import` shows what is understood" in cli("validate", "data.jsonl").stdout
