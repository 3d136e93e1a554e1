"""``resnet-cli eval``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    TrustFlag,
)
from resnet_cli.text import percent

if TYPE_CHECKING:
    from resnet_cli.commands.evaluate import ComparisonResult
    from resnet_cli.commands.evaluate_file import EvalResult
    from resnet_cli.commands.studies import Study, StudyResult
    from resnet_cli.config.base import Resolved
    from resnet_cli.config.eval import EvalConfig

SUBJECTS_HELP = (
    "Models: run folders, .safetensors or .pth files, what was exported, names of weights; several are compared on the "
    "same images. And the images, as for finetune: a folder, a table, an archive, an address, a name."
)
FIGURES_PANEL, FILES_PANEL, STUDIES_PANEL = "Figures", "Files", "Studies, instead of an evaluation"
#: Studies that are made instead of an evaluation, and the flags that say something beside each.
STUDIES: dict[Study, frozenset[str]] = {
    "learning_curve": frozenset(),
    "label_audit": frozenset({"split", "out"}),
    "robustness": frozenset({"split", "max_images"}),
}
#: Flags of an evaluation alone.
OF_FIGURES = ("split", "tta", "slice", "target_error", "fail_under", "save_predictions", "out", "no_report")
#: Flags that say something where answers come from a file.
WITH_ANSWERS = frozenset({"slice", "fail_under", "from_predictions"})
#: Flags about one model alone.
FOR_ONE = ("slice", "target_error", "save_predictions", "out", "no_report", *STUDIES)


@app.command("eval")
def evaluate(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]... [DATA]",
            help=SUBJECTS_HELP,
            show_default="runs/latest, and the images that its run set aside",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val, test or all.", show_default="test, else val, else all"),
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(help="flip: the mean answer to an image and its mirror image.", show_default="none"),
    ] = None,
    slice_by: Annotated[
        str | None,
        typer.Option(
            "--slice",
            help="Figures of each group: a column of the table, 'parent' (the folder), or an expression on names: "
            "'camera([0-9]+)'.",
            rich_help_panel=FIGURES_PANEL,
        ),
    ] = None,
    target_error: Annotated[
        str | None,
        typer.Option(
            help="Find, on validation, the probability from which at most so many answers are wrong: 1%.",
            rich_help_panel=FIGURES_PANEL,
        ),
    ] = None,
    fail_under: Annotated[
        str | None,
        typer.Option(help="Exit with 10 where top-1 is below: 95% or 0.95.", rich_help_panel=FIGURES_PANEL),
    ] = None,
    save_predictions: Annotated[
        Path | None,
        typer.Option(
            help="Write every answer: .csv, .tsv, .jsonl or .parquet.", dir_okay=False, rich_help_panel=FILES_PANEL
        ),
    ] = None,
    from_predictions: Annotated[
        Path | None,
        typer.Option(help="Score such a file again, without model and images.", rich_help_panel=FILES_PANEL),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report.", show_default="eval/ in the run folder", rich_help_panel=FILES_PANEL),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write none.", rich_help_panel=FILES_PANEL)] = False,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve", help="What more images of each class would bring.", rich_help_panel=STUDIES_PANEL
        ),
    ] = False,
    label_audit: Annotated[
        bool,
        typer.Option(
            "--label-audit",
            help="Rank labels that are likely wrong; --out names the table to correct.",
            rich_help_panel=STUDIES_PANEL,
        ),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="How many answers survive blur, noise, rotation...", rich_help_panel=STUDIES_PANEL
        ),
    ] = False,
    max_images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of more images --robustness draws so many.",
            show_default="500",
            rich_help_panel=STUDIES_PANEL,
        ),
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
    trust: TrustFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Evaluate a model: metrics with intervals, calibration, what it does not know; or compare several models."""
    flags = {
        "split": split,
        "tta": tta,
        "slice": slice_by,
        "target_error": target_error,
        "fail_under": fail_under,
        "save_predictions": save_predictions,
        "from_predictions": from_predictions,
        "out": out,
        "no_report": no_report or None,
        "learning_curve": learning_curve or None,
        "label_audit": label_audit or None,
        "robustness": robustness or None,
        "max_images": max_images,
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
        "trust": trust or None,
    }
    with output.status("loading", quiet=quiet or as_json):
        from resnet_cli.config.base import resolve
        from resnet_cli.config.data import DataConfig
        from resnet_cli.config.eval import EvalConfig

        resolved = resolve(EvalConfig, flags)
    study = _chosen_study(resolved)
    config, words = resolved.config, subjects or []
    if config.from_predictions is not None:
        from resnet_cli.commands.evaluate_file import evaluate_file

        _refuse(resolved, set(EvalConfig.model_fields) - WITH_ANSWERS, "with --from-predictions", words)
        scored = evaluate_file(config)
        show_evaluation(scored, as_json=as_json, quiet=quiet)
        return scored.check(config.fail_under)
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.commands.evaluate import compare_models, evaluate_model
        from resnet_cli.commands.studies import run_study
        from resnet_cli.evaluation.specs import sort_specs
        from resnet_cli.exported.opening import check_trust
        from resnet_cli.system.paths import LATEST

    models, data = sort_specs(words)
    check_trust(models, trusted=trust)
    if data is None:
        own = set(DataConfig.model_fields) - {"classes", "offline", "on_bad_image"}
        _refuse(resolved, own, "on the run's own images: name DATA")
    if len(models) > 1:
        _refuse(resolved, FOR_ONE, "where models are compared: give it one model")
        with ProgressView(quiet=quiet) as view:
            compared = compare_models(models, data, config, on_event=view)
        show_comparison(compared, as_json=as_json, quiet=quiet)
        return compared.check(config.fail_under)
    spec = models[0] if models else str(LATEST)
    if study is not None:
        with ProgressView(quiet=quiet or as_json) as view:
            found = run_study(study, spec, data, config, on_event=view)
        return show_study(found, as_json=as_json, quiet=quiet)
    with ProgressView(quiet=quiet) as view:
        result = evaluate_model(spec, data, config, command=_command(words, flags), on_event=view)
    show_evaluation(result, as_json=as_json, quiet=quiet)
    result.check(config.fail_under)


