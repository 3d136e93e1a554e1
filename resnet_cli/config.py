"""What a command was asked to do: defaults, then a YAML file, then flags, each value with its origin.

One pydantic model per command. ``None`` means "chosen later from the data" (see ``training/plan.py``).
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import pydantic
import yaml

from resnet_cli.errors import ConfigError

#: A config is a page of text; anything larger is a mistake or an attack.
MAX_YAML_BYTES = 64 * 1024
# Source: YAML 1.2.2, 10.3.2, the core schema.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})

Positive = Annotated[int, pydantic.Field(ge=1)]
Rate = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
#: Up to a billion: 3 GB as RGB.
MaxPixels = Annotated[int, pydantic.Field(ge=1, le=10**9)]
Seed = Annotated[int, pydantic.Field(ge=0, lt=2**32)]
#: Shape of a beta distribution; 0 is off.
Alpha = Annotated[float, pydantic.Field(ge=0, le=100, allow_inf_nan=False)]
Size = Annotated[int, pydantic.Field(ge=32, le=1024)]
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
#: Removed fields: the values (as YAML has them) that turned the feature off, and what is done instead of it.
#: The ``config.yaml`` of an older run names them, since a run writes down every field: these values are still accepted.
RETIRED: dict[str, tuple[tuple[str | None, ...], str]] = {
    "cached_views": ((None, "0", "auto"), "frozen stages are computed in every epoch"),
}
_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_UNITS_BYTES = {"K": 10**3, "M": 10**6, "G": 10**9}


def _split_names(value: Any) -> Any:
    # `--classes cat,dog` and a YAML list mean the same; a name with a comma goes in quotes, as in CSV.
    try:
        names = next(csv.reader([value], skipinitialspace=True), []) if isinstance(value, str) else value
    except csv.Error as error:
        raise ValueError(f"not a list of names: {error}") from None
    return tuple(str(name).strip() for name in names) if isinstance(names, list | tuple) else names


ClassNames = Annotated[tuple[str, ...], pydantic.BeforeValidator(_split_names)]


def _seconds(value: Any) -> Any:
    # 90, 90s, 20m and 1.5h; a YAML file's numbers are text too.
    text = str(value).strip()
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        return float(number) * _UNITS_S[unit]
    except ValueError:
        raise ValueError("must be a time such as 90s, 20m or 1.5h") from None


Duration = Annotated[float, pydantic.BeforeValidator(_seconds), pydantic.Field(gt=0, allow_inf_nan=False)]


def _share(value: Any) -> Any:
    # 1% and 0.01 mean the same; 95 alone would be read as either.
    text = str(value).strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError("must be a share such as 1% or 0.01") from None


#: From 0 (off) to 1, or in percent.
Share = Annotated[float, pydantic.BeforeValidator(_share), pydantic.Field(ge=0, le=1, allow_inf_nan=False)]
#: Of answers that may be wrong.
TargetError = Annotated[float, pydantic.BeforeValidator(_share), pydantic.Field(gt=0, lt=1, allow_inf_nan=False)]


class _Config(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class _OfflineConfig(_Config):
    offline: bool = False


class _ComputeConfig(_OfflineConfig):
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"


class DataConfig(_OfflineConfig):
    """How DATA is read, whatever it is; field names are the flags' names."""

    classes: ClassNames | None = None
    label_regex: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_by: str | None = None
    follow_links: bool = False
    max_pixels: MaxPixels | None = None
    on_bad_image: Literal["error", "skip"] = "error"

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


