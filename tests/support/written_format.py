"""What every folder of ``export`` is held to, whatever runs it; networks of few weights suffice for that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ModelError
from resnet_cli.exported.metadata import METADATA_FILE, NOVELTY
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.recalibration import at_temperature
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import ModelOutput
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE
from support.changed_metadata import change_texts
from support.narrow_network import make_narrow
from support.synthetic_models import PREPROCESS, images, telling_model


def calibration() -> Iterator[NDArray[np.uint8]]:
    """The squares of :func:`images`, to quantize with."""
    return map(PREPROCESS, images())


def narrow_job(
    patch: pytest.MonkeyPatch,
    name: str,
    options: Mapping[str, Any] | None = None,
    make: Callable[[], Model] = telling_model,
) -> Job:
    """A job that writes a narrow model in a format; every network until the patch is undone is narrow."""
    make_narrow(patch)
    job = Job(make(), ExportConfig.model_validate({"format": name, **(options or {})}))
    patch.setattr(job, "_calibration", lambda on_work: calibration())
    return job


def check_written(
    job: Job, folder: Path, *, files: set[str], tolerance: float, novelty_tolerance: float | None = None
) -> tuple[Predictor[Any], ModelOutput]:
    """Writes a folder, and checks its files and its answers.

    Args:
        job: What to write.
        folder: An empty folder.
        files: The names of the files that the format writes besides the texts.
        tolerance: The largest difference of a probability from the model's.
        novelty_tolerance: The same for novelty, if it is another.

    Returns:
        The folder, opened, and its output for :func:`images`.
    """
    opened = job.write(folder)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {"labels.txt", "resnet_cli.json", *files}
    assert (folder / "labels.txt").read_text("utf-8").splitlines() == list(job.model.classes)
    assert exported_kind(folder) == job.config.format
    expected, found = (one.predict_images(images()) for one in (TorchPredictor(job.model, REFERENCE), opened))
    np.testing.assert_allclose(found.probs, expected.probs, rtol=0, atol=tolerance)
    assert (found.novelty is None) == (NOVELTY not in job.metadata.outputs)
    if found.novelty is not None and expected.novelty is not None:
        np.testing.assert_allclose(found.novelty, expected.novelty, rtol=0, atol=novelty_tolerance or tolerance)
    check_views(opened, found)
    check_other_classes(job, folder, type(opened))
    return opened, found


def check_views(opened: Predictor[Any], found: ModelOutput) -> None:
    """The order of an image in memory changes nothing: ncnn and ExecuTorch ignore it, if they are given a view."""
    prepared = [opened.prepare(image) for image in images()]
    turned = [np.asfortranarray(one) for one in prepared]
    assert not any(one.flags.c_contiguous for one in turned)
    np.testing.assert_allclose(opened.predict(turned).probs, found.probs, rtol=0, atol=1e-6)


def check_other_classes(job: Job, folder: Path, opened: Callable[[Path], Predictor[Any]]) -> None:
    """Metadata of another model beside the graph would give its classes to these probabilities."""
    if job.metadata.task == "single-label":
        own = (folder / METADATA_FILE).read_bytes()
        dataclasses.replace(job.metadata, classes=job.metadata.classes[:-1]).write(folder)
        with pytest.raises(ModelError, match="damaged: "):
            opened(folder).predict_images(images()[:1])
        (folder / METADATA_FILE).write_bytes(own)


def check_rewritten(
    job: Job,
    folder: Path,
    found: ModelOutput,
    *,
    again: Callable[[], Iterator[NDArray[np.uint8]]] = lambda: iter(()),
) -> NDArray[np.floating[Any]]:
    """A written folder gets another temperature; without images to calibrate with, unless they are given.

    Returns:
        The probabilities that it now has for :func:`images`.
    """
    hotter = dataclasses.replace(job.model, temperature=1.5 * job.model.temperature)
    rewritten = job._format.rewrite(hotter, job.metadata, job.config, folder, calibration=again)
    flatter = at_temperature(found.probs, job.model.temperature, hotter.temperature)
    assert np.abs(rewritten.predict_images(images()).probs - flatter).max() <= 1e-5
    return flatter


def check_damage(file: Path, match: str) -> None:
    """Half of a file is refused, in words of this program."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError, match="not the file that the export wrote"):
        open_exported(file.parent)
    # Version 0.1.0 wrote no checksums.
    change_texts(file.parent)
    with pytest.raises(ModelError, match=match):
        open_exported(file.parent)
