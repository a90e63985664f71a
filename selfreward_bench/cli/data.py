"""``srbench data``: gets the real benchmark files, shows which are there, and says where; imports seed data."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfreward_bench.cli import options
from selfreward_bench.cli.console import Columns, counted, say, show
from selfreward_bench.cli.machine import Json, emit

if TYPE_CHECKING:
    from selfreward_bench.sources.directory import DataDir, State
    from selfreward_bench.sources.published import DataFile, DataSet
    from selfreward_bench.sources.pull import Plan

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def data() -> None:
    """Get the real benchmark files, see which are there, and import seed data.

    The files come from public repositories at fixed revisions; only bytes with the published sha256 are kept. Their
    place is --data-dir, else $SRBENCH_DATA_DIR, else $XDG_DATA_HOME/srbench/data (~/.local/share/srbench/data). The
    micro-world needs none of them.

    \b
    Sets: alpaca-eval, mt-bench, llmbar, pandalm, oasst, instructions, ifeval, nlp
    (nlp/arc, nlp/hellaswag, nlp/siqa, nlp/piqa, nlp/gsm8k, nlp/mmlu,
    nlp/openbookqa, nlp/nq).

    \b
    Examples:
      srbench data status
      srbench data pull alpaca-eval mt-bench --dry-run
      srbench data import alpaca_data.json --as ift --out ift.jsonl
    """


@app.command("import")
def import_(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSONL, a JSON array, Parquet or CSV (also .gz), a directory of `datasets`, or hf:OWNER/NAME[/SUBSET]"
            "[@REVISION][#SPLIT] of the hub.",
        ),
    ],
    purpose: Annotated[str, typer.Option("--as", metavar="ift|eft|prompts", help="What the rows are to be.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.jsonl", help="Writes srbench's own JSONL; a new file.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="So many usable rows, then stop.")] = None,
    shape: Annotated[str | None, typer.Option("--shape", help="The shape of the rows, where it is not told.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leaves bad rows out even where they are more than a tenth.")
    ] = False,
) -> None:
    """Show what a file of seed data is understood as, and write it as JSONL.

    It holds instructions, answers or preferences. Shapes (docs/formats.md): messages, alpaca, self-instruct,
    question-answer, preference, rated, oasst-trees, oasst-messages, prompt. The settings seeds.ift, seeds.eft and
    seeds.exclude take the same files as they are.

    \b
    Examples:
      srbench data import alpaca_data.json --as ift
      srbench data import hf:HuggingFaceH4/ultrafeedback_binarized#train_prefs --as eft --limit 2000 --out eft.jsonl
    """
    from selfreward_bench.cli.imports import describe
    from selfreward_bench.errors import DataError, UnknownNameError
    from selfreward_bench.storage import jsonl
    from trainers import importing

    wanted = next((name for name in importing.PURPOSES if name == purpose), None)
    if wanted is None:
        raise UnknownNameError("purpose (--as)", purpose, importing.PURPOSES)
    if out is not None and out.exists():
        raise DataError(f"{out} is there already, and nothing is written over. Name another file, or remove it.")
    found = importing.load(file, wanted, shape=shape, limit=limit, skip_bad=skip_bad)
    say(describe(file, found, wanted))
    if out is None:
        setting = f"prompts.writer={file} or seeds.exclude" if wanted == "prompts" else f"seeds.{wanted}"
        say(f"Nothing was written. Add --out FILE.jsonl, or use it as it is: {setting}={file}")
    else:
        jsonl.write(out, found.records)
        say(f"Written: {out} ({len(found.records):,} records).")


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="SET", help="What to get; see `srbench data status`.")],
    data_dir: options.DataDir = None,
    with_verification: Annotated[
        bool,
        typer.Option(
            "--with-verification", help="Also what only verifies srbench: other models' answers and judgments."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accepts the licences and asks nothing; for scripts.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Shows licences and sizes, and gets nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Get sets of benchmark files from where they are published.

    Licence and size are shown first. Files that are there with the right bytes are not got again, files with other
    bytes are replaced. Stopped at any moment, it goes on with the next call.

    \b
    Examples:
      srbench data pull alpaca-eval
      srbench data pull nlp/gsm8k nlp/mmlu --yes
      srbench data pull mt-bench --with-verification --dry-run
    """
    from selfreward_bench.cli.failures import interruptible
    from selfreward_bench.sources import pull as data_pull
    from selfreward_bench.sources.directory import DataDir, default_root
    from selfreward_bench.sources.published import select

    chosen = select(names)
    root = (DataDir.find(data_dir).root or default_root()).absolute()
    plan = data_pull.plan([file for data in chosen for file in data.wanted(with_verification)], root)
    if as_json:
        if not dry_run:
            raise typer.BadParameter("--json belongs to --dry-run")
        emit("data pull --dry-run", **_plan_numbers(chosen, with_verification, root, plan))
        return
    _announce(chosen, with_verification, root, plan)
    if dry_run or not plan.files or not (yes or _agreed(plan)):
        return
    from selfreward_bench.cli.progress import RichReporter

    with interruptible(_pull_command(names, data_dir, with_verification, yes)), RichReporter() as reporter:
        data_pull.pull(plan.files, root, reporter=reporter)
    say(f"In {root}, with the published sha256: {_files(len(plan.files))}.")


