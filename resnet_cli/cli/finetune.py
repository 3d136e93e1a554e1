"""``resnet-cli finetune``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_cli.cli import app, launch, output
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
from resnet_cli.errors import ConfigError
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from resnet_cli.config.base import Resolved
    from resnet_cli.config.finetune import FinetuneConfig
    from resnet_cli.runs import RunFolder
    from resnet_cli.training.distributed import Distributed
    from resnet_cli.training.plan import Plan
    from resnet_cli.training.report import FinetuneResult

TRAINING_PANEL, RECIPE_PANEL, STOPPING_PANEL, RUN_PANEL = "Training", "Recipe", "Stopping", "Run"
#: Parameters of the command that are no fields of the config.
NOT_CONFIG = {"config", "dry_run", "resume", "as_json", "quiet"}


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
        int | None, typer.Option(help="Train on so many images, spread over the classes.", rich_help_panel=DATA_PANEL)
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Train on this share of the images, above 0 and up to 1.", rich_help_panel=DATA_PANEL),
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
        typer.Option(help="Changes which images those are.", show_default="0", rich_help_panel=DATA_PANEL),
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
    add: Annotated[
        bool,
        typer.Option(
            "--add",
            help="Keep the classes of the model that --weights names, without its images.",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(
            help="frozen (train the head on cached features), lp-ft (that, then everything), full (all at once), "
            "gradual (stage by stage), or auto.",
            show_default="auto",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(
            help="Stages of the backbone that train: layer3,layer4.",
            show_default="all of them",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="linear, or hidden widths of an MLP: 1024,512.", show_default="linear", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help="Of a head on features: lbfgs, sgd, or auto.", show_default="auto", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the train split.", show_default="10", rich_help_panel=TRAINING_PANEL),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Images an optimizer step; auto tries out how many fit at once.",
            show_default="from the data",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            help="Peak rate of the backbone; auto finds it by a short test.",
            show_default="from the weights",
            rich_help_panel=TRAINING_PANEL,
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
    fit: Annotated[
        str | None,
        typer.Option(
            help="How an image becomes that square: crop, pad or squash.",
            show_default="from the images' shapes",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, light, standard or strong.",
            show_default="from the images' size",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help="Classes of uneven size: none, weights, sampler or logit-adjust.",
            show_default="none",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the head, the order and the augmentation.", show_default="0", rich_help_panel=TRAINING_PANEL
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Train so often, from --seed on, and show mean and spread.",
            show_default="1",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="sgd (Nesterov) or adamw.", show_default="from the weights", rich_help_panel=RECIPE_PANEL),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="cosine, linear, constant or one-cycle.", show_default="cosine", rich_help_panel=RECIPE_PANEL
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="Share of all steps until the rate peaks.", show_default="0.1", rich_help_panel=RECIPE_PANEL),
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(
            help="Each stage's rate, as a share of that of the stage after it.",
            show_default="1",
            rich_help_panel=RECIPE_PANEL,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Not of BatchNorm and biases.", show_default="from the mode", rich_help_panel=RECIPE_PANEL),
    ] = None,
    clip_grad: Annotated[
        float | None,
        typer.Option(help="Largest norm of the gradient.", show_default="any", rich_help_panel=RECIPE_PANEL),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            help="Send each batch through the network in so many parts.", show_default="1", rich_help_panel=RECIPE_PANEL
        ),
    ] = None,
    batchnorm: Annotated[
        str | None,
        typer.Option(
            help="train (batch statistics), eval (the weights' own), or auto.",
            show_default="auto",
            rich_help_panel=RECIPE_PANEL,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="ce, focal or bce.", show_default="ce", rich_help_panel=RECIPE_PANEL),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            help="Share of each label that is spread over all classes.", show_default="0", rich_help_panel=RECIPE_PANEL
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="none, randaugment or trivialaugment, instead of what --augment has.",
            show_default="from --augment",
            rich_help_panel=RECIPE_PANEL,
        ),
    ] = None,
    erasing: Annotated[
        float | None,
        typer.Option(
            help="Probability that a part of the image is erased.",
            show_default="from --augment",
            rich_help_panel=RECIPE_PANEL,
        ),
    ] = None,
    mixup: Annotated[
        float | None,
        typer.Option(help="Alpha of mixup.", show_default="0: off", rich_help_panel=RECIPE_PANEL),
    ] = None,
    cutmix: Annotated[
        float | None,
        typer.Option(help="Alpha of cutmix.", show_default="0: off", rich_help_panel=RECIPE_PANEL),
    ] = None,
    mix_off_epochs: Annotated[
        int | None,
        typer.Option(help="So many epochs at the end are not mixed.", show_default="0", rich_help_panel=RECIPE_PANEL),
    ] = None,
    progressive: Annotated[
        int | None,
        typer.Option(
            help="Size of the first epoch, in pixels; it grows to the full one.",
            show_default="off",
            rich_help_panel=RECIPE_PANEL,
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Decay of a running average of the weights, which is then kept: 0.999.",
            show_default="off",
            rich_help_panel=RECIPE_PANEL,
        ),
    ] = None,
    average: Annotated[
        int | None,
        typer.Option(
            help="Average the weights of so many last epochs.", show_default="off", rich_help_panel=RECIPE_PANEL
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            help="Train so long: 90s, 20m, 1.5h. The schedule follows the clock.",
            show_default="any",
            rich_help_panel=STOPPING_PANEL,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better one.", show_default="never", rich_help_panel=STOPPING_PANEL
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Stop at this validation top-1: 0.97.", show_default="never", rich_help_panel=STOPPING_PANEL),
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            help="Exit with 10 if the result (test, else validation top-1) is below: 0.9.",
            show_default="never",
            rich_help_panel=STOPPING_PANEL,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run folder that is named instead of DATA, or with the newest that was interrupted.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = False,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            help="Time between checkpoints within an epoch: 10m. 0.001s: after each step.",
            show_default="10m; and epochs",
            rich_help_panel=RUN_PANEL,
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write TensorBoard files into the run folder.", rich_help_panel=RUN_PANEL),
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Same bits each time, also on a GPU.", rich_help_panel=RUN_PANEL)
    ] = False,
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
    step_precision: Annotated[
        str | None,
        typer.Option(
            help="Precision of the training steps alone: fp32, bf16 or fp16.",
            show_default="as --precision; without it bf16 where the hardware is faster with it",
            rich_help_panel="Machine",
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            help="Number of CPU threads that share each operation. By default the clock decides, and decides again "
            "when other processes take or free the cores; the run records it.",
            show_default="auto",
            rich_help_panel="Machine",
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            help="Share each step between so many GPUs, one process each (or so many processes, on a CPU). For "
            "several machines: torchrun ... -m resnet_cli finetune DATA --out RUN.",
            show_default="1",
            rich_help_panel="Machine",
        ),
    ] = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Fine-tune a ResNet-50 on DATA and write a run folder."""
    flags = {name: value for name, value in locals().items() if name not in NOT_CONFIG and value is not False}
    members = launch.num_members()
    if members and devices:
        raise ConfigError(f"--devices {devices} has no effect under torchrun, which has started {members} processes")
    if launch.is_started_again(out):
        data, resume, config, flags = str(out), True, None, {}
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.config.base import resolve
        from resnet_cli.config.finetune import FinetuneConfig

        resolved = None if resume else resolve(FinetuneConfig, flags | {"devices": members or devices}, config)
        from resnet_cli.training.resume import find_run

    run = find_run(None if data is None else Path(data)) if resume else None
    known = resolved or resolve(FinetuneConfig, {"device": device}, run.path / "config.yaml" if run else None)
    num_devices = members or devices or known.config.devices or 1
    if num_devices > 1 and known.config.seeds > 1:
        raise ConfigError(f"--seeds {seeds} and {num_devices} devices: choose one", hint="or start one run a seed")
    if num_devices > 1 and not members and not dry_run:
        shown = {"config": config, "resume": resume, "json": as_json, "quiet": quiet}
        raise typer.Exit(launch.launch(num_devices, flags | shown, known.config, run=run))
    changes = flags | {"data": None, "devices": None, "config": config}
    with launch.joined(members) as processes:
        plan = processes.main_process_first(
            lambda: _make_plan(resolved, run, changes, quiet=quiet or not processes.is_main)
        )
        compute, step_compute = processes.place(plan.compute), processes.place(plan.step_compute)
        plan = dataclasses.replace(plan, compute=compute, step_compute=step_compute)
        if dry_run:
            return _show_dry_run(plan, as_json=as_json, quiet=quiet) if processes.is_main else None
        results = _carry_out(plan, run, processes, quiet=quiet)
    _show(results, as_json=as_json, quiet=quiet)
    for result in results:
        result.check(plan.config.fail_under)


