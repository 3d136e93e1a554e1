"""Types of config values, and how people write them: percents, durations, sizes, lists of names, hidden layers.

Flags and YAML files are both text, so both accept the same spellings.
"""

from __future__ import annotations

import csv
import dataclasses
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

#: Numbers of bits that the values of 16-bit images may use: cameras and detectors have 10, 12 or 14.
BIT_DEPTHS = (8, 10, 12, 14, 16)
_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_UNITS_BYTES = {"K": 10**3, "M": 10**6, "G": 10**9}


@dataclasses.dataclass(frozen=True)
class Written:
    """How ``--help`` names the values of a type, such as ``share``."""

    name: str


def parse_head(text: str) -> tuple[int, ...]:
    """Reads ``linear`` as () and ``1024,512`` as the widths of an MLP's hidden layers.

    Raises:
        ValueError: Neither the word nor a list of widths from 1 to 65,536.
    """
    if text == "linear":
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or not all(1 <= width <= 65_536 for width in widths):
        raise ValueError("must be 'linear' or hidden widths such as 1024,512")
    return widths


def _split_names(value: Any) -> Any:
    # `--classes cat,dog` and a YAML list mean the same; a name with a comma goes in quotes, as in CSV.
    try:
        names = next(csv.reader([value], skipinitialspace=True), []) if isinstance(value, str) else value
    except csv.Error as error:
        raise ValueError(f"not a list of names: {error}") from None
    return tuple(str(name).strip() for name in names) if isinstance(names, list | tuple) else names


def _one_or_several(value: Any) -> Any:
    # --log-to a --log-to b and --log-to a,b mean the same.
    several = value if isinstance(value, list | tuple) else [value]
    return tuple(name.strip() for one in several for name in str(one).split(","))


def _seconds(value: Any) -> Any:
    # 90, 90s, 20m and 1.5h; a YAML file's numbers are text too.
    text = str(value).strip()
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        return float(number) * _UNITS_S[unit]
    except ValueError:
        raise ValueError("must be a time such as 90s, 20m or 1.5h") from None


def _share(value: Any) -> Any:
    # 1% and 0.01 mean the same; 95 alone would be read as either.
    text = str(value).strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError("must be a share such as 1% or 0.01") from None


def _num_bytes(value: Any) -> Any:
    # 10MB, 512kB and 10000000; decimal units, as on a disk's label.
    text = str(value).strip().upper().removesuffix("B")
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_BYTES else (text, "")
    try:
        return round(float(number) * _UNITS_BYTES.get(unit, 1))
    except (ValueError, OverflowError):
        raise ValueError("must be a size such as 10MB or 512kB") from None


def _head(value: Any) -> str:
    text = ",".join(str(part) for part in value) if isinstance(value, list) else str(value)
    parse_head(text)
    return text


def _bit_depth(value: int) -> int:
    if value not in BIT_DEPTHS:
        raise ValueError(f"must be one of {', '.join(map(str, BIT_DEPTHS))}")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_names), Written("names")]
#: Programs that show the course of trainings.
Tracker: TypeAlias = Literal["tensorboard", "wandb", "mlflow"]
Trackers = Annotated[tuple[Tracker, ...], BeforeValidator(_one_or_several), Written("names")]
#: What an exported file computes: probabilities, how unlike the training images an image is, and heat maps.
Output: TypeAlias = Literal["probs", "novelty", "heat"]
Outputs = Annotated[tuple[Output, ...], BeforeValidator(_one_or_several), Written("names")]
#: Seconds.
Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False), Written("duration")]
#: A fraction, or a percentage; bounds are added where it is used.
AnyShare = Annotated[float, BeforeValidator(_share), Field(allow_inf_nan=False), Written("share")]
#: From 0 to 1, or a percentage.
Share = Annotated[AnyShare, Field(ge=0, le=1)]
#: A target for a share of predictions, such as that of wrong ones: above 0 and below 1.
TargetError = Annotated[AnyShare, Field(gt=0, lt=1)]
NumBytes = Annotated[int, BeforeValidator(_num_bytes), Written("size")]
Head = Annotated[str, BeforeValidator(_head)]
BitDepth = Annotated[int, AfterValidator(_bit_depth), Written("bits")]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: At most a billion pixels: 3 GB as RGB.
MaxPixels = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
#: The shape parameter of a beta distribution; 0 turns the feature off.
Alpha = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
#: The side of a square image in pixels.
ImageSize = Annotated[int, Field(ge=32, le=1024)]
