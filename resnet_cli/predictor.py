"""Opens any model, in torch or exported, as one kind of :class:`~resnet_cli.prediction.Predictor`.

torch is imported only where it computes: on an accelerator, or if the engine that computes without it cannot.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engine_predictor import find_engine_predictor, make_engine_predictor, may_do_without_torch
from resnet_cli.exported.opening import exported_kind, open_exported, resolve_model
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import NoveltyScorer, precision_conflict
from resnet_cli.prediction import Predictor
from resnet_cli.system.paths import user_path

if TYPE_CHECKING:
    from PIL import Image

    from resnet_cli.engines.explain import GradCam
    from resnet_cli.engines.features import FrozenBackbone
    from resnet_cli.model.model_file import Model
    from resnet_cli.system.device import Compute, Precision

#: What computes a model that is not exported.
EngineName: TypeAlias = Literal["auto", "torch", "onnxruntime", "openvino"]


def open_predictor(
    spec: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: Precision = "auto",
    engine: EngineName = "auto",
    offline: bool = False,
    trusted: bool = False,
    on_download: Callable[[int, int | None], None] | None = None,
    on_torch: Callable[[], None] = lambda: None,
) -> Predictor[Any]:
    """Opens a run folder, a model file, named weights, or what ``resnet-cli export`` wrote.

    Args:
        spec: Path or name of the model.
        device: Where a model in torch computes; exported models compute on the CPU.
        precision: In which precision a model in torch computes; an exported model has its own.
        engine: What computes a model that is not exported. ``auto``: ONNX Runtime on a CPU in float32, else torch.
        offline: Never download weights.
        trusted: Whether code in an exported file may run; only a ``.pt2`` file holds any.
        on_download: Called with (bytes downloaded, bytes in all or None).
        on_torch: Called before torch is imported.

    Raises:
        ConfigError: There is no such model.
        ModelError: It is damaged or of another architecture.
        UntrustedFileError: It would run code when loaded.
        SetupError: The device or the runtime is missing.
    """
    source = resolve_model(spec)
    path = user_path(source)
    if exported_kind(path):
        return open_exported(path, trusted=trusted)
    light = engine != "torch" and precision in {"auto", "fp32"} and may_do_without_torch(device)
    if light and (found := find_engine_predictor(source)):
        return found
    on_torch()
    from resnet_cli.model.weights import load_model
    from resnet_cli.system.device import choose_compute

    compute = choose_compute(device, precision)
    model = load_model(source, offline=offline, on_download=on_download)
    if light and (found := make_engine_predictor(source, model)):
        return found
    return TorchPredictor(model, compute, name=source)


class TorchPredictor(Predictor[Pixels]):
    """A model in torch on its device.

    Args:
        model: Network, classes, preprocessing, temperature, and exemplars if any; copied, not changed.
        compute: Device and precision.
        name: The model as the user named it.

    Attributes:
        model: The model.
        compute: Device and precision.
    """

    has_features = True
    has_heatmap = True
    explains_any_class = True

    def __init__(self, model: Model, compute: Compute, *, name: str = "") -> None:
        self.model = model
        self.compute = compute
        self.name = name
        self.path = model.path
        self.classes = model.classes
        self.preprocess = model.preprocess
        self.temperature = model.temperature
        self.task = model.task
        self.thresholds = model.thresholds
        self.scaling = model.scaling
        self.provenance = model.provenance
        self.reliability = model.reliability
        self.precision = compute.precision
        self.precision_conflict = precision_conflict(model.provenance, compute.precision)
        self.batch_size = predict_batch_size(model.preprocess.crop_size, compute)
        reference = model.reference
        self._novelty_scorer = None if reference is None else NoveltyScorer(reference)
        self.has_novelty = reference is not None
        self._cam: GradCam | None = None

    @functools.cached_property
    def _backbone(self) -> FrozenBackbone:
        # Made when it is first used: `eval` and the studies take features from the cache.
        from resnet_cli.engines.features import FrozenBackbone

        return FrozenBackbone(self.model.network, self.preprocess, self.compute)

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file; empty if it is in none."""
        return self.model.sha256

    def prepare(self, image: Image.Image) -> Pixels:
        """The square that the network sees: uint8 [crop_size x crop_size x 3]."""
        return self.preprocess(image)

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, novelty and features of at least one image."""
        from resnet_cli.data.loading import stack
        from resnet_cli.heads.probabilities import head_probs

        features = self._backbone(stack(inputs))
        probs = head_probs(self.model.network.fc, features, self.temperature, task=self.task)
        rows = features.numpy()
        novelty = None if self._novelty_scorer is None else self._novelty_scorer.novelty(rows)
        return ModelOutput(probs.numpy(), novelty, rows)

    def square(self, prepared: Pixels) -> Pixels:
        """The prepared image itself."""
        return prepared

    def heatmap(self, prepared: Pixels, output: ModelOutput, target: int | None = None) -> NDArray[np.float32]:
        """Grad-CAM of a class, or of the most probable one, by another forward pass."""
        import torch

        from resnet_cli.data.loading import stack
        from resnet_cli.engines.explain import GradCam

        if self._cam is None:
            self._cam = GradCam(self.model.network, self.preprocess, self.compute)
        targets = output.probs.argmax(axis=1) if target is None else np.array([target])
        heatmaps = self._cam.heat(stack([prepared]), torch.from_numpy(targets))
        return np.asarray(heatmaps[0])


def predict_batch_size(crop_size: int, compute: Compute) -> int:
    """Images per forward pass: on a CPU half of what feature extraction takes at once.

    A CPU is as fast with 16 images of 224 px as with 32, and the process stays 300 MB smaller (measured).
    """
    from resnet_cli.engines.features import inference_batch_size

    batch_size = inference_batch_size(crop_size, compute)
    return max(1, batch_size // 2) if compute.type == "cpu" else batch_size
