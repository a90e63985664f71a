"""Recipes: the shipped ones say what they claim; in a user's own every mistake is reported at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, UnknownNameError
from selfreward_bench.storage.rundir import RunDir

BUILT_IN = [
    *("five-bucket", "llama-3.1-8b", "llama-3.1-8b-lora", "llama-3.2-1b", "micro", "micro-best-random", "micro-cream"),
    *("micro-dice", "micro-fast", "micro-irpo", "micro-length", "micro-meta", "micro-oracle", "micro-plain"),
    *(
        "micro-random",
        "micro-spin",
        "micro-sppo",
        "micro-temporal",
        "no-eft",
        "paper-70b",
        "positive-only",
        "qwen2.5-0.5b",
        "sft-data",
    ),
    *("smollm2-1.7b-lora", "smollm2-135m"),
]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def error_of(path: Path, text: str, *overrides: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        recipes.load(path, overrides)
    return str(caught.value)


# --- the shipped recipes


def test_the_shipped_recipes() -> None:
    assert recipes.names() == BUILT_IN
    assert list(recipes.describe()) == BUILT_IN
    for name, line in recipes.describe().items():
        assert recipes.load(name).name == name
        assert len(line) > 20
        assert "extends" not in line
        assert recipes.source(name).splitlines()[1] == f"# {line}"  # the first is for editors


def test_an_ablation_changes_what_it_is_about_and_nothing_else() -> None:
    changed = {
        "no-eft": ("micro-plain", {"sft": {"eft_repeat": 0}}),
        "positive-only": ("micro-plain", {"learn": "positives"}),
        "sft-data": ("micro-plain", {"seeds": {"ift_size": 300, "eft_size": 1500}}),
        "five-bucket": ("smollm2-135m", {"judge": {"prompt": "five-bucket"}}),
    }
    for name, (base, ours) in changed.items():
        values = recipes.load(base).model_dump()
        for key, value in (ours | {"name": name}).items():
            values[key] = values[key] | value if isinstance(value, dict) else value
        assert recipes.load(name).model_dump() == values


def test_positives_have_no_preferences_to_rehearse_beside(recipe: Path) -> None:
    text = error_of(recipe, "learn: positives\nrehearsal: {what: own}\n")
    assert "learn: positives has no preferences" in text


def test_the_paper_recipe_has_the_papers_values() -> None:
    c = recipes.load("paper-70b")
    assert (c.base, c.iterations, c.rewards) == ("meta-llama/Llama-2-70b-hf", 2, "self")
    assert (c.sft.learning_rate, c.sft.final_learning_rate, c.sft.batch_size, c.sft.dropout) == (
        5.5e-6,
        1.1e-6,
        16,
        0.1,
    )
    assert (c.dpo.learning_rate, c.dpo.final_learning_rate, c.dpo.batch_size) == (1e-6, 1e-7, 16)
    assert (c.dpo.beta, c.dpo.nll_weight, c.dpo.save_every) == (0.1, 0.0, 200)
    assert (c.candidates.count, c.candidates.sampling.temperature, c.candidates.sampling.top_p) == (4, 0.7, 0.9)
    assert (c.judge.prompt, c.judge.mode, c.judge.samples) == ("additive-5pt", "sampled", 3)
    assert (c.prompts.seed_shots, c.prompts.generated_shots, c.prompts.sampling.temperature) == (6, 2, 0.6)
    assert (c.seeds.ift_size, c.seeds.eft_size) == (3200, 1630)
    assert (c.pairs.strategy, c.pairs.min_gap) == ("best-worst", 0.0)


def test_the_controls_differ_from_the_plain_recipe_in_their_rewards_alone() -> None:
    plain = recipes.load("micro-plain")
    assert (plain.rewards, plain.rehearsal.what) == ("self", ())
    for reward in ("random", "length", "oracle"):
        control = recipes.load(f"micro-{reward}")
        assert control.rewards == reward
        assert control.model_copy(update={"rewards": "self", "name": "micro-plain"}) == plain


def test_the_plain_recipe_leaves_out_the_rehearsal_alone() -> None:
    micro, plain = recipes.load("micro"), recipes.load("micro-plain")
    assert micro.rehearsal.what == ("own",)
    assert micro.model_copy(update={"rehearsal": plain.rehearsal, "name": "micro-plain"}) == plain


def test_micro_fast_is_micro_with_less_of_everything() -> None:
    micro, fast = recipes.load("micro"), recipes.load("micro-fast")
    assert fast.seeds.ift_size is not None
    assert fast.prompts.count < micro.prompts.count
    assert fast.sft.epochs < micro.sft.epochs
    assert fast.candidates == micro.candidates


def test_a_setting_that_is_gone_says_why(recipe: Path) -> None:
    said = error_of(recipe, "dpo:\n  dropout: 0\n")
    assert f"{recipe}:2: dpo.dropout: is no setting any more: DPO trains without dropout" in said
    assert "Delete it." in said


def test_an_unknown_recipe_is_met_with_the_closest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"'micr0'.*Did you mean 'micro'"):
        recipes.load("micr0")


# --- laying over


def test_a_half_given_section_keeps_the_other_half_of_its_own_defaults(recipe: Path) -> None:
    recipe.write_text("judge:\n  sampling:\n    temperature: 1.0\n")
    sampling = recipes.load(recipe).judge.sampling
    assert sampling.temperature == 1.0
    assert sampling.max_new_tokens == RunConfig().judge.sampling.max_new_tokens == 256  # a bare Sampling has 512


def test_an_empty_recipe_is_the_defaults(recipe: Path) -> None:
    recipe.write_text("# nothing\n")
    assert recipes.load(recipe) == RunConfig()


def test_a_recipe_extends_another_one_beside_it(recipe: Path) -> None:
    (recipe.parent / "sub").mkdir()
    (recipe.parent / "sub" / "base.yaml").write_text("extends: micro\nseed: 5\ndpo: {beta: 0.3}\n")
    (recipe.parent / "sub" / "mid.yaml").write_text("extends: ./base.yaml\ndpo: {nll_weight: 0.7}\n")
    recipe.write_text("extends: sub/mid.yaml\nseed: 6\n")
    config = recipes.load(recipe)
    assert (config.seed, config.dpo.beta, config.dpo.nll_weight) == (6, 0.3, 0.7)
    assert config.judge == recipes.load("micro").judge


def test_overrides_come_last_and_are_yaml() -> None:
    config = recipes.load(
        "micro",
        ["dpo.beta=0.2", "dpo.beta=0.4", "dpo.learning_rate=1e-4", "pairs.max_pairs=null", "sft.bf16=true", "base=a=b"],
    )
    assert (config.dpo.beta, config.dpo.learning_rate, config.pairs.max_pairs) == (0.4, 1e-4, None)
    assert (config.sft.bf16, config.base) == (True, "a=b")
    assert config.dpo.nll_weight == 0.2
    section = recipes.load("micro", ["candidates.sampling={temperature: 0.5}"]).candidates.sampling
    assert (section.temperature, section.max_new_tokens) == (0.5, 48)


def test_a_template_file_is_beside_the_recipe_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept absolute, so that the run goes on from anywhere; names stay names."""
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/basis.yaml").write_text("chat_template: t.jinja\n")
    (tmp_path / "mine.yaml").write_text("extends: deep/basis.yaml\n")
    monkeypatch.chdir(tmp_path / "deep/er")
    assert recipes.load("../../mine.yaml").chat_template == str(tmp_path.resolve() / "deep/t.jinja")
    assert recipes.load(tmp_path / "mine.yaml").chat_template == str(tmp_path / "deep/t.jinja")
    assert recipes.load(None, ["chat_template=x/t.jinja"]).chat_template == str(tmp_path / "deep/er/x/t.jinja")
    for name in ("plain", "fastchat:vicuna_v1.1"):
        assert recipes.load(tmp_path / "mine.yaml", [f"chat_template={name}"]).chat_template == name
    run = RunDir.create(tmp_path / "run", recipes.load(tmp_path / "mine.yaml"))
    monkeypatch.chdir(tmp_path)
    assert RunDir.open(run.path).config == run.config


