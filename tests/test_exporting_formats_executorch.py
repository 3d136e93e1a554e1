"""ExecuTorch's folder: the same answers in both precisions, silently, and one clear error where it cannot be made."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest
from support.narrow_network import make_narrow
from support.synthetic_models import labels_model, telling_model
from support.written_format import check_damage, check_rewritten, check_written, narrow_job

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import SetupError
from resnet_cli.exporting.export import Job


@pytest.mark.parametrize(("options", "tolerance"), [({}, 1e-5), ({"int8": True}, 0.1)])
def test_every_precision_answers_as_the_model_does_is_compiled_once_and_prints_nothing(
    options: dict[str, bool],
    tolerance: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("executorch.exir", reason="executorch is not installed", exc_type=ImportError)
    job = narrow_job(monkeypatch, "executorch", options)
    job.check()
    capfd.readouterr()
    closeness = {"tolerance": tolerance, "novelty_tolerance": max(tolerance, 1e-3)}
    _, found = check_written(job, tmp_path, files={"model.pte"}, **closeness)
    # Compiling takes as long as everything else: the temperature is replaced in the program.
    monkeypatch.setattr("resnet_cli.exporting.formats.executorch._compile", None)
    check_rewritten(job, tmp_path, found)
    check_damage(tmp_path / "model.pte", "ExecuTorch cannot read it")
    assert capfd.readouterr() == ("", "")


def test_every_label_has_its_own_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch.exir", reason="executorch is not installed", exc_type=ImportError)
    job = narrow_job(monkeypatch, "executorch", make=labels_model)
    opened, _ = check_written(job, tmp_path, files={"model.pte"}, tolerance=1e-5, novelty_tolerance=1e-3)
    assert (opened.task, opened.thresholds) == ("multi-label", job.model.thresholds)


@pytest.mark.parametrize("versions", [{}, {"executorch": "1.5.1", "torch": "2.11.0"}, {"executorch": "1.3.0"}])
def test_what_cannot_be_made_here_is_one_error_before_anything_is_computed(
    versions: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_cli.exported.executorch import load_runtime

    original = importlib.import_module

    def installed(name: str, package: str | None = None) -> Any:
        if not name.startswith("executorch"):
            return original(name, package)
        if not versions:
            raise ModuleNotFoundError(name, name="executorch")
        return sys

    load_runtime.cache_clear()
    monkeypatch.setattr(importlib, "import_module", installed)
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    make_narrow(monkeypatch)
    job = Job(telling_model(), ExportConfig(format="executorch"))
    with pytest.raises(SetupError) as caught:
        job.check()
    named = {0: "which is not installed", 1: "executorch>=1.5.1,<1.6", 2: "torch>=2.14,<2.16, and torch 2.11.0"}
    assert named[len(versions)] in caught.value.message
    assert "[executorch]" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
