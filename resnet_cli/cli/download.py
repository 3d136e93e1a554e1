"""``resnet-cli download``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import JsonFlag, OfflineFlag, QuietFlag
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from rich.table import Table

    from resnet_cli.commands.catalog import Entry, Got

_MIRROR = "RESNET_CLI_MIRROR"


@app.command()
def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Weights and data sets, or hf:OWNER/NAME of weights."),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", "-l", help="Show what there is, how large, under which licence, and what is here.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(help=f"Fetch from this web folder instead, as {_MIRROR} does; the hash still decides."),
    ] = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Download weights and data sets, or check the ones that are here. Interrupted downloads resume."""
    from resnet_cli.errors import ConfigError, Interrupted

    if not names and not show_list:
        raise ConfigError("name what to download", hint="see what there is: resnet-cli download --list")
    if show_list and (offline or mirror):
        raise ConfigError("--list never uses the network: --offline and --mirror have no effect with it")
    from resnet_cli.commands import catalog

    if show_list:
        _show_list([catalog.find(name) for name in names or []] or catalog.entries(), as_json=as_json)
        return
    chosen = [catalog.find(name) for name in dict.fromkeys(names or [])]
    _check_mirror(mirror, chosen, offline=offline)
    items: list[dict[str, Any]] = []
    with _mirrored(mirror):
        for entry in chosen:
            try:
                got = _get(entry, offline=offline, quiet=quiet)
            except KeyboardInterrupt as interrupt:
                raise Interrupted(
                    "what has come is kept, and the same command goes on from there",
                    signal=getattr(interrupt, "signal", None),
                ) from None
            items.append(_got_dict(got))
            if not as_json:
                _show_got(got, quiet=quiet)
    if as_json:
        output.show_json({"schema_version": SCHEMA_VERSION, "items": items})


def _check_mirror(mirror: str | None, chosen: list[Entry], *, offline: bool) -> None:
    from resnet_cli.errors import ConfigError
    from resnet_cli.network import addresses

    if mirror is None:
        return
    addresses.parse(mirror)
    if offline:
        raise ConfigError("--mirror has no effect with --offline: choose one")
    of_hub = [entry.name for entry in chosen if entry.extra == "hub"]
    if of_hub:
        raise ConfigError(f"--mirror has no effect on {of_hub[0]}, which is on the Hub", hint="export HF_ENDPOINT=URL")


@contextlib.contextmanager
def _mirrored(url: str | None) -> Iterator[None]:
    """Lets every fetch in this process use the mirror."""
    before = os.environ.get(_MIRROR)
    if url is not None:
        os.environ[_MIRROR] = url
    try:
        yield
    finally:
        os.environ.pop(_MIRROR, None)
        if before is not None:
            os.environ[_MIRROR] = before


def _get(entry: Entry, *, offline: bool, quiet: bool) -> Got:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.commands import catalog

    with ProgressView(quiet=quiet) as view:
        return catalog.get(entry, offline=offline, on_progress=view.download)


def _show_got(got: Got, *, quiet: bool) -> None:
    if quiet:
        if got.path:
            output.show_line(str(got.path))
        return
    state = ("already here" if got.already_here else "downloaded") + (", verified" if got.is_verified else "")
    where = f"{got.path} ({state})" if got.path else "comes with scikit-learn"
    output.show_line(f"{got.entry.name}: {where}")


def _show_list(entries: list[Entry], *, as_json: bool) -> None:
    if as_json:
        output.show_json({"schema_version": SCHEMA_VERSION, "items": [_entry_dict(entry) for entry in entries]})
        return
    for kind, title in (("weights", "Weights"), ("data", "Data sets")):
        chosen = [entry for entry in entries if entry.kind == kind]
        if chosen:
            output.show(_table(title, chosen))
    output.show("get one: resnet-cli download NAME; other ResNet-50 weights of the Hub: hf:OWNER/NAME")


def _table(title: str, entries: list[Entry]) -> Table:
    from rich.text import Text

    from resnet_cli.cli.tables import plain_table
    from resnet_cli.installation import install_command
    from resnet_cli.text import size

    table = plain_table(title, "name", ">size", "what, licence, and where it is")
    for entry in entries:
        about = [(entry.description, ""), (entry.licence, "dim")]
        if entry.extra:
            about.append((f"needs the extra {entry.extra}: {install_command(entry.extra)}", "dim"))
        if entry.is_here():
            about.append((f"here: {entry.place() or 'comes with scikit-learn'}", "green"))
        text = Text("\n").join(Text(line, style=style) for line, style in about if line)
        table.add_row(entry.name, size(entry.num_bytes) if entry.num_bytes else "", text)
    return table


def _entry_dict(entry: Entry) -> dict[str, Any]:
    place = entry.place()
    return {
        "name": entry.name,
        "kind": entry.kind,
        "path": str(place) if place else None,
        "num_bytes": entry.num_bytes,
        "is_here": entry.is_here(),
        "licence": entry.licence,
        "description": entry.description,
        "extra": entry.extra or None,
    }


def _got_dict(got: Got) -> dict[str, Any]:
    return {
        "name": got.entry.name,
        "kind": got.entry.kind,
        "path": str(got.path) if got.path else None,
        "num_bytes": got.entry.num_bytes,
        "already_here": got.already_here,
        "is_verified": got.is_verified,
    }
