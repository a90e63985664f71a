"""How close calls to a served judge come to the ideal: wall time against ceil(calls / concurrency) * latency.

    python perf/client.py [--calls 805] [--concurrency 64] [--latency 0.2] [--repeats 3] [--openai]

The server is tests/fake_server.py in a process of its own; every answer is committed to a store on disk before it is
used. Then the same calls once more, all from the store. ``bare`` is the same load without store, retries and engine:
what this machine can do at the moment; with ``--openai`` so does openai's own client.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fake_server import fake_server

from selfreward_bench.engines.base import ChoiceRequest
from selfreward_bench.engines.served import ServedEngine
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.types import Message

PROMPT_CHARACTERS = 6_000  # about an instruction, two answers and a judge prompt


def requests(count: int) -> list[ChoiceRequest]:
    """Judgments of the size of AlpacaEval's."""
    text = "Which answer is better? " * (PROMPT_CHARACTERS // 24)
    return [ChoiceRequest(f"j{i}", (Message(role="user", content=f"{i} {text}"),), ("m", "M")) for i in range(count)]


def seconds(engine: ServedEngine, asked: list[ChoiceRequest]) -> tuple[float, float]:
    """Wall and processor seconds of this process for all calls."""
    wall, processor = time.perf_counter(), time.process_time()
    answered = sum(len(batch) for batch in engine.choice_logprobs(asked))
    if answered != len(asked):
        raise SystemExit(f"{len(asked) - answered} calls failed: {dict(list(engine.failures.items())[:3])}")
    return time.perf_counter() - wall, time.process_time() - processor


async def bare(url: str, asked: list[ChoiceRequest], concurrency: int) -> None:
    """The least that any client has to do."""
    import aiohttp

    waiting = iter(asked)

    async def work(session: aiohttp.ClientSession) -> None:
        for request in waiting:
            messages = [m.model_dump() for m in request.prompt if not isinstance(m, str)]
            body = {"model": "bare", "messages": messages, "max_tokens": 1, "logprobs": True, "top_logprobs": 5}
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                await answer.json()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))


async def openai_client(url: str, asked: list[ChoiceRequest], concurrency: int) -> None:
    """The same with openai's client, without retries."""
    import openai

    waiting = iter(asked)

    async def work(client: openai.AsyncOpenAI) -> None:
        for request in waiting:
            messages = [m.model_dump() for m in request.prompt if not isinstance(m, str)]
            await client.chat.completions.create(
                model="bare", messages=messages, max_tokens=1, logprobs=True, top_logprobs=5
            )

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        await asyncio.gather(*(work(client) for _ in range(concurrency)))


def compare(url: str, asked: list[ChoiceRequest], concurrency: int) -> None:
    """Prints what openai's client takes, and the bare calls."""
    for ask in (openai_client, bare):
        wall, processor = time.perf_counter(), time.process_time()
        asyncio.run(ask(url, asked, concurrency))
        spent = time.perf_counter() - wall, time.process_time() - processor
        print(f"{ask.__name__}: wall {spent[0]:.2f} s, processor {spent[1]:.2f} s")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=805)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--openai", action="store_true")
    options = parser.parse_args()
    asked = requests(options.calls)
    ideal = math.ceil(options.calls / options.concurrency) * options.latency
    print(f"{options.calls} calls, {options.concurrency} at once, {options.latency:g} s each: ideal {ideal:.2f} s")
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as directory, fake_server(latency=options.latency) as server:
            if options.openai:
                compare(server.url, asked, options.concurrency)
            start = time.perf_counter()
            asyncio.run(bare(server.url, asked, options.concurrency))
            least = time.perf_counter() - start
            store = ResponseStore(Path(directory) / "responses.sqlite")
            engine = ServedEngine(f"openai:judge@{server.url}", store=store, concurrency=options.concurrency)
            wall, processor = seconds(engine, asked)
            stored, _ = seconds(engine, asked)
            store.close()
            print(
                f"wall {wall:.2f} s = {wall / ideal:.3f} of the ideal (bare {least / ideal:.3f}), "
                f"processor {processor:.2f} s; from the store {stored:.3f} s"
            )


if __name__ == "__main__":
    main()
