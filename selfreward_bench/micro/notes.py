"""What a critic of the micro-world says about an answer: what is missing, what is wrong, whether its form is proper."""

from __future__ import annotations

import re
from collections import Counter

from selfreward_bench.micro.families import Compare, Describe, Fact, Name, Riddle, Select, Sentence, Sort, Task
from selfreward_bench.micro.lexicon import ATTRIBUTE_OF, NUMBERS, THINGS, VALUES, fitting
from selfreward_bench.micro.statements import claims, is_true, nouns, words

_SHOWN = 3  # items a critic names at most
_MORE = {1: "one", **NUMBERS}


def notes(task: Task, answer: str) -> str:
    """The critic's line.

    >>> notes(Sentence(("cat", "bus", "hat")), "The cat sat near the bus and the dog.")
    'Missing: hat. Wrong: dog. Form: good.'
    """
    missing, wrong = _check(task, answer)
    form = "good" if task.criteria(answer).well_formed else "bad"
    return f"Missing: {_say(missing)}. Wrong: {_say(wrong)}. Form: {form}."


def _say(items: list[str]) -> str:
    return ", ".join(list(dict.fromkeys(items))[:_SHOWN]) or "nothing"


def _check(task: Task, answer: str) -> tuple[list[str], list[str]]:
    found, stated = nouns(answer), claims(answer)
    false = [value for noun, attribute, value in stated if not is_true((noun, attribute, value))]
    repeated = [n for n, count in Counter(found).items() if count > 1]
    match task:
        case Describe(noun):
            told = {v for n, _, v in stated if n == noun and THINGS[n][ATTRIBUTE_OF[v]] == v}
            return [v for v in THINGS[noun].values() if v not in told], [n for n in found if n != noun] + false
        case Compare(first, second):
            both, true = (first, second), {(n, v) for n, a, v in stated if THINGS[n][a] == v}
            lacking = [
                f"{n} {THINGS[n][a]}" for n in both for a in ("size", "colour", "kind") if (n, THINGS[n][a]) not in true
            ]
            return lacking, [n for n in found if n not in both] + false
        case Sentence(asked):
            adjectives = re.findall(r"([a-z]+) (?=([a-z]+))", answer.lower())
            lies = [a for a, n in adjectives if n in THINGS and a in ATTRIBUTE_OF and THINGS[n][ATTRIBUTE_OF[a]] != a]
            return [n for n in asked if n not in found], [n for n in found if n not in asked] + repeated + lies
        case Name(count, constraints):
            valid = set(fitting(dict(constraints)))
            short = count - len(set(found) & valid)
            surplus = found[count:] if short <= 0 else []
            return [_MORE[short]] if short > 0 else [], [n for n in found if n not in valid] + repeated + surplus
        case Riddle(constraints):
            if not found:
                return [v for _, v in constraints], []
            unmet = [v for a, v in constraints if THINGS[found[0]][a] != v]
            return unmet, ([found[0]] if unmet else []) + [n for n in found if n != found[0]] + false
        case Select(attribute, value, options):
            right = [n for n in options if THINGS[n][attribute] == value]
            return [n for n in right if n not in found], [n for n in found if n not in right] + repeated
        case Sort(numbers):
            given = [int(x) for x in re.findall(r"\d", answer)]
            fewer = sorted((Counter(numbers) - Counter(given)).elements())
            more = sorted((Counter(given) - Counter(numbers)).elements())
            disorder = [] if given == sorted(given) else ["order"]
            return list(map(str, fewer)), [*map(str, more), *disorder, *found]
        case Fact(noun, attribute):
            given_values = [w for w in words(answer) if w in VALUES[attribute]]
            value = THINGS[noun][attribute]
            lacking = [x for x, said in ((value, value in given_values), (noun, noun in found)) if not said]
            others = [w for w in words(answer) if ATTRIBUTE_OF.get(w, attribute) != attribute]
            return lacking, [v for v in given_values if v != value] + [n for n in found if n != noun] + others
    raise TypeError(f"no critic for {type(task).__name__}")
