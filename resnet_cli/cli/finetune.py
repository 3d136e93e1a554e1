"""``resnet-cli finetune``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import (
    DATA_PANEL,
    ClassesOption,
    DeviceOption,
    FollowLinksFlag,
    GroupByOption,
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
    from resnet_cli.training.finetune import FinetuneResult
    from resnet_cli.training.plan import Plan

TRAINING_PANEL, RUN_PANEL = "Training", "Run"


@app.command()
def finetune(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder (one sub-folder a class, or train/ and val/ and test/ of such), a table "
            "(image,label[,split][,group]), a .zip or .tar of either, an address of any of these, hf:OWNER/NAME, or a "
            "name from: resnet-cli download --list.",
            show_default="cifar10",
        ),
    ] = None,
    classes: ClassesOption = None,
    label_regex: LabelRegexOption = None,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    split_column: SplitColumnOption = None,
    group_by: GroupByOption = None,
    follow_links: FollowLinksFlag = False,
    max_pixels: MaxPixelsOption = None,
    on_bad_image: OnBadImageOption = None,
    limit: Annotated[
        int | None, typer.Option(help="Train on so many pictures, spread over the classes.", rich_help_panel=DATA_PANEL)
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Train on this share of the pictures, above 0 and up to 1.", rich_help_panel=DATA_PANEL),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of each class that validates (and, without any splits, as much again that tests).",
            show_default="0.1",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    split_seed: Annotated[
        int | None,
        typer.Option(help="Changes which pictures those are.", show_default="0", rich_help_panel=DATA_PANEL),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto, imagenet-v1, imagenet-v2, timm-a1, hf:OWNER/NAME, a .pth or .safetensors file, a run folder, "
            "or none.",
            show_default="auto",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="frozen (train the head on cached features), full (train everything), or auto.",
            show_default="auto",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="linear, or hidden widths of an MLP: 1024,512.", show_default="linear", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the train split.", show_default="10", rich_help_panel=TRAINING_PANEL),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Pictures an optimizer step.", show_default="from the data", rich_help_panel=TRAINING_PANEL),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Peak rate of the backbone.", show_default="from the weights", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    head_lr: Annotated[
        float | None,
        typer.Option(help="Peak rate of the head.", show_default="from the mode", rich_help_panel=TRAINING_PANEL),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the square that the network sees, in pixels.",
            show_default="from the weights",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, light or standard.", show_default="from the pictures' size", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the head, the order and the augmentation.", show_default="0", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder.", show_default="runs/DATA-TIME", rich_help_panel=RUN_PANEL),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file whose keys are these flags' names; flags win over it.", rich_help_panel=RUN_PANEL
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan and what it will cost, and stop.", rich_help_panel=RUN_PANEL),
    ] = False,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Fine-tune a ResNet-50 on DATA and write a run folder."""
    flags = {
        "data": data,
        "classes": classes,
        "label_regex": label_regex,
        "image_column": image_column,
        "label_column": label_column,
        "split_column": split_column,
        "group_by": group_by,
        "follow_links": follow_links or None,
        "max_pixels": max_pixels,
        "on_bad_image": on_bad_image,
        "limit": limit,
        "fraction": fraction,
        "val_fraction": val_fraction,
        "split_seed": split_seed,
        "weights": weights,
        "mode": mode,
        "head": head,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "head_lr": head_lr,
        "image_size": image_size,
        "augment": augment,
        "seed": seed,
        "out": out,
        "device": device,
        "precision": precision,
        "offline": offline or None,
    }
    from resnet_cli.config import FinetuneConfig, resolve

    resolved = resolve(FinetuneConfig, flags, config)
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.training.events import PlanMade, WorkDone
        from resnet_cli.training.finetune import run_plan
        from resnet_cli.training.plan import make_plan

    with ProgressView(quiet=quiet) as view:
        plan = make_plan(resolved, on_work=lambda *work: view(WorkDone(*work)))
    if dry_run:
        return _show_dry_run(plan, as_json=as_json, quiet=quiet)
    if not quiet:
        _note_plan(plan)
    with ProgressView(quiet=quiet) as view:
        view(PlanMade(plan))
        result = run_plan(plan, on_event=view)
    if as_json:
        output.show_json(result.to_dict())
    elif quiet:
        output.show_line(str(result.run.path))
    else:
        _show_result(result)


def _note_plan(plan: Plan) -> None:
    from resnet_cli.cli.tables import plan_table

    output.note(plan_table(plan))
    for warning in plan.warnings:
        output.warn(warning)


def _show_dry_run(plan: Plan, *, as_json: bool, quiet: bool) -> None:
    from resnet_cli.training.estimate import estimate

    cost = estimate(plan)
    if as_json:
        output.show_json(
            {
                "schema_version": 1,
                "plan": [
                    {"name": choice.name, "value": choice.value, "origin": choice.origin, "why": choice.why}
                    for choice in plan.choices
                ],
                "warnings": list(plan.warnings),
                "estimate": {"seconds": round(cost.seconds), "memory_bytes": cost.memory_bytes},
            }
        )
        return
    if not quiet:
        from resnet_cli.cli.tables import plan_table

        output.show(plan_table(plan))
        for warning in plan.warnings:
            output.warn(warning)
    output.show(f"Would take about {cost.describe()}. No run was made.")


def _show_result(result: FinetuneResult) -> None:
    from resnet_cli.cli.tables import confusion_block, files_block, result_table

    run = result.run.path
    judged, split = (result.test, "test") if result.test else (result.val, "validation")
    width = output.stdout().width
    written = [
        (str(result.run.model_path), "the model: one file that travels alone"),
        (str(result.run.plots_path), "curves, confusion, predictions as PNG"),
        (str(run / "metrics.json"), "every figure; history, split and config beside it"),
    ]
    follow = [
        (f"resnet-cli eval {shlex.quote(str(run))}", "these figures, per class"),
        (f"resnet-cli predict photo.jpg --model {shlex.quote(str(run))}", "answers for new pictures"),
    ]
    output.show(
        result_table(result),
        *confusion_block(judged, width=width, title=f"Confusion on the {split} split"),
        files_block(f"Written in {result.seconds:.0f} s", written, width=width),
        files_block("Next", follow, width=width),
    )
