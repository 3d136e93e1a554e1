"""All formats side by side on this machine; no file is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnet_cli.config.export import FORMAT_OPTIONS, ExportConfig
from resnet_cli.errors import ConfigError, SetupError, VerificationError
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.exporting.export import Job, check, model_output
from resnet_cli.exporting.parity_result import as_json
from resnet_cli.exporting.verification_data import images_to_verify
from resnet_cli.model.model_file import Model
from resnet_cli.system.caches import TEMPORARY_HINT, temporary_folder
from resnet_cli.system.events import OnStatus, OnWork, no_status
from resnet_cli.system.paths import disk_errors

#: Formats that only a browser runs.
_NOT_RUN_HERE = frozenset({"web"})


def _variants() -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, options in FORMAT_OPTIONS.items():
        if kind in _NOT_RUN_HERE:
            continue
        yield kind, {"format": kind}
        yield from (
            (f"{kind} {number}", {"format": kind, number: True}) for number in ("fp16", "int8") if number in options
        )
        if kind == "onnx":
            yield "onnx --input tensor", {"format": kind, "input": "tensor"}


#: Name -> options of the export.
VARIANTS: dict[str, dict[str, Any]] = dict(_variants())


@dataclasses.dataclass(frozen=True)
class FormatResult:
    """One format.

    Attributes:
        name: Name of the format.
        num_bytes: Bytes of all its files; 0 if it could not be made.
        accuracy: Accuracy with its 95 % interval, or mAP of a multi-label model; None if it could not be made.
        max_difference: Largest difference of a probability from the model's; None for the model itself.
        agreement: Share of images with the model's class or labels, apart from ties.
        ms: Batch size -> milliseconds per decoded image, preprocessing included.
        note: Why there are no values, or that the parity check would reject the file.
    """

    name: str
    num_bytes: int = 0
    accuracy: Interval | None = None
    max_difference: float | None = None
    agreement: float | None = None
    ms: dict[int, float] = dataclasses.field(default_factory=dict)
    note: str = ""

    def to_dict(self, score: str) -> dict[str, Any]:
        """Plain JSON values.

        Args:
            score: Name of the score that ``accuracy`` is.
        """
        plain = dataclasses.asdict(self) | {
            "accuracy": None if self.accuracy is None else as_json(self.accuracy),
            "ms": {str(size): ms for size, ms in self.ms.items()},
        }
        return {score if name == "accuracy" else name: value for name, value in plain.items()}


def benchmark(
    model: Model, config: ExportConfig, *, on_work: OnWork | None = None, on_status: OnStatus = no_status
) -> list[FormatResult]:
    """Makes, checks and times every format; the first row is the model in torch.

    Args:
        model: The model to export.
        config: The images to use, and how much accuracy int8 may lose.
        on_work: Called with the progress on the images.
        on_status: Called with what is being done: ``3 of 7: onnx int8``.

    Raises:
        ConfigError: There are no images to check with.
        DataError: They cannot be read.
        DiskError: The temporary files cannot be written.
    """
    images = images_to_verify(model, config)
    expected = model_output(model, images, on_work)
    rows: list[FormatResult] = []
    missing: set[str] = set()
    for number, (name, options) in enumerate(VARIANTS.items(), start=1):
        if options["format"] in missing:
            # Its first row says why.
            continue
        title = f"{number} of {len(VARIANTS)}: {name}"
        on_status(title)
        job = Job(model, config.model_copy(update=options))
        with temporary_folder() as folder, disk_errors(folder.parent, "write temporary files in", hint=TEMPORARY_HINT):
            path = folder / job.file_name()
            if job.is_folder:
                path.mkdir()
            try:
                job.check()
                if job.not_run is not None:
                    rows.append(FormatResult(name, note=f"not run on this machine: {job.not_run}"))
                    continue
                runtime = job.write(path, on_work)
                parity = check(
                    job,
                    path,
                    runtime,
                    images,
                    expected,
                    on_work=on_work,
                    on_status=lambda text, title=title: on_status(f"{title}, {text}"),  # type: ignore[misc]
                    tries_engines=False,
                )
            except (SetupError, ConfigError, VerificationError) as error:
                rows.append(FormatResult(name, note=error.message))
                if isinstance(error, SetupError):
                    missing.add(options["format"])
                continue
            if not rows:
                size = model.path.stat().st_size if model.path is not None else 0
                rows.append(
                    FormatResult("the model, in torch", size, parity.model_accuracy, None, None, parity.model_ms)
                )
            rows.append(
                FormatResult(
                    name,
                    sum(file.stat().st_size for file in _files(path)),
                    parity.file_accuracy,
                    parity.max_difference,
                    parity.checks[0].agreement,
                    parity.file_ms,
                    "" if parity.passed else "would be rejected",
                )
            )
    return rows


def _files(path: Path) -> Iterator[Path]:
    return iter([path]) if path.is_file() else (file for file in path.rglob("*") if file.is_file())
