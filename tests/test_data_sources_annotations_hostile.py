from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.annotation_exports import EXPORTS, lines, put_images, written

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.system.paths import data_dir

PLAIN = {f"{number}.jpg": "cat" if number % 2 else "dog" for number in range(6)}
by_format = pytest.mark.parametrize("name", EXPORTS)


def opened(path: Path, **options: Any) -> Dataset:
    return open_dataset(str(path), DataConfig(**options))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*PLAIN, "cat", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def replaced(value: Any, where: list[int], by: Any) -> Any:
    """A document with one value replaced, or one key removed: the numbers choose the way down."""
    if not where or not isinstance(value, list | dict) or not value:
        return by
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[where[0] % len(keys)]
    copy = value.copy()
    if by is ... and len(where) == 1:
        del copy[key]
    else:
        copy[key] = replaced(value[key], where[1:], None if by is ... else by)
    return copy


@by_format
@given(cut=st.floats(0, 1), noise=st.binary(max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_an_error_of_the_data_or_the_rest_of_it(
    tmp_path: Path, name: str, cut: float, noise: bytes
) -> None:
    path = EXPORTS[name](tmp_path, PLAIN)
    path = path if path.is_file() else next(iter(sorted(path.rglob("*.json"))))
    content = path.read_bytes()
    place = int(cut * len(content))
    for damaged in (content[:place], content[:place] + noise + content[place + len(noise) :]):
        path.write_bytes(damaged)
        for data in (path, tmp_path):
            with contextlib.suppress(ResnetCliError):
                opened(data)


@by_format
@given(where=st.lists(st.integers(0, 5), min_size=1, max_size=7), value=VALUES | st.just(...))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_of_any_kind_are_an_error_of_the_data_or_accepted(
    tmp_path: Path, name: str, where: list[int], value: Any
) -> None:
    path = EXPORTS[name](tmp_path, PLAIN)
    path = path if path.is_file() else next(iter(sorted(path.rglob("*.json"))))
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".json", ".manifest", ".jsonl", ".ndjson"):
        is_lines = path.suffix != ".json"
        document = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)
        changed = replaced(document, where, value)
        lines(path, changed) if is_lines and isinstance(changed, list) else path.write_text(json.dumps(changed))
    for data in (path, tmp_path):
        with contextlib.suppress(ResnetCliError):
            dataset = opened(data, on_missing_label="skip")
            assert all(dataset.classes)


def with_first_name(folder: Path, name: str, by: str) -> Path:
    """An export in which another name stands for the first image."""
    path = EXPORTS[name](folder, PLAIN)
    for file in [path] if path.is_file() else sorted(path.rglob("*.json")):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"[^\s\"'<>,=]*0\.jpg", by, text), encoding="utf-8")
    return path


@by_format
def test_a_name_that_is_longer_than_names_of_files_is_an_error_of_the_data_or_left_out(
    tmp_path: Path, name: str
) -> None:
    path = with_first_name(tmp_path, name, f"{'n' * 300}.jpg")
    for data in (path, tmp_path):
        with contextlib.suppress(ResnetCliError):
            opened(data)


@by_format
@pytest.mark.parametrize("prefix", ["../", "../../", None])
def test_an_archive_names_no_image_outside_of_it(tmp_path: Path, name: str, prefix: str | None) -> None:
    unpacked = data_dir() / "unpacked"
    for folder in (tmp_path, unpacked, unpacked.parent):
        put_images(folder, {"secret.jpg": "cat"})
    prefix = f"{tmp_path.as_posix()}/" if prefix is None else prefix
    with_first_name(tmp_path / "inner", name, f"{prefix}secret.jpg")
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path / "inner")
    with contextlib.suppress(ResnetCliError):
        sources = [item.source for item in opened(Path(archive)).items]
        assert not any(isinstance(source, Path) and source.resolve().parent == unpacked for source in sources)
        assert all(isinstance(source, Path) and source.resolve().is_relative_to(unpacked) for source in sources)


@given(document=VALUES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_beside_class_folders_does_no_harm(tmp_path: Path, document: Any) -> None:
    for label in ("cat", "dog"):
        if not (tmp_path / label).exists():
            put_images(tmp_path / label, PLAIN)
    written(tmp_path / "some.json", json.dumps(document))
    assert opened(tmp_path).classes == ("cat", "dog")


def test_long_rows_of_numbers_before_a_text_are_told_from_boxes_at_once(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    for name in PLAIN:
        written(tmp_path / f"{Path(name).stem}.txt", f"1 {'123456789012 ' * 300}and a text\n")
    started = time.process_time()
    with pytest.raises(DataError) as caught:
        opened(tmp_path)
    assert "YOLO" not in caught.value.message
    assert time.process_time() - started < 20


def test_a_line_of_blanks_in_a_list_of_classes_is_passed_over_at_once(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate(PLAIN))
    written(tmp_path / "labels.csv", f"image,label\n{rows}")
    written(tmp_path / "classes.txt", f"a{' ' * 300_000}b\n")
    started = time.process_time()
    assert opened(tmp_path).classes == ("0", "1")
    assert time.process_time() - started < 20
