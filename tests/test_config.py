from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.config.base import RETIRED, resolve, to_yaml
from resnet_cli.config.finetune import STAGES, FinetuneConfig
from resnet_cli.config.units import parse_head
from resnet_cli.config.yaml_file import MAX_YAML_BYTES, read_yaml
from resnet_cli.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def resolved(file: Path, text: str, **flags: Any) -> FinetuneConfig:
    file.write_text(text, encoding="utf-8")
    return resolve(FinetuneConfig, flags, file).config


def test_a_flag_beats_the_file_and_the_file_the_default(file: Path) -> None:
    file.write_text("epochs: 3\nlr: 0.1\n")
    result = resolve(FinetuneConfig, {"epochs": 5, "seed": None}, file)
    assert (result.config.epochs, result.config.lr, result.config.seed) == (5, 0.1, 0)
    assert result.origins["epochs"] == "flag"
    assert result.origins["lr"] == str(file)
    assert result.origins["seed"] == "default"
    assert result.origins.keys() == FinetuneConfig.model_fields.keys()


def test_without_a_file_all_is_default() -> None:
    result = resolve(FinetuneConfig, {})
    assert result.config == FinetuneConfig()
    assert set(result.origins.values()) == {"default"}


@pytest.mark.parametrize("text", ["lr: 1e-3", "lr: 0.001", "lr: '1e-3'", "lr: .001", "lr: 1.0E-3"])
def test_a_rate_is_read_however_it_is_written(file: Path, text: str) -> None:
    assert resolved(file, text).lr == 0.001


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("classes: [no, yes, on]", ("no", "yes", "on")),
        ("classes: [007, 1_000, 1e3, 12:30]", ("007", "1_000", "1e3", "12:30")),
        ("classes: [2001-01-01, 0x10, 'null']", ("2001-01-01", "0x10", "null")),
        ("classes: cat, hot dog", ("cat", "hot dog")),
        ("classes:\n- grün\n- 猫", ("grün", "猫")),
        ("classes: '\"a,b\", c'", ("a,b", "c")),
        ("classes: null", None),
        ("classes:", None),
    ],
)
def test_class_names_are_what_is_written(file: Path, text: str, expected: tuple[str, ...] | None) -> None:
    assert resolved(file, text).classes == expected


@pytest.mark.parametrize("text", ["head-lr: 0.1", "head_lr: 0.1"])
def test_keys_may_be_written_like_flags(file: Path, text: str) -> None:
    assert resolved(file, text).head_lr == 0.1


@pytest.mark.parametrize("text", ["offline: true", "offline: yes", "offline: 'on'"])
def test_a_switch_takes_the_usual_words(file: Path, text: str) -> None:
    assert resolved(file, text).offline is True


def test_an_unknown_key_is_named_with_its_nearest_neighbour(file: Path) -> None:
    with pytest.raises(ConfigError, match="epocs") as caught:
        resolved(file, "epocs: 3")
    assert str(file) in caught.value.message
    assert caught.value.hint == "did you mean 'epochs'?"
    with pytest.raises(ConfigError) as far:
        resolved(file, "zzzz: 3")
    assert far.value.hint == "the names are those of the flags, without --: resnet-cli COMMAND --help-all"


@pytest.mark.parametrize(
    "text", ["epochs: 1\nepochs: 2", "{epochs: 1, seed: 2, epochs: 3}", "head-lr: 1\nhead_lr: 2", "a: {b: 1, b: 2}"]
)
def test_a_key_that_is_there_twice_is_refused(file: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="occurs twice"):
        resolved(file, text)


@pytest.mark.parametrize(
    "text",
    ["- epochs", "epochs", "3", "'epochs: 3'", "~: 3", "? [a]\n: 3", "? {a: 1}\n: 3", "a: 1\n---\nb: 2", "a: [", "\0"],
)
def test_what_is_no_mapping_of_names_is_refused(file: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        resolved(file, text)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_changes_nothing(file: Path, text: str) -> None:
    assert resolved(file, text) == FinetuneConfig()


@pytest.mark.parametrize("data", [b"data: \xe9", "data: x".encode("utf-16")])
def test_a_file_in_another_encoding_is_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(ConfigError, match="utf-8"):
        read_yaml(file)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        read_yaml(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="--config"):
        read_yaml(tmp_path)


def test_a_page_is_read_and_more_is_refused(file: Path) -> None:
    page = "data: x\n#" + "." * (MAX_YAML_BYTES - len("data: x\n#"))
    assert resolved(file, page).data == "x"
    with pytest.raises(ConfigError, match="65,537 bytes"):
        resolved(file, page + ".")


BILLION_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BILLION_LAUGHS, "aliases"),
        ("a: &a [*a]", "aliases"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: !!int ''", "tags"),
        ("a: !!timestamp x", "tags"),
        ("a: !x y", "tags"),
        ("[" * 60_000, "recursion"),
        ("- " * 30_000, "recursion"),
    ],
    ids=["laughs", "self", "python", "empty int", "timestamp", "own tag", "deep flow", "deep block"],
)
def test_a_bomb_is_refused_quickly(file: Path, text: str, reason: str) -> None:
    file.write_text(text)
    start = time.thread_time()
    with pytest.raises(ConfigError, match=reason):
        read_yaml(file)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize("text", ["".join(f"{i:x}: \n" for i in range(8_000)), "a: " + ":".join(["59"] * 20_000)])
