"""The use case of ``export``: a file whose predictions match the model's, or no file at all."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_cli.config.export import ExportConfig
from resnet_cli.config.snippets import snippet_kind
from resnet_cli.exported.metadata import ExportMetadata, FilePrecision
from resnet_cli.exporting.benchmark import FormatResult, benchmark
from resnet_cli.exporting.decisions import DECISIONS, Decisions
from resnet_cli.exporting.export import Job, check, model_output
from resnet_cli.exporting.hub.destination import destination
from resnet_cli.exporting.hub.push import Push, Pushed
from resnet_cli.exporting.new_output import HINT, new_output
from resnet_cli.exporting.parity_result import Parity
from resnet_cli.exporting.snippets.snippet import snippet
from resnet_cli.exporting.verification_data import images_to_verify
from resnet_cli.model.model_file import Model
from resnet_cli.model.weights import load_model
from resnet_cli.system.caches import require_temporary_folder
from resnet_cli.system.events import OnStatus, OnWork, no_status
from resnet_cli.system.paths import check_space, check_writable, make_dir, sha256_of
from resnet_cli.text import Summarized, percent, size
from resnet_cli.version import SCHEMA_VERSION


@dataclasses.dataclass(frozen=True, repr=False)
class ExportResult(Summarized):
    """What was written.

    Attributes:
        model: The model file that was exported; None if the model is in no file.
        path: A file, or a folder for most formats.
        format: The value of ``--format``.
        number: The precision in which weights are stored.
        num_bytes: Bytes of all files.
        sha256: SHA-256 of the file; of a folder, of its largest file.
        source_sha256: SHA-256 of the model file.
        parity: The result of the parity check.
        seconds: Wall time.
        pushed: Where it is on the Hub; None without ``--push``.
        snippet: A program that uses the file; None without ``--snippet``.
    """

    model: Path | None
    path: Path
    format: str
    number: FilePrecision
    num_bytes: int
    sha256: str
    source_sha256: str
    parity: Parity
    seconds: float
    pushed: Pushed | None = None
    snippet: str | None = None

    def summary(self) -> dict[str, str]:
        """The file and its accuracy."""
        pushed = {} if self.pushed is None else {"pushed to": self.pushed.url}
        file, model = self.parity.file_accuracy, self.parity.model_accuracy
        return {
            "path": str(self.path),
            "format": f"{self.format}, {self.number}",
            "size": size(self.num_bytes),
            self.parity.decisions.score: f"{percent(file.value)} (model: {percent(model.value)})",
            **pushed,
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that ``export --json`` prints."""
        plain = {
            "model": str(self.model),
            "path": str(self.path),
            "parity": self.parity.to_dict(),
            "pushed": None if self.pushed is None else dataclasses.asdict(self.pushed),
        }
        return {"schema_version": SCHEMA_VERSION} | vars(self) | plain


@dataclasses.dataclass(frozen=True)
class FormatComparison:
    """All formats side by side.

    Attributes:
        model: The model file; None if the model is in no file.
        rows: The model itself, then each format.
        decisions: How the task of the model decides and scores.
    """

    model: Path | None
    rows: list[FormatResult]
    decisions: type[Decisions]

    def to_dict(self) -> dict[str, Any]:
        """The object that ``export --benchmark --json`` prints."""
        rows = [row.to_dict(self.decisions.key) for row in self.rows]
        return {"schema_version": SCHEMA_VERSION, "model": str(self.model), "formats": rows}


def export(
    model: Model | str | os.PathLike[str],
    config: ExportConfig,
    *,
    on_work: OnWork | None = None,
    on_status: OnStatus = no_status,
    on_parity: Callable[[Parity], None] | None = None,
) -> ExportResult:
    """Writes a model in another format, if the file's predictions on real images match the model's.

    Args:
        model: A loaded model, or the path of a run folder or model file.
        config: The format and its options.
        on_work: Called with the progress on the images.
        on_status: Called with what is being done where its length is not known.
        on_parity: Called with the result of the parity check, also if it rejects the file.

    Raises:
        VerificationError: The file's predictions differ; nothing is written or pushed.
        ResnetCliError: See ``resnet_cli.errors``; no incomplete file is left.
    """
    require_temporary_folder(config.out)
    target = destination(config)
    model = _open(model, config)
    began = time.monotonic()
    push = None if target is None else Push(target, model, config)
    job = Job(model, config)
    job.check()
    out = config.out or job.default_path()
    check_out = functools.partial(job.check_replaceable, out)
    check_out()
    check_writable(out)
    check_space(out.parent, job.room_bytes, f"writing {out}", hint=HINT)
    images = images_to_verify(model, config)
    expected = model_output(model, images, on_work)
    if config.out is not None:
        # Not beside the model: its run may have been removed since then, and half a run must not come back.
        make_dir(out.parent)
    with new_output(out, job.file_name(), is_folder=job.is_folder, check=check_out) as temporary:
        on_status(f"writing {job.name}")
        file = job.write(temporary, on_work)
        parity = check(job, temporary, file, images, expected, on_work=on_work, on_status=on_status)
        if on_parity:
            on_parity(parity)
        parity.require(job.name)
        files = (
            [temporary] if temporary.is_file() else [file for file in sorted(temporary.rglob("*")) if file.is_file()]
        )
        num_bytes = sum(file.stat().st_size for file in files)
        sha256 = sha256_of(max(files, key=lambda file: file.stat().st_size))
    pushed = None
    if push is not None:
        on_status("uploading")
        pushed = push.upload(
            out, name=job.file_name(), num_bytes=num_bytes, sha256=sha256, metadata=job.metadata, parity=parity
        )
    return ExportResult(
        model=model.path,
        path=out,
        format=config.format,
        number=job.precision,
        num_bytes=num_bytes,
        sha256=sha256,
        source_sha256=job.metadata.source_sha256,
        parity=parity,
        seconds=time.monotonic() - began,
        pushed=pushed,
        snippet=_snippet(config, job.metadata, out),
    )


def _snippet(config: ExportConfig, metadata: ExportMetadata, out: Path) -> str | None:
    kind = snippet_kind(config.format, config.input)
    return None if config.snippet is None else snippet(config.snippet, kind, metadata, out)


def compare_formats(
    model: Model | str | os.PathLike[str],
    config: ExportConfig,
    *,
    on_work: OnWork | None = None,
    on_status: OnStatus = no_status,
) -> FormatComparison:
    """Makes, checks and times every format, and keeps none; see :func:`~resnet_cli.exporting.benchmark.benchmark`."""
    model = _open(model, config)
    rows = benchmark(model, config, on_work=on_work, on_status=on_status)
    return FormatComparison(model.path, rows, DECISIONS[model.task])


def _open(model: Model | str | os.PathLike[str], config: ExportConfig) -> Model:
    return model if isinstance(model, Model) else load_model(os.fspath(model), offline=config.offline)
