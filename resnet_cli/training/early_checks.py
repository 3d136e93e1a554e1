"""What would make a training fail after its images were read, and can be known before."""

from __future__ import annotations

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.model.model_path import resolve_model_path
from resnet_cli.network import hub, registry
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import check_writable, refuse_existing


def check_early(config: FinetuneConfig) -> None:
    """Refuses a training whose weights or output folder are not there.

    Raises:
        ConfigError: There are no such weights, or the folder of ``--out`` exists.
        DiskError: The folder of ``--out`` cannot be created.
        ModelError: The folder of ``--weights`` has a model of another kind.
    """
    refuse_existing(config.out)
    if config.out is not None:
        check_writable(config.out)
    weights = config.weights
    if weights not in {"auto", "none", *registry.WEIGHTS} and not hub.is_spec(weights):
        resolve_model_path(real_path(weights), "--weights")
