"""What ``predict`` can be told."""

from __future__ import annotations

from resnet_cli.config.data import ComputeConfig
from resnet_cli.config.units import MaxPixels, Share, TargetError


class PredictConfig(ComputeConfig):
    """What ``predict`` can be told about reading images, computing, and when not to answer."""

    trust: bool = False
    image_column: str | None = None
    max_pixels: MaxPixels | None = None
    threshold: Share | None = None
    abstain: bool = False
    target_error: TargetError | None = None