def test_the_largest_pages_are_read_quickly(file: Path, text: str) -> None:
    file.write_text(text)
    start = time.thread_time()
    assert read_yaml(file)
    assert time.thread_time() - start < 5


YAML_PIECES = st.sampled_from([*":-?[]{},&*!|>'\"%@`#~ \n\t", ": ", "- ", "<<", "!!", "a", "1", ".", "e", "\0", "é"])


@given(text=st.text(max_size=200) | st.lists(YAML_PIECES, max_size=60).map("".join))
def test_any_text_is_a_mapping_or_a_config_error_within_a_second(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    start = time.thread_time()
    try:
        values = read_yaml(file)
    except ConfigError as error:
        assert str(file) in error.message
    else:
        assert isinstance(values, dict) and all(isinstance(key, str) for key in values)
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("field", ["lr", "head_lr", "val_fraction"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -0.1])
def test_a_rate_is_a_positive_finite_number(field: str, value: float, file: Path) -> None:
    flag = "--" + field.replace("_", "-")
    with pytest.raises(ConfigError, match=rf"^{flag} {value}: "):
        resolve(FinetuneConfig, {field: value})
    with pytest.raises(ConfigError, match=rf"recipe\.yaml: {field} {value}: "):
        resolved(file, f"{field}: {value}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", 10_001),
        ("epochs", "yes"),
        ("epochs", 2.5),
        ("limit", 0),
        ("batch_size", 0),
        ("image_size", 31),
        ("image_size", 1025),
        ("val_fraction", 0.5),
        ("seed", -1),
        ("seed", 2**32),
        ("mode", "sideways"),
        ("precision", "fp8"),
        ("head", "deep"),
        ("lr", "fast"),
        ("batch_size", "some"),
        ("unfreeze", "layer5"),
        ("unfreeze", ""),
        ("optimizer", "lamb"),
        ("schedule", "step"),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("clip_grad", 0.0),
        ("accumulate", 0),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
        ("weight_decay", -1e-4),
        ("batchnorm", "sync"),
        ("loss", "mse"),
        ("label_smoothing", 1.0),
        ("balance", "smote"),
        ("fit", "stretch"),
        ("augment", "wild"),
        ("policy", "autoaugment"),
        ("erasing", 1.5),
        ("mixup", -1.0),
        ("cutmix", math.inf),
        ("mix_off_epochs", -1),
        ("progressive", 16),
        ("ema", 1.0),
        ("ema", 0.0),
        ("average", 1),
        ("patience", 0),
        ("target", 1.1),
        ("fail_under", -0.1),
        ("seeds", 0),
        ("max_time", "soon"),
        ("max_time", "0s"),
        ("max_time", "-5m"),
        ("max_time", "nan"),
        ("max_time", "inf"),
        ("checkpoint_every", "10x"),
        ("solver", "adam"),
        ("mode", "probe"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_flag(field: str, value: Any) -> None:
    flag = "--" + field.replace("_", "-")
    with pytest.raises(ConfigError, match=rf"^{flag} {re.escape(str(value))}: ") as caught:
        resolve(FinetuneConfig, {field: value})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "meant"),
    [("dat", "data"), ("learning_rate", "lr"), ("epoch", "epochs"), ("imgsz", "image_size"), ("colour", None)],
)
def test_a_name_that_does_not_exist_is_refused_with_the_one_that_was_meant(name: str, meant: str | None) -> None:
    with pytest.raises(ConfigError, match=f"no option '{name}'") as caught:
        resolve(FinetuneConfig, {name: "red"})
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"did you mean '{meant}'?" if meant else "the names are those of the flags")


