"""What the processes of a training find of its models is read where it is of this parent, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

from trainers.probes import FILE, Probes, read_probes


def test_probes_of_another_parent_or_damaged_ones_count_as_none(tmp_path: Path) -> None:
    assert read_probes(tmp_path, "abc") is None
    values = {"parent": "abc", "model": "m", "before": [1.0], "after": [2.0], "future": 0.0, "padding": 1e-6}
    (tmp_path / FILE).write_text(json.dumps(values))
    assert read_probes(tmp_path, "abc") == Probes("abc", "m", [1.0], [2.0], 0.0, 1e-6)
    assert read_probes(tmp_path, "abd") is None
    assert read_probes(tmp_path, "abc", "m") is not None
    assert read_probes(tmp_path, "abc", "another") is None
    (tmp_path / FILE).write_text(json.dumps(values)[:-5])
    assert read_probes(tmp_path, "abc") is None
    (tmp_path / FILE).write_text(json.dumps({"parent": "abc"}))
    assert read_probes(tmp_path, "abc") is None
