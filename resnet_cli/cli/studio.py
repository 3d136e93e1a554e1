"""``resnet-cli studio``."""

from __future__ import annotations

from resnet_cli.cli import app, output
from resnet_cli.cli.opening import open_url
from resnet_cli.cli.options import QuietFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.studio import StudioConfig


@app.command(
    epilog=examples(
        "resnet-cli studio",
        "resnet-cli studio --dir ~/projects --weights resnet50.safetensors --no-open",
        docs="studio.md",
    )
)
@takes(StudioConfig)
def studio(*, flags: Flags, quiet: QuietFlag = False) -> None:
    """Train on a page in the browser: drop images, train, try it.

    Everything stays on this machine, in ordinary folders, and every click shows the command that does the same. Ctrl-C
    stops the studio.
    """
    config = resolve(StudioConfig, flags).config
    with output.status("starting", quiet=quiet):
        from resnet_cli.studio.starting import start_studio

        started = start_studio(config)
    output.show_line(started.url)
    is_open = config.open and open_url(started.url)
    if not quiet:
        where = "the page is open in the browser" if is_open else "open this address in a browser on this machine"
        output.note(f"{where}; projects are in {started.root}; Ctrl-C stops the studio")
    started.serve()
