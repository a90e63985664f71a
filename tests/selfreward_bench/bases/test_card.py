"""The block at the beginning of a model's card is read whoever wrote it, and takes no longer for that."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from selfreward_bench.bases.card import front_matter

BOMB = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nlicense: mit\nlanguage: [en]\n---\n# A model\n", {"license": "mit", "language": ["en"]}),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", {"license": "mit"}),
        ("---\nlicense: mit\n---", {"license": "mit"}),
        ("# A model\n---\nlicense: mit\n---\n", {}),
        ("---\nlicense: mit\n", {}),
        ("---\n- mit\n---\n", {}),
        ("", {}),
        (f"---\na0: &a0 {{x: 1}}\n{BOMB}---\n", {}),
        (f"---\nlicense: {'[' * 100_000}\n---\n", {}),
        (f"---\nlicense: {'x' * 10_000_000}\n---\n", {}),
        ("---\nlicense: !!timestamp mit\n---\n", {}),
        ("---\nlicense: !!bool mit\n---\n", {}),
        ("---\nlicense: !!python/object/apply:os.getcwd []\n---\n", {}),
    ],
)
def test_a_block_or_nothing(tmp_path: Path, text: str, found: dict[str, object]) -> None:
    card = tmp_path / "README.md"
    card.write_text(text, newline="")
    began = time.process_time()
    assert front_matter(card) == found
    assert time.process_time() - began < 5


def test_what_is_no_file_is_no_card(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "README.md")
    assert front_matter(tmp_path / "README.md") == {}
    assert front_matter(tmp_path) == front_matter(tmp_path / "missing") == {}
