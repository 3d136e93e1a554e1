"""How the training images enter the network: their size, shape and bit depth, and the preprocessing for them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from resnet_cli.data.dataset import Dataset
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.model.start import Start
from resnet_cli.model.weights import Weights
from resnet_cli.preprocess import Preprocess
from resnet_cli.training import defaults
from resnet_cli.training.decisions import Decisions
from resnet_cli.training.prepare import Prepared

#: Number of images from which the size and shape of the sources are estimated.
SIZE_SAMPLE = 32


def choose_input(
    decisions: Decisions,
    prepared: Prepared,
    weights: Weights,
    start: Start | None,
    *,
    image_size: int,
    source_px: int,
    aspects: Sequence[float],
) -> Preprocess:
    """Chooses the preprocessing that the model stores.

    Args:
        decisions: Has the user's config, and records each decision.
        prepared: The data.
        weights: Initial weights of the backbone, which were trained with a preprocessing of their own.
        start: Head, preprocessing and exemplars of an earlier model of this program; None for other weights.
        image_size: Side of the network's input in pixels, decided already.
        source_px: Median shorter side of the source images in pixels.
        aspects: Longer over shorter side of some of the images, each at least 1.

    Raises:
        ConfigError: ``--bit-depth`` has no effect, or the images that are added use other bits.
    """
    preprocess = _choose_preprocess(
        decisions, weights, start, image_size=image_size, source_px=source_px, aspects=aspects
    )
    return dataclasses.replace(preprocess, bit_depth=choose_bit_depth(decisions, prepared, start))


def _choose_preprocess(
    decisions: Decisions,
    weights: Weights,
    start: Start | None,
    *,
    image_size: int,
    source_px: int,
    aspects: Sequence[float],
) -> Preprocess:
    config = decisions.config
    default, why = (start.preprocess.fit, "as in that model") if start else defaults.choose_fit(aspects)
    fit = decisions.decide("fit", default, why, row=default != "crop")
    if config.add:
        # The model's own values, unless the user asks for others.
        decisions.values |= {"image_size": config.image_size, "fit": config.fit}
        if start and config.image_size is None and config.fit is None:
            # Its exemplars were computed with this preprocessing, which the new images therefore need too.
            decisions.record("image-size", start.preprocess.crop_size, decisions.why("image-size"))
            return start.preprocess
    return defaults.choose_preprocess(weights.preprocess, image_size, source_px, fit)


def choose_bit_depth(decisions: Decisions, prepared: Prepared, start: Start | None) -> int:
    """Chooses the bits that the values of 16-bit images use: those of the largest value in the data set.

    Raises:
        ConfigError: ``--bit-depth`` has no effect, or the images that are added use other bits.
    """
    config, (num, needed) = decisions.config, prepared.wide
    known = start.preprocess.bit_depth if start else 16
    if not num:
        if config.bit_depth is not None:
            raise ConfigError(
                f"--bit-depth {config.bit_depth} has no effect: {prepared.dataset.name} has no 16-bit images",
                hint="remove it",
            )
        return known
    if config.add and (config.bit_depth or needed) != known:
        raise ConfigError(
            f"--add: the model reads 16-bit images as {known}-bit ones, and the largest value of the new ones needs "
            f"{needed} bits",
            hint=f"if they come from the same camera, use --bit-depth {known}",
        )
    why = f"the values of {'the 16-bit image' if num == 1 else f'all {num:,} 16-bit images'} are below {2**needed:,}"
    return decisions.decide("bit-depth", needed, why, row=needed != 16)


def source_shape(dataset: Dataset) -> tuple[int, list[float]]:
    """Estimates the size and shape of the training images from a sample.

    Returns:
        The median shorter side in pixels (224 if no image can be read), and the aspect ratio (at least 1) of each.
    """
    items = dataset.split("train")
    sizes = []
    for item in items[:: max(1, len(items) // SIZE_SAMPLE)][:SIZE_SAMPLE]:
        try:
            sizes.append(item.open().size)
        except ImageError:
            continue  # The check before training reports it with all the others.
    side = int(statistics.median(min(size) for size in sizes)) if sizes else 224
    return side, [max(size) / min(size) for size in sizes]
