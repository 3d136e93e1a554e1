"""What ``export`` can be told, besides the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from resnet_cli.config.data import OfflineConfig
from resnet_cli.config.units import Share
from resnet_cli.errors import ConfigError


class ExportConfig(OfflineConfig):
    """What ``export`` can be told, besides the model."""

    format: Literal["onnx", "pt2", "safetensors", "openvino", "torchscript"] = "onnx"
    input: Literal["picture", "tensor"] = "picture"
    int8: bool = False
    fp16: bool = False
    novelty: bool = True
    licence: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
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