# --- problems


def test_all_problems_are_reported_at_once_with_their_places(recipe: Path) -> None:
    message = error_of(
        recipe,
        "extends: micro\n"
        "dpo:\n"
        "  betaa: 1\n"
        "  beta: -1\n"
        "learning_rate: 3\n"
        "sft: 3\n"
        "seed: true\n"
        "judge: {mode: smpled}\n"
        "judge: {samples: 1}\n"
        "name: 2020-01-01\n",
        "prompts.count=many",
        "foo",
        "eval.limit=",
        "dpo.nll_weight=.inf",
        "eval.samples=[1",
        "eval.limit=1\nseed: 2",
        "dpo.epoch=2",
    )
    expected = [
        f"{recipe}:3: dpo.betaa: unknown key. Did you mean 'dpo.beta'?",
        f"{recipe}:4: dpo.beta: must be greater than 0 (it is -1)",
        f"{recipe}:5: learning_rate: unknown key. Did you mean 'sft.learning_rate' or 'dpo.learning_rate'?",
        f"{recipe}:6: sft: is a section with keys of its own, not a value (it is 3)",
        f"{recipe}:7: seed: must be a valid integer (it is True)",
        f"{recipe}:8: judge.mode: must be 'sampled', 'expected' or 'reasoned' (it is 'smpled')",
        f"{recipe}:9: judge: is there twice (first at {recipe}:8)",
        f"{recipe}:10: name: must be a valid string (it is datetime.date(2020, 1, 1)). Put it in quotes",
        "--set prompts.count: must be a valid integer (it is 'many')",
        "--set foo: must look like `--set dpo.beta=0.2`",
        "--set eval.limit: has no value. For none, write `eval.limit=null`",
        "--set dpo.nll_weight: must be a finite number (it is inf)",
        "--set eval.samples: not valid YAML",
        "--set eval.limit: '1\\nseed: 2' is more than one value",
        "--set dpo.epoch: unknown key. Did you mean 'dpo.epochs'?",
    ]
    for problem in expected:
        assert f"\n  {problem}" in message
    assert f"it has {len(expected)} problems:" in message


