"""What bfloat16 costs a model, measured on its validation images."""

from __future__ import annotations

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ResnetCliError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.exporting.export import model_output
from resnet_cli.exporting.int8_lane import measure_cost
from resnet_cli.exporting.verification_data import images_to_verify
from resnet_cli.model.lane_cost import LaneCost
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.device import Compute
from resnet_cli.system.events import OnWork


def bf16_cost(
    model: Model, compute: Compute, *, offline: bool = False, on_work: OnWork | None = None
) -> LaneCost | None:
    """Compares a model in bfloat16 with itself in float32, on at most 1,000 images of its validation split.

    Training cached their features in float32, so usually only those in bfloat16 must be computed.

    Args:
        model: The model.
        compute: The CPU in bfloat16, with the engine that computes features.
        offline: Whether downloads are forbidden.
        on_work: Called with the progress on the images.

    Returns:
        The cost; None if the images of the model's run are not there, or cannot be read any more.
    """
    try:
        images = images_to_verify(model, ExportConfig(offline=offline))
        exact = model_output(model, images, on_work)
        found = evaluate(model, images.items, compute)
    except ResnetCliError:
        return None
    return measure_cost(model, images, exact, ModelOutput(found.probs, found.novelty), precision=compute.precision)
