"""How fast the ``transformers`` engine is, against the two patterns it replaces: ratios within one run.

    python perf/engine.py --threads 1 --model DIR [--model DIR ...] [--device cuda --dtype bfloat16] [--json FILE]

Generation, 256 prompts x 4 samples at equal generated length (end tokens held back on both sides):
  one      ``model.generate``, one prompt and one sample at a time (a part of the prompts, per token)
  padded   ``model.generate``, length-sorted padded batches with num_return_sequences=4, the best of several batch sizes
  engine   ours
Judging a pool of answers under a long rubric, k = 3 sampled verdicts or the expected grade, against one at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from models import SIZES, random_model

PROMPTS, SAMPLES, NEW_TOKENS, VERDICT_TOKENS, JUDGMENTS = 256, 4, 64, 12, 3
TEMPERATURE, TOP_P = 0.7, 0.9
BATCH_SIZES = (16, 32, 64, 128, 256)
NAMES = ("Lily", "Tom", "Max", "Anna", "Ben", "Sue", "Tim", "Mia")
THINGS = ("a dog", "a big red ball", "the park", "her mom", "a small cat", "the old tree", "his friend", "a toy car")
VERBS = ("saw", "liked", "found", "wanted", "lost", "played with", "looked at", "gave away")
RUBRIC = (
    "Read the story and vote. One point if it is about the right thing. One point if it says what was asked. "
    "One point if nothing in it is wrong. One point if it is clear. One point if it is very good. "
    "Say the number of points from zero to five and nothing else.\n"
)


def sentences(rng: random.Random, count: int) -> str:
    """Some sentences of a children's story."""
    return " ".join(f"{rng.choice(NAMES)} {rng.choice(VERBS)} {rng.choice(THINGS)}." for _ in range(count))


def prompts(count: int) -> list[str]:
    """Prompts of mixed length, about 8 to 60 tokens."""
    rng = random.Random(0)
    lengths = [rng.randint(0, 3) for _ in range(count)]
    return [f"{sentences(rng, n)} {rng.choice(NAMES)} {rng.choice(VERBS)}".strip() for n in lengths]


def judge_prompts(count: int) -> list[str]:
    """The rubric, then an answer of mixed length."""
    rng = random.Random(1)
    return [f"{RUBRIC}Story: {sentences(rng, rng.randint(2, 5))}\nVotes:" for _ in range(count)]


def timed(work: Callable[[], int], clock: Callable[[], float]) -> tuple[float, int]:
    """Seconds, and what the work counts."""
    start = clock()
    count = work()
    return clock() - start, count


def hf_one(model: Any, tokenizer: Any, texts: Sequence[str], new: int, repeats: int) -> int:
    """One prompt and one sample at a time; returns the tokens made."""
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").to(model.device)
        for _ in range(repeats):
            model.generate(**ids, **sampling(tokenizer, new))
    return len(texts) * repeats * new


def hf_padded(model: Any, tokenizer: Any, texts: Sequence[str], new: int, repeats: int, batch: int) -> int:
    """Length-sorted padded batches; returns the tokens made."""
    ordered = sorted(texts, key=lambda t: len(tokenizer(t)["input_ids"]))
    for start in range(0, len(ordered), batch):
        ids = tokenizer(ordered[start : start + batch], return_tensors="pt", padding=True, padding_side="left")
        ids = ids.to(model.device)
        model.generate(**ids, **sampling(tokenizer, new), num_return_sequences=repeats)
    return len(texts) * repeats * new


def hf_natural(model: Any, tokenizer: Any, texts: Sequence[str], new: int, repeats: int, batch: int) -> int:
    """The same with the end token left on; returns the tokens kept."""
    kept = 0
    ordered = sorted(texts, key=lambda t: len(tokenizer(t)["input_ids"]))
    for start in range(0, len(ordered), batch):
        ids = tokenizer(ordered[start : start + batch], return_tensors="pt", padding=True, padding_side="left")
        ids = ids.to(model.device)
        options = sampling(tokenizer, new) | {"min_new_tokens": 0, "stop_strings": ["."], "tokenizer": tokenizer}
        made = model.generate(**ids, **options, num_return_sequences=repeats)[:, ids["input_ids"].shape[1] :]
        kept += int((made != tokenizer.pad_token_id).sum())
    return kept