@pytest.mark.parametrize(
    ("text", "widths"), [("linear", ()), ("512", (512,)), ("1024,512", (1024, 512)), ("65536", (65536,))]
)
def test_a_head_is_linear_or_a_list_of_widths(text: str, widths: tuple[int, ...], file: Path) -> None:
    assert parse_head(text) == widths
    assert resolve(FinetuneConfig, {"head": text}).config.head == text
    if widths:
        assert resolved(file, f"head: {list(widths)}").head == text


@pytest.mark.parametrize("text", ["", "Linear", "0", "-5", "1024,", ",", "1024;512", "1.5", "65537", "1e3", "[]"])
def test_no_other_text_is_a_head(text: str) -> None:
    with pytest.raises(ValueError, match="linear"):
        parse_head(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400), (" 0.5m ", 30), ("1e2s", 100), ("0.001s", 0.001)],
)
def test_a_time_has_a_unit_or_is_in_seconds(text: str, seconds: float, file: Path) -> None:
    assert resolve(FinetuneConfig, {"max_time": text}).config.max_time == seconds
    assert resolved(file, f"max_time: {text}\ncheckpoint-every: '{text}'").checkpoint_every == seconds


@pytest.mark.parametrize("text", ["auto", "0.01", "1"])
def test_a_rate_may_be_left_to_a_test(text: str, file: Path) -> None:
    wanted = text if text == "auto" else float(text)
    assert resolve(FinetuneConfig, {"lr": text}).config.lr == resolved(file, f"lr: {text}").lr == wanted


@pytest.mark.parametrize("text", ["auto", "64"])
def test_a_batch_size_may_be_left_to_the_memory(text: str, file: Path) -> None:
    wanted = text if text == "auto" else int(text)
    assert resolve(FinetuneConfig, {"batch_size": text}).config.batch_size == wanted
    assert resolved(file, f"batch-size: {text}").batch_size == wanted


def test_stages_are_a_list_or_words_with_commas(file: Path) -> None:
    wanted = ("layer3", "layer4")
    assert resolve(FinetuneConfig, {"unfreeze": "layer3, layer4"}).config.unfreeze == wanted
    assert resolved(file, "unfreeze: [layer3, layer4]").unfreeze == wanted
    assert resolved(file, "unfreeze: null").unfreeze is None


@pytest.mark.parametrize("value", ["null", "", "0", "auto", "'0'"])
@pytest.mark.parametrize("key", ["cached_views", "cached-views"])
def test_a_retired_key_that_is_off_is_still_read(key: str, value: str, file: Path) -> None:
    file.write_text(f"epochs: 3\n{key}: {value}\n")
    result = resolve(FinetuneConfig, {}, file)
    assert result.config == FinetuneConfig(epochs=3)
    assert result.origins.keys() == FinetuneConfig.model_fields.keys()


@pytest.mark.parametrize("value", ["4", "1", "[0]", "no"])
def test_a_retired_key_that_would_change_the_training_is_an_error(value: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe.yaml: cached_views was removed: frozen stages") as caught:
        resolved(file, f"cached_views: {value}")
    assert caught.value.hint and caught.value.exit_code == 2
    # What was trained with it can still be read.
    assert resolve(FinetuneConfig, {}, file, is_record=True).config == FinetuneConfig()


def test_retired_keys_are_no_fields() -> None:
    assert not RETIRED.keys() & FinetuneConfig.model_fields.keys()


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
CONFIGS = st.builds(
    FinetuneConfig,
    data=NAMES,
    classes=st.none() | st.lists(NAMES, min_size=2, max_size=4, unique=True).map(tuple),
    limit=st.none() | st.integers(1, 10**9),
    val_fraction=st.floats(1e-6, 0.49),
    weights=NAMES,
    head=st.sampled_from(["linear", "1024,512"]),
    lr=st.none() | st.just("auto") | st.floats(1e-12, 1e3),
    batch_size=st.none() | st.just("auto") | st.integers(1, 65_536),
    unfreeze=st.none() | st.lists(st.sampled_from(STAGES), min_size=1, unique=True).map(tuple),
    max_time=st.none() | st.floats(1e-3, 1e6),
    target=st.none() | st.floats(0, 1),
    warmup=st.none() | st.floats(0, 0.99),
    mixup=st.none() | st.floats(0, 10),
    add=st.booleans(),
    epochs=st.none() | st.integers(1, 10_000),
    seed=st.integers(0, 2**32 - 1),
    out=st.none() | NAMES.map(Path),
    offline=st.booleans(),
)


@given(config=CONFIGS)
def test_yaml_reads_back_to_the_same_values(config: FinetuneConfig, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_bytes(to_yaml(config).encode())
    assert resolve(FinetuneConfig, {}, file).config == config
