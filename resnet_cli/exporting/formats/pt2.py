"""``--format pt2``: a model as a program of ``torch.export``, for any batch size.

Only trusted files may be read again: ``torch.export.load`` can run code in them, as its documentation says.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.metadata import METADATA_FILE, ExportMetadata
from resnet_cli.exported.pt2 import Pt2Model
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import NUM_NEAREST, NoveltyScorer
from resnet_cli.preprocess import Preprocess


class _Program(nn.Module):
    """From the network's input to probabilities and novelty."""

    def __init__(self, model: Model, *, normalises: bool, with_novelty: bool) -> None:
        super().__init__()
        self._normalises = normalises
        self._network = model.network.folded().cpu()
        self._preprocess: Preprocess = model.preprocess
        self._temperature = model.temperature
        self._activation = OBJECTIVES[model.task].probs
        reference = model.reference if with_novelty else None
        novelty_scorer = None if reference is None else NoveltyScorer(reference)
        self._scales: Tensor | None
        self._known: Tensor | None
        self.register_buffer("_scales", None if novelty_scorer is None else torch.from_numpy(novelty_scorer.scales))
        self.register_buffer(
            "_known", None if novelty_scorer is None else torch.from_numpy(novelty_scorer.units).half()
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [b x 3 x s x s] -> probabilities [b x k] and novelty [b], if the model holds training features."""
        if self._normalises:
            mean, std = (
                torch.tensor(x).mul(255).view(1, 3, 1, 1) for x in (self._preprocess.mean, self._preprocess.std)
            )
            images = images.float().sub(mean).div(std)
        features = self._network.features(images)
        probs = self._activation(self._network.fc(features) / self._temperature)
        if self._known is None or self._scales is None:
            return (probs,)
        cosines = nn.functional.normalize(features / self._scales, dim=1) @ self._known.float().T
        nearest = cosines.topk(min(NUM_NEAREST, len(self._known)), dim=1).values
        return probs, 1 - nearest.mean(dim=1)


class Pt2Format(Format):
    """A file that ``torch.export.load`` reads."""

    name = "pt2"
    is_folder = False
    input_kind = "pixels"

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> Pt2Model:
        """Writes the program and reads it back; see :meth:`Format.write`.

        Its input is ``images``: either uint8 [b x 3 x s x s], the output of ``Preprocess``, with normalization inside;
        or float32 and normalized, if the metadata say that it takes tensors. Temperature and softmax, or sigmoid, are
        inside.
        """
        side = model.preprocess.crop_size
        takes_pixels = metadata.input_kind == "pixels"
        program = torch.export.export(
            _Program(model, normalises=takes_pixels, with_novelty=config.novelty).eval(),
            # A batch of two: from a batch of one, torch concludes that the batch size is always one.
            (torch.zeros(2, 3, side, side, dtype=torch.uint8 if takes_pixels else torch.float32),),
            dynamic_shapes={"images": {0: Dim.DYNAMIC}},
        )
        data = io.BytesIO()
        torch.export.save(program, data, extra_files={METADATA_FILE: json.dumps(metadata.to_texts())})
        path.write_bytes(data.getvalue())
        return Pt2Model(path)
