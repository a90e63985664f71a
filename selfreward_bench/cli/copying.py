"""What ``srbench recipes copy`` puts into the working directory to be edited: a recipe, or an example for a cluster."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError, UnknownNameError
from selfreward_bench.storage.files import os_errors

__all__ = ["CLUSTERS", "copied"]

#: name -> the example's file, and what is done with it
CLUSTERS: Final[dict[str, tuple[str, str]]] = {
    "slurm": ("slurm.sbatch", "sbatch slurm.sbatch"),
    "skypilot": ("skypilot.yaml", "sky jobs launch --secret RAY_AUTH_TOKEN=$(openssl rand -hex 32) skypilot.yaml"),
    "kubernetes": ("kubernetes.yaml", "kubectl apply -f kubernetes.yaml"),
    "ray": ("ray.sh", "bash ray.sh"),
}


def copied(name: str) -> tuple[Path, str]:
    """Writes a new file; its path, and the command that it is for.

    Raises:
        UnknownNameError: there is nothing of that name.
        ConfigError: a file is in the way.
        DataError: the operating system refuses.
    """
    if name in CLUSTERS:
        file, command = CLUSTERS[name]
        text = (resources.files("selfreward_bench") / "data" / "clusters" / file).read_text(encoding="utf-8")
    elif name in recipes.names():
        file = f"{name}.yaml"
        text, command = recipes.source(name), f"srbench run-iteration runs/mine --recipe {file}"
    else:
        raise UnknownNameError("example", name, [*CLUSTERS, *recipes.names()])
    path = Path(file)
    try:
        with os_errors(path, "write"), path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except Exception as error:
        if isinstance(error.__cause__, FileExistsError):
            raise ConfigError(f"{file} is there already, and may hold your changes. Rename or delete it.") from error
        raise
    return path, command