def sampling(tokenizer: Any, new: int) -> dict[str, Any]:
    """Options of ``model.generate`` for exactly ``new`` tokens."""
    return {
        "do_sample": True,
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
        "top_k": 0,
        "min_new_tokens": new,
        "max_new_tokens": new,
        "pad_token_id": tokenizer.pad_token_id,
    }


def engine_requests(texts: Sequence[str], new: int, repeats: int, stop: tuple[str, ...] = ()) -> list[Any]:
    from selfreward_bench.engines.base import GenerationRequest
    from selfreward_bench.seeding import derive_seed

    return [
        GenerationRequest(
            id=f"p{i:04}",
            prompt=text,
            seeds=tuple(derive_seed(0, i, j) for j in range(repeats)),
            n=repeats,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            max_new_tokens=new,
            min_new_tokens=0 if stop else new,
            stop=stop,
        )
        for i, text in enumerate(texts)
    ]


def run_engine(engine: Any, requests: Sequence[Any], tokens_each: int = 1) -> int:
    """Generated tokens, or what so many tokens each make."""
    return sum(c.n_tokens for batch in engine.generate(requests) for c in batch) // tokens_each


def run_expected(engine: Any, texts: Sequence[str]) -> int:
    from selfreward_bench.engines.base import ChoiceRequest

    requests = [ChoiceRequest(id=f"j{i:04}", prompt=t, choices=tuple(" 012345"[1:])) for i, t in enumerate(texts)]
    return sum(len(batch) for batch in engine.choice_logprobs(requests))


