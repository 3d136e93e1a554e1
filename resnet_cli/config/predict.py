"""The options of ``predict``; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import pydantic

from resnet_cli.config.base import DATA, MACHINE, Flag, Rule
from resnet_cli.config.data import (
    ONE_TARGET,
    PREDICTIONS,
    Abstain,
    ComputeConfig,
    ImageColumn,
    ImageFolder,
    LargestImage,
    TargetPrecision,
    TargetRecall,
    Threshold,
    Trust,
)
from resnet_cli.config.showing import Show
from resnet_cli.config.units import Positive, TargetError
from resnet_cli.errors import ConfigError

OUTPUT, SIMILAR = "Output", "Similar images"
#: Number of classes per image, and of similar images per query, unless the user chooses another one.
TOPK, TOPK_SIMILAR = 3, 10
Format: TypeAlias = Literal["csv", "json", "parquet"]
#: Extension of ``--out`` -> format; JSON is one object per line, whatever the extension.
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
_IS_FOLDER = "has the extension of a file, but with --engine ray it is a folder of parts"
#: What ``--engine ray`` has no use for.
_NOT_ON_RAY = ("as_csv", "watch", "sort_into", "link", "annotate", "explain", "similar", "among", "resume")


def file_format(path: Path, requested: Format | None) -> Format:
    """The format of an output file.

    Args:
        path: Its extension decides if it is a known one.
        requested: The format that a flag names.

    Raises:
        ConfigError: Neither names a format, or they name different ones.
    """
    by_name = FORMATS.get(path.suffix.lower())
    if requested and by_name and requested != by_name:
        raise ConfigError(f"--{requested} and --out {path}: its extension says {by_name}", hint="remove one of them")
    found = requested or by_name
    if not found:
        hint = f"use {', '.join(FORMATS)}, or choose a format with --csv, --json or --parquet"
        raise ConfigError(f"--out {path}: its extension says nothing about its format", hint=hint)
    return found


def _may_be_folder(path: Path | None) -> bool:
    return path is None or path.suffix.lower() not in {*FORMATS, ".npy", ".safetensors"}


def _may_be_page(path: Path | None) -> bool:
    return path is None or path.suffix.lower() in {".html", ".htm"}


def _is_same(one: Path | None, other: Path | None) -> bool:
    return one is not None and other is not None and one.absolute() == other.absolute()


#: What ``--similar`` has no use for.
_NOT_SIMILAR = (
    *("images", "files_from", "null", "watch", "batch_size", "all_probs", "threshold", "abstain"),
    *("target_error", "target_precision", "target_recall"),
    *("resume", "embeddings", "sort_into", "annotate", "explain", "show"),
)


class PredictConfig(ComputeConfig):
    """The options of ``predict``; field names are the flags' names."""

    images: Annotated[tuple[str, ...], Flag("The images.", name="IMAGES")] = ()
    model: Annotated[
        str | None,
        Flag(
            "A run folder or a model file. An exported file is a model, too; .onnx needs no torch.",
            default="runs/latest, else ImageNet",
            short="-m",
            metavar="MODEL",
            completes="model",
        ),
    ] = None
    trust: Trust = False
    files_from: Annotated[
        str | None, Flag("A file with one path or URL per line; - reads the list from stdin.", DATA)
    ] = None
    null: Annotated[
        bool, Flag("Paths in --files-from end with NUL, as find -print0 writes them.", DATA, short="-0")
    ] = False
    recursive: Annotated[
        bool | None, Flag("Whether a folder includes the images in its subfolders.", DATA, "recursive", two_way=True)
    ] = None
    watch: Annotated[str | None, Flag("Classify new images in this folder as they arrive, until Ctrl-C.", DATA)] = None
    image_column: ImageColumn = None
    image_folder: ImageFolder = None
    max_pixels: LargestImage = None
    topk: Annotated[
        Positive | None,
        Flag(
            "Number of classes to list per image.",
            PREDICTIONS,
            f"{TOPK}; {TOPK_SIMILAR} images with --similar",
            short="-k",
        ),
    ] = None
    all_probs: Annotated[
        bool, Flag("Also write the probability of every class to CSV, JSON or Parquet.", PREDICTIONS)
    ] = False
    threshold: Threshold = None
    abstain: Abstain = False
    target_error: Annotated[
        TargetError | None,
        Flag(
            "Label as many images 'unknown' as needed to keep the share of wrong predictions below this: 1%. "
            "Implies --abstain.",
            PREDICTIONS,
        ),
    ] = None
    target_precision: TargetPrecision = None
    target_recall: TargetRecall = None
    as_csv: Annotated[bool, Flag("Write CSV.", OUTPUT, name="--csv")] = False
    as_json: Annotated[bool, Flag("Write JSON lines.", OUTPUT, name="--json")] = False
    as_parquet: Annotated[bool, Flag("Write Parquet to --out.", OUTPUT, name="--parquet")] = False
    output: Annotated[
        Path | None,
        Flag(
            "A new .csv, .jsonl or .parquet file. With --engine ray it is a folder, with --similar an .html page.",
            OUTPUT,
            name="--out",
        ),
    ] = None
    resume: Annotated[bool, Flag("Continue an existing --out file.", OUTPUT)] = False
    embeddings: Annotated[
        Path | None,
        Flag("Write features (n x 2048) to a .npy, .safetensors or .parquet file, with the names of the rows.", OUTPUT),
    ] = None
    sort_into: Annotated[
        Path | None,
        Flag(
            "Copy each image into DIR/CLASS/. It is copied for each of its labels; nothing is overwritten.",
            OUTPUT,
            metavar="DIR",
        ),
    ] = None
    link: Annotated[bool, Flag("Create links in --sort-into instead of copies.", OUTPUT)] = False
    annotate: Annotated[Path | None, Flag("Write copies with the labels drawn on them.", OUTPUT, metavar="DIR")] = None
    explain: Annotated[
        Path | None, Flag("Write heat maps of what the model looks at (Grad-CAM).", OUTPUT, metavar="DIR")
    ] = None
    show: Show = False
    similar: Annotated[
        tuple[str, ...], Flag("Find the images most similar to this one.", SIMILAR, metavar="IMAGE")
    ] = ()
    among: Annotated[tuple[str, ...], Flag("Where to look for similar images.", SIMILAR, metavar="IMAGES")] = ()
    engine: Annotated[
        Literal["auto", "torch", "onnxruntime", "openvino", "ray"],
        # The name of the default in version 0.1.0.
        pydantic.BeforeValidator(lambda value: "auto" if value == "local" else value),
        Flag(
            "Runtime that computes the backbone on a CPU; auto takes the fastest one for the number of images. ray "
            "uses all cores or GPUs of a Ray cluster, and writes a folder of parts.",
            MACHINE,
        ),
    ] = "auto"  # type: ignore[assignment]
    ray_address: Annotated[
        str | None, Flag("host:port of the cluster's head, or auto.", MACHINE, "a new cluster on this machine")
    ] = None
    batch_size: Annotated[
        Positive | None, Flag("Images per forward pass; predictions do not depend on it.", MACHINE)
    ] = None

    rules = (
        Rule(("engine",), lambda c: c.engine != "ray" or c.output, "writes a folder", "name one: --out DIR"),
        Rule(("output",), lambda c: c.engine != "ray" or _may_be_folder(c.output), _IS_FOLDER),
        Rule(("embeddings",), lambda c: c.engine != "ray" or _may_be_folder(c.embeddings), _IS_FOLDER),
        Rule(("embeddings",), lambda c: not _is_same(c.output, c.embeddings), "is also --out"),
        Rule(_NOT_ON_RAY, lambda c: c.engine != "ray", "is not available with --engine ray, which writes Parquet, or "
             "JSON lines with --json, and always resumes"),
        Rule(("device",), lambda c: c.engine != "ray" or c.device in ("auto", "cpu", "cuda"), "is not available with "
             "--engine ray: use auto, cpu or cuda"),
        Rule(("precision",), lambda c: c.engine != "ray" or c.precision != "int8", "is not available with --engine "
             "ray"),
        Rule(("engine",), lambda c: not c.similar or c.engine == "torch", "has no effect with --similar, which "
             "computes in torch"),
        Rule(("ray_address",), lambda c: c.engine == "ray", "has no effect without --engine ray"),
        Rule(("ray_address",), lambda c: "://" not in str(c.ray_address), "is not host:port, or auto: the command must "
             "run on a machine of the cluster"),
        Rule(("as_parquet",), lambda c: c.output or c.as_csv or c.as_json, "cannot be written to stdout",
             "name a file: --out predictions.parquet"),
        Rule(("show",), lambda c: not (c.output or c._requested), "has no effect with --out, --csv, --json and "
             "--parquet"),
        Rule(("all_probs",), lambda c: c.format, "has no effect without --csv, --json or --out"),
        Rule(("link",), lambda c: c.sort_into, "has no effect without --sort-into"),
        Rule(("output",), lambda c: not c.similar or _may_be_page(c.output), "has no effect with --similar, which can "
             "write a page", "--out similar.html"),
        Rule(("similar",), lambda c: c.among, "needs --among DIR, where to search"),
        Rule(("among",), lambda c: c.similar, "needs --similar IMAGE, what to search for"),
        Rule(_NOT_SIMILAR, lambda c: not c.similar, "has no effect with --similar", strict=True),
        Rule(("abstain",), lambda c: c.abstain or c.target_error is None, "and --target-error: choose one",
             strict=True),
        *ONE_TARGET,
        Rule(("null",), lambda c: c.files_from, "has no effect without --files-from"),
        Rule(("files_from",), lambda c: c.files_from != "-" or "-" not in c.images, "and the image -: stdin can be "
             "only one of them"),
        Rule(("image_column", "image_folder"), lambda c: c.images or c.similar, "has no effect: no table is among the "
             "inputs"),
        Rule(("recursive",), lambda c: c.images or c.watch or c.similar, "has no effect: no folder is among the inputs",
             strict=True),
        Rule(("resume",), lambda c: c.output, "has no effect without --out"),
        Rule(("resume",), lambda c: c.format != "parquet" and not c.embeddings, "is not possible with Parquet or "
             "--embeddings, which are written whole or not at all", "use --out predictions.jsonl"),
        Rule(("images",), lambda c: "-" not in c.images or not (c.resume or c.engine == "ray"), "cannot be resumed: "
             "an image on stdin has no name to find it by"),
    )  # fmt: skip

    @pydantic.model_validator(mode="after")
    def _check_inputs_and_format(self) -> Self:
        if len(self._requested) > 1:
            raise ConfigError(f"{' and '.join(f'--{kind}' for kind in self._requested)}: choose one")
        if self.output is not None and self.engine != "ray" and not self.similar:
            file_format(self.output, next(iter(self._requested), None))
        if not (self.images or self.files_from or self.watch or self.similar):
            raise ConfigError(
                "no images to classify",
                hint="name files, folders or patterns; or --files-from LIST, --watch DIR, --help",
            )
        return self

    @property
    def format(self) -> Format | None:
        """The format of the predictions, in a file or on stdout; None for plain lines."""
        requested = next(iter(self._requested), None)
        if self.engine == "ray":
            return requested or "parquet"
        return requested if self.output is None or self.similar else file_format(self.output, requested)

    @property
    def abstains(self) -> bool:
        """Whether images that are unlike the training images are labeled "unknown"."""
        return self.abstain or self.target_error is not None

    @property
    def has_rule(self) -> bool:
        """Whether images may be labeled "unknown"."""
        return self.abstains or bool(self.threshold)

    @property
    def _requested(self) -> list[Format]:
        formats: dict[Format, bool] = {"csv": self.as_csv, "json": self.as_json, "parquet": self.as_parquet}
        return [kind for kind, is_requested in formats.items() if is_requested]