def _make_plan(
    resolved: Resolved[FinetuneConfig] | None, run: RunFolder | None, changes: Mapping[str, Any], *, quiet: bool
) -> Plan:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.system.events import WorkDone
    from resnet_cli.training.plan import make_plan
    from resnet_cli.training.resume import plan_resumed

    with ProgressView(quiet=quiet) as view:
        if run:
            return plan_resumed(run, changes, on_work=lambda *work: view(WorkDone(*work)))
        assert resolved
        return make_plan(resolved, on_work=lambda *work: view(WorkDone(*work)))


def _carry_out(plan: Plan, run: RunFolder | None, processes: Distributed, *, quiet: bool) -> list[FinetuneResult]:
    """Trains as planned; only the chief of a team has results."""
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.training.events import PlanMade
    from resnet_cli.training.finetune import run_plan, run_worker
    from resnet_cli.training.seeds import run_seeds

    if not processes.is_main:
        run_worker(plan, processes)
        return []
    if not quiet:
        _note_plan(plan)
    with ProgressView(quiet=quiet) as view:
        view(PlanMade(plan))
        if plan.config.seeds > 1:
            return run_seeds(plan, on_event=view)
        return [run_plan(plan, on_event=view, folder=run, processes=processes)]


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
                "schema_version": SCHEMA_VERSION,
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


