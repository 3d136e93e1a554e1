"""A model as a program of torch: ``torch.export``, with any batch size.

Reading such a file is for files that one trusts: torch says so itself of ``torch.export.load``.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from resnet_cli.errors import ModelError
from resnet_cli.exporting.about import About
from resnet_cli.exporting.exported import ABOUT_FILE, ExportedModel, channels_first
from resnet_cli.images import Pixels
from resnet_cli.model import Model
from resnet_cli.prediction import Answers
from resnet_cli.preprocess import Preprocess
from resnet_cli.reliability import NUM_NEAREST, Yardstick


class _Program(nn.Module):
    """What the network sees to probabilities and novelty."""

    def __init__(self, model: Model, *, normalises: bool, with_novelty: bool) -> None:
        super().__init__()
        self._normalises = normalises
        self._network = model.network.folded().cpu()
        self._preprocess: Preprocess = model.preprocess
        self._temperature = model.temperature
        reference = model.reference if with_novelty else None
        yardstick = None if reference is None else Yardstick(reference)
        self._scales: Tensor | None
        self._known: Tensor | None
        self.register_buffer("_scales", None if yardstick is None else torch.from_numpy(yardstick.scales))
        self.register_buffer("_known", None if yardstick is None else torch.from_numpy(yardstick.units).half())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [b x 3 x s x s] -> probabilities [b x k] and, where pictures are remembered, novelty [b]."""
        if self._normalises:
            mean, std = (
                torch.tensor(x).mul(255).view(1, 3, 1, 1) for x in (self._preprocess.mean, self._preprocess.std)
            )
            images = images.float().sub(mean).div(std)
        features = self._network.features(images)
        probs = torch.softmax(self._network.fc(features) / self._temperature, dim=1)
        if self._known is None or self._scales is None:
            return (probs,)
        cosines = nn.functional.normalize(features / self._scales, dim=1) @ self._known.float().T
        nearest = cosines.topk(min(NUM_NEAREST, len(self._known)), dim=1).values
        return probs, 1 - nearest.mean(dim=1)


class Pt2Model(ExportedModel):
    """A ``.pt2`` file of ours, answered by torch.

    Args:
        path: A file that is trusted: it is run.

    Raises:
        ModelError: It is damaged, or not one of ours.
    """

    def __init__(self, path: Path) -> None:
        extra = {ABOUT_FILE: ""}
        try:
            with warnings.catch_warnings():
                # Torch 2.11 warns of its own buffers.
                warnings.filterwarnings("ignore", message="The given buffer is not writable")
                program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            texts = json.loads(extra[ABOUT_FILE])
        except Exception as error:
            # torch's own errors for what is no such file have no common parent but this.
            raise ModelError(f"{path}: not a .pt2 file that this program wrote: {str(error)[:100]}") from error
        super().__init__(About.from_texts(texts, str(path)), path)
        self._program = program.module()
        self.has_novelty = len(program.graph_signature.user_outputs) > 1

    def answer(self, seen: list[Pixels]) -> Answers:
        """Probabilities, and novelty where the program has it."""
        pixels = torch.from_numpy(channels_first(seen))
        with torch.inference_mode():
            images = self._preprocess.normalize(pixels) if self.about.takes == "tensor" else pixels
            probs, *novelty = self._program(images.contiguous())
        return Answers(probs.numpy(), novelty[0].numpy() if novelty else None)


def write_pt2(model: Model, path: Path, about: About, *, with_novelty: bool) -> Pt2Model:
    """Writes the program and reads it back.

    Its input is ``images``: uint8 [b x 3 x s x s], what ``Preprocess`` makes of a picture, and then the normalisation
    is inside; or float32 and normalised, where the file says that it takes tensors. Temperature and softmax are inside.
    """
    side = model.preprocess.crop_size
    takes_pixels = about.takes == "pixels"
    program = torch.export.export(
        _Program(model, normalises=takes_pixels, with_novelty=with_novelty).eval(),
        # Of two: from a batch of one torch concludes that there is never more.
        (torch.zeros(2, 3, side, side, dtype=torch.uint8 if takes_pixels else torch.float32),),
        dynamic_shapes={"images": {0: Dim.DYNAMIC}},
    )
    data = io.BytesIO()
    torch.export.save(program, data, extra_files={ABOUT_FILE: json.dumps(about.to_texts())})
    path.write_bytes(data.getvalue())
    return Pt2Model(path)