class FinetuneConfig(_ComputeConfig, DataConfig):
    """Everything that ``finetune`` can be told; field names are the flags' names."""

    data: str = "cifar10"
    limit: Positive | None = None
    fraction: Annotated[float, pydantic.Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    val_fraction: Annotated[float, pydantic.Field(gt=0, lt=0.5, allow_inf_nan=False)] = 0.1
    split_seed: Seed = 0
    weights: str = "auto"
    add: bool = False
    mode: Literal["auto", "frozen", "full", "lp-ft", "gradual"] = "auto"
    unfreeze: Annotated[tuple[str, ...], pydantic.BeforeValidator(_split_names)] | None = None
    head: str = "linear"
    solver: Literal["auto", "lbfgs", "sgd"] = "auto"
    epochs: Annotated[int, pydantic.Field(ge=1, le=10_000)] | None = None
    max_time: Duration | None = None
    patience: Positive | None = None
    target: Share | None = None
    fail_under: Share | None = None
    batch_size: Annotated[int, pydantic.Field(ge=1, le=65_536)] | Literal["auto"] | None = None
    accumulate: Annotated[int, pydantic.Field(ge=1, le=4096)] | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    lr: Rate | Literal["auto"] | None = None
    head_lr: Rate | None = None
    weight_decay: Annotated[float, pydantic.Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    layer_decay: Annotated[float, pydantic.Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    schedule: Literal["cosine", "linear", "constant", "one-cycle"] | None = None
    warmup: Annotated[float, pydantic.Field(ge=0, lt=1, allow_inf_nan=False)] | None = None
    clip_grad: Rate | None = None
    batchnorm: Literal["auto", "train", "eval"] = "auto"
    loss: Literal["ce", "focal", "bce"] | None = None
    label_smoothing: Annotated[float, pydantic.Field(ge=0, lt=1, allow_inf_nan=False)] | None = None
    balance: Literal["none", "weights", "sampler", "logit-adjust"] | None = None
    image_size: Size | None = None
    progressive: Size | None = None
    step_precision: Literal["fp32", "bf16", "fp16"] | None = None
    threads: Annotated[int, pydantic.Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    fit: Literal["crop", "pad", "squash"] | None = None
    augment: Literal["none", "light", "standard", "strong"] | None = None
    policy: Literal["none", "randaugment", "trivialaugment"] | None = None
    erasing: Share | None = None
    mixup: Alpha | None = None
    cutmix: Alpha | None = None
    mix_off_epochs: Annotated[int, pydantic.Field(ge=0, le=10_000)] | None = None
    ema: Annotated[float, pydantic.Field(gt=0, lt=1, allow_inf_nan=False)] | None = None
    average: Annotated[int, pydantic.Field(ge=2, le=10_000)] | None = None
    seed: Seed = 0
    seeds: Annotated[int, pydantic.Field(ge=1, le=100)] = 1
    devices: Annotated[int, pydantic.Field(ge=1, le=4096)] | None = None
    deterministic: bool = False
    checkpoint_every: Duration | None = None
    tensorboard: bool = False
    out: Path | None = None

    @pydantic.field_validator("unfreeze")
    @classmethod
    def _check_unfreeze(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [name for name in value or () if name not in STAGES]
        if unknown or value == ():
            raise ValueError(f"must be stages from {', '.join(STAGES)}")
        return value

    @pydantic.field_validator("head", mode="before")
    @classmethod
    def _check_head(cls, value: Any) -> str:
        text = ",".join(str(part) for part in value) if isinstance(value, list) else str(value)
        parse_head(text)
        return text


class EvalConfig(_ComputeConfig, DataConfig):
    """What ``eval`` can be told, besides the model and the data."""

    split: Literal["train", "val", "test", "all"] | None = None
    tta: Literal["none", "flip"] = "none"
    slice: Annotated[str, pydantic.Field(min_length=1)] | None = None
    target_error: TargetError | None = None
    fail_under: Share | None = None
    save_predictions: Path | None = None
    from_predictions: Path | None = None
    out: Path | None = None
    no_report: bool = False
    learning_curve: bool = False
    label_audit: bool = False
    robustness: bool = False
    max_images: Positive | None = None
    trust: bool = False

    @pydantic.model_validator(mode="after")
    def _check_effects(self) -> Self:
        if self.out and self.no_report:
            raise ConfigError(f"--out {self.out} has no effect with --no-report: choose one")
        if self.target_error is not None and self.tta != "none":
            raise ConfigError(
                f"--target-error {self.target_error:g}: the promise is for single answers, not for --tta {self.tta}",
                hint="leave one of the two away",
            )
        return self


class InspectConfig(DataConfig):
    """What ``inspect`` can be told, besides the data."""

    deep: bool = False
    fix: bool = False
    out: Path | None = None
    html: Path | None = None
    device: str | None = None

    @pydantic.model_validator(mode="after")
    def _check_effects(self) -> Self:
        # Read before any image is.
        if self.out and not self.fix:
            raise ConfigError(f"--out {self.out} has no effect without --fix")
        if self.device and not self.deep:
            raise ConfigError(f"--device {self.device} has no effect without --deep")
        return self


class PredictConfig(_ComputeConfig):
    """What ``predict`` can be told about reading images, computing, and when not to answer."""

    trust: bool = False
    image_column: str | None = None
    max_pixels: MaxPixels | None = None
    threshold: Share | None = None
    abstain: bool = False
    target_error: TargetError | None = None


def _num_bytes(value: Any) -> Any:
    # 10MB, 512kB and 10000000; decimal, as the shops count.
    text = str(value).strip().upper().removesuffix("B")
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_BYTES else (text, "")
    try:
        return round(float(number) * _UNITS_BYTES.get(unit, 1))
    except (ValueError, OverflowError):
        raise ValueError("must be a size such as 10MB or 512kB") from None


class ServeConfig(_ComputeConfig):
    """What ``serve`` can be told, besides the model."""

    trust: bool = False
    host: Annotated[str, pydantic.Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, pydantic.Field(ge=0, le=65_535)] = 8000
    token: Annotated[str, pydantic.Field(min_length=8, pattern=r"^[!-~]+$")] | None = None
    runtime: Literal["onnx", "torch"] = "onnx"
    batch_size: Annotated[int, pydantic.Field(ge=1, le=256)] = 8
    batch_wait_ms: Annotated[float, pydantic.Field(ge=0, le=1000, allow_inf_nan=False)] = 3.0
    max_body: Annotated[int, pydantic.BeforeValidator(_num_bytes), pydantic.Field(ge=1_000, le=2 * 10**9)] = 10_000_000
    max_pixels: MaxPixels | None = None
    max_files: Annotated[int, pydantic.Field(ge=1, le=1_000)] = 16
    max_requests: Annotated[int, pydantic.Field(ge=1, le=100_000)] = 128
    timeout: Duration = 30.0
    threshold: Share | None = None
    target_error: TargetError | None = None
    abstain: bool = True

    @pydantic.model_validator(mode="after")
    def _check_effects(self) -> Self:
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host}: other machines could ask, and there is no token",
                hint="set one: RESNET_CLI_TOKEN=... resnet-cli serve --host " + self.host,
            )
        if self.runtime == "onnx":
            for field in ("device", "precision"):
                if field in self.model_fields_set:
                    raise ConfigError(
                        f"--{field} has no effect: ONNX Runtime computes on the CPU", hint="add --runtime torch"
                    )
        elif self.trust:
            raise ConfigError("--trust has no effect with --runtime torch, which runs no exported files")
        if self.target_error is not None and not self.abstain:
            raise ConfigError("--target-error and --no-abstain: choose one")
        return self


def is_loopback(host: str) -> bool:
    """Whether a name or number of a host leads to this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class ExportConfig(_OfflineConfig):
    """What ``export`` can be told, besides the model."""

    format: Literal["onnx", "pt2", "safetensors", "openvino", "torchscript"] = "onnx"
    input: Literal["picture", "tensor"] = "picture"
    int8: bool = False
    fp16: bool = False
    novelty: bool = True
    licence: Annotated[str, pydantic.Field(min_length=1, max_length=1000)] | None = None
    verify_with: str | None = None
    calibrate_with: str | None = None
    max_drop: Share = 0.01
    benchmark: bool = False
    out: Path | None = None
    push: str | None = None
    private: bool = False

    @pydantic.model_validator(mode="after")
    def _check_effects(self) -> Self:
        given = self.model_fields_set
        if self.format == "torchscript":
            raise ConfigError(
                "--format torchscript: torch has deprecated it, and its files run code when they are loaded",
                hint="--format pt2 is its successor; --format onnx runs without torch",
            )
        if self.int8 and self.fp16:
            raise ConfigError("--int8 and --fp16: choose one")
        effective = {"input": {"onnx", "pt2"}, "int8": {"onnx"}, "fp16": {"onnx"}}
        for field, formats in effective.items():
            if self.format not in formats and getattr(self, field) != type(self).model_fields[field].default:
                raise ConfigError(f"--{field} has no effect on --format {self.format}", hint="leave one of them away")
        if self.format == "safetensors" and not self.novelty:
            raise ConfigError("--no-novelty has no effect on --format safetensors, which never has it")
        if self.benchmark:
            for field in ("format", "input", "int8", "fp16", "novelty", "out", "licence", "push", "private"):
                if field in given:
                    flag = "no-novelty" if field == "novelty" else field
                    raise ConfigError(f"--{flag} has no effect with --benchmark, which tries every format")
        elif "max_drop" in given and not (self.int8 or self.fp16):
            raise ConfigError("--max-drop has no effect without --int8 or --fp16: float32 may lose nothing")
        elif self.calibrate_with is not None and not self.int8:
            raise ConfigError("--calibrate-with has no effect without --int8")
        if self.private and self.push is None:
            raise ConfigError("--private has no effect without --push")
        if self.push is not None and self.offline:
            raise ConfigError("--push and --offline: choose one")
        return self


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


ConfigT = TypeVar("ConfigT", bound=_Config)


@dataclasses.dataclass(frozen=True)
class Resolved(Generic[ConfigT]):
    """A config and who set each of its values.

    Attributes:
        config: The values.
        origins: Field name -> ``flag``, the YAML file's name, or ``default``.
    """

    config: ConfigT
    origins: dict[str, str]


def resolve(
    model: type[ConfigT], flags: Mapping[str, Any], file: Path | None = None, *, is_record: bool = False
) -> Resolved[ConfigT]:
    """Merges defaults, a YAML file and flags, in that order.

    Args:
        model: The command's config.
        flags: Field name -> value; None where the user said nothing.
        file: A YAML file whose keys are field names (dashes or underscores).
        is_record: The file only tells how a model was trained, nothing is trained from it: retired fields may have any
            value.

    Raises:
        ConfigError: An unknown or retired key, or a value that cannot be; the message names the flag or the file.
    """
    written = read_yaml(file) if file else {}
    values = {key.replace("-", "_"): value for key, value in written.items()}
    if len(values) < len(written):
        raise ConfigError(f"{file}: a key is there twice, once with dashes and once with underscores")
    for name in RETIRED.keys() & values.keys():
        allowed, reason = RETIRED[name]
        if values.pop(name) not in allowed and not is_record:
            raise ConfigError(f"{file}: {name} was removed: {reason}", hint=f"remove {name} from the file")
    unknown = sorted(set(values) - set(model.model_fields))
    if unknown:
        raise ConfigError(f"{file}: unknown key '{unknown[0]}'", hint=_did_you_mean(unknown[0], model))
    origins = dict.fromkeys(model.model_fields, "default") | dict.fromkeys(values, str(file))
    given = {key: value for key, value in flags.items() if value is not None}
    origins |= dict.fromkeys(given, "flag")
    try:
        config = model.model_validate(values | given)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        flag = "DATA" if field == "data" else "--" + field.replace("_", "-")
        where = f"{file}: {field}" if origins[field] == str(file) else flag
        reason = first["msg"].removeprefix("Value error, ").lower().replace("input should", "should")
        raise ConfigError(f"{where} {first['input']}: {reason}") from error
    return Resolved(config, origins)


def to_yaml(config: _Config) -> str:
    """The config as YAML that ``--config`` reads back to the same values."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a mapping from a YAML file: no tags, no aliases, no duplicate keys, at most 64 KB.

    Returns:
        Keys to strings, None, and lists and mappings of them; a config's types parse the strings.

    Raises:
        ConfigError: The file is missing, too large, or not such a mapping.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror or error}") from error
    if len(data) > MAX_YAML_BYTES:
        raise ConfigError(f"{path}: {len(data):,} bytes, more than a config can have ({MAX_YAML_BYTES:,})")
    try:
        values = yaml.load(data.decode("utf-8"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: must be a mapping of names to values, such as 'epochs: 10'")
    return values


class _StrictLoader(yaml.BaseLoader):
    """Plain YAML: every scalar is a string or None, without the features that hide mistakes and bombs.

    The config's own types parse the strings. YAML 1.1 would read ``1e-3`` as text, and the class names
    ``no`` and ``007`` as False and 7.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        tag = getattr(self.peek_event(), "tag", None)  # type: ignore[no-untyped-call]
        if tag:
            raise yaml.YAMLError(f"tags ({tag}) are not allowed")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        # A style of None means no quotes.
        return None if node.style is None and node.value in _NULLS else super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"the key '{key.value}' is there twice")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _did_you_mean(key: str, model: type[_Config]) -> str:
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    known = ", ".join(model.model_fields)
    return f"did you mean '{close[0]}'?" if close else f"known keys: {known}"
