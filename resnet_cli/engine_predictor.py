"""A model that is read by numpy, and whose backbone an engine other than torch computes.

The answers are torch's in float32 up to the last digits; the process starts without the seconds that importing torch
takes. torch is imported only for heat maps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engines.backbone_file import describe
from resnet_cli.engines.choice import EngineName, choose_engine, usable_engines
from resnet_cli.engines.opening import find_file, import_engine, open_file
from resnet_cli.engines.rates import Conditions, Rate
from resnet_cli.errors import ModelError, ResnetCliError, SetupError
from resnet_cli.heads.arrays import array_probs
from resnet_cli.images import Pixels
from resnet_cli.model.facts import sha256_of_same
from resnet_cli.model.model_path import resolve_model_path
from resnet_cli.model.named_head import keep_named_head, read_named_head
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import NoveltyScorer, precision_conflict
from resnet_cli.model.small_model import SmallModel, read_small_model
from resnet_cli.network import registry
from resnet_cli.prediction import Predictor
from resnet_cli.system.accelerators import may_have_accelerator

if TYPE_CHECKING:
    from PIL import Image

    from resnet_cli.engines.base import Backbone
    from resnet_cli.engines.explain import GradCam
    from resnet_cli.model.model_file import Model

#: Images of 224 px per forward pass: more are not faster, and take more memory (measured).
BATCH_AT_224 = 16


class EnginePredictor(Predictor[Pixels]):
    """A model whose backbone is computed by an engine, and everything else by numpy.

    Args:
        model: The model without its backbone.
        backbone: The backbone.
        name: The model as the user named it.
    """

    has_features = True
    has_heatmap = True
    explains_any_class = True

    def __init__(self, model: SmallModel, backbone: Backbone, *, name: str = "") -> None:
        facts = model.facts
        self.model = model
        self.name = name
        self.path = model.path
        self.take_description(facts)
        self.reliability = model.reliability
        self.precision = backbone.precision
        self.precision_conflict = precision_conflict(facts.provenance, backbone.precision)
        self.batch_size = max(4, min(256, round(BATCH_AT_224 * (224 / facts.preprocess.crop_size) ** 2)))
        self.has_novelty = model.reference is not None
        self._novelty_scorer = None if model.reference is None else NoveltyScorer(model.reference)
        self._backbone = backbone
        self._cam: GradCam | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file."""
        return sha256_of_same(self.model.path, self.model.version)

    def prepare(self, image: Image.Image) -> Pixels:
        """The square that the network sees: uint8 [crop_size x crop_size x 3]."""
        return self.preprocess(image)

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, novelty and features of at least one image."""
        features = self._backbone(np.stack(inputs))
        probs = array_probs(self.model.head, features, self.temperature, task=self.task)
        novelty = None if self._novelty_scorer is None else self._novelty_scorer.novelty(features)
        return ModelOutput(probs, novelty, features)

    def square(self, prepared: Pixels) -> Pixels:
        """The prepared image itself."""
        return prepared

    def heatmap(self, prepared: Pixels, output: ModelOutput, target: int | None = None) -> NDArray[np.float32]:
        """Grad-CAM of a class, or of the most probable one, by a forward pass in torch.

        Raises:
            ModelError: The model file was replaced or removed in the meantime.
        """
        import torch

        from resnet_cli.data.loading import stack

        if self._cam is None:
            self._cam = self._open_cam()
        targets = output.probs.argmax(axis=1) if target is None else np.array([target])
        return np.asarray(self._cam.heat(stack([prepared]), torch.from_numpy(targets))[0])

    def _open_cam(self) -> GradCam:
        from resnet_cli.engines.explain import GradCam
        from resnet_cli.model.weights import load_model
        from resnet_cli.system.device import choose_compute

        loaded = load_model(self.model.path)
        if loaded.version != self.model.version:
            # Says that the file was replaced.
            sha256_of_same(self.model.path, self.model.version)
        return GradCam(loaded.network, loaded.preprocess, choose_compute("cpu", "fp32"))


def may_do_without_torch(device: str) -> bool:
    """Whether a value of ``--device`` means the CPU; torch is not needed to tell."""
    return device == "cpu" or (device == "auto" and not may_have_accelerator())


@dataclasses.dataclass(frozen=True)
class Wanted:
    """How a backbone should be computed.

    Attributes:
        engine: Value of ``--engine``.
        precision: fp32 or bf16.
        num_images: How many images will be predicted; None if it is not known.
        on_measure: Called before the engines are measured, which takes some seconds.
    """

    engine: EngineName = "auto"
    precision: str = "fp32"
    num_images: int | None = None
    on_measure: Callable[[], None] = lambda: None


def find_engine_predictor(source: str, wanted: Wanted) -> EnginePredictor | None:
    """Opens a model whose backbone is in the cache folder; None if it is not there, or the model is of another kind.

    Args:
        source: What the user named, as :func:`resnet_cli.exported.opening.resolve_model` returns it.
        wanted: Engine and precision.
    """
    # The runtime is imported while the file is read: each takes about as long.
    loading = threading.Thread(target=_import_runtime, args=(wanted,), daemon=True)
    loading.start()
    try:
        model = (
            read_named_head(source)
            if source in registry.WEIGHTS
            else read_small_model(resolve_model_path(Path(source), "MODEL"))
        )
    except ResnetCliError:
        # The message comes from reading it in torch.
        return None
    return None if model is None else _with_backbone(model, source, wanted)


def make_engine_predictor(source: str, loaded: Model, wanted: Wanted) -> EnginePredictor | None:
    """Writes the backbone of a model into the cache folder, and opens the model with it.

    Args:
        source: What the user named.
        loaded: The same model, loaded in torch.
        wanted: Engine and precision.

    Returns:
        None if the file cannot be written or read, or if torch is the engine to take.
    """
    try:
        from resnet_cli.engines.backbone_writer import keep_backbone
    except ImportError:
        return None
    if loaded.path is None:
        return None
    if source in registry.WEIGHTS:
        keep_named_head(source, loaded)
        model = read_named_head(source)
    else:
        model = read_small_model(loaded.path)
    # Not while a training replaces it: the backbone would be of another model.
    if model is None or loaded.version not in {None, model.version}:
        return None
    return _with_backbone(model, source, wanted) if keep_backbone(loaded.network, loaded.preprocess) else None


def prepare_engine(model: Model) -> None:
    """Writes the backbone of a new model into the cache folder, if that is how it will predict on this machine."""
    if not may_do_without_torch("auto"):
        return
    with contextlib.suppress(ImportError):
        from resnet_cli.engines.backbone_writer import keep_backbone

        keep_backbone(model.network, model.preprocess)


def _with_backbone(model: SmallModel, name: str, wanted: Wanted) -> EnginePredictor | None:
    preprocess = model.facts.preprocess
    path = find_file(describe(model.backbone_hash, preprocess))
    if path is None:
        return None

    def measure(conditions: Conditions) -> Mapping[str, Rate]:
        from resnet_cli.engines import measuring

        wanted.on_measure()
        return measuring.measure(conditions, usable_engines(wanted.precision), path)

    engine = choose_engine(
        wanted.engine,
        precision=wanted.precision,
        side=preprocess.crop_size,
        num_images=wanted.num_images,
        measure=measure,
    ).engine
    if engine == "torch":
        return None
    try:
        return EnginePredictor(model, open_file(path, engine, wanted.precision), name=name)
    except (ImportError, ModelError, SetupError):
        if wanted.engine == engine:
            raise
        # A version that does not understand the file, or cannot be loaded here: torch computes then.
        return None


def _import_runtime(wanted: Wanted) -> None:
    # Torch computes if it cannot be imported.
    with contextlib.suppress(ImportError, ResnetCliError):
        if wanted.engine == "auto":
            import_engine(usable_engines(wanted.precision)[0])
        elif wanted.engine != "torch":
            import_engine(wanted.engine)
