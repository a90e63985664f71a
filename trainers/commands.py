"""What starts the processes of a training: ``train.launch`` read as words, and which words are run.

A recipe, or a run, of somebody else may hold a command, and must start no program of its choice. So the launchers that
srbench knows are taken by name, with options that start nothing else, write nothing and reach no other machine; what
goes beyond is what ``SRBENCH_LAUNCH`` says on this machine. No shell reads it; variables (``$MASTER_ADDR``) are put in.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from selfreward_bench.config import TrainConfig
from selfreward_bench.errors import ConfigError, first_line

__all__ = ["AUTO", "VARIABLE", "command_line", "problems", "require"]

AUTO: Final = "auto"
VARIABLE: Final = "SRBENCH_LAUNCH"  # a command that may be run on this machine, whatever it is
_NAMED: Final = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_HERE: Final = frozenset({"localhost", "127.0.0.1", "[::1]", ""})
_TORCHRUN: Final = ("-m", "torch.distributed.run")


@dataclass(frozen=True, slots=True)
class _Options:
    """Options that a launcher may be given.

    Attributes:
        valued: those that take a value.
        flags: those that may stand alone.
        addresses: of ``valued``, those that say which machine is asked.
        files: of ``valued``, those that name a file of more options (accelerate's).
    """

    valued: frozenset[str]
    flags: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OF_TORCHRUN: Final = _Options(
    _set(
        "--nnodes --nproc-per-node --node-rank --rdzv-backend --rdzv-endpoint --rdzv-id --max-restarts "
        "--monitor-interval --master-addr --master-port --local-addr --role --shutdown-timeout --signals-to-handle"
    ),
    _set("--standalone"),
    _set("--rdzv-endpoint --master-addr --local-addr"),
)
_OF_ACCELERATE: Final = _Options(
    _set(
        "--num-processes --num-machines --machine-rank --main-process-ip --main-process-port --rdzv-backend "
        "--max-restarts --monitor-interval --gpu-ids --num-cpu-threads-per-process --config-file"
    ),
    _set("--multi-gpu --cpu --same-network"),
    _set("--main-process-ip"),
    _set("--config-file"),
)
#: what a config file of accelerate may say: how many processes there are, where, and what trainings take no notice of.
#: Its sections for other launchers could name programs and machines.
_IN_FILES: Final = _set(
    "compute_environment distributed_type num_processes num_machines machine_rank main_process_ip main_process_port "
    "rdzv_backend same_network gpu_ids use_cpu debug downcast_bf16 enable_cpu_affinity main_training_function "
    "mixed_precision"
)
_SECTIONS: Final = _set("fsdp_config dynamo_config")
_KINDS: Final = {
    "compute_environment": re.compile("LOCAL_MACHINE"),
    "distributed_type": re.compile("NO|FSDP|MULTI_[A-Z]+"),
}
_FILE_BYTES: Final = 65_536
_UNSET: Final[tuple[object, ...]] = (None, False, "", "no", [], {})
_OF_SRUN: Final = _Options(
    _set(
        "--nodes --ntasks --ntasks-per-node --gpus --gpus-per-node --gpus-per-task --gres --cpus-per-task --mem "
        "--mem-per-cpu --mem-per-gpu --time --partition --account --qos --constraint --nodelist --exclude --job-name "
        "--jobid --wait --distribution -N -n -G -c -t -p -A -q -C -w -x -J -W -m"
    ),
    _set("--exclusive --overlap --label --unbuffered --quiet --kill-on-bad-exit -l -u -Q -K"),
)


def command_line(train: TrainConfig, devices: int) -> list[str] | None:
    """What the training's module and its task are put behind; None where this process trains.

    >>> command_line(TrainConfig(launch="torchrun --nproc-per-node 8"), devices=8)[1:]
    ['-m', 'torch.distributed.run', '--nproc-per-node', '8']

    Args:
        devices: that ``auto`` takes where ``train.processes`` does not say.

    Raises:
        ConfigError: it is no command line, or one that is not to be run (see above).
    """
    if train.launch is None:
        return None
    if train.launch == AUTO:
        count = train.processes or devices
        local = [*_TORCHRUN, "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count)]
        return [sys.executable, *local] if count > 1 else None
    words = _words(train.launch)
    if train.launch != os.environ.get(VARIABLE):
        words = _known(words, train.launch)
    return [_with_variables(word) for word in words]


def problems(train: TrainConfig) -> Iterator[str]:
    """What of the settings cannot work on this machine, each with its key."""
    try:
        words = command_line(train, devices=1)
    except ConfigError as error:
        yield str(error)
        return
    if words and not shutil.which(words[0]):
        yield f"train.launch: there is no program {words[0]!r}."


def require(train: TrainConfig) -> None:
    """Raises ConfigError where the processes cannot be started on this machine, or are not to be."""
    if found := next(problems(train), None):
        raise ConfigError(found)


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"train.launch: {text[:200]!r} is no command line ({error}).") from error
    if not words:
        raise ConfigError("train.launch is empty. Leave it out to train in this process.")
    return words


def _known(words: list[str], text: str) -> list[str]:
    """The words of a launcher that is known, run by this very Python.

    Raises:
        ConfigError: it is another program, or has an option beyond those that are known.
    """
    before: list[str] = []
    if words[0] == "srun":
        at = _end_of_options(words, 1, _OF_SRUN, text)
        before, words = words[:at], words[at:]
    if words[:1] == ["torchrun"]:
        launcher, options, start = _TORCHRUN, _OF_TORCHRUN, 1
    elif words[:1] in (["python"], ["python3"], [sys.executable]) and tuple(words[1:3]) == _TORCHRUN:
        launcher, options, start = _TORCHRUN, _OF_TORCHRUN, 3
    elif words[:2] == ["accelerate", "launch"]:
        launcher, options, start = ("-m", "accelerate.commands.launch"), _OF_ACCELERATE, 2
    else:
        raise _refused(text, f"{words[0]!r} is no launcher that srbench knows" if words else "srun starts nothing")
    end = _end_of_options(words, start, options, text)
    if end < len(words):
        raise _refused(text, f"{words[end][:80]!r} would be run, or is no option that srbench knows")
    return [*before, sys.executable, *launcher, *words[start:]]


def _end_of_options(words: Sequence[str], start: int, known: _Options, text: str) -> int:
    """Where the first word stands that is neither a known option nor the value of one."""
    at = start
    while at < len(words) and words[at].startswith("-"):
        word, is_long = words[at], words[at].startswith("--")
        name, given, value = word.partition("=") if is_long else (word[:2], word[2:], word[2:])
        name = name.replace("_", "-")
        if name in known.valued:
            if not given:
                at += 1
                value = words[at] if at < len(words) else ""
            if not value or value.startswith("-"):
                raise ConfigError(f"train.launch: {name} needs a value.")
            if name in known.addresses and not _is_own(value):
                raise _refused(text, f"{name} {value[:80]} would have this machine ask another one")
            if name in known.files:
                _check_file(_with_variables(value), text)
        elif name not in known.flags:
            break
        at += 1
    return at


def _check_file(name: str, text: str) -> None:
    """Raises ConfigError where a config file of accelerate cannot be read, or says more than it may."""
    file = Path(name)
    try:
        if file.exists() and not file.is_file():  # a device or a pipe has no end
            raise ConfigError(f"train.launch: {name[:200]} is no file.")
        if file.stat().st_size > _FILE_BYTES:
            raise ConfigError(f"train.launch: {name[:200]} has more than {_FILE_BYTES:,} bytes.")
        said = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"train.launch: {name[:200]} cannot be read as YAML: {first_line(error)}") from error
    if not isinstance(said, dict):
        raise ConfigError(f"train.launch: {name[:200]} is no config file of accelerate, which is a mapping.")
    odd = [str(key)[:40] for key, value in said.items() if not (_is_harmless(key, value) or value in _UNSET)]
    if odd:
        raise _refused(text, f"{name[:200]} says {', '.join(odd)}, by which something else could be started or asked")


def _is_harmless(key: object, value: object) -> bool:
    """Whether a config file of accelerate may say so. It takes what stands in any section for options of its own."""
    if key in _SECTIONS:
        return isinstance(value, dict)
    if key not in _IN_FILES or not isinstance(value, str | int | float):
        return False
    if key == "main_process_ip":
        return _is_own(str(value))
    known = _KINDS.get(str(key))
    return known is None or known.fullmatch(str(value)) is not None


def _is_own(address: str) -> bool:
    """Whether an address is this machine's, or that of a machine which the user's environment names."""
    host = re.sub(r":(\d+|\$\w+|\$\{\w+\})$", "", address)
    return host in _HERE or _NAMED.fullmatch(host) is not None


def _refused(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"train.launch: {text[:300]!r}: {why}. It would run with your rights, and a recipe or a run of somebody else "
        "can hold it. Taken without asking are torchrun, accelerate launch, python -m torch.distributed.run, and srun "
        "before one of them, with their usual options (docs/training.md). If you want this one, say so on this "
        f"machine: export {VARIABLE}={shlex.quote(text[:300])}"
    )


def _with_variables(word: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ConfigError(f"train.launch names ${name}, and no environment variable of this name is set.")
        return os.environ[name]

    return _NAMED.sub(value, word)
