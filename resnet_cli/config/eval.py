"""What ``eval`` can be told, besides the models and the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from resnet_cli.config.data import ComputeConfig, DataConfig
from resnet_cli.config.units import Positive, Share, TargetError
from resnet_cli.errors import ConfigError


class EvalConfig(ComputeConfig, DataConfig):
    """What ``eval`` can be told, besides the model and the data."""

    split: Literal["train", "val", "test", "all"] | None = None
    tta: Literal["none", "flip"] = "none"
    slice: Annotated[str, Field(min_length=1)] | None = None
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
