"""``resnet-cli download``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.completion import complete_download
from resnet_cli.cli.options import JsonFlag, OfflineFlag, QuietFlag
from resnet_cli.cli.takes import examples
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from rich.table import Table

    from resnet_cli.commands.download import Downloaded, Entry


@app.command(
    epilog=examples(
        "resnet-cli download --list",
        "resnet-cli download imagenet-v1 flowers102",
        docs="data.md",
    )
)
def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Weights, data sets and runtimes, or hf:OWNER/NAME of weights.",
            autocompletion=complete_download,
        ),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", "-l", help="List all names with size, license and location.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Download from this web folder instead, as RESNET_CLI_MIRROR does; the hash is still verified.",
        ),
    ] = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Download weights, data sets and runtimes.

    Existing downloads are verified, interrupted ones resume.
    """
    from resnet_cli.errors import ConfigError

    if not names and not show_list:
        raise ConfigError("name what to download", hint="for a list: resnet-cli download --list")
    if show_list and (offline or mirror):
        raise ConfigError("--list never uses the network: --offline and --mirror have no effect with it")
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.commands import download as use_case

    if show_list:
        _show_list([use_case.find(name) for name in names or []] or use_case.entries(), as_json=as_json)
        return
    items: list[dict[str, Any]] = []
    downloads = use_case.download(
        names or [], mirror=mirror, offline=offline, on_file=lambda *file: view.download(*file)
    )
    while True:
        # One view per download: its bars are removed before the result is printed.
        with (view := ProgressView(quiet=quiet)):
            done = next(downloads, None)
        if done is None:
            break
        items.append(done.to_dict())
        if not as_json:
            _show(done, quiet=quiet)
    if as_json:
        output.show_json({"schema_version": SCHEMA_VERSION, "items": items})


def _show(done: Downloaded, *, quiet: bool) -> None:
    if quiet:
        if done.path:
            output.show_line(str(done.path))
        return
    state = ("already here" if done.already_here else "downloaded") + (", verified" if done.is_verified else "")
    output.show_line(f"{done.entry.name}: " + (f"{done.path} ({state})" if done.path else "part of scikit-learn"))


def _show_list(entries: list[Entry], *, as_json: bool) -> None:
    if as_json:
        output.show_json({"schema_version": SCHEMA_VERSION, "items": [entry.to_dict() for entry in entries]})
        return
    for kind, title in (("weights", "Weights"), ("data", "Data sets"), ("runtime", "Runtimes for exported files")):
        chosen = [entry for entry in entries if entry.kind == kind]
        if chosen:
            output.show(_table(title, chosen))
    output.show("to download: resnet-cli download NAME; other ResNet-50 weights on the Hub: hf:OWNER/NAME")


def _table(title: str, entries: list[Entry]) -> Table:
    from rich.text import Text

    from resnet_cli.cli.tables import plain_table
    from resnet_cli.installation import install_command
    from resnet_cli.text import size

    table = plain_table(title, "name", ">size", "description, license, location")
    for entry in entries:
        about = [(entry.description, ""), (entry.licence, "dim")]
        if entry.extra:
            about.append((f"needs the extra {entry.extra}: {install_command(entry.extra)}", "dim"))
        if entry.is_here():
            about.append((f"here: {entry.path() or 'part of scikit-learn'}", "green"))
        text = Text("\n").join(Text(line, style=style) for line, style in about if line)
        table.add_row(entry.name, size(entry.num_bytes) if entry.num_bytes else "", text)
    return table