@app.command()
def status(
    data_dir: options.DataDir = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hashes every file; otherwise only sizes are looked at.")] = (
        False
    ),
    as_json: Json = False,
) -> None:
    """Show which benchmark files are there, and under which licence.

    Exit code 0; with --verify 1 when a file has other bytes than the published ones.

    \b
    Examples:
      srbench data status
      srbench data status --verify
      srbench data status --json
    """
    from selfreward_bench.sources.directory import DataDir, default_root
    from selfreward_bench.sources.published import sets

    found = DataDir.find(data_dir)
    states = {data: {file: found.state(file, verify=verify) for file in data.files} for data in sets().values()}
    if as_json:
        told = [_status_numbers(data, states[data]) for data in states]
        directory = str((found.root or default_root()).absolute())
        emit("data status", directory=directory, present=not _presence(found), verified=verify, sets=told)
        if verify and any(one["differing"] for one in told):
            raise typer.Exit(1)
        return
    say(f"Data directory: {(found.root or default_root()).absolute()}{_presence(found)}\n")
    header = ("SET", "FILES", "VERIFICATION", "SIZE", "STATE", "LICENCE")
    show(Columns(header, [_status_row(data, states[data]) for data in states], right=(1, 2, 3)))
    others = {file: data.name for data in states for file, state in states[data].items() if state == "other"}
    if others:
        mend = _pull_command(list(dict.fromkeys(others.values())), data_dir, any(file.verification for file in others))
        show(f"\nWith other bytes than the published ones: {', '.join(file.path for file in others)}")
        say(f"`{mend}` gets them anew.")
    if others and verify:
        raise typer.Exit(1)


@app.command()
def path(
    name: Annotated[str | None, typer.Argument(metavar="[SET]", help="Whose folder; the data directory without.")] = (
        None
    ),
    data_dir: options.DataDir = None,
) -> None:
    """Print where the data directory, or a set's folder, is.

    Exit code 2 when it is not there, or when files of the set are missing.

    \b
    Examples:
      srbench data path
      srbench data path alpaca-eval
    """
    from selfreward_bench.errors import DataError
    from selfreward_bench.sources.directory import ENVIRONMENT_VARIABLE, DataDir
    from selfreward_bench.sources.published import select

    chosen = select([name]) if name else ()
    found = DataDir.find(data_dir)
    get_it = _pull_command([name or "SET"], data_dir)
    way_out = f"Get it with `{get_it}`, or name its place with --data-dir or {ENVIRONMENT_VARIABLE}."
    if found.root is None or not found.root.is_dir():
        raise DataError(f"There is no data directory{f' {found.root}' if found.root else ''}. {way_out}")
    files = [file for data in chosen for file in data.wanted()]
    missing = [file.path for file in files if found.state(file, verify=False) == "missing"]
    if missing:
        raise DataError(
            f"{name} is not complete: {len(missing)} of {len(files)} files are missing in {found.root}, such as "
            f"{missing[0]}. {way_out}"
        )
    folder = "" if name is None else chosen[0].folder if len(chosen) == 1 else name
    say(str((found.root / folder).absolute()))


def _pull_command(names: Sequence[str], data_dir: Path | None, verification: bool = False, yes: bool = False) -> str:
    """The command line that gets these sets."""
    from selfreward_bench.cli.runs import command

    flags = ["--data-dir", str(data_dir)] if data_dir else []
    flags += [flag for flag, is_set in (("--with-verification", verification), ("--yes", yes)) if is_set]
    return command("data", "pull", *names, *flags)


