"""``resnet-cli eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import (
    ClassesOption,
    DeviceOption,
    FollowLinksFlag,
    ImageColumnOption,
    JsonFlag,
    LabelColumnOption,
    LabelRegexOption,
    MaxPixelsOption,
    OfflineFlag,
    OnBadImageOption,
    PrecisionOption,
    QuietFlag,
    SplitColumnOption,
)

if TYPE_CHECKING:
    from resnet_cli.config import EvalConfig, Resolved
    from resnet_cli.model import Model

LATEST_HELP = "A run folder or model file."


@app.command("eval")
def evaluate(
    model: Annotated[str | None, typer.Argument(help=LATEST_HELP, show_default="runs/latest")] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            help="As for finetune: a folder, a table, an archive, an address, a name.",
            show_default="the run's own test pictures",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val, test or all.", show_default="test, else val, else all"),
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(help="flip: the mean answer to a picture and its mirror image.", show_default="none"),
    ] = None,
    classes: ClassesOption = None,
    label_regex: LabelRegexOption = None,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    follow_links: FollowLinksFlag = False,
    max_pixels: MaxPixelsOption = None,
    on_bad_image: OnBadImageOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Score a model: top-1, top-5, loss, precision, recall and F1 per class, confusion."""
    from resnet_cli.config import EvalConfig, resolve

    flags = {
        "split": split,
        "tta": tta,
        "classes": classes,
        "label_regex": label_regex,
        "image_column": image_column,
        "label_column": label_column,
        "split_column": split_column,
        "follow_links": follow_links or None,
        "max_pixels": max_pixels,
        "on_bad_image": on_bad_image,
        "device": device,
        "precision": precision,
        "offline": offline or None,
    }
    resolved = resolve(EvalConfig, flags)
    config = resolved.config
    if data is None:
        _refuse_data_flags(resolved)
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.data.scan import leave_out_unreadable, scan
        from resnet_cli.data.sources import open_dataset
        from resnet_cli.device import choose_compute
        from resnet_cli.evaluation.answers import evaluate as evaluate_items
        from resnet_cli.training.events import WorkDone
        from resnet_cli.training.run import LATEST, choose_items, count_trained, open_run_dataset
        from resnet_cli.weights import load_model

    compute = choose_compute(config.device, config.precision)
    with ProgressView(quiet=quiet) as view:

        def on_download(done: int, total: int | None) -> None:
            view(WorkDone("download", done, total))

        loaded = load_model(model or LATEST, offline=config.offline, on_download=on_download)
        if data is None:
            dataset = open_run_dataset(loaded, split=config.split, offline=config.offline)
            dataset = dataset.select(config.classes) if config.classes else dataset
        else:
            dataset = open_dataset(data, config, on_work=lambda *work: view(WorkDone(*work)))
        chosen, items = choose_items(dataset, loaded, config.split)
        if config.on_bad_image == "skip":
            items, _, skipped = leave_out_unreadable(items, scan(items, looks=False), "skip")
            output.warn_each([f"left out: {error}" for error in skipped])
        num_trained = count_trained(loaded, dataset.spec, items)
        note = _split_note(loaded, chosen, own=data is None, num_trained=num_trained)
        if config.tta == "flip":
            note += "; tta flip: the mean of each picture and its mirror image"
            if not dataset.mirror_safe:
                output.warn(f"--tta flip: a mirrored picture of {dataset.name} may belong to another class or to none")
        if not quiet:
            output.note(f"{loaded.path}: {len(items):,} pictures of {dataset.name} ({note})")
        scores = evaluate_items(
            loaded,
            items,
            compute,
            tta=config.tta,
            on_progress=lambda done, total: view(WorkDone("evaluate", done, total)),
        )
    if as_json:
        head = {"schema_version": 1, "model": str(loaded.path), "data": dataset.name, "split": chosen}
        output.show_json(head | scores.to_dict())
        return
    from resnet_cli.cli.tables import evaluation_tables, percent

    if quiet:
        output.show_line(percent(scores.top1))
        return
    output.show(*evaluation_tables(scores, width=output.stdout().width))


def _refuse_data_flags(resolved: Resolved[EvalConfig]) -> None:
    """The run knows how its own pictures are read."""
    from resnet_cli.config import DataConfig
    from resnet_cli.errors import ConfigError

    for field in DataConfig.model_fields.keys() - {"classes", "offline", "on_bad_image"}:
        if resolved.origins[field] == "flag":
            flag = field.replace("_", "-")
            raise ConfigError(
                f"--{flag} has no effect on the run's own pictures", hint=f"name DATA, or leave --{flag} away"
            )


def _split_note(model: Model, split: str, *, own: bool, num_trained: int) -> str:
    """Says how far the figures can be trusted."""
    if own and split == "val":
        best = model.provenance.get("best", {}).get("epoch", "?")
        return f"validation split; it chose the checkpoint (epoch {best}), so expect slightly less on new pictures"
    if own and split == "test":
        return "test split; the validation split chose the checkpoint, not this one"
    name = "all pictures" if split == "all" else f"{split} split"
    trained = f"; the model was trained on {num_trained:,} of them, so expect less on new ones" if num_trained else ""
    return name + trained
