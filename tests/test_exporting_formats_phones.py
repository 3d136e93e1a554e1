"""ncnn and MNN: their folders answer what the model answers, and their converters leave nothing else behind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from support.synthetic_models import labels_model, telling_model
from support.written_format import check_damage, check_written, narrow_job

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import SetupError, VerificationError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.formats import ncnn, open_format

#: Format -> modules without which it is refused, and the largest of its files.
FORMATS = {"ncnn": (("ncnn", "pnnx"), "model.ncnn.bin"), "mnn": (("MNN",), "model.mnn")}


@pytest.mark.parametrize(("name", "module"), [(name, module) for name, (all_, _) in FORMATS.items() for module in all_])
def test_a_format_without_its_packages_is_refused_before_anything_is_computed(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module == "pnnx":
        pytest.importorskip("ncnn")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.setitem(sys.modules, module, None)
    nothing: Any = None
    job = object.__new__(Job)
    job.model, job.config, job._format = nothing, _config(name), open_format(name)
    with pytest.raises(SetupError, match=f"--format {name} needs {module}, which is not installed") as caught:
        job.check()
    assert caught.value.hint and f"[{name}]" in caught.value.hint


def _config(name: str, **options: bool) -> ExportConfig:
    return ExportConfig.model_validate({"format": name} | options)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_answers_what_the_model_answers(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    modules, file = FORMATS[name]
    # They are not imported for this: MNN prints when it is.
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    if (name, precision) == ("ncnn", "int8"):
        pytest.skip("not offered")
    monkeypatch.chdir(tmp_path)
    # The tasks differ in their last operator alone.
    options = {} if precision == "fp32" else {precision: True}
    job = narrow_job(monkeypatch, name, options, telling_model if precision == "fp32" else labels_model)
    folder = tmp_path / name
    folder.mkdir()
    files = {file, "model.ncnn.param"} if name == "ncnn" else {file}
    # In one batch: MNN computes a length of the whole batch where it reads ReduceL2.
    opened, _ = check_written(job, folder, files=files, tolerance={"fp32": 1e-4, "fp16": 5e-3, "int8": 5e-2}[precision])
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert opened.has_novelty == (name == "mnn")
    metadata = ExportMetadata.read(folder)
    assert (metadata.input_kind, metadata.precision) == ("float_pixels", precision)

    check_damage(folder / file, r"cannot read it$")
    assert capfd.readouterr() == ("", "")


def test_a_layer_that_ncnn_lacks_is_an_error_that_names_no_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in FORMATS["ncnn"][0]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    renamed = ncnn._renamed
    monkeypatch.setattr(ncnn, "_renamed", lambda text: renamed(text).replace("InnerProduct", "NoSuchLayer"))
    job = narrow_job(monkeypatch, "ncnn")
    with pytest.raises(VerificationError, match=r"^--format ncnn: ncnn .+: pnnx .+ has written layers that") as caught:
        job.write(tmp_path)
    assert str(tmp_path) not in caught.value.message
