"""Benchmarks in files that users name: what is refused and how it is told, and what their code's hash does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderboards import descriptions, standings
from leaderboards.base import Setting
from leaderboards.brought import named_file
from leaderboards.comparing.run import compare
from leaderboards.harness import evaluate_model
from leaderboards.models import Model
from leaderboards.registry import open_benchmark
from leaderboards.session import Asked, Session
from leaderboards.suites import chosen, default_config
from selfreward_bench.config import EvalConfig, RunConfig
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import ConfigError, DataError, PluginError, SrbenchError, UnknownNameError
from selfreward_bench.models.candidates import parse_candidates
from selfreward_bench.models.opening import Services

CODE = """
from leaderboards.base import Calls, Outcome, Plan, answers, row
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.types import Description, MetricInfo

class Mine:
    key = "mine@1"
    description = Description(
        title="Mine", metrics={"right": MetricInfo(label="Right", unit="share")}, paired=("right",)
    )
    needs_judge = False
    local_only = False
    conditions = {}

    def identity(self, setting):
        return {"limit": setting.config.eval.limit}

    def plan(self, setting):
        return Plan(Calls(4, 10, 10))

    def recognise(self, path):
        return "mine" if path.name.endswith("mine.json") else None

    def run(self, subject):
        if subject.setting.finished:
            return Outcome([row("0", "0", {"right": 1.0})], None)
        asked = [GenerationRequest(str(i), "?", temperature=0) for i in range(4)]
        said = [c.text for c in answers(subject, "answers.jsonl", asked)]
        return Outcome([row(str(i), str(i), {"right": float(t == "yes")}) for i, t in enumerate(said)], None,
                       comparability=self.conditions)

class Filed(Mine):
    def __init__(self, path):
        self.key = path.read_text()