def _announce(chosen: Sequence[DataSet], verification: bool, root: Path, plan: Plan) -> None:
    """What would be got, under which licences, from where and to where."""
    wanted = {data: data.wanted(verification) for data in chosen}
    rows = [
        (data.name, str(len(files)), _size(sum(file.size for file in files)), data.licence)
        for data, files in wanted.items()
    ]
    show(Columns(("SET", "FILES", "SIZE", "LICENCE"), rows, right=(1, 2)))
    sources = dict.fromkeys(file.source for files in wanted.values() for file in files)
    say("\nFrom: " + "\n      ".join(sources))
    say(f"To:   {root}")
    if restricted := [data.name for data in chosen if not data.commercial]:
        show(f"\nNON-COMMERCIAL USE ONLY: {', '.join(restricted)}. The licence (CC BY-NC 4.0) excludes commercial use.")
    if plan.kept:
        show(f"\nComplete already, kept: {_files(plan.kept)}.")
    if plan.replaced:
        show(f"\nWith other bytes than the published ones, to be replaced: {_files(len(plan.replaced))}.")
    show(f"\nTo get: {_files(len(plan.files))}, {_size(plan.size)}." if plan.files else "\nThere is nothing to get.")


def _agreed(plan: Plan) -> bool:
    """Asks at a terminal.

    Raises:
        ConfigError: there is nobody to ask.
    """
    from selfreward_bench.errors import ConfigError

    if not at_terminal():
        raise ConfigError("Nothing was got: nobody can be asked here. Read the licences above, and add --yes.")
    if typer.confirm(f"Get {_files(len(plan.files))} under these licences?", err=True):
        return True
    say("Nothing was got.", err=True)
    return False


def at_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty()


def _status_row(data: DataSet, states: Mapping[DataFile, State]) -> tuple[str, ...]:
    needed, extra = data.wanted(), [file for file in data.files if file.verification]
    there = {file for file, state in states.items() if state != "missing"}
    return (
        data.name,
        f"{len(there.intersection(needed))}/{len(needed)}",
        f"{len(there.intersection(extra))}/{len(extra)}" if extra else "-",
        _size(sum(file.size for file in needed)),
        _summary([states[file] for file in needed], list(states.values())),
        data.licence,
    )


def _status_numbers(data: DataSet, states: Mapping[DataFile, State]) -> dict[str, Any]:
    """A set for programs."""
    needed = data.wanted()
    return {
        "name": data.name,
        "state": _summary([states[file] for file in needed], list(states.values())),
        "bytes": sum(file.size for file in needed),
        "licence": data.licence,
        "commercial": data.commercial,
        "files": [{"path": f.path, "state": states[f], "verification": f.verification} for f in data.files],
        "differing": [file.path for file, state in states.items() if state == "other"],
    }


def _plan_numbers(chosen: Sequence[DataSet], verification: bool, root: Path, plan: Plan) -> dict[str, Any]:
    """What would be got, for programs."""
    wanted = {data: data.wanted(verification) for data in chosen}
    return {
        "directory": str(root),
        "sets": [
            {
                "name": data.name,
                "files": len(files),
                "bytes": sum(file.size for file in files),
                "licence": data.licence,
                "commercial": data.commercial,
                "sources": list(dict.fromkeys(file.source for file in files)),
            }
            for data, files in wanted.items()
        ],
        "kept": plan.kept,
        "to_get": [{"path": file.path, "bytes": file.size} for file in plan.files],
        "replaced": [file.path for file in plan.replaced],
        "bytes": plan.size,
    }


def _presence(found: DataDir) -> str:
    return "" if found.root is not None and found.root.is_dir() else " (not there)"


def _summary(needed: Sequence[State], every: Sequence[State]) -> str:
    """A set's state in a word or two."""
    if others := every.count("other"):
        return f"{others} {'differs' if others == 1 else 'differ'}"
    if missing := needed.count("missing"):
        return "missing" if missing == len(needed) else "incomplete"
    return "unchecked" if "unchecked" in every else "ok"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _size(size: int) -> str:
    """Bytes in words, as ``49 kB`` or ``2.7 MB``."""
    if size < 100_000:
        return f"{counted(math.ceil(size / 1000))} kB"
    return f"{size / 1e6:.1f} MB"
