"""A stand-in for a vLLM server: what the ``vllm`` engine says to one, answered by srbench's own decoder.

    python tests/vllm_server.py --model DIRECTORY --port 8000 --served-model-name model

Health, version, models, and completions of token ids with seeds, stop token ids, stop strings and prompt_logprobs, in
vLLM's form; its sampler is srbench's, so texts can be held against those of the ``transformers`` engine. Arguments that
it does not know are ignored, as long as they come in pairs or alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a program, from wherever

VERSION = "0.32.0+standin"


class Model:
    """A loaded checkpoint that answers as vLLM's engine does."""

    def __init__(self, directory: str) -> None:
        import torch

        from selfreward_bench.config import EngineConfig
        from selfreward_bench.engines.chat import TextDecoder
        from selfreward_bench.engines.decode import ModelRunner
        from selfreward_bench.engines.loading import load_model

        torch.set_num_threads(1)
        self.loaded = load_model(EngineConfig(), directory)
        self.runner, self.decoder = ModelRunner(self.loaded), TextDecoder(self.loaded.tokenizer)
        self.lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        import torch

        with self.lock, torch.inference_mode():
            tokens, reason = self._generate(body)
            choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "token_ids": tokens, "text": "?"}
            if body.get("logprob_token_ids"):
                choice["logprobs"] = {"top_logprobs": [self._next_logprobs(body["prompt"], body["logprob_token_ids"])]}
            if body.get("prompt_logprobs") is not None:
                choice["prompt_logprobs"] = self._prompt_logprobs(body["prompt"])
        return {"object": "text_completion", "model": body["model"], "choices": [choice]}

    def _generate(self, body: dict[str, Any]) -> tuple[list[int], str]:
        import torch

        from selfreward_bench.engines.base import GenerationRequest
        from selfreward_bench.engines.decode import Row, Sampler

        prompt, ends = body["prompt"], frozenset(body.get("stop_token_ids", ()))
        request = GenerationRequest(
            id="r",
            prompt="",
            seeds=(body.get("seed") or 0,),
            temperature=body["temperature"],
            top_p=body.get("top_p", 1.0),
            max_new_tokens=body["max_tokens"],
            min_new_tokens=body.get("min_tokens", 0),
            stop=tuple(body.get("stop", ())),
        )
        row = Row(request, 0, before=prompt[-1])
        sampler = Sampler([row], ends, self.loaded.device)
        state = self.runner.prefill([tuple(prompt)], request.max_new_tokens)
        state.fork([0], room=request.max_new_tokens)
        drawn: list[int] = []
        while row.finished is None:
            drawn += sampler.next_tokens(state.logits, len(drawn))
            row.take(drawn[-1], ends, self.decoder)
            if row.finished is None:
                state.logits = self.runner.extend(state, torch.tensor([drawn[-1:]]))[:, -1]
        return drawn, row.finished

    def _next_logprobs(self, prompt: list[int], tokens: list[int]) -> dict[str, float]:
        import torch

        logprobs = self.loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1].float().log_softmax(-1)
        return {f"token_id:{token}": logprobs[token].item() for token in tokens}

    def _prompt_logprobs(self, prompt: list[int]) -> list[dict[str, Any] | None]:
        import torch

        logprobs = self.loaded.model(input_ids=torch.tensor([prompt])).logits[0].float().log_softmax(-1)
        values = [logprobs[i - 1, token].item() for i, token in enumerate(prompt) if i]
        told = [{str(t): {"logprob": v, "rank": 1}} for t, v in zip(prompt[1:], values, strict=True)]
        return [None, *told]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.path.startswith("/v1") and self._is_unknown():
            return
        known: dict[str, object] = {"/health": {}, "/version": {"version": self.server.version}}
        known |= {"/v1/models": self.server.listed, "/metrics": self.server.metrics}
        self._reply(200 if self.path in known else 404, known.get(self.path, {"error": {"message": "no such path"}}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if self._is_unknown():
            return
        if len(body["prompt"]) + body["max_tokens"] > self.server.context:
            self._reply(400, {"error": {"message": "longer than the model's context"}})
        else:
            self._reply(*self.server.reply(body))

    def _is_unknown(self) -> bool:
        """Whether the right key is missing, which is then told."""
        missing = bool(self.server.key) and self.headers["Authorization"] != f"Bearer {self.server.key}"
        if missing:
            self._reply(401, {"error": {"message": "Unauthorized"}})
        return missing

    def _reply(self, status: int, body: object) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class StandIn(ThreadingHTTPServer):
    """The server.

    Attributes:
        asked: bodies of requests, as they came.
        metrics: what it tells of itself, in the form of Prometheus.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, model: Model | None, root: str, names: dict[str, str], context: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.model, self.context, self.key, self.version = model, context, "", VERSION
        self.asked: list[dict[str, Any]] = []
        self.metrics = b""
        first = next(iter(names))
        entries = [{"id": n, "root": r, "parent": None if n == first else first} for n, r in names.items()]
        self.listed = {"object": "list", "data": [e | {"max_model_len": context} for e in entries]}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, body: dict[str, Any]) -> tuple[int, object]:
        """Status and body for a completion; tests put others in its place."""
        assert self.model is not None
        return 200, self.model.answer(body)


@contextmanager
def stand_in(model: Model | None, root: Path, context: int = 512) -> Iterator[StandIn]:
    """Serves a model in this process while the block lasts."""
    server = StandIn(0, model, str(root), {"model": str(root)}, context)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    parser.add_argument("--lora-modules", type=json.loads)
    given, _ = parser.parse_known_args()
    adapter = given.lora_modules
    model = Model(adapter["path"] if adapter else given.model)
    names = {given.served_model_name: given.model} | ({adapter["name"]: adapter["path"]} if adapter else {})
    server = StandIn(given.port, model, given.model, names, model.loaded.context or 512)
    server.key = os.environ.get("VLLM_API_KEY", "")
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
