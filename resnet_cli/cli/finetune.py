"""``resnet-cli finetune``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.completion import complete_data
from resnet_cli.cli.options import JsonFlag, QuietFlag, VerboseFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import RUN, FinetuneConfig
from resnet_cli.errors import ConfigError, Interrupted
from resnet_cli.system.latest import follow_latest
from resnet_cli.text import duration

if TYPE_CHECKING:
    from resnet_cli.commands.finetune import DryRun, Finetuned
    from resnet_cli.training.report import FinetuneResult

#: What ``-h`` shows.
ESSENTIAL = (
    *("mode", "weights", "epochs", "max_time", "lr", "batch_size", "image_size"),
    *("out", "resume", "dry_run", "open_report", "device"),
)


@app.command(
    epilog=examples(
        "resnet-cli finetune photos/",
        "resnet-cli finetune photos/ --mode lp-ft --epochs 20 --dry-run",
        "resnet-cli finetune labels.csv --weights runs/latest --max-time 20m",
        docs="training.md",
    )
)
@takes(FinetuneConfig, essential=ESSENTIAL)
def finetune(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder with one subfolder per class, a table, an archive, a URL, hf:OWNER/NAME, or a name from "
            "resnet-cli download --list. The class folders may be inside of train/, val/ and test/; a table has the "
            "columns image,label[,split][,group]; an archive is a .zip or .tar of either.",
            show_default="cifar10",
            autocompletion=complete_data,
        ),
    ] = None,
    *,
    flags: Flags,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Resume a run: the newest, or the one named as DATA. The run was interrupted, or a flag such as "
            "--epochs makes its training longer.",
            rich_help_panel=RUN,
        ),
    ] = False,
    moved_to: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="With --resume: where the images of the run are now.",
            show_default="where they were",
            rich_help_panel=RUN,
            autocompletion=complete_data,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A YAML file whose keys are the names of these flags; flags take precedence.",
            rich_help_panel=RUN,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Show the plan and its estimated cost, and stop.", rich_help_panel=RUN
        ),
    ] = False,
    open_report: Annotated[
        bool,
        typer.Option("--open", metavar="", help="Open the report in the browser at the end.", rich_help_panel=RUN),
    ] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Fine-tune a ResNet-50 on DATA and write a run folder."""
    if moved_to is not None and not resume:
        raise ConfigError(
            f"--data {moved_to} has no effect without --resume",
            hint=f"resnet-cli finetune {shlex.quote(moved_to)}, or --resume RUN --data {shlex.quote(moved_to)}",
        )
    if open_report and dry_run:
        raise ConfigError("--open has no effect with --dry-run: choose one")
    if not resume:
        # A bad value is refused before torch is loaded.
        resolve(FinetuneConfig, {**flags, "data": data}, config)
    if resume and data is not None:
        data = follow_latest(data)
    if flags.get("weights"):
        flags = {**flags, "weights": follow_latest(flags["weights"])}
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.commands.finetune import DryRun, Elsewhere, run_finetune
        from resnet_cli.training.launch import FinetuneRequest

    switches = [
        name
        for name, given in (("--json", as_json), ("--quiet", quiet), ("--verbose", verbose), ("--open", open_report))
        if given
    ]
    request = FinetuneRequest(
        data=data,
        flags=flags,
        config_file=config,
        resume=resume,
        moved_to=moved_to,
        dry_run=dry_run,
        switches=switches,
    )
    with ProgressView(quiet=quiet, verbose=verbose) as view:
        outcome = run_finetune(request, on_event=view)
    if isinstance(outcome, Elsewhere):
        raise typer.Exit(outcome.exit_code)
    if as_json:
        output.show_json(outcome.to_dict())
    elif isinstance(outcome, DryRun):
        _show_dry_run(outcome, quiet=quiet)
    else:
        try:
            _show(outcome, quiet=quiet)
        except KeyboardInterrupt as interrupt:
            kept = ", ".join(str(result.run.path) for result in outcome.results)
            raise Interrupted(f"finished: {kept}", signal=getattr(interrupt, "signal", None)) from None
    if not isinstance(outcome, DryRun):
        if open_report:
            from resnet_cli.cli.opening import open_page

            for result in outcome.results:
                open_page(result.run.path / "report.html")
        outcome.check()


def _show_dry_run(outcome: DryRun, *, quiet: bool) -> None:
    from resnet_cli.cli.plan_view import plan_table

    if not quiet:
        output.show(plan_table(outcome.plan))
        output.warn_or_note(outcome.plan.warnings, outcome.plan.notes)
    output.show(f"Would take about {outcome.cost.describe()}. No run was started.")


def _show(outcome: Finetuned, *, quiet: bool) -> None:
    if quiet:
        for result in outcome.results:
            output.show_line(str(result.run.path))
    elif len(outcome.results) > 1:
        from resnet_cli.cli.tables import seeds_table

        output.show(seeds_table(outcome.results))
    else:
        _show_result(outcome.results[0])


def _show_result(result: FinetuneResult) -> None:
    from resnet_cli.cli.score_tables import tables_for
    from resnet_cli.cli.tables import files_block, result_table, retention_lines

    run = result.run.path
    final, split = (result.test, "test") if result.test else (result.val, "validation")
    width = output.stdout().width
    written = [
        (str(result.run.model_path), "the model, in one file"),
        (str(run / "report.html"), "metrics, mistakes and calibration, as a page"),
        (str(run / "metrics.json"), "all metrics; history, split, config, plots and model card are beside it"),
    ]
    follow = [
        (f"resnet-cli eval {shlex.quote(str(run))}", "these metrics, per class"),
        (f"resnet-cli predict photo.jpg --model {shlex.quote(str(run))}", "predictions for new images"),
    ]
    output.show(
        result_table(result),
        *retention_lines(result),
        "",
        *tables_for(final).mistakes(final, width=width, where=f" on the {split} split"),
        files_block(f"Written in {duration(result.seconds)}", written, width=width),
        files_block("Next", follow, width=width),
    )