def _show(results: Sequence[FinetuneResult], *, as_json: bool, quiet: bool) -> None:
    if not results:
        return
    if as_json and len(results) > 1:
        from resnet_cli.training.seeds import to_dict

        output.show_json(to_dict(results))
    elif as_json:
        output.show_json(results[0].to_dict())
    elif quiet:
        for result in results:
            output.show_line(str(result.run.path))
    elif len(results) > 1:
        from resnet_cli.cli.tables import seeds_table

        output.show(seeds_table(results))
    else:
        _show_result(results[0])


def _show_result(result: FinetuneResult) -> None:
    from resnet_cli.cli.tables import confusion_block, files_block, result_table, retention_lines

    run = result.run.path
    judged, split = (result.test, "test") if result.test else (result.val, "validation")
    width = output.stdout().width
    written = [
        (str(result.run.model_path), "the model: one file that travels alone"),
        (str(run / "report.html"), "figures, mistakes, calibration to look at"),
        (str(run / "metrics.json"), "every figure; history, split, config, plots, model card beside it"),
    ]
    follow = [
        (f"resnet-cli eval {shlex.quote(str(run))}", "these figures, per class"),
        (f"resnet-cli predict photo.jpg --model {shlex.quote(str(run))}", "answers for new images"),
    ]
    output.show(
        result_table(result),
        *retention_lines(result),
        *confusion_block(judged, width=width, title=f"Confusion on the {split} split"),
        files_block(f"Written in {result.seconds:.0f} s", written, width=width),
        files_block("Next", follow, width=width),
    )
