"""What ``eval`` does once it knows what it is asked for: one model, several, a file of answers, or a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.config.eval import EvalConfig
    from resnet_cli.evaluation.coverage import Target
    from resnet_cli.evaluation.scores import Evaluation
    from resnet_cli.evaluation.subjects import Jury, Subject
    from resnet_cli.system.device import Compute


@dataclasses.dataclass
class Trial:
    """Models and the images that they are judged by, while a command runs."""

    config: EvalConfig
    compute: Compute
    view: ProgressView
    quiet: bool

    def load(self, spec: str) -> Subject:
        """Loads what MODEL names."""
        from resnet_cli.evaluation.subjects import load_subject
        from resnet_cli.system.events import WorkDone

        def on_download(done: int, total: int | None) -> None:
            self.view(WorkDone("download", done, total))

        return load_subject(spec, offline=self.config.offline, trusted=self.config.trust, on_download=on_download)

    def on_work(self, *work: Any) -> None:
        """Shows how far a download or an archive is."""
        from resnet_cli.system.events import WorkDone

        self.view(WorkDone(*work))

    def call_jury(self, subject: Subject, data: str | None) -> Jury:
        """Finds the images to judge by, and says what is odd about them."""
        from resnet_cli.evaluation.subjects import choose_jury

        config = self.config
        jury = choose_jury(
            subject,
            data,
            config,
            split=config.split,
            slice_by=config.slice,
            on_work=self.on_work,
        )
        output.warn_each([f"left out: {error}" for error in jury.skipped])
        if config.tta == "flip" and not jury.dataset.mirror_safe:
            output.warn(f"--tta flip: a mirrored image of {jury.dataset.name} may belong to another class or to none")
        return jury

    def answer(self, subject: Subject, jury: Jury) -> tuple[Evaluation, str]:
        """The figures, and how far they can be trusted."""
        from resnet_cli.system.events import WorkDone

        items = jury.items_for(subject)
        note = _split_note(subject, jury)
        if self.config.tta == "flip":
            note += "; tta flip: the mean of each image and its mirror image"
        precision = subject.precision(self.compute)
        if precision != "fp32":
            note += f"; computed in {precision}, coarser than float32"
        conflict = subject.precision_conflict(self.compute)
        if conflict:
            output.warn(f"{subject.path}: {conflict}")
            note += f"; {conflict}"
        if not self.quiet:
            output.note(f"{subject.path}: {len(items):,} images of {jury.dataset.name} ({note})")
        scores = subject.evaluate(
            items,
            self.compute,
            tta=self.config.tta,
            on_progress=lambda done, total: self.view(WorkDone("evaluate", done, total)),
        )
        if self.config.slice is not None:
            scores = dataclasses.replace(scores, groups=tuple(item.group for item in items))
        return scores, note


def judge(spec: str, data: str | None, config: EvalConfig, *, command: str, as_json: bool, quiet: bool) -> None:
    """One model."""
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.evaluation.coverage import check_threshold, promise_by
    from resnet_cli.evaluation.predictions_file import check_name, write_answers
    from resnet_cli.system.device import choose_compute

    if config.save_predictions is not None:
        check_name(config.save_predictions, "--save-predictions")
    with ProgressView(quiet=quiet) as view:
        trial = Trial(config, choose_compute(config.device, config.precision), view, quiet)
        subject = trial.load(spec)
        if config.target_error is not None:
            # Before anything is computed.
            promise_by(config.target_error, subject.reliability)
        jury = trial.call_jury(subject, data)
        if config.target_error is not None and jury.is_own_of(subject) and jury.split in {"val", "all"}:
            output.warn("--target-error: the threshold was found on these very images; others say what it is worth")
        scores, note = trial.answer(subject, jury)
    target = None
    if config.target_error is not None:
        target = check_threshold(config.target_error, subject.reliability, scores.confidence, scores.is_right)
    written: list[tuple[str, str]] = []
    if config.save_predictions is not None:
        write_answers(config.save_predictions, scores)
        again = f"again: resnet-cli eval --from-predictions {config.save_predictions}"
        written.append((str(config.save_predictions), again))
    page = None
    if not config.no_report:
        page = _write_report(trial, subject, jury, scores, target, command=command, note=note)
        written += [(str(page), "the report")] if page else []
    head = {"schema_version": SCHEMA_VERSION, "model": str(subject.path), "data": jury.dataset.name}
    head["precision"] = subject.precision(trial.compute)
    tail = {"target": target.to_dict() if target else None, "report": str(page) if page else None}
    _show(head | {"split": jury.split}, scores, tail, target, written, as_json=as_json, quiet=quiet)
    _check({str(subject.path): scores}, config.fail_under)


def _write_report(
    trial: Trial, subject: Subject, jury: Jury, scores: Evaluation, target: Target | None, *, command: str, note: str
) -> Path | None:
    from resnet_cli.commands.evaluation_report import report_content, report_folder
    from resnet_cli.reporting.report_files import write_report_files
    from resnet_cli.system.paths import make_dir

    folder = trial.config.out or report_folder(subject, jury)
    if folder is None:
        return None
    with output.status("writing the report", quiet=trial.quiet):
        content = report_content(subject, jury, scores, trial.compute, command=command, warnings=[note], target=target)
        make_dir(folder)
        write_report_files(folder, content)
    return folder / "report.html"


def compare_models(specs: Sequence[str], data: str | None, config: EvalConfig, *, as_json: bool, quiet: bool) -> None:
    """Several models on the same images, each against the first."""
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.evaluation.comparison import compare
    from resnet_cli.system.device import choose_compute

    with ProgressView(quiet=quiet) as view:
        trial = Trial(config, choose_compute(config.device, config.precision), view, quiet)
        first = trial.load(specs[0])
        jury = trial.call_jury(first, data)
        found = [(str(first.path), trial.answer(first, jury)[0])]
        for spec in specs[1:]:
            # One after the other: a model's memory is free again before the next is loaded.
            other = trial.load(spec)
            found.append((str(other.path), trial.answer(other, jury)[0]))
    comparisons = [compare(found[0][1], scores, num_compared=len(found) - 1) for _, scores in found[1:]]
    if as_json:
        output.show_json(
            {
                "schema_version": SCHEMA_VERSION,
                "data": jury.dataset.name,
                "split": jury.split,
                "models": [{"model": name} | scores.to_dict() for name, scores in found],
                "comparisons": [
                    {"first": found[0][0], "second": name} | comparison.to_dict()
                    for (name, _), comparison in zip(found[1:], comparisons, strict=True)
                ],
            }
        )
    elif quiet:
        from resnet_cli.text import percent

        for name, scores in found:
            output.show_line(f"{percent(scores.top1)}\t{name}")
    else:
        from resnet_cli.cli.evaluation_tables import comparison_tables

        output.show(*comparison_tables(found, comparisons))
    _check(dict(found), config.fail_under)


def make_study(study: str, spec: str, data: str | None, config: EvalConfig, *, as_json: bool, quiet: bool) -> None:
    """A study of one model and its data.

    Raises:
        ConfigError: The model is an exported file, whose features cannot be had.
    """
    from resnet_cli.cli import studies
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.errors import ConfigError
    from resnet_cli.evaluation.subjects import open_data
    from resnet_cli.system.device import choose_compute

    compute = choose_compute(config.device, config.precision)
    with ProgressView(quiet=quiet) as view:
        trial = Trial(config, compute, view, quiet)
        subject = trial.load(spec)
        if subject.model is None:
            raise ConfigError(
                f"{subject.name}: an exported file gives answers and no features",
                hint=f"name the model that it was exported from: resnet-cli eval MODEL --{study.replace('_', '-')}",
            )
        if study == "robustness":
            jury = trial.call_jury(subject, data)
        else:
            dataset = open_data(subject, data, config, split="all", on_work=trial.on_work)
    if study == "robustness":
        items, name = jury.items_for(subject), f"{jury.dataset.name}, {jury.split}"
        studies.run_robustness(
            subject.model, items, compute, name=name, max_images=config.max_images, as_json=as_json, quiet=quiet
        )
    elif study == "label_audit":
        studies.run_label_audit(
            subject.model,
            dataset,
            compute,
            split=config.split,
            out=config.out,
            offline=config.offline,
            as_json=as_json,
            quiet=quiet,
        )
    else:
        studies.run_learning_curve(
            subject.model, dataset, compute, offline=config.offline, as_json=as_json, quiet=quiet
        )


def score_file(config: EvalConfig, *, as_json: bool, quiet: bool) -> None:
    """Answers from a file; nothing here loads torch."""
    from resnet_cli.evaluation.predictions_file import read_answers, regroup

    assert config.from_predictions is not None
    scores = read_answers(config.from_predictions)
    if config.slice is not None:
        scores = regroup(scores, config.slice)
    name = str(config.from_predictions)
    head = {"schema_version": SCHEMA_VERSION, "model": None, "data": name, "precision": None, "split": None}
    _show(head, scores, {"target": None, "report": None}, None, [], as_json=as_json, quiet=quiet)
    _check({name: scores}, config.fail_under)


def _show(
    head: dict[str, Any],
    scores: Evaluation,
    tail: dict[str, Any],
    target: Target | None,
    written: Sequence[tuple[str, str]],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    if as_json:
        return output.show_json(head | scores.to_dict() | tail)
    from resnet_cli.cli.tables import files_block
    from resnet_cli.text import percent

    if quiet:
        return output.show_line(percent(scores.top1))
    from resnet_cli.cli.evaluation_tables import evaluation_tables

    width = output.stdout().width
    output.show(*evaluation_tables(scores, target, width=width))
    if written:
        output.show(files_block("Written", written, width=width))


def _check(found: dict[str, Evaluation], least: float | None) -> None:
    """Compares top-1 with what was asked for.

    Raises:
        VerificationError: It is below.
    """
    from resnet_cli.errors import VerificationError

    for name, scores in found.items():
        if least is not None and scores.top1 < least:
            low, high = scores.top1_interval[1:]
            raise VerificationError(
                f"{name}: top-1 {scores.top1:.1%} is below --fail-under {least:.1%}",
                hint=f"its 95 % interval is {low:.1%} to {high:.1%}"
                + (": with more images it may yet reach that" if high >= least else ""),
            )


def _split_note(subject: Subject, jury: Jury) -> str:
    """Says how far the figures can be trusted."""
    is_own = jury.is_own_of(subject)
    if is_own and jury.split == "val":
        best = subject.provenance.get("best", {}).get("epoch", "?")
        return f"validation split; it chose the checkpoint (epoch {best}), so expect slightly less on new images"
    if is_own and jury.split == "test":
        return "test split; the validation split chose the checkpoint, not this one"
    name = "all images" if jury.split == "all" else f"{jury.split} split"
    num_trained = jury.count_trained(subject)
    trained = f"; the model was trained on {num_trained:,} of them, so expect less on new ones" if num_trained else ""
    return name + trained
