"""What ``serve`` can be told, besides the model."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from resnet_cli.config.data import ComputeConfig
from resnet_cli.config.units import Duration, MaxPixels, NumBytes, Share, TargetError
from resnet_cli.errors import ConfigError


class ServeConfig(ComputeConfig):
    """What ``serve`` can be told, besides the model."""

    trust: bool = False
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    token: Annotated[str, Field(min_length=8, pattern=r"^[!-~]+$")] | None = None
    runtime: Literal["onnx", "torch"] = "onnx"
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 3.0
    max_body: Annotated[NumBytes, Field(ge=1_000, le=2 * 10**9)] = 10_000_000
    max_pixels: MaxPixels | None = None
    max_files: Annotated[int, Field(ge=1, le=1_000)] = 16
    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 128
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