def measure(
    loaded: Any, threads: int, budgets: Sequence[int], repeats: int, clock: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """All figures of one ``LoadedModel``."""
    import torch

    from selfreward_bench.engines.transformers import TransformersEngine

    torch.set_num_threads(threads)
    name = Path(loaded.name).name
    model, tokenizer = loaded.model, loaded.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    engines = {b: TransformersEngine(loaded, tokens_per_batch=b) for b in budgets}
    texts, judged = prompts(PROMPTS), judge_prompts(PROMPTS)

    def rate(what: str, work: Callable[[], int], unit: str) -> dict[str, Any]:
        with torch.inference_mode():
            results = [timed(work, clock) for _ in range(repeats)]
        per_second = statistics.median(count / seconds for seconds, count in results)
        return {"model": name, "threads": threads, "what": what, "rate": per_second, "unit": unit}

    first = next(iter(engines.values()))
    run_engine(first, engine_requests(texts[:8], 8, 2))  # warm up
    hf_padded(model, tokenizer, texts[:8], 8, 2, 8)
    yield rate("generate/one", lambda: hf_one(model, tokenizer, texts[:6], NEW_TOKENS, 1), "tok/s")
    for size in BATCH_SIZES:
        padded = partial(hf_padded, model, tokenizer, texts, NEW_TOKENS, SAMPLES, size)
        yield rate(f"generate/padded-{size}", padded, "tok/s")
    for budget, engine in engines.items():
        ours = partial(run_engine, engine, engine_requests(texts, NEW_TOKENS, SAMPLES))
        yield rate(f"generate/engine-{budget}", ours, "tok/s")
    for size in (32, 128):
        padded = partial(hf_natural, model, tokenizer, texts, NEW_TOKENS, SAMPLES, size)
        yield rate(f"natural/padded-{size}", padded, "tok/s")
    for budget, engine in engines.items():
        ours = partial(run_engine, engine, engine_requests(texts, NEW_TOKENS, SAMPLES, (".",)))
        yield rate(f"natural/engine-{budget}", ours, "tok/s")
    if (
        loaded.device.type == "cpu"
    ):  # minutes on a GPU, one prompt at a time; tests/trainers/test_accelerator.py compares
        yield equal_texts(loaded, texts[:250]) | {"model": name, "threads": threads}
    yield rate(
        "judge/one", lambda: hf_one(model, tokenizer, judged[:6], VERDICT_TOKENS, JUDGMENTS) // VERDICT_TOKENS, "judg/s"
    )
    for budget, engine in engines.items():
        ours = partial(run_engine, engine, engine_requests(judged, VERDICT_TOKENS, JUDGMENTS), VERDICT_TOKENS)
        yield rate(f"judge/engine-{budget}", ours, "judg/s")
        # one expected score stands for the k sampled judgments of an answer
        yield rate(f"judge/expected-{budget}", lambda e=engine: JUDGMENTS * run_expected(e, judged), "judg/s")


def equal_texts(loaded: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Share of samples whose text is the same in batches of one prompt and in large batches."""
    from selfreward_bench.engines.transformers import TransformersEngine

    made = []
    for budget in (1, 65536):
        engine = TransformersEngine(loaded, tokens_per_batch=budget)
        batches = engine.generate(engine_requests(texts, NEW_TOKENS, SAMPLES))
        made.append({c.id: c.text for batch in batches for c in batch})
    same = sum(made[0][i] == made[1][i] for i in made[0])
    return {"what": "texts equal, batch 1 and large", "rate": 100 * same / len(made[0]), "unit": "%"}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The ratios that matter, best batch size of each side."""

    def best(prefix: str) -> float:
        return max(float(r["rate"]) for r in rows if str(r["what"]).startswith(prefix))

    return {
        "generate: engine / one": best("generate/engine") / best("generate/one"),
        "generate: engine / padded": best("generate/engine") / best("generate/padded"),
        "natural: engine / padded": best("natural/engine") / best("natural/padded"),
        "judge k=3: engine / one": best("judge/engine") / best("judge/one"),
        "judge: expected / one": best("judge/expected") / best("judge/one"),
    }


def load(directory: Path, device: str, dtype: str) -> Any:
    """Raises EngineError for a model, and pydantic's ValidationError for a dtype, that is none."""
    from selfreward_bench.config import EngineConfig
    from selfreward_bench.engines.loading import load_model

    return load_model(EngineConfig.model_validate({"device": device, "dtype": dtype}), directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", type=Path, help="directory in Hugging Face layout; may be repeated")
    parser.add_argument("--random", choices=SIZES, help="also a random model with the first model's tokenizer")
    parser.add_argument("--only-random", action="store_true", help="the models given lend their tokenizer only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budgets", type=int, nargs="+", default=[16384, 65536], help="tokens_per_batch of the engine")
    parser.add_argument("--repeats", type=int, default=1, help="the median of so many runs is taken")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: where other processes disturb; one thread only"
    )
    parser.add_argument("--json", type=Path, help="also writes the figures here")
    args = parser.parse_args()
    data = os.environ.get("SRBENCH_DATA_DIR")
    models = args.model or ([Path(data) / "stories260k" / "hf_derived"] if data else [])
    if not models:
        parser.error("give --model DIR, or set SRBENCH_DATA_DIR to a folder with stories260k/")
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    results = []
    with tempfile.TemporaryDirectory() as folder:
        if args.random:
            made = random_model(args.random, Path(folder) / f"random-{args.random}", models[0])
            models = [made] if args.only_random else [*models, made]
        for directory in models:
            rows = []
            for row in measure(
                load(directory, args.device, args.dtype), args.threads, args.budgets, args.repeats, clock
            ):
                print(f"{row['model']:20} {row['what']:24} {row['rate']:12.1f} {row['unit']}", flush=True)
                rows.append(row)
            ratios = summary(rows)
            for name, ratio in ratios.items():
                print(f"{directory.name:20} {name:28} {ratio:8.2f} x", flush=True)
            results.append({"model": directory.name, "threads": args.threads, "rows": rows, "ratios": ratios})
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
