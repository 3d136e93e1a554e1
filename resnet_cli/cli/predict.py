"""``resnet-cli predict``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import JsonFlag, QuietFlag, VerboseFlag
from resnet_cli.cli.predict_rows import printer, show_matches
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.predict import PredictConfig
from resnet_cli.text import counted, printable

if TYPE_CHECKING:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.commands.predict import PredictResult
    from resnet_cli.commands.predict_model import Event, Started
    from resnet_cli.data.dataset import Item
    from resnet_cli.prediction import Prediction
    from resnet_cli.system.events import WorkDone

EXIT_SOME_UNREADABLE = 3
#: More false alarms than these are worth a line: a model with 19 validation images or more has fewer.
FEW_FALSE_ALARMS = 0.0501
#: Images that --show draws, and the rows of text that each of them covers at most.
MAX_SHOWN, ROWS_SHOWN = 50, 10
#: Seconds between two lines of progress where stderr is not a terminal.
LINE_EVERY_S = 5

#: What ``-h`` shows.
ESSENTIAL = (
    *("model", "output", "as_csv", "topk", "threshold", "abstain", "sort_into", "annotate", "explain"),
    *("similar", "among", "device"),
)


@app.command(
    epilog=examples(
        "resnet-cli predict photo.jpg photos/",
        "resnet-cli predict photos/ --model runs/latest --out predictions.csv",
        "resnet-cli predict photos/ --abstain --sort-into sorted/",
        docs="predict.md",
    )
)
@takes(PredictConfig, essential=ESSENTIAL, omit={"images", "as_json"})
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, patterns such as 'images/**/*.png', tables of paths, archives, URLs, or - for stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    flags: Flags,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Classify images.

    Unreadable images are reported and skipped (exit code 3).
    """
    config = resolve(PredictConfig, {**flags, "images": images or None, "as_json": as_json or None}).config
    with output.status("loading", quiet=quiet):
        from resnet_cli.commands import predict as commands

    with PredictView(config, quiet=quiet) as view:
        if config.similar:
            from resnet_cli.commands.predict_similar import find_similar_images

            found = find_similar_images(config, stdin=sys.stdin.buffer, on_event=view)
        elif config.engine == "ray":
            from resnet_cli.commands.predict_ray import predict_on_ray

            result = predict_on_ray(config, stdin=sys.stdin.buffer, on_event=view)
        else:
            result = commands.predict(config, stdin=sys.stdin.buffer, on_event=view)
    if config.similar:
        show_matches(found.matches, config.format)
        if found.written is not None and not quiet:
            output.note(f"the images are on the page {found.written}")
        output.warn_each([str(error) for error in found.errors])
        num_failed = len(found.errors)
    else:
        if not quiet:
            show_result(result, config)
        show_unfamiliar(result, config)
        if not quiet and sys.stdout.isatty() and config.format is None and config.output is None:
            output.note("next: add --out predictions.csv to save them, or resnet-cli export for other programs")
        num_failed = result.num_failed
    if num_failed:
        raise typer.Exit(EXIT_SOME_UNREADABLE)


