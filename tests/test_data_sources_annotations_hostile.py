from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.annotation_exports import EXPORTS, lines, put_images, written

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ResnetCliError

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


@given(document=VALUES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_beside_class_folders_does_no_harm(tmp_path: Path, document: Any) -> None:
    for label in ("cat", "dog"):
        if not (tmp_path / label).exists():
            put_images(tmp_path / label, PLAIN)
    written(tmp_path / "some.json", json.dumps(document))
    assert opened(tmp_path).classes == ("cat", "dog")
