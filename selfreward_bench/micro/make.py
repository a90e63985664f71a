"""`make micro-base`: makes everything embedded, from one seed, in one run: base model, seed data, held-out sets.

The oracle grades here, as the human annotators of the seed data (with their mistakes), and nowhere in training.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.micro import base_path, data_path
from selfreward_bench.micro.families import FAMILIES, Fact, Riddle, Task
from selfreward_bench.micro.lexicon import NOUNS, THINGS, VALUES, article, capital, fitting
from selfreward_bench.micro.notes import notes
from selfreward_bench.micro.statements import describe_facts
from selfreward_bench.micro.world import DEMONSTRATIONS, Split, annotate, draw_prompt, human_answer
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.types import (
    ChoiceQuestion,
    Example,
    Message,
    Prompt,
    RankedPrompt,
    RankedResponse,
    Record,
    TwoTurnQuestion,
)

SEED = 8
STEPS = 7000
IFT, EFT_PROMPTS, HELD_OUT, RANKED = 3200, 2400, 256, 256
QUESTIONS = 10  # of two turns, a family

Drawn = tuple[str, Task]


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def draw_distinct(rng: random.Random, split: Split, count: int, taken: set[str]) -> list[Drawn]:
    """``count`` prompts of a split that are not in ``taken``, which they join."""
    drawn: list[Drawn] = []
    for _ in range(100 * count):
        prompt, task = draw_prompt(rng, split)
        if prompt not in taken:
            taken.add(prompt)
            drawn.append((prompt, task))
        if len(drawn) == count:
            return drawn
    raise ValueError(f"the {split} split has fewer than {count} prompts left")


def base_answers(engine: Engine, drawn: list[Drawn], samples: int, tag: str) -> dict[str, list[str]]:
    """What the base model writes under a forum question: the model answers that annotators grade."""
    requests = [
        GenerationRequest(
            id=prompt,
            prompt=f" Task: {prompt}\nAnswer:",
            n=samples,
            seeds=tuple(derive_seed(SEED, tag, prompt, i) for i in range(samples)),
            temperature=1.0,
            max_new_tokens=48,
            stop=("\n",),
        )
        for prompt, _ in drawn
    ]
    answers: dict[str, list[str]] = {prompt: [] for prompt, _ in drawn}
    for completion in itertools.chain.from_iterable(engine.generate(requests)):
        answers[completion.prompt_id].append(completion.text.strip())
    return answers


def ranked(engine: Engine, rng: random.Random, drawn: list[Drawn], tag: str) -> Iterator[RankedPrompt]:
    """Two human and two model answers a prompt; one annotator reviews each, another ranks them."""
    written = base_answers(engine, drawn, 2, tag)
    for i, (prompt, task) in enumerate(drawn):
        texts = [human_answer(task, rng), human_answer(task, rng), *written[prompt]]
        distinct = [t for t in dict.fromkeys(texts) if t]
        truth = [task.criteria(t).score for t in distinct]
        if len(set(truth)) < 2:
            continue
        order = [annotate(s, rng) for s in truth]
        levels = sorted(set(order), reverse=True)
        responses = tuple(
            RankedResponse(text=t, rank=levels.index(o), review=f"{notes(task, t)}\nScore: {annotate(s, rng)}")
            for t, s, o in zip(distinct, truth, order, strict=True)
        )
        yield RankedPrompt(id=f"{tag}-{i:04d}", messages=user(prompt), responses=responses, category=task.family)


def prompts(tag: str, drawn: list[Drawn]) -> Iterator[Prompt]:
    for i, (prompt, task) in enumerate(drawn):
        yield Prompt(id=f"{tag}-{i:04d}", messages=user(prompt), source="micro", category=task.family)


def two_turns(rng: random.Random, drawn: list[Drawn], other: list[Drawn]) -> Iterator[TwoTurnQuestion]:
    """Ten questions a family, each with a follow-up; references for both turns.

    Args:
        other: held-out prompts of other sets. The test split asks few things to describe and few facts: where ``drawn``
            has not ten left, these make up the number, after all others.
    """
    fresh = {f: [d for d in drawn if d[1].family == f][:QUESTIONS] for f in FAMILIES}
    more = {f: [d for d in other if d[1].family == f][: QUESTIONS - len(fresh[f])] for f in FAMILIES}
    number = Counter[str]()
    for prompt, task in itertools.chain(*fresh.values(), *more.values()):
        yield two_turn(rng, f"turns-{task.family}-{number[task.family]}", prompt, task)
        number[task.family] += 1


def two_turn(rng: random.Random, name: str, prompt: str, task: Task) -> TwoTurnQuestion:
    first, noun = task.perfect(rng), rng.choice(NOUNS)
    follow, second = (
        ("Say it again.", first)
        if rng.random() < 0.5
        else (f"Now describe {article(noun)}.", describe_facts(noun, place=True))
    )
    return TwoTurnQuestion(id=name, category=task.family, turns=(prompt, follow), reference=(first, second))


def choices(rng: random.Random, count: int) -> Iterator[ChoiceQuestion]:
    """Multiple choice: facts, and things that must meet two or three constraints."""
    seen: set[str] = set()
    while len(seen) < count:
        prompt, task = draw_prompt(rng, "test")
        if isinstance(task, Fact):
            value = THINGS[task.noun][task.attribute]
            wrong = [v for v in VALUES[task.attribute] if v != value]
            options = [value, *rng.sample(wrong, min(3, len(wrong)))]
        elif isinstance(task, Riddle):
            good = fitting(dict(task.constraints))
            right = rng.choice(good)
            options = [article(n) for n in (right, *rng.sample([n for n in NOUNS if n not in good], 3))]
        else:
            continue
        key = "|".join([prompt, *sorted(options)])  # the same question may come with other wrong choices
        if key in seen:
            continue
        seen.add(key)
        answer = capital(options[0]) + "."
        shuffled = [capital(o) + "." for o in rng.sample(options, len(options))]
        yield ChoiceQuestion(
            id=f"choice-{len(seen):04d}", question=prompt, choices=tuple(shuffled), answer=shuffled.index(answer)
        )


def make_data(engine: Engine, seed: int, path: Callable[[str], Path] = data_path) -> None:
    """Writes every file of `selfreward_bench.micro.FILES`."""
    rng = random.Random(seed + 2)
    taken: set[str] = set()
    test = draw_distinct(rng, "test", HELD_OUT, taken)
    test_ranked = draw_distinct(rng, "test", RANKED, taken)
    validation = draw_distinct(rng, "validation", HELD_OUT, taken)
    validation_ranked = draw_distinct(rng, "validation", RANKED, taken)
    turns = draw_distinct(rng, "test", 1000, taken)
    multiple = list(choices(rng, 256))
    held_out = [*prompts("held", [*test, *test_ranked, *validation, *validation_ranked, *turns])]
    ift = []
    for i in range(IFT):
        prompt, task = draw_prompt(rng)
        ift.append(
            Example(
                id=f"ift-{i:04d}",
                prompt=user(prompt),
                completion=(Message(role="assistant", content=human_answer(task, rng, DEMONSTRATIONS)),),
                source="micro",
            )
        )
    files: dict[str, Iterable[Record]] = {
        "test": prompts("test", test),
        "validation": prompts("validation", validation),
        "exclude": held_out,
        "rankings": ranked(engine, rng, test_ranked, "rank"),
        "rankings-validation": ranked(engine, rng, validation_ranked, "rank-validation"),
        "ift": ift,
        "eft": ranked(engine, rng, draw_distinct(rng, "train", EFT_PROMPTS, taken), "eft"),
        "two_turn": two_turns(rng, turns, [*test_ranked, *test]),
        "choices": multiple,
    }
    for name, records in files.items():
        jsonl.write(path(name), list(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--data-only", action="store_true", help="keep the base model, make the data anew")
    options = parser.parse_args()

    import torch

    from selfreward_bench.config import EngineConfig
    from selfreward_bench.engines import open_engine
    from selfreward_bench.micro.pretrain import pretrain

    torch.set_num_threads(1)
    if not options.data_only:
        pretrain(base_path(), seed=options.seed, steps=options.steps)
    engine = open_engine(EngineConfig(), base_path(), threads=1)
    make_data(engine, options.seed)


if __name__ == "__main__":
    main()
