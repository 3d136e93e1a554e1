"""Opens any model, in torch or exported, as one kind of :class:`~resnet_cli.prediction.Predictor`.

torch is imported only where it computes: on an accelerator, or if the engine that computes without it cannot.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engine_predictor import Wanted, find_engine_predictor, make_engine_predictor, may_do_without_torch
from resnet_cli.engines.choice import EngineName, check_engine, with_engine
from resnet_cli.exported.opening import exported_kind, open_exported, resolve_model
from resnet_cli.images import Pixels
from resnet_cli.int8_predictor import find_int8_predictor, with_int8
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import NoveltyScorer, precision_conflict
from resnet_cli.prediction import Predictor
from resnet_cli.system.paths import user_path

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from resnet_cli.engines.explain import GradCam
    from resnet_cli.model.model_file import Model
    from resnet_cli.system.device import Compute, Precision


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
    in_torch: bool = False,
    num_images: int | None = None,
    on_measure: Callable[[], None] = lambda: None,
) -> Predictor[Any]:
    """Opens a run folder, a model file, named weights, or what ``resnet-cli export`` wrote.

    Args:
        spec: Path or name of the model.
        device: Where a model in torch computes; exported models compute on the CPU.
        precision: In which precision a model in torch computes; an exported model has its own.
        engine: What computes the backbone of a model that is not exported, on a CPU; see
            :func:`~resnet_cli.engines.choice.choose_engine`.
        offline: Never download weights.
        trusted: Whether code in an exported file may run; only a ``.pt2`` file holds any.
        on_download: Called with (bytes downloaded, bytes in all or None).
        on_torch: Called before torch is imported.
        in_torch: Whether a :class:`TorchPredictor` is needed, whatever computes its backbone.
        num_images: How many images will be predicted; None if it is not known.
        on_measure: Called before the engines are measured, which takes some seconds.

    Raises:
        ConfigError: There is no such model, or the engine does not compute this precision.
        ModelError: It is damaged or of another architecture; with ``int8``, it is not quantized.
        UntrustedFileError: It would run code when loaded.
        SetupError: The device or the runtime is missing.
    """
    source = resolve_model(spec)
    path = user_path(source)
    if exported_kind(path):
        return open_exported(path, trusted=trusted)
    wanted = Wanted(engine, "fp32" if precision == "auto" else precision, num_images, on_measure)
    light = not in_torch and engine != "torch" and wanted.precision in {"fp32", "bf16"} and may_do_without_torch(device)
    if engine != "auto" and may_do_without_torch(device):
        check_engine(engine, wanted.precision)
    if wanted.precision == "int8" and not in_torch and may_do_without_torch(device):
        if found := find_int8_predictor(source):
            return found
    if light and (found := find_engine_predictor(source, wanted)):
        return found
    on_torch()
    from resnet_cli.model.weights import load_model
    from resnet_cli.system.device import choose_compute

    compute = with_engine(choose_compute(device, precision), engine)
    model = load_model(source, offline=offline, on_download=on_download)
    if light and (found := make_engine_predictor(source, model, wanted)):
        return found
    if compute.precision == "int8":
        changed, compute, cost = with_int8(model, compute)
        predictor = TorchPredictor(changed, compute, name=source)
        predictor.precision_conflict, predictor.cost = None, cost
        return predictor
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
        self.take_description(model)
        self.reliability = model.reliability
        self.precision = compute.precision
        self.precision_conflict = precision_conflict(model.provenance, compute.precision)
        self.batch_size = predict_batch_size(model.preprocess.crop_size, compute)
        reference = model.reference
        self._novelty_scorer = None if reference is None else NoveltyScorer(reference)
        self.has_novelty = reference is not None
        self._cam: GradCam | None = None

    @functools.cached_property
    def _backbone(self) -> Callable[[Tensor], Tensor]:
        # Made when it is first used: `eval` and the studies take features from the cache.
        from resnet_cli.engines.features import frozen_backbone

        return frozen_backbone(self.model.network, self.preprocess, self.compute)

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
