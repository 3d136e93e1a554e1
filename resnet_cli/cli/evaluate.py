"""``resnet-cli eval``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.completion import complete_model_or_data
from resnet_cli.cli.options import JsonFlag, ModelFlag, QuietFlag, VerboseFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import flag_name, resolve
from resnet_cli.config.eval import EvalConfig
from resnet_cli.system.latest import follow_latest
from resnet_cli.system.paths import LATEST
from resnet_cli.text import share_or_dash

if TYPE_CHECKING:
    from resnet_cli.commands.comparison_result import ComparisonResult
    from resnet_cli.commands.evaluate_file import EvalResult
    from resnet_cli.commands.study_results import StudyResult


#: The plot that ``--show`` shows, unless a study or comparison has its own: the first of these that was written.
PLOTS = ("results.png", "predictions.png", "confusion.png")
#: What ``-h`` shows.
ESSENTIAL = (
    *("split", "slice", "fail_under", "save_predictions", "out"),
    *("learning_curve", "label_audit", "robustness", "open_report", "device"),
)


@app.command(
    "eval",
    epilog=examples(
        "resnet-cli eval",
        "resnet-cli eval runs/latest photos/",
        "resnet-cli eval runs/a runs/b",
        "resnet-cli eval --label-audit --split train",
        docs="evaluation.md",
    ),
)
@takes(EvalConfig, essential=ESSENTIAL, omit={"group_by"})
def evaluate(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]... [DATA]",
            help="Models (run folders or model files), and the images, as for finetune. Several models are compared on "
            "the same images. Names of weights and exported files are models, too.",
            show_default="runs/latest, and the images that its run held out",
            autocompletion=complete_model_or_data,
        ),
    ] = None,
    *,
    flags: Flags,
    named: ModelFlag = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Evaluate a model, compare models, or study the data.

    An evaluation has confidence intervals and says how far the confidence of the model can be trusted.
    """
    subjects = [*filter(None, [named]), *(subjects or ())]
    config = resolve(EvalConfig, flags).config
    if as_json or quiet:
        config.refuse(("show",), f"has no effect with {'--json' if as_json else '--quiet'}")
    if config.from_predictions is not None:
        from resnet_cli.commands.evaluate_file import evaluate_file

        scored = evaluate_file(config, subjects)
        show_evaluation(scored, as_json=as_json, quiet=quiet, is_short=not verbose)
        return scored.check(config.fail_under)
    subjects, latest = [follow_latest(subject) for subject in subjects], follow_latest(str(LATEST))
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.commands.evaluate import compare_models, evaluate_model
        from resnet_cli.evaluation.specs import resolve_specs

    models, data = resolve_specs(subjects, config, latest=latest)
    with ProgressView(quiet=quiet or (as_json and config.study is not None)) as view:
        if config.study is not None:
            from resnet_cli.commands.studies import run_study

            found = run_study(models[0], data, config, on_event=view)
        elif len(models) > 1:
            compared = compare_models(models, data, config, on_event=view)
        else:
            result = evaluate_model(models[0], data, config, command=_command(models[0], data, flags), on_event=view)
    if config.study is not None:
        show_study(found, as_json=as_json, quiet=quiet)
        _show_page(getattr(found, "written", ()), config)
    elif len(models) > 1:
        show_comparison(compared, as_json=as_json, quiet=quiet)
        _show_page(compared.written, config)
        compared.check(config.fail_under)
    else:
        show_evaluation(result, as_json=as_json, quiet=quiet, is_short=not verbose)
        _show_page(result.written, config)
        result.check(config.fail_under)


def show_evaluation(result: EvalResult, *, as_json: bool, quiet: bool, is_short: bool = False) -> None:
    """Prints the evaluation of one model: the most important numbers if it ``is_short``, else all tables."""
    if as_json:
        return output.show_json(result.to_dict())
    if quiet:
        return output.show_line(share_or_dash(result.scores.score))
    from resnet_cli.cli.score_tables import tables_for
    from resnet_cli.cli.tables import files_block

    width = output.stdout().width
    output.show(*tables_for(result.scores).evaluation(result.scores, result.target, width=width, is_short=is_short))
    if is_short:
        output.note("all tables: --verbose" + (", or the report" if result.report else ""))
    if result.written:
        output.show(files_block("Written", result.written, width=width))
    if is_short and result.model:
        from resnet_cli.model.facts import MODEL_FILE

        # A run folder is a model, too, and its name is shorter.
        path = Path(result.model)
        model = path.parent if path.name == MODEL_FILE else path
        output.note(f"next: resnet-cli predict photo.jpg --model {shlex.quote(str(model))}")


def show_comparison(result: ComparisonResult, *, as_json: bool, quiet: bool) -> None:
    """Prints the comparison of several models."""
    if as_json:
        return output.show_json(result.to_dict())
    if quiet:
        for name, scores in result.found:
            output.show_line(f"{share_or_dash(scores.score)}\t{name}")
        return
    from resnet_cli.cli.score_tables import tables_for
    from resnet_cli.cli.tables import files_block

    output.show(*tables_for(result.found[0][1]).comparison(result.found, result.comparisons))
    if result.written:
        output.show(files_block("Written", result.written, width=output.stdout().width))


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


def _show_page(written: Sequence[tuple[str, str]], config: EvalConfig) -> None:
    """Shows the plots and opens the page, if that was asked for."""
    if not (config.show or config.open_report):
        return
    page = next((Path(path) for path, _ in written if path.endswith(".html")), None)
    if page is None:
        return output.warn(f"{'--open' if config.open_report else '--show'} has no effect: no page was written")
    if config.show:
        from resnet_cli.cli.terminal_images import show_images

        plots = [page.with_suffix(".png"), *(page.parent / "plots" / name for name in PLOTS)]
        show_images([plot for plot in plots if plot.exists()][:1])
    if config.open_report:
        from resnet_cli.cli.opening import open_page

        open_page(page)


def _command(model: str, data: str | None, flags: Flags) -> str:
    """The command line, for the report; it names the run that was evaluated, even if runs/latest changes later."""
    words = ["resnet-cli", "eval", model, *([] if data is None else [data])]
    for name, value in flags.items():
        if name in {"open_report", "show"}:
            continue
        words.append(flag_name(EvalConfig, name))
        words += [] if value is True else [str(value)]
    return shlex.join(words)
