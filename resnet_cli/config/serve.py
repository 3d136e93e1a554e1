"""The options of ``serve``."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from resnet_cli.config.base import Flag, Rule
from resnet_cli.config.data import (
    ONE_TARGET,
    PREDICTIONS,
    Abstain,
    ComputeConfig,
    LargestImage,
    TargetPrecision,
    TargetRecall,
    Threshold,
    Trust,
)
from resnet_cli.config.units import Duration, NumBytes, TargetError
from resnet_cli.errors import ConfigError

NETWORK, LIMITS = "Network and access", "Limits"


class ServeConfig(ComputeConfig):
    """The options of ``serve``, besides the model; field names are the flags' names."""

    host: Annotated[
        str,
        Field(min_length=1),
        Flag("Address to listen on. Any address but this machine's own needs a --token.", NETWORK, metavar="HOST"),
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535), Flag("Port to listen on. 0 chooses a free one.", NETWORK)] = 8000
    token: Annotated[
        Annotated[str, Field(min_length=8, pattern=r"^[!-~]+$")] | None,
        Flag(
            "Token that requests must send. The header is Authorization: Bearer TOKEN.",
            NETWORK,
            metavar="TOKEN",
            envvar="RESNET_CLI_TOKEN",
        ),
    ] = None
    max_body: Annotated[
        NumBytes,
        Field(ge=1_000, le=2 * 10**9),
        Flag("Maximum size of a request.", LIMITS, "10MB"),
    ] = 10_000_000
    max_pixels: LargestImage = None
    max_files: Annotated[int, Field(ge=1, le=1_000), Flag("Maximum number of images per request.", LIMITS)] = 16
    max_requests: Annotated[
        int, Field(ge=1, le=100_000), Flag("Maximum number of requests in flight; more get status 503.", LIMITS)
    ] = 128
    timeout: Annotated[
        Duration,
        Flag("Maximum time for a request to arrive. After Ctrl-C, also for the last requests.", LIMITS, "30s"),
    ] = 30.0
    threshold: Threshold = None
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
    abstain: Abstain = False
    batch_size: Annotated[
        int, Field(ge=1, le=256), Flag("Maximum number of images per forward pass, over all requests.", PREDICTIONS)
    ] = 8
    batch_wait_ms: Annotated[
        float,
        Field(ge=0, le=1000, allow_inf_nan=False),
        Flag("Milliseconds that an image waits for others that are being received.", PREDICTIONS, "3"),
    ] = 3.0
    runtime: Annotated[Literal["onnx", "torch"], Flag("onnx (CPU, less memory) or torch (also GPUs).", PREDICTIONS)] = (
        "onnx"
    )
    trust: Trust = False
    access_log: Annotated[bool, Flag("Log one line per request on stderr.")] = False

    rules = (
        Rule(
            ("device", "precision"),
            lambda c: c.runtime == "torch" or c.precision == "int8" or c.engine == "openvino",
            "has no effect: ONNX Runtime computes on the CPU",
            hint="add --runtime torch",
            strict=True,
        ),
        Rule(
            ("engine",),
            lambda c: c.engine != "torch" or c.runtime == "torch",
            "needs --runtime torch",
            hint="add --runtime torch",
        ),
        Rule(
            ("engine",),
            lambda c: c.engine != "onnxruntime" or c.runtime == "onnx",
            "and --runtime torch: choose one",
        ),
        Rule(
            ("trust",),
            lambda c: c.runtime == "onnx",
            "has no effect with --runtime torch, which runs no exported files",
        ),
        Rule(
            ("abstain",), lambda c: c.abstain or c.target_error is None, "and --target-error: choose one", strict=True
        ),
        *ONE_TARGET,
    )

    @pydantic.model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host}: other machines could send requests, and there is no token",
                hint="set one: RESNET_CLI_TOKEN=... resnet-cli serve --host " + self.host,
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether the name or number of a host leads to this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