def show_evaluation(result: EvalResult, *, as_json: bool, quiet: bool) -> None:
    """Prints the evaluation of one model."""
    if as_json:
        return output.show_json(result.to_dict())
    if quiet:
        return output.show_line(percent(result.scores.top1))
    from resnet_cli.cli.evaluation_tables import evaluation_tables
    from resnet_cli.cli.tables import files_block

    width = output.stdout().width
    output.show(*evaluation_tables(result.scores, result.target, width=width))
    if result.written:
        output.show(files_block("Written", result.written, width=width))


def show_comparison(result: ComparisonResult, *, as_json: bool, quiet: bool) -> None:
    """Prints the comparison of several models."""
    if as_json:
        return output.show_json(result.to_dict())
    if quiet:
        for name, scores in result.found:
            output.show_line(f"{percent(scores.top1)}\t{name}")
        return
    from resnet_cli.cli.evaluation_tables import comparison_tables

    output.show(*comparison_tables(result.found, result.comparisons))


def show_study(result: StudyResult, *, as_json: bool, quiet: bool) -> None:
    """Prints the result of a study."""
    if as_json:
        return output.show_json(result.to_dict())
    from resnet_cli.cli.study_tables import study_blocks, study_lines

    if quiet:
        for line in study_lines(result):
            output.show_line(line)
        return
    if result.backbone:
        output.note(f"features: {result.backbone}")
    output.show(*study_blocks(result, width=output.stdout().width))


def _chosen_study(resolved: Resolved[EvalConfig]) -> Study | None:
    """The study that is asked for, if any.

    Raises:
        ConfigError: Two are, or a flag has no effect on it.
    """
    from resnet_cli.errors import ConfigError

    chosen = [name for name in STUDIES if getattr(resolved.config, name)]
    if len(chosen) > 1:
        raise ConfigError(f"{_flag(chosen[0])} and {_flag(chosen[1])}: choose one", hint="run one after the other")
    if not chosen:
        _refuse(resolved, ("max_images",), "without --robustness")
        return None
    idle = [*OF_FIGURES, "from_predictions", "max_images"]
    _refuse(resolved, [name for name in idle if name not in STUDIES[chosen[0]]], f"with {_flag(chosen[0])}")
    return chosen[0]


def _refuse(resolved: Resolved[EvalConfig], fields: Iterable[str], where: str, words: Sequence[str] = ()) -> None:
    """Refuses flags that change nothing here.

    Raises:
        ConfigError: Names the first.
    """
    from resnet_cli.errors import ConfigError

    given = [_flag(name) for name in sorted(fields) if resolved.origins[name] == "flag"]
    for word in [*words, *given][:1]:
        raise ConfigError(f"{word} has no effect {where}", hint=f"leave {word} away")


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _command(subjects: Sequence[str], flags: dict[str, Any]) -> str:
    """What was typed, for the report."""
    import shlex

    words = ["resnet-cli", "eval", *subjects]
    for name, value in flags.items():
        if value is not None:
            words.append(_flag(name))
            words += [] if value is True else [str(value)]
    return shlex.join(words)
