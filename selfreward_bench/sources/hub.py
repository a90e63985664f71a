"""Models of the Hugging Face hub: ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` becomes a directory in the hub's own cache.

A revision is a commit, a tag or a branch; without one it is the newest of ``main``. The directory is called like its
commit. No pickled weights are downloaded; a model's code is, for people to read, and nothing here runs it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from selfreward_bench.errors import EngineError
from selfreward_bench.sources.network import is_this_machine, past_proxies
from selfreward_bench.storage.adapters import base_named, is_adapter
from selfreward_bench.storage.fingerprint import no_weights

__all__ = ["hub_description", "hub_directory", "hub_name", "is_hub_name", "model_directory"]

_NAME: Final = re.compile(
    r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@(?!.*\.\.)[A-Za-z0-9][\w./-]{0,250})?", re.ASCII
)
_DESCRIBING: Final = ["*.json", "*.model", "*.txt", "*.jinja", "*.py"]  # what a model is
_WANTED: Final = ["*.safetensors", *_DESCRIBING]
_UNWANTED: Final = ["*/*", "consolidated*"]  # other formats of the same weights
_LOG_IN: Final = "log in (`hf auth login`) or set HF_TOKEN"


def is_hub_name(text: str) -> bool:
    """Whether a text could name a model of the hub.

    >>> is_hub_name("meta-llama/Llama-3.1-8B"), is_hub_name("me/mine@v1.0"), is_hub_name("./mine")
    (True, True, False)
    """
    return _NAME.fullmatch(text) is not None


def model_directory(source: str | Path, *, offline: bool = False) -> Path:
    """Where a model is, whatever names it: a directory as it is given, a model of the hub in the hub's cache.

    The base of an adapter is seen to as well: one of the hub is downloaded into the cache when it is not there.

    Args:
        offline: as in ``hub_directory``.

    Raises:
        EngineError: the hub does not have it; a name of another form is given back as a path, there or not.
    """
    path = Path(source)
    if not path.exists() and is_hub_name(str(source)):
        path = hub_directory(str(source), offline=offline)
    if is_adapter(path):
        name, revision = base_named(path)
        base = f"{name}@{revision}" if revision else name
        if not (path / name).is_dir() and is_hub_name(base):
            try:
                hub_directory(base, offline=offline)
            except EngineError as error:
                raise EngineError(f"The base of the adapter {path} cannot be had. {error}") from error
    return path


def hub_name(directory: Path) -> str | None:
    """What the hub calls the model in a directory of its cache, with the commit; None of another directory.

    >>> hub_name(Path("hub/models--me--mine/snapshots/0123abc"))
    'me/mine@0123abc'
    """
    folder, commit = directory.parent, directory.name
    owner, dashes, name = folder.parent.name.removeprefix("models--").partition("--")
    if folder.name != "snapshots" or not dashes or not folder.parent.name.startswith("models--"):
        return None
    return f"{owner}/{name}@{commit}"


def hub_directory(text: str, *, offline: bool = False) -> Path:
    """The files of a model, from the hub's cache or downloaded into it.

    Args:
        text: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        offline: only what is in the cache; no connection is made.

    Raises:
        EngineError: the hub does not have it, or not for this account, cannot be reached, or has no safetensors.
    """
    with _past_proxies():
        path = _snapshot(text, _WANTED, offline)
        if not any(path.glob("*.safetensors")):
            name, _, _ = text.partition("@")
            raise EngineError(no_weights(text, _names(name, path, offline)))
    return path


def hub_description(text: str, *, offline: bool = False) -> Path:
    """A directory with the files of a model that describe it, configuration and tokenizer among them: no weights.

    Args:
        text: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        offline: only what is in the cache; no connection is made.

    Raises:
        EngineError: as ``hub_directory``, or it has no config.json.
    """
    with _past_proxies():
        path = _snapshot(text, _DESCRIBING, offline)
    if not (path / "config.json").is_file():
        raise EngineError(f"Model {text!r} has no config.json, so nothing tells what it is.")
    return path


def _snapshot(text: str, wanted: Sequence[str], offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = text.partition("@")
    try:
        with _quiet():
            return Path(
                snapshot_download(
                    name,
                    revision=revision or None,
                    allow_patterns=list(wanted),
                    ignore_patterns=_UNWANTED,
                    local_files_only=offline,
                )
            )
    except Exception as error:  # whatever a hub that is away, private or gated causes
        raise EngineError(
            f"Model {text!r} is neither a directory nor can it be had from the hub: {_why(error, name, revision)}"
        ) from error


def _names(name: str, path: Path, offline: bool) -> list[str]:
    """What there is of a model, also what is not downloaded, as far as the hub says it now."""
    if not offline:
        from huggingface_hub import HfApi

        with contextlib.suppress(Exception):  # as above
            return HfApi().list_repo_files(name, revision=path.name)
    return [file.name for file in path.iterdir()]


def _why(error: Exception, name: str, revision: str) -> str:
    """The cause and the way out. What a server says is not repeated; it could be anything."""
    from huggingface_hub import constants, errors

    place = f"{constants.ENDPOINT}/{name}"
    cause = error.__cause__ or error
    if isinstance(error, errors.GatedRepoError):
        return f"only accounts that accepted its terms get it. Accept them at {place}, then {_LOG_IN}."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}. Those that it has are listed at {place}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{place} is not there, or is private. Check the name or path; of a private model, {_LOG_IN}."
    if isinstance(cause, errors.HfHubHTTPError):
        status = cause.response.status_code
        way_out = f"To use another token, {_LOG_IN}." if status in (401, 403) else "Call again later."
        return f"{constants.ENDPOINT} answered {status}. {way_out}"
    if isinstance(cause, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)):
        return (
            f"it is not, or not wholly, in the cache ({constants.HF_HUB_CACHE}), and no connection is to be made. "
            "Call once without --replay and HF_HUB_OFFLINE, or give a directory."
        )
    if isinstance(cause, errors.HFValidationError):
        return "that can be no name there. Check the name or path."
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left for it ({constants.HF_HUB_CACHE}). Free some, or set HF_HOME to another place."
    return (
        f"the download from {constants.ENDPOINT} failed ({type(cause).__name__}). Check the connection and call "
        "again: what is complete is kept. Or give a directory."
    )


@contextlib.contextmanager
def _past_proxies() -> Iterator[None]:
    """A hub on this machine (``HF_ENDPOINT``) is asked without a proxy, which would see the token."""
    from huggingface_hub import close_session, constants

    if not is_this_machine(constants.ENDPOINT):
        yield
        return
    with past_proxies(constants.ENDPOINT):
        close_session()  # its proxies are those of the time when it was opened
        try:
            yield
        finally:
            close_session()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's own warnings: what is wrong becomes an error. Its progress bars are for terminals."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    hides_bars = not sys.stderr.isatty() and not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if hides_bars:
        disable_progress_bars()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
        if hides_bars:
            enable_progress_bars()
