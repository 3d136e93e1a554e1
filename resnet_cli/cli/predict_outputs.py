"""Where the answers of ``resnet-cli predict`` go: lines on stdout, files, folders; and how far it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from resnet_cli.cli import output
from resnet_cli.outputs.schema import COLUMNS, RULE_COLUMNS, to_cells, to_dict

if TYPE_CHECKING:
    from rich.text import Text

    from resnet_cli.cli.predict_request import Request
    from resnet_cli.model.similar import Match
    from resnet_cli.outputs.formats import Format
    from resnet_cli.outputs.resume import Done
    from resnet_cli.prediction import PredictedItem, Prediction, Predictor

#: Off a terminal at most one line in this time.
LINE_EVERY_S = 5
Write: TypeAlias = "Callable[[PredictedItem[Any]], None]"


def printer(kind: Literal["csv", "json"] | None, *, has_rule: bool) -> Write:
    """Prints answers on stdout as they come; images that cannot be read are none.

    Args:
        kind: None for lines: aligned on a terminal, with tabs elsewhere.
        has_rule: Whether images may stay unanswered, which takes two columns more.
    """
    columns = [*COLUMNS, *RULE_COLUMNS] if has_rule else [*COLUMNS]
    show: Callable[[Prediction], None]
    if kind == "json":
        show = lambda prediction: output.show_json(to_dict(prediction, columns))  # noqa: E731
    elif kind == "csv":
        output.show_csv([columns])
        show = lambda prediction: output.show_csv([to_cells(prediction, columns)])  # noqa: E731
    elif sys.stdout.isatty():
        # A line each, as they come: a table would keep ten thousand answers back until the last.
        show = lambda prediction: output.show(answer_line(prediction))  # noqa: E731
    else:
        show = lambda prediction: output.show_line("\t".join(tab_cells(prediction)))  # noqa: E731
    return lambda answered: None if answered.prediction.error else show(answered.prediction)


def answer_line(prediction: Prediction) -> Text:
    """One answer for a terminal; of an unknown image why, and what it might be."""
    from rich.text import Text

    from resnet_cli.cli.tables import prediction_line
    from resnet_cli.text import percent, printable

    if prediction.unknown is None:
        return prediction_line(prediction)
    others = ", ".join(f"{printable(name)} {percent(prob)}" for name, prob in prediction.topk)
    return Text.assemble(
        f"{percent(prediction.prob):>7}  ",
        (f"{prediction.label:<16}", "bold yellow"),
        f"  {printable(prediction.path)}  ",
        (f"{prediction.unknown}: {others}", "dim"),
    )


def tab_cells(prediction: Prediction) -> Iterator[str]:
    """The path, then ``unknown`` and why where it is, then classes and probabilities in turn."""
    yield prediction.path
    if prediction.unknown is not None:
        yield prediction.label
        yield prediction.unknown
    for name, prob in prediction.topk:
        yield name
        yield f"{prob:.4f}"


@contextlib.contextmanager
def open_outputs(
    request: Request, predictor: Predictor[Any], done: Done | None, *, has_rule: bool, made_by: str
) -> Iterator[Write]:
    """Everything that wants answers, as one; files are finished when the block ends well.

    Args:
        request: Which.
        predictor: The model.
        done: What the output file holds already; None for a new one.
        has_rule: Whether images may stay unanswered.
        made_by: For the rows of files.

    Raises:
        DiskError: Something cannot be written.
        ConfigError: A file that is there already.
    """
    from resnet_cli.outputs.prediction_files import FLUSH_EVERY_S, growing_file, parquet_file

    writers: list[Write] = []
    with contextlib.ExitStack() as stack:
        kind = request.kind
        if request.output is None:
            assert kind != "parquet"
            writers.append(printer(kind, has_rule=has_rule))
        elif kind == "parquet":
            writers.append(stack.enter_context(parquet_file(request.output, made_by)))
        elif kind is not None:
            growing = growing_file(
                request.output,
                kind,
                made_by,
                num_bytes=done.num_bytes if done else 0,
                flush_every_s=0 if request.watch else FLUSH_EVERY_S,
            )
            writers.append(stack.enter_context(growing))
        if request.embeddings is not None:
            writers.append(stack.enter_context(_embeddings(request, predictor)))
        writers += _folders(request, predictor, has_rule=has_rule)

        def write(answered: PredictedItem[Any]) -> None:
            for writer in writers:
                writer(answered)

        yield write


def _embeddings(request: Request, predictor: Predictor[Any]) -> contextlib.AbstractContextManager[Write]:
    import numpy as np

    from resnet_cli.model.network import NUM_FEATURES
    from resnet_cli.outputs.embeddings import embeddings_file

    assert request.embeddings is not None
    dtype = np.float32 if predictor.precision == "fp32" else np.float16
    return embeddings_file(request.embeddings, NUM_FEATURES, dtype)


def _folders(request: Request, predictor: Predictor[Any], *, has_rule: bool) -> Iterator[Write]:
    if request.sort_into is not None:
        from resnet_cli.outputs.sorting import sort_into

        yield sort_into(request.sort_into, predictor.classes, abstains=has_rule, link=request.link)
    if request.annotate is not None:
        from resnet_cli.outputs.annotated import annotate_into

        yield annotate_into(request.annotate)
    if request.explain is not None:
        from resnet_cli.outputs.annotated import explain_into

        yield explain_into(request.explain, predictor)


def check_outputs(request: Request) -> None:
    """Refuses files that are there already, before a model is loaded.

    Raises:
        ConfigError: One is.
        DiskError: The folder of one is not there.
    """
    from resnet_cli.errors import ConfigError, DiskError

    for flag, path in (("--output", request.output), ("--embeddings", request.embeddings)):
        if path is not None and not path.parent.is_dir():
            raise DiskError(f"{flag} {path}: there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    if request.output is not None and not request.resume and os.path.lexists(request.output):
        way_out = "another name, or remove it first"
        raise ConfigError(
            f"--output {request.output}: exists already",
            hint=way_out if request.kind == "parquet" else f"go on with it: --resume; or {way_out}",
        )
    if request.embeddings is not None:
        from resnet_cli.outputs.embeddings import check_embeddings_path

        check_embeddings_path(request.embeddings)
    for flag, folder in (
        ("--sort-into", request.sort_into),
        ("--annotate", request.annotate),
        ("--explain", request.explain),
    ):
        if folder is not None and os.path.lexists(folder) and not folder.is_dir():
            raise ConfigError(f"{flag} {folder}: is no folder", hint="name another")


class Counting:
    """Counts answers on stderr: live where answers do not go to the same terminal, lines elsewhere.

    Args:
        total: Images in all; None where nobody knows.
        quiet: Say nothing.
        is_shown: Whether the answers themselves show how far it is.
    """

    def __init__(self, total: int | None, *, quiet: bool, is_shown: bool) -> None:
        self.num = self.num_failed = self.num_unknown = 0
        self._of = f" of {total:,}" if total else ""
        self._is_silent = quiet or is_shown
        self._stack = contextlib.ExitStack()
        self._status: Any = None
        self._began_at = self._said_at = time.monotonic()

    def __enter__(self) -> Counting:
        if not self._is_silent and sys.stderr.isatty():
            self._status = self._stack.enter_context(output.stderr().status("answering"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self, answered: PredictedItem[Any]) -> None:
        """Counts one."""
        self.num += 1
        prediction = answered.prediction
        self.num_unknown += prediction.unknown is not None
        if prediction.error is not None:
            self.num_failed += 1
            output.warn(str(prediction.error))
        self.show(self.num)

    def show(self, num: int) -> None:
        """Shows how many are done, if it is time to."""
        now = time.monotonic()
        if self._is_silent or now - self._said_at < (0.1 if self._status else LINE_EVERY_S):
            return
        self._said_at = now
        text = f"answering: {num:,}{self._of} images, {num / (now - self._began_at):.0f} images/s"
        if self._status:
            self._status.update(text)
        else:
            output.note(text)


def show_matches(matches: Sequence[Match], kind: Format | None) -> None:
    """Prints similar images: a row a match."""
    columns = ("query", "rank", "path", "similarity")
    if kind == "json":
        for match in matches:
            output.show_json(dict(zip(columns, dataclasses.astuple(match), strict=True)))
        return
    if kind == "csv":
        rows = [[match.query, match.rank, match.path, f"{match.similarity:.6f}"] for match in matches]
        output.show_csv([columns, *rows])
        return
    for match in matches:
        cells = [match.query, str(match.rank), match.path, f"{match.similarity:.4f}"]
        if sys.stdout.isatty():
            from resnet_cli.text import printable

            output.show(f"{cells[3]:>7}  {cells[1]:>3}  {printable(match.path)}  ({printable(match.query)})")
        else:
            output.show_line("\t".join(cells))


def summary(request: Request, counting: Counting) -> Sequence[str]:
    """What was done, where stdout does not show it."""
    lines = []
    if request.output is not None:
        unknown = f", {counting.num_unknown:,} of them unknown" if counting.num_unknown else ""
        lines.append(f"{counting.num - counting.num_failed:,} answers in {request.output}{unknown}")
    return lines