def test_a_problem_is_placed_in_the_file_it_came_from(recipe: Path) -> None:
    base = recipe.parent / "base.yaml"
    base.write_text("seed: 1\ndpo:\n  beta: -1\n")
    assert f"{base}:3: dpo.beta: must" in error_of(recipe, "extends: ./base.yaml\n")
    assert f"{recipe}:2: dpo.beta: must" in error_of(recipe, "extends: ./base.yaml\ndpo: {beta: -2}\n")


def test_extends_that_leads_nowhere(recipe: Path) -> None:
    assert f"{recipe}:2: extends: Unknown recipe 'micor'. Did you mean 'micro'?" in error_of(
        recipe, "seed: x\nextends: micor\n"
    )
    assert "seed: must be a valid integer" in error_of(recipe, "seed: x\nextends: micor\n")
    assert "goes round in a circle" in error_of(recipe, "extends: ./my.yaml\n")
    assert "must be a recipe's name or path (it is 3)" in error_of(recipe, "extends: 3\n")
    assert "no such file" in error_of(recipe, "extends: ./none.yaml\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", ":1: not valid YAML: expected"),
        ("seed: 1\n\tname: x\n", ":2: not valid YAML: found character"),
        ("- 1\n", ":1: keys with values are needed here"),
        ("just text\n", ":1: keys with values are needed here"),
        ("x: &a 1\ny: *a\n", ":2: not valid YAML: anchors and aliases"),
        ("name: !!python/name:os.system ''\n", ":1: name: could not determine a constructor"),
        ("name: !!python/object/apply:os.system [ls]\n", ":1: name: must be a valid string (it is ['ls'])"),
        ("? [1]\n: 2\n", ":1: the recipe: a key must be a plain word"),
        ("seed: !!bool maybe\n", ":1: seed: the value is not what its tag tag:yaml.org,2002:bool says"),
        ("name: !!timestamp x\n", ":1: name: the value is not what its tag"),
        ("name: 2020-99-99\n", ":1: name: month must be in 1..12"),
        ('name: "\\ud800"\n', ":1: name: holds a lone surrogate"),
        ("name: \0\n", "not valid YAML: unacceptable character"),
        ("name: no\n", ":1: name: must be a valid string (it is False). Put it in quotes"),
        ("<<: {seed: 1}\n", ":1: <<: unknown key"),
        ("[" * 3000, "nested too deeply"),
        ("a: {" * 3000, "nested too deeply"),
        ("seed: 1\n---\nseed: 2\n", "not valid YAML: but found another document"),
        ("x: " + "y" * 2**20, "larger than 1,048,576 bytes"),
    ],
)
def test_what_is_no_recipe_is_named_with_its_line(recipe: Path, text: str, expected: str) -> None:
    message = error_of(recipe, text)
    assert f"{recipe}" in message
    assert expected in message
    assert len(message) < 1000


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"seed: 1\nname: \xe9\n")
    for path, expected in (
        (str(tmp_path), "it is a directory"),
        (str(tmp_path / "none.yaml"), "there is no such file"),
        (str(tmp_path / "latin.yaml"), r"latin\.yaml:2: not valid UTF-8"),
        ("./a\0b.yaml", "NUL"),
    ):
        with pytest.raises(ConfigError, match=expected):
            recipes.load(path)


# --- writing down