class PredictView:
    """Shows the events of one ``predict``; use it as a context manager and call it with each event.

    Args:
        config: What is predicted, and where the rows go.
        quiet: Show only rows, warnings and errors.
    """

    def __init__(self, config: PredictConfig, *, quiet: bool) -> None:
        self._config, self._quiet = config, quiet
        # Rows on a terminal show the progress themselves.
        self._shows_rows = config.output is None and not config.similar
        self._shows_progress = not (quiet or (self._shows_rows and sys.stdout.isatty()))
        self._print: Callable[[Prediction], None] | None = None
        self._stack = contextlib.ExitStack()
        self._bar: ProgressView | None = None
        self._num = 0
        self._total: int | None = None
        self._began_at = time.monotonic()

    def __enter__(self) -> PredictView:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        from resnet_cli.prediction import PredictedItem
        from resnet_cli.system.events import Noted, Status, Warned, WorkDone

        if isinstance(event, PredictedItem):
            self._num += 1
            if event.prediction.error is not None:
                output.warn(str(event.prediction.error))
            elif self._print is not None:
                self._print(event.prediction)
                self._show_image(event.item)
            self._draw(WorkDone("predict", self._num, self._total))
        elif isinstance(event, WorkDone):
            self._draw(event)
        elif isinstance(event, Noted):
            if not self._quiet:
                output.note(event.text)
        elif isinstance(event, Warned):
            if not self._quiet:
                output.warn_each(event.texts)
        elif isinstance(event, Status):
            self._stack.close()
            self._stack.enter_context(output.status(event.text, quiet=self._quiet))
        else:
            self._start(event)

    def _start(self, started: Started) -> None:
        self._stack.close()
        self._total, self._began_at = started.total, time.monotonic()
        if self._shows_rows:
            if started.model and not self._quiet:
                num = len(started.classes)
                output.note(f"model: {printable(started.model)}, {num:,} class{'es' * (num != 1)}")
            self._print = printer(self._config, started)

    def _show_image(self, item: Item) -> None:
        if not self._config.show or self._num > MAX_SHOWN:
            return
        from resnet_cli.cli.terminal_images import protocol, show_images

        if self._num == 1 or protocol() is not None:
            show_images([item.open()], max_rows=ROWS_SHOWN)
        if self._num == MAX_SHOWN:
            output.note(f"--show shows no more than {MAX_SHOWN} images")

    def _draw(self, work: WorkDone) -> None:
        if self._bar is None:
            # For a few images the bar would cost more than the images.
            is_short = time.monotonic() - self._began_at < (0.1 if sys.stderr.isatty() else LINE_EVERY_S)
            if work.task == "predict" and (is_short or not self._shows_progress):
                return
            from resnet_cli.cli.progress import ProgressView

            self._stack.close()
            self._bar = self._stack.enter_context(ProgressView(quiet=self._quiet))
            self._stack.callback(lambda: setattr(self, "_bar", None))
        self._bar(work)


def show_unfamiliar(result: PredictResult, config: PredictConfig) -> None:
    """Counts the images that are unlike the training images, on stderr: a reader of stdout may ignore the marks."""
    num = result.num_unfamiliar
    if not num:
        return
    are, they, them = ("is", "it", "it") if num == 1 else ("are", "they", "them")
    label = f'{they} {"gets" if num == 1 else "get"} the label "unknown"'
    if not config.abstains:
        label = f'{they} {"keeps its label" if num == 1 else "keep their labels"}; --abstain labels {them} "unknown"'
    output.note(f"{num:,} of {result.num_predicted:,} images {are} unlike the training images ({label})")
    if result.false_alarms is not None and result.false_alarms > FEW_FALSE_ALARMS:
        output.note(
            f"this limit was set with few validation images: about 1 in {1 / result.false_alarms:.0f} images "
            "like the training images is marked too"
        )


def show_result(result: PredictResult, config: PredictConfig) -> None:
    """Notes what stdout does not show: what was written, and how many images cannot be read."""
    if config.output is None and result.num_none:
        output.note(f"no label is predicted for {result.num_none:,} of {result.num_predicted:,} images")
    if written := written_files(result, config):
        from resnet_cli.cli.tables import files_block

        output.note(files_block("Written", written, width=output.stderr().width))
    if result.num_failed:
        failed = f"{result.num_failed:,} of {counted(result.num, 'image')} could not be read"
        # Where the parts of a Ray cluster name them.
        output.note(failed if result.failed is None else f"{failed}: {result.failed} says why")


def written_files(result: PredictResult, config: PredictConfig) -> list[tuple[str, str]]:
    """The files and folders that were written, each with what is in it."""
    unknown = f", {result.num_unknown:,} of them unknown" if result.num_unknown else ""
    none = f", {result.num_none:,} of them without a label" if result.num_none else ""
    before = f", {result.num_before:,} of them from before" if result.num_before is not None else ""
    folders = "links to the images" if config.link else "copies of the images"
    about = (
        (config.output, f"{counted(result.num_written, 'prediction')}{unknown}{none}{before}"),
        (config.sort_into, f"{folders}, in one folder per class"),
        (config.annotate, "the images with their labels"),
        (config.explain, "heat maps of the regions that support each prediction"),
        (config.embeddings, "features"),
    )
    return [(printable(str(path)), what) for path, what in about if path is not None]