"""


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    descriptions._learned.clear()
    descriptions.info.cache_clear()


@pytest.fixture
def mine() -> Path:
    path = Path("mine.py")
    path.write_text(CODE, encoding="utf-8")
    return path


def edited(path: Path, old: str, new: str) -> None:
    """The file with other code, as old and as large as far as the file system can tell."""
    before = path.stat()
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def evaluate(answer: str = "yes", name: str = "M1", benchmark: str = "mine.py:Mine", limit: int | None = None) -> float:
    """The share that is right; everything is kept in the working directory."""
    model = Model(name, f"weights of {name}", lambda: ScriptedEngine({"*": answer}))
    setting = Setting(RunConfig(eval=EvalConfig(limit=limit)))
    (result,) = evaluate_model(model, {benchmark: setting}, out_dir=Path(name, "eval"))
    value = result.metrics["right"].value
    assert value is not None
    return value


def test_what_names_a_file() -> None:
    found = named_file("./my.folder/mine.py:Mine:data:1.json")
    assert found is not None
    assert (found.path, found.name, found.file) == (Path("my.folder/mine.py"), "Mine", "data:1.json")
    assert named_file("mine.pyx:Mine") is named_file("nlp:file") is None


def test_it_means_the_same_in_both_worlds(mine: Path) -> None:
    for world in ("micro", "real"):
        assert chosen(["mine.py:Mine", "nlp"], world)[0] == "mine.py:Mine"  # type: ignore[arg-type]  # two literals
    with pytest.raises(UnknownNameError, match=r"benchmark \(micro data\) 'ifeval'"):
        chosen(["ifeval"], "micro")


@pytest.mark.parametrize(
    ("old", "new", "named", "error", "told"),
    [
        ("", "", "other.py:Mine", DataError, r"other\.py is not there"),
        ("", "", "mine.py", ConfigError, r"name the class as well, as mine\.py:CLASS"),
        ("", "", "mine.py:Yours", PluginError, "no class 'Yours'"),
        ("", "", "mine.py:Filed", ConfigError, r"needs a file; name it as mine\.py:Filed:FILE"),
        ("", "", "mine.py:Mine:x.txt", ConfigError, "takes no file"),
        ("", "", "mine.py:Filed:x.txt", PluginError, r"mine\.py:Filed fails in line 34: FileNotFoundError"),
        ("class Mine:", "class Mine(:", "mine.py:Mine", PluginError, "fails in line 6: SyntaxError"),
        ("class Mine:", "import not_there\nclass Mine:", "mine.py:Mine", PluginError, "line 6: ModuleNotFound"),
        ("    def plan", "    def plane", "mine.py:Mine", PluginError, r"it lacks plan\(\)\."),
        ("needs_judge = False", "needs_judge = 0", "mine.py:Mine", PluginError, r"it lacks needs_judge \(bool\)"),
        ("    description = D", "    title = D", "mine.py:Mine", PluginError, r"it lacks description \(Description\)"),
        ('unit="share"', 'unit="elephants"', "mine.py:Mine", PluginError, "fails in line 9: ValidationError"),
        *(
            ('"mine@1"', f'"{key}"', "mine.py:Mine", PluginError, "cannot name a folder")
            for key in ("mine", "../m@1", "a/b@1", "a..b@1", "a@/1", r"a\\b@1", r"a\n@1", "@1", "é@1", f"{'a' * 101}@1")
        ),
        *(
            ('"mine@1"', f'"{key}"', "mine.py:Mine", PluginError, "srbench's own")
            for key in ("nlp@1", "NLP@9", "micro-quality@1", "quality@1", "judge-accuracy-mine@1", "head-to-head@1")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used(mine: Path, old: str, new: str, named: str, error: type[SrbenchError], told: str) -> None:
    if old:
        edited(mine, old, new)
    with pytest.raises(error, match=told):
        open_benchmark(named)


def test_a_file_can_be_handed_to_the_class(mine: Path) -> None:
    Path("key.txt").write_text("filed@2", encoding="utf-8")
    assert open_benchmark("mine.py:Filed:key.txt").key == "filed@2"


def test_its_description_is_known_and_kept(mine: Path) -> None:
    assert evaluate() == 1
    stored = standings.read_result(Path("M1/eval/mine@1/result.json"))
    assert stored.description == open_benchmark("mine.py:Mine").description
    assert descriptions.title("mine@1") == "Mine"


def test_edited_code_makes_results_anew_even_at_the_same_time_and_size(mine: Path) -> None:
    assert evaluate("yes") == 1
    assert evaluate("not asked again") == 1
    edited(mine, 't == "yes"', 't != "yes"')
    assert evaluate("yes") == 0
    edited(mine, 't != "yes"', 't == "yes"')
    assert evaluate("not asked again") == 1  # what was put aside comes back
    assert list(Path().rglob("*.pyc")) == []


def test_numbers_of_unlike_code_are_not_compared(mine: Path) -> None:
    """Whether the benchmark states conditions of its own or none."""
    for stated in ("{}", '{"data": "d"}'):
        edited(mine, "conditions = {}", f"conditions = {stated}")
        evaluate("yes", "M1")
        evaluate("no", "M2")
        assert [(d.metric, d.value) for d in compare(Path()).differences] == [("right", -1)]
        edited(mine, "class Filed", "# more\nclass Filed")
        evaluate("no", "M2")
        told = compare(Path())
        assert told.differences == ()
        assert "not compared" in told.notes[0]
        mine.write_text(CODE, encoding="utf-8")


def test_without_conditions_of_its_own_all_settings_count(mine: Path) -> None:
    evaluate("yes", "M1")
    evaluate("no", "M2", limit=2)
    assert compare(Path()).differences == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("float(t ==", "int(t *", "fails in line 29: TypeError"),
        ("return Outcome([row(str(i)", "return list([row(str(i)", "fails in line 29: TypeError: list"),
        ("        said =", "        return []\n        said =", "run gave list, not Outcome"),
        ("Outcome([row(str(i), str(i)", "Outcome([row('same', str(i)", "two rows are called 'same'"),
        ('float(t == "yes")', 'float("nan")', "right is nan; give a number or None"),
        ('float(t == "yes")', '1.0, "x": t', "x is 'yes'; give a number or None"),
        ("enumerate(said)]", 'enumerate(said)] + ["x"]', "a row gave str, not SampleScore"),
    ],
)
def test_what_fails_in_it_ends_it_and_nothing_else(mine: Path, old: str, new: str, told: str) -> None:
    Path("good.py").write_text(CODE.replace("mine@1", "good@1"), encoding="utf-8")
    edited(mine, old, new)
    model = Model("M1", "weights", lambda: ScriptedEngine({"*": "yes"}))
    settings = dict.fromkeys(["mine.py:Mine", "good.py:Mine"], Setting(RunConfig()))
    with pytest.raises(PluginError, match=told):
        evaluate_model(model, settings, out_dir=Path("M1/eval"))
    assert Path("M1/eval/good@1/result.json").is_file()
    failure = standings.read_failure(Path("M1/eval/mine@1/failure.json"))
    assert failure.error == "PluginError"


def test_what_cannot_be_written_down_is_told_with_its_place(mine: Path) -> None:
    edited(mine, '{"limit": setting.config.eval.limit}', '{"limit": object()}')
    with pytest.raises(PluginError, match=r"mine\.py:Mine fails"):
        open_benchmark("mine.py:Mine").identity(Setting(RunConfig()))


def test_errors_that_it_tells_itself_pass(mine: Path) -> None:
    edited(mine, "        return Plan(Calls(4", "        from selfreward_bench.errors import DataError\n        raise DataError('no data')\n        return Plan(Calls(4")  # fmt: skip # noqa: E501
    with pytest.raises(DataError, match="no data"):
        open_benchmark("mine.py:Mine").plan(Setting(RunConfig()))


@pytest.fixture
def session(checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Session]:
    monkeypatch.setattr("selfreward_bench.models.opening.open_engine", lambda *_, **__: ScriptedEngine({"*": "yes"}))

    def make(*benchmarks: str, candidates: tuple[str, ...] = ()) -> Session:
        config = default_config("real")
        texts = candidates or (str(checkpoint("model")),)
        return Session(
            Asked(parse_candidates(texts), Path("out"), config, Services(config.engine), benchmarks, world="real")
        )

    return make


def test_a_session_plans_and_runs_it(mine: Path, session: Callable[..., Session]) -> None:
    (planned,) = session("mine.py:Mine").plan()
    assert (planned.benchmark, planned.current, planned.plan.answers.calls) == ("mine@1", False, 4)
    done = session("mine.py:Mine").run()
    assert [r.metrics["right"].value for r in done.results] == [1]
    assert done.is_scored
    assert session("mine.py:Mine").plan()[0].current


def test_a_session_scores_its_finished_files(mine: Path, session: Callable[..., Session]) -> None:
    Path("a.mine.json").write_text("{}", encoding="utf-8")
    done = session("mine.py:Mine", candidates=("a.mine.json",)).run()
    assert [r.metrics["right"].n_total for r in done.results] == [1]


def test_two_benchmarks_of_one_key_would_overwrite_each_other(mine: Path, session: Callable[..., Session]) -> None:
    Path("twin.py").write_text(CODE.replace("mine@1", "MINE@1"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.py:Mine and twin\.py:Mine both keep their results as MINE@1"):
        session("mine.py:Mine", "twin.py:Mine")