@pytest.mark.parametrize("given", ["q_proj", "all-lineer", "[]", "[3]", "null"])
def test_targets_of_adapters_are_all_or_a_list_of_names(given: str) -> None:
    with pytest.raises(
        ConfigError, match=r"lora\.targets: must be all-linear, or names of layers in a list, such as \["
    ):
        recipes.load("micro", [f"lora={{targets: {given}}}"])
    named = recipes.load("micro", ["lora={targets: [q_proj, v_proj]}"]).lora
    assert named is not None
    assert named.targets == ("q_proj", "v_proj")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_dumped_configuration_is_read_back_equal(recipe: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)
    config = recipes.anchored(recipes.load(name))
    recipe.write_text(recipes.dump(config))
    assert recipes.load(recipe) == config
    assert recipes.dump(recipes.load(recipe)) == recipes.dump(config)
    assert list(RunConfig.model_fields) == [
        line.split(":")[0] for line in recipes.dump(config).splitlines() if line[0] != " "
    ]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(
        [
            "1e-4",
            "no",
            "null",
            "~",
            "",
            "1_0",
            "0x1f",
            "1:30",
            "2020-01-01",
            "=",
            "<<",
            "*a",
            "- x",
            "a: b",
            "\x85",
            "\u2028",
            "é",
            "\ufeff",
            "\0",
        ]
    ),
    number=st.floats(min_value=1e-300, max_value=1e300),
)
def test_any_text_and_number_survives_being_dumped(text: str, number: float) -> None:
    config = RunConfig(name=text, base=text, dpo=RunConfig().dpo.model_copy(update={"beta": number}))
    layer = recipes.parse(recipes.dump(config), "dumped")
    assert recipes.resolve([layer], "dumped") == config


def test_a_list_of_names_is_a_setting(tmp_path: Path) -> None:
    config = recipes.load("micro", ["eval.nlp_tasks=[gsm8k, mmlu]"])
    assert config.eval.nlp_tasks == ("gsm8k", "mmlu")
    run = RunDir.create(tmp_path / "run", config)
    assert RunDir.open(run.path).config.eval == config.eval


def test_settings_that_are_wrong_together_are_refused_with_where_each_was_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        recipes.load("micro", ["sft.learning_rate=1e-5", "dpo.micro_batch_size=5"])
    message = str(refused.value)
    assert (
        "sft: final_learning_rate 0.0001 is above learning_rate 1e-05, so the rate would rise; set both "
        "(learning_rate: --set sft.learning_rate; final_learning_rate: built-in micro.yaml:"
    ) in message
    assert "dpo: batch_size 32 is no multiple of micro_batch_size 5 (" in message
    with pytest.raises(ConfigError, match=r"final_learning_rate: by default"):
        recipes.load(None, ["dpo.learning_rate=1e-8"])
    assert recipes.load("micro", ["sft.learning_rate=1e-5", "sft.final_learning_rate=1e-5"]).sft.learning_rate == 1e-5


# --- paths


def test_a_path_in_a_recipe_is_relative_to_its_file(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of such a recipe goes on from any directory; no stranger's model of that name is asked for."""
    beside = recipe.parent
    (beside / "models" / "tiny").mkdir(parents=True)
    (beside / "trees.jsonl").write_text("")
    recipe.write_text("base: models/tiny\nseeds:\n  ift: oasst:trees.jsonl\n  eft: ../eft.jsonl\n  exclude: null\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = recipes.load(recipe)
    assert config.base == str((beside / "models/tiny").resolve())
    assert config.seeds.ift == f"oasst:{(beside / 'trees.jsonl').resolve()}"
    assert config.seeds.eft == str((beside.parent / "eft.jsonl").resolve())
    assert config.judge.prompt == "additive-5pt"


def test_a_path_in_set_is_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipes.load("micro", ["base=model"]).base == str((tmp_path / "model").resolve())
    assert recipes.load("micro", ["base=owner/name@main"]).base == "owner/name@main"
    assert recipes.load("micro", ["base=micro"]).base == "micro"


def test_a_path_that_is_beside_the_caller_and_not_beside_the_recipe_is_told(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = tmp_path / "caller"
    (caller / "model").mkdir(parents=True)
    monkeypatch.chdir(caller)
    recipe.write_text("base: model\n")
    with pytest.raises(ConfigError, match=r"base: 'model' is not in .* but in the current directory"):
        recipes.load(recipe)


def test_a_built_in_recipes_paths_start_where_its_run_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = recipes.load("paper-70b")
    assert config.seeds.ift == "ift.jsonl"
    anchored = recipes.anchored(config)
    assert anchored.seeds.ift == str(tmp_path.resolve() / "ift.jsonl")
    assert recipes.anchored(anchored) == anchored
