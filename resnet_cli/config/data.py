"""The options that commands which read data or compute have in common."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic

from resnet_cli.config.base import DATA, MACHINE, Config, Flag, Rule
from resnet_cli.config.units import MaxPixels, Names, Share, TargetError

#: Panel of the flags about what is predicted.
PREDICTIONS = "Predictions"

ImageColumn = Annotated[str | None, Flag("Table column with the paths of the images.", DATA, "image, path, file, ...")]
ImageFolder = Annotated[
    str | None,
    Flag("Folder with the images of a table or a list: a folder in DATA, or any path.", DATA, "found by name"),
]
LargestImage = Annotated[
    MaxPixels | None, Flag("Treat images with more pixels than this as unreadable.", DATA, "50 million")
]
Threshold = Annotated[
    Share | None,
    Flag(
        "Label images 'unknown' below this probability: 50%. Multi-label: the threshold "
        "of all classes, instead of the fitted ones.",
        PREDICTIONS,
    ),
]
TargetPrecision = Annotated[
    TargetError | None,
    Flag(
        "Multi-label: choose the threshold of each class so that at least this share of its predictions is "
        "correct: 90%.",
        PREDICTIONS,
    ),
]
TargetRecall = Annotated[
    TargetError | None,
    Flag(
        "Multi-label: choose the threshold of each class so that at least this share of the images that have it is "
        "found: 90%.",
        PREDICTIONS,
    ),
]
Abstain = Annotated[
    bool,
    Flag(
        "Label images that are unlike the training images 'unknown'. Otherwise they keep their class and are only "
        "marked.",
        PREDICTIONS,
        two_way=True,
    ),
]
#: Rules for a config with all of these.
ONE_TARGET = (
    Rule(("target_precision", "target_recall"), lambda c: c.target_error is None, "and --target-error: choose one"),
    Rule(("target_precision", "target_recall"), lambda c: c.threshold is None, "and --threshold: choose one"),
    Rule(("target_recall",), lambda c: c.target_precision is None, "and --target-precision: choose one"),
)
Trust = Annotated[bool, Flag("Load a .pt2 file, which can run any code that is in it.")]


class OfflineConfig(Config):
    """Whether anything may be downloaded."""

    offline: Annotated[bool, Flag("Never download anything.", MACHINE)] = False


class ComputeConfig(OfflineConfig):
    """Where to compute, and in which precision."""

    device: Annotated[
        str, Flag("auto, cpu, cuda, cuda:1, mps or xpu.", MACHINE, metavar="DEVICE", completes="device")
    ] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16", "int8"],
        Flag(
            "Precision of features, predictions and all metrics. auto is fp32, which gives the same predictions on "
            "every machine; bf16, fp16 and int8 (CPU; the backbone is quantized once) are faster and less precise.",
            MACHINE,
        ),
    ] = "auto"
    engine: Annotated[
        Literal["auto", "torch", "onnxruntime", "openvino"],
        Flag(
            "Runtime that computes the backbone on a CPU. auto takes the fastest one for the number of images; "
            "resnet-cli doctor shows which and why.",
            MACHINE,
        ),
    ] = "auto"


class DataConfig(OfflineConfig):
    """How DATA is read, whatever it is; field names are the flags' names."""

    classes: Annotated[
        Names | None,
        Flag("Use only these classes: cat,dog. A name that has a comma goes in quotes: '\"a,b\",c'.", DATA),
    ] = None
    label_regex: Annotated[
        str | None,
        Flag(
            "Read the class from the file name: the first group of this expression, '^(\\w+)' for cat.12.jpg. An "
            "expression with a / is matched against the path below DATA.",
            DATA,
        ),
    ] = None
    classes_at: Annotated[
        Literal["1", "2", "leaf"] | None,
        Flag(
            "Folder level that names the classes: the first, the second, or the innermost (leaf).",
            DATA,
            "1, unless these folders only group class folders",
        ),
    ] = None
    image_column: ImageColumn = None
    label_column: Annotated[str | None, Flag("Table column with the class labels.", DATA, "label, class, ...")] = None
    split_column: Annotated[str | None, Flag("Table column that says train, val or test.", DATA, "split, subset")] = (
        None
    )
    image_folder: ImageFolder = None
    on_missing_label: Annotated[
        Literal["error", "skip"],
        Flag("Stop at rows of a table or a list that have no label, or leave their images out.", DATA),
    ] = "error"
    multi_label: Annotated[
        bool,
        Flag(
            "Read DATA as multi-label: any number of labels per image. Data that are marked as multi-label do not need "
            "it. An image gets the labels of all its rows, of all class folders that contain it, or of its boxes.",
            DATA,
        ),
    ] = False
    group_by: Annotated[
        str | None,
        Flag(
            "Keep the images of a group in one split. The group is a column, 'parent' (the folder), or an expression "
            "that is matched against the names: 'patient([0-9]+)'.",
            DATA,
            "the column 'group'",
            metavar="GROUP",
        ),
    ] = None
    follow_links: Annotated[bool, Flag("Follow symbolic links that point outside the folder.", DATA)] = False
    max_pixels: LargestImage = None
    on_bad_image: Annotated[
        Literal["error", "skip"],
        Flag("Stop at unreadable images before anything is computed, or skip them and record which.", DATA),
    ] = "error"

    @pydantic.field_validator("label_regex")
    @classmethod
    def _check_label_regex(cls, value: str | None) -> str | None:
        try:
            num_groups = 1 if value is None else re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if num_groups < 1:
            raise ValueError("must have a group in brackets that is the class, such as '^([a-z]+)'")
        return value
