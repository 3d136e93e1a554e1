"""``resnet-cli predict``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import (
    BatchSizeOption,
    DeviceOption,
    JsonFlag,
    MaxPixelsOption,
    OfflineFlag,
    PrecisionOption,
    QuietFlag,
)

if TYPE_CHECKING:
    from resnet_cli.inference import Prediction
    from resnet_cli.model import Model

EXIT_SOME_UNREADABLE = 3


@app.command()
def predict(
    images: Annotated[
        list[str],
        typer.Argument(help="Files, folders, patterns such as 'images/*.png', or - for one picture on stdin."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A run folder or model file.", show_default="runs/latest, else ImageNet"),
    ] = None,
    topk: Annotated[int, typer.Option("--topk", "-k", min=1, help="Classes to name for each picture.")] = 3,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout.")] = False,
    max_pixels: MaxPixelsOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Name what is in pictures. A picture that cannot be read is reported and the rest go on (exit code 3)."""
    from resnet_cli.errors import ConfigError

    if as_csv and as_json:
        raise ConfigError("--csv and --json: choose one")
    from resnet_cli.config import PredictConfig, resolve
    from resnet_cli.data.sources import find_images

    flags = {"device": device, "precision": precision, "offline": offline or None, "max_pixels": max_pixels}
    config = resolve(PredictConfig, flags).config
    items = find_images(images, stdin=sys.stdin.buffer, max_pixels=config.max_pixels)
    with output.status("loading torch", quiet=quiet):
        from resnet_cli.device import choose_compute
        from resnet_cli.inference import predict as predict_images

    compute = choose_compute(config.device, config.precision)
    loaded = _load(model, offline=config.offline, quiet=quiet)
    predictions = predict_images(loaded, items, compute, topk=topk, batch_size=batch_size)
    num_failed = 0

    def answered() -> Iterator[Prediction]:
        nonlocal num_failed
        for prediction in predictions:
            if prediction.error is None:
                yield prediction
            else:
                num_failed += 1
                output.warn(str(prediction.error))

    _render(answered(), as_csv=as_csv, as_json=as_json)
    if num_failed:
        if not quiet:
            output.note(f"{num_failed} of {len(items):,} pictures could not be read")
        raise typer.Exit(EXIT_SOME_UNREADABLE)


def _load(model: str | None, *, offline: bool, quiet: bool) -> Model:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.errors import ConfigError, NetworkError
    from resnet_cli.training.events import WorkDone
    from resnet_cli.training.run import LATEST
    from resnet_cli.weights import load_imagenet, load_model

    with ProgressView(quiet=quiet) as view:

        def on_download(done: int, total: int | None) -> None:
            view(WorkDone("download", done, total))

        if model is not None or os.path.lexists(LATEST):
            return load_model(model or LATEST, offline=offline, on_download=on_download)
        try:
            loaded = load_imagenet(offline=offline, on_download=on_download)
        except NetworkError as error:
            raise ConfigError(
                f"there is no run in {LATEST.parent} to predict with, and no ImageNet weights either",
                hint="train one: resnet-cli finetune DATA; or name one: --model RUN",
            ) from error
    if not quiet:
        assert loaded.path is not None
        output.note(f"no run in {LATEST.parent}: answering with ImageNet's 1,000 classes ({loaded.path.name})")
    return loaded


def _render(predictions: Iterable[Prediction], *, as_csv: bool, as_json: bool) -> None:
    if as_json:
        for prediction in predictions:
            output.show_json(_to_dict(prediction))
    elif as_csv:
        output.show_csv(_csv_rows(predictions))
    elif sys.stdout.isatty():
        from resnet_cli.cli.tables import prediction_line

        # A line each, as they come: a table would keep ten thousand answers back until the last.
        for prediction in predictions:
            output.show(prediction_line(prediction))
    else:
        for prediction in predictions:
            pairs = (f"{name}\t{prob:.4f}" for name, prob in prediction.topk)
            output.show_line("\t".join([prediction.path, *pairs]))


def _csv_rows(predictions: Iterable[Prediction]) -> Iterator[Sequence[object]]:
    yield ["path", "label", "prob", "topk"]
    for prediction in predictions:
        topk = json.dumps(dict(prediction.topk), ensure_ascii=False)
        yield [prediction.path, prediction.label, f"{prediction.prob:.6f}", topk]


def _to_dict(prediction: Prediction) -> dict[str, Any]:
    topk = [{"label": name, "prob": prob} for name, prob in prediction.topk]
    return {"path": prediction.path, "label": prediction.label, "prob": prediction.prob, "topk": topk}
