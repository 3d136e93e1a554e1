"""The options of ``export``."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from resnet_cli.config.base import Flag, Rule
from resnet_cli.config.data import OfflineConfig
from resnet_cli.config.snippets import Language, snippet_rules
from resnet_cli.config.units import Output, Outputs, Share
from resnet_cli.errors import ConfigError

CONTENT, PROGRAM = "Content of the file", "Program"
VERIFICATION, HUB = "Verification", "Hugging Face Hub"
#: Format -> those of the fields in :data:`_SPECIAL` that have an effect on it; the others are refused.
FORMAT_OPTIONS: Mapping[str, frozenset[str]] = {
    "onnx": frozenset({"input", "int8", "fp16", "novelty", "outputs"}),
    "pt2": frozenset({"input", "novelty", "outputs"}),
    "safetensors": frozenset(),
    "openvino": frozenset({"int8", "fp16", "novelty", "outputs"}),
    "litert": frozenset({"int8", "fp16", "novelty", "outputs"}),
    "ncnn": frozenset({"fp16"}),
    "web": frozenset({"int8", "fp16", "novelty", "outputs", "web_runtime"}),
    "mnn": frozenset({"int8", "fp16", "novelty", "outputs"}),
    "executorch": frozenset({"int8", "novelty", "outputs"}),
    "coreml": frozenset({"fp16", "novelty", "outputs"}),
}
#: Fields that have an effect only on some formats.
_SPECIAL = ("input", "int8", "fp16", "novelty", "outputs", "web_runtime")
#: Formats of one file, which their suffix names; the others are folders.
FILE_FORMATS = frozenset({"onnx", "pt2"})
_WITHOUT_EFFECT = {
    name: fields
    for name, options in FORMAT_OPTIONS.items()
    if (fields := tuple(field for field in _SPECIAL if field not in options))
}


def _refuse_torchscript(value: Any) -> Any:
    if value == "torchscript":
        raise ConfigError(
            "--format torchscript: torch has deprecated it, and its files run code when they are loaded",
            hint="--format pt2 is its successor; --format onnx runs without torch",
        )
    return value


#: Suffix of a file -> the format that writes it, or that writes a folder with such a file.
_SUFFIXES = {
    ".onnx": "onnx",
    ".pt2": "pt2",
    ".safetensors": "safetensors",
    ".xml": "openvino",
    ".pte": "executorch",
    ".tflite": "litert",
    ".mlpackage": "coreml",
    ".param": "ncnn",
    ".mnn": "mnn",
}


def _require_suffix(out: str | Path, name: Any) -> None:
    """Refuses a name by which other commands would not recognize the format of a file."""
    if name in FILE_FORMATS:
        wanted = Path(out, f"model.{name}") if Path(out).is_dir() else Path(f"{Path(out)}.{name}")
        raise ConfigError(
            f"--out {out}: the name of a file of --format {name} must end in .{name}",
            hint=f"--out {shlex.quote(str(wanted))}",
        )


def _is_not(name: str, config: ExportConfig) -> bool:
    return config.format != name


class ExportConfig(OfflineConfig):
    """The options of ``export``, besides the model; field names are the flags' names."""

    format: Annotated[
        Literal["onnx", "pt2", "safetensors", "openvino", "litert", "ncnn", "mnn", "executorch", "coreml", "web"],
        BeforeValidator(_refuse_torchscript),
        Flag(
            "Which file to write. onnx runs without torch, in many engines; pt2 is for torch.export. The others are "
            "folders: safetensors for timm, openvino for Intel processors, web for browsers, the rest for phones.",
            short="-f",
        ),
    ] = "onnx"
    out: Annotated[Path | None, Flag("The file to write.", default="beside the model")] = None
    overwrite: Annotated[
        bool,
        Flag(
            "Replace what an earlier export wrote: the file of --out, or the folder. The old one stays until the new "
            "one has passed its checks. Nothing else is ever replaced."
        ),
    ] = False
    licence: Annotated[
        Annotated[str, Field(min_length=1, max_length=1000)] | None,
        Flag("The license that the file states.", default="that of the weights, if known"),
    ] = None
    input: Annotated[
        Literal["image", "tensor"],
        Flag(
            "image: decoded images of any size, with preprocessing inside (pt2: resized images); tensor: the network's "
            "normalized input.",
            CONTENT,
        ),
    ] = "image"
    int8: Annotated[bool, Flag("Quantize to 8 bits: a quarter of the size.", CONTENT)] = False
    fp16: Annotated[bool, Flag("Half precision: half of the size.", CONTENT)] = False
    novelty: Annotated[
        bool, Flag("Omit the training features by which the file recognizes unfamiliar images.", CONTENT)
    ] = True
    outputs: Annotated[
        Outputs | None,
        Flag(
            "What the file computes: probs (always), novelty (how unlike the training images an image is) and heat (a "
            "heat map; onnx and web only), separated by commas.",
            CONTENT,
            "all that the format can; --input tensor: without heat",
        ),
    ] = None
    calibrate_with: Annotated[
        str | None,
        Flag(
            "Images that the value ranges of --int8 are measured on.",
            CONTENT,
            "the run's training images",
            metavar="DATA",
            completes="data",
        ),
    ] = None
    web_runtime: Annotated[
        Path | None,
        Flag(
            "The package of onnxruntime-web from npm, as a file, for --format web without a network.",
            CONTENT,
            "downloaded once",
        ),
    ] = None
    verify_with: Annotated[
        str | None,
        Flag(
            "Images to check the file with. They are labeled, with the model's classes.",
            VERIFICATION,
            "validation images",
            metavar="DATA",
            completes="data",
        ),
    ] = None
    max_drop: Annotated[
        Share,
        Flag(
            "How much accuracy --int8 or --fp16 may cost; above 0, at least one image. Multi-label: how much mAP, "
            "and how much of the F1 score of the labels.",
            VERIFICATION,
            "1%",
        ),
    ] = 0.01
    max_shift: Annotated[
        Share,
        Flag(
            "How much --int8 may change probabilities: the largest change of each image, averaged over all images.",
            VERIFICATION,
            "5%",
        ),
    ] = 0.05
    snippet: Annotated[
        Language | None,
        Flag("Also print a complete program, in this language, that classifies an image with the file.", PROGRAM),
    ] = None
    benchmark: Annotated[bool, Flag("Export, check and time every format, and keep no file.", VERIFICATION)] = False
    push: Annotated[
        str | None,
        Flag(
            "Also upload it. A model card and config.json go with it; the token comes from HF_TOKEN.",
            HUB,
            metavar="hf:OWNER/NAME",
        ),
    ] = None
    private: Annotated[
        bool, Flag("If --push creates the repository, make it visible only to you and your organization.", HUB)
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _follow_the_suffix(cls, values: Any) -> Any:
        """Chooses the format that the name of the file belongs to, and refuses the name of another format."""
        out = values.get("out") if isinstance(values, dict) else None
        if not isinstance(out, str | Path) or values.get("benchmark"):
            return values
        suffix = Path(out).suffix.lower()
        told = _SUFFIXES.get(suffix)
        if told is None:
            _require_suffix(out, values.get("format", "onnx"))
            return values
        options = FORMAT_OPTIONS.get(told)
        if options is None:
            raise ConfigError(
                f"--out {out}: no format of this version writes {suffix} files", hint="choose another name"
            )
        if told not in FILE_FORMATS:
            raise ConfigError(
                f"--out {out}: --format {told} writes a folder, in which the {suffix} file has a fixed name",
                hint=f"--format {told} --out {shlex.quote(str(Path(out).with_suffix('')))}",
            )
        given = values.get("format", told)
        if given in FORMAT_OPTIONS and given != told:
            raise ConfigError(
                f"--out {out}: --format {given} does not write {suffix} files",
                hint="remove --format, or choose another name",
            )
        return values | {"format": given}

    rules = (
        Rule(("fp16",), lambda config: not config.int8, "and --int8: choose one"),
        Rule(
            ("format", "input", "int8", "fp16", "novelty", "outputs", "snippet", "out", "licence", "push", "private"),
            lambda config: not config.benchmark,
            "has no effect with --benchmark, which tries every format",
            strict=True,
        ),
        *(
            Rule(fields, functools.partial(_is_not, name), f"has no effect on --format {name}", "remove one of them")
            for name, fields in _WITHOUT_EFFECT.items()
        ),
        Rule(
            ("outputs",),
            lambda config: config.format in {"onnx", "web"} or "heat" not in (config.outputs or ()),
            "needs --format onnx or web: only these compute heat maps",
            "leave out heat",
        ),
        Rule(
            ("outputs",),
            lambda config: config.novelty or "novelty" not in (config.outputs or ()),
            "and --no-novelty: choose one",
        ),
        *snippet_rules(),
        Rule(
            ("overwrite",),
            lambda config: config.out is not None or config.format not in FILE_FORMATS,
            "has no effect without --out",
        ),
        Rule(
            ("max_drop",),
            lambda config: config.benchmark or config.int8 or config.fp16,
            "has no effect without --int8 or --fp16: float32 may not lose any accuracy",
            strict=True,
        ),
        Rule(
            ("max_shift",),
            lambda config: config.benchmark or config.int8,
            "has no effect without --int8: other files may hardly change probabilities",
            strict=True,
        ),
        Rule(
            ("calibrate_with",),
            functools.partial(_is_not, "mnn"),
            "has no effect on --format mnn, where only the weights are quantized",
        ),
        Rule(("calibrate_with",), lambda config: config.benchmark or config.int8, "has no effect without --int8"),
        Rule(("private",), lambda config: config.push is not None, "has no effect without --push"),
        Rule(("push",), lambda config: not config.offline, "and --offline: choose one"),
    )

    @property
    def wanted_outputs(self) -> frozenset[Output]:
        """What the file computes, if the model and the format can."""
        if self.outputs is not None:
            return frozenset({"probs", *self.outputs})
        wanted: set[Output] = {"probs"}
        if self.novelty:
            wanted.add("novelty")
        # OpenCV 4 cannot read the nodes of heat maps, and the network's input is what such programs give.
        if self.format in {"onnx", "web"} and self.input == "image":
            wanted.add("heat")
        return frozenset(wanted)
