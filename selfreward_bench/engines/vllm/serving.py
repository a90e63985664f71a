"""Which servers serve a checkpoint: one that is started for it, or those that the user named."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.processes import Program
from selfreward_bench.engines.vllm.client import KEY_VARIABLE, Client, Served, check_url
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.storage.adapters import adapter_settings, parts

__all__ = ["Serving", "problems", "serving"]

VARIABLE: Final = "SRBENCH_VLLM"  # the command of this machine
_TRUSTS: Final = re.compile(r"--trust[-_]remote[-_]code", re.IGNORECASE)
_KEYS: Final = re.compile(r"--api[-_]key", re.IGNORECASE)
_MODEL: Final = "model"  # what a server of ours calls what it serves
_ADAPTER: Final = "adapter"
_CLOCKS: Final = 10.0  # seconds by which machines' clocks may differ; a server reads no weights before so many
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM reserves room for
#: settings of an adapter that vLLM does not apply, or not as peft does
_NOT_SERVED: Final = (
    *("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias"),
    *("target_parameters", "trainable_token_indices"),
)
#: what a server finds in its environment: no telemetry, no network for models, nothing of this interpreter's paths and
#: of a launcher's processes
_ENVIRONMENT: Final[dict[str, str | None]] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": None,
    "PYTHONHOME": None,
    "VIRTUAL_ENV": None,
    **dict.fromkeys(("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")),
}


@dataclass(frozen=True)
class Serving:
    """Servers of one checkpoint.

    Attributes:
        replicas: each with what it calls the model.
        version: of vLLM, the same for all.
        context: tokens of prompt and answer together, at most; None where no server says.
        check: raises EngineError where a server of ours has ended.
        stop: lets no call go on, and ends a server that was started.
    """

    replicas: tuple[tuple[Client, str], ...]
    version: str
    context: int | None
    check: Callable[[], None]
    stop: Callable[[], None]


def serving(config: EngineConfig, source: Path) -> Serving:
    """Starts a server on a checkpoint, or finds the named ones.

    Args:
        source: a directory in Hugging Face layout, of an adapter, too.

    Raises:
        ConfigError: ``engine.command`` names no program, or ``engine.urls`` something that is no address.
        EngineError: the server does not start, or a named one is not there or serves something else.
    """
    if found := next(problems(config), None):
        raise ConfigError(found)
    return _named(config, source) if config.urls else _started(config, source)


def problems(config: EngineConfig) -> Iterator[str]:
    """What of the settings cannot work on this machine, each with its key."""
    if config.device != "auto":
        yield (
            f"engine.device={config.device}: a vLLM server takes the devices that it sees. Leave it out; "
            "CUDA_VISIBLE_DEVICES says which, engine.args how many (--tensor-parallel-size)."
        )
    if config.quantize:
        yield (
            f"engine.quantize={config.quantize}: a vLLM server quantises by arguments of its own. Leave it out, and "
            "set engine.args='--quantization bitsandbytes' or what suits the model."
        )
    try:
        for url in config.urls:
            check_url(url)
        command, args = _command(config), _words("args", config.args)
    except ConfigError as error:
        yield str(error)
        return
    if not config.trust_remote_code and any(_TRUSTS.match(word) for word in args):
        yield (
            "engine.args: whether a model may run code that it brings along is said by engine.trust_remote_code=true, "
            "not by an argument of the server."
        )
    if any(_KEYS.match(word) for word in args):
        yield (
            "engine.args: a server that srbench starts has a key of its own, which no file holds. Leave --api-key out; "
            f"that of servers that are there (engine.urls) is read from {KEY_VARIABLE}."
        )
    if not config.urls and not (command and shutil.which(command[0])):
        yield (
            f"engine.command: there is no program {(command or [''])[0]!r}. vLLM is installed into an environment of "
            "its own, as it needs other versions of torch and transformers (docs/vllm.md). Say where: "
            f"export {VARIABLE}='/opt/vllm/bin/vllm serve', or name servers that run: --set "
            "'engine.urls=[http://127.0.0.1:8000]'."
        )


def _command(config: EngineConfig) -> list[str]:
    """The words of ``engine.command``. A recipe, or a run, of somebody else may hold one, and must start no program:
    other than ``vllm serve`` it is what ``SRBENCH_VLLM`` says on this machine, which also stands in for ``vllm serve``.

    Raises:
        ConfigError: it is another command, or no command line.
    """
    here, usual = os.environ.get(VARIABLE), EngineConfig.model_fields["command"].default
    words = _words("command", config.command)
    if config.command not in (usual, here):
        raise ConfigError(
            f"engine.command: {config.command[:200]!r} would run a program with your rights, and a recipe or a run of "
            f"somebody else can hold it. If you want it, say so on this machine: "
            f"export {VARIABLE}={shlex.quote(config.command[:200])}"
        )
    return _words(VARIABLE, here) if here else words


def _words(key: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        name = key if key == VARIABLE else f"engine.{key}"
        raise ConfigError(f"{name}: {text!r} is no command line ({error}).") from error


def _started(config: EngineConfig, source: Path) -> Serving:
    key, port = secrets.token_urlsafe(24), _free_port()
    command = command_line(config, source, port)
    title, environment = f"The vLLM server of {source}", {**_ENVIRONMENT, KEY_VARIABLE: key}
    server = Program(command, title=title, setting="engine.command", environment=environment)
    client = Client(f"http://127.0.0.1:{port}", key)

    def stop() -> None:
        client.stop()
        server.close()

    try:
        server.wait_until(client.is_ready, config.start_timeout)
        of, wanted = parts(source), _ADAPTER if parts(source).adapter else _MODEL
        served, place = {m.name: m for m in client.models()}, (of.adapter or of.weights).resolve()
        model = served.get(wanted)
        if model is None or Path(model.root).resolve() != place or (of.adapter and not _is_at(served, of.weights)):
            raise EngineError(f"The vLLM server of {source} does not serve it. Look at engine.args.")
        return Serving(((client, wanted),), client.version(), model.context, server.check, stop)
    except BaseException:
        stop()
        client.close()
        raise


def _is_at(served: Mapping[str, Served], weights: Path) -> bool:
    """Whether the model beneath an adapter is the one of these weights."""
    return _MODEL in served and Path(served[_MODEL].root).resolve() == weights.resolve()


def command_line(config: EngineConfig, source: Path, port: int) -> list[str]:
    """What starts a server; ``engine.args`` overrule everything but where it listens and what it calls the model.

    Raises:
        ConfigError: ``engine.command`` is not to be run (see ``_command``).
        EngineError: the checkpoint is an adapter that vLLM does not apply.
    """
    of, command = parts(source), _command(config)
    weights = str(of.weights.resolve())
    named = [weights] if command[-1] == "serve" else ["--model", weights]
    dtype = _stored_dtype(of.weights) if config.dtype == "auto" else config.dtype
    ours = ["--dtype", dtype, "--generation-config", "vllm", "--enable-prefix-caching"]
    ours += ["--trust-remote-code"] if config.trust_remote_code else []
    if of.adapter:
        modules = json.dumps({"name": _ADAPTER, "path": str(of.adapter.resolve())})
        ours += ["--enable-lora", "--max-lora-rank", str(_rank(of.adapter)), "--lora-modules", modules]
    listening = ["--served-model-name", _MODEL, "--host", "127.0.0.1", "--port", str(port)]
    return [*command, *named, *ours, *_words("args", config.args), *listening]


def _named(config: EngineConfig, source: Path) -> Serving:
    clients = [Client(url) for url in config.urls]

    def stop() -> None:
        for client in clients:
            client.stop()

    try:
        models = [_that_serves(client, source) for client in clients]
        version = _one_version(clients)
    except BaseException:
        for client in clients:
            client.close()
        raise
    contexts = [model.context for model in models if model.context]
    return Serving(
        tuple((client, model.name) for client, model in zip(clients, models, strict=True)),
        version,
        min(contexts, default=None),
        lambda: None,
        stop,
    )


def _one_version(clients: Sequence[Client]) -> str:
    versions = {client.version(): client.url for client in clients}
    if len(versions) > 1:
        told = ", ".join(f"{version} at {url}" for version, url in sorted(versions.items()))
        raise EngineError(f"engine.urls: the servers are of different versions of vLLM ({told}); they must be of one.")
    return next(iter(versions))


def _that_serves(client: Client, source: Path) -> Served:
    models, wanted = client.models(), source.resolve()
    found = next((m for m in models if Path(m.root).is_absolute() and Path(m.root).resolve() == wanted), None)
    if found is None:
        there = ", ".join(m.root[:200] for m in models) or "nothing"
        raise EngineError(
            f"{client.url} serves {there}, and {wanted} is to be asked. Start a server on that directory (vllm serve "
            f"{wanted}) there, and start the same again: what was done stays."
        )
    started, written = client.started(), _written(source)
    if started is not None and started + _CLOCKS < written:
        raise EngineError(
            f"{client.url} was started before the weights in {wanted} were written, so it may answer with others that "
            "were there before. Start it anew, and start the same again: what was done stays."
        )
    return found


def _written(source: Path) -> float:
    """When the newest file of weights was written, in seconds since the epoch."""
    of = parts(source)
    files = [file for folder in (of.weights, of.adapter) if folder for file in folder.glob("*.safetensors")]
    return max((file.stat().st_mtime for file in files), default=0.0)


def _rank(adapter: Path) -> int:
    """What vLLM has to reserve for an adapter.

    Raises:
        EngineError: vLLM does not apply it, or not as peft does.
    """
    settings = adapter_settings(adapter)
    odd = [key for key in _NOT_SERVED if settings.get(key)]
    odd += ["bias"] if settings.get("bias", "none") != "none" else []
    rank = settings.get("r")
    fitting = next((r for r in _RANKS if isinstance(rank, int) and 0 < rank <= r), None)
    if odd or fitting is None:
        what = f"with {', '.join(odd)}" if odd else f"of rank {str(rank)[:20]}"
        raise EngineError(
            f"{adapter} is an adapter {what}, which vLLM does not serve. Merge it into its base (lora.merge=true in a "
            "run), or set engine.kind=transformers."
        )
    return fitting


def _stored_dtype(weights: Path) -> str:
    """The precision in which a checkpoint was saved; vLLM's own ``auto`` would take float32 weights as float16."""
    try:
        settings: Any = json.loads((weights / "config.json").read_bytes())
        text = settings.get("text_config") or {}
        named = next((s[k] for s in (settings, text) for k in ("dtype", "torch_dtype") if s.get(k)), "float32")
        return str(named) if named in ("float32", "bfloat16", "float16") else "auto"
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"{weights / 'config.json'} cannot be read: {error}") from error


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
