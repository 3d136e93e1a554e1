"""Bad input: the exit code, a message that names the thing and the way out, and no run left behind."""

from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.narrow_network import make_narrow
from support.running import TINY_FLAGS, run_cli
from typer.testing import Result

from resnet_cli.cli import COMMANDS
from resnet_cli.system.caches import CacheWarning
from resnet_cli.version import __version__

pytest_plugins = ["support.small_runs"]

FROZEN = ("--mode", "frozen", *TINY_FLAGS)
FULL = ("--mode", "full", *TINY_FLAGS)


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A dry run measures one batch; a small one will do.
    monkeypatch.setattr("resnet_cli.training.estimate.inference_batch_size", lambda *_: 4)


def fails(result: Result, exit_code: int, *named: object) -> str:
    """Checks a refusal: code, an empty stdout, every name in the message, no traceback, no run."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    # One form for all errors: no box, and pydantic's words nowhere.
    assert "\nerror: " in "\n" + result.stderr
    message = " ".join(result.stderr.split())
    assert "Traceback" not in message and "Input should" not in message and "╭" not in message
    for thing in named:
        assert str(thing) in message
    assert not [path for path in Path().rglob("*") if path.name != "runs"]
    return message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    fails(run_cli("finetune", missing, *FROZEN), 3, missing, "no such folder", "try:", "cifar10")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    file.write_bytes(b"PK")
    fails(run_cli("finetune", file, *FROZEN), 3, file, "cannot be read")


def test_an_empty_folder_shows_the_layout_it_wants(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    fails(run_cli("finetune", folder, *FROZEN), 3, folder, "no images", "DATA/cat/1.jpg")


def test_images_without_class_folders_are_counted(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"cat": 3}) / "cat"
    fails(run_cli("finetune", folder, *FROZEN), 3, folder, "3 images but no class folders")


def test_one_class_is_not_enough(make_folder: Callable[..., Path]) -> None:
    fails(run_cli("finetune", make_folder({"cat": 4}), *FROZEN), 3, "only one class, 'cat'", "try:")


def test_a_class_with_one_image_is_named_with_the_way_out(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"cat": 4, "dog": 1, "owl": 4})
    fails(run_cli("finetune", folder, *FROZEN), 3, "'dog' has 1 training image", "--classes cat,owl")


def test_a_text_file_among_the_images_is_passed_over_and_noted(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"cat": 4, "dog": 4})
    (folder / "cat" / "notes.txt").write_text("a cat")
    result = run_cli("finetune", folder, *FROZEN, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert any("not images were ignored" in warning for warning in json.loads(result.stdout)["warnings"])


@pytest.mark.parametrize("mode", [FROZEN, FULL], ids=["frozen", "full"])
def test_every_unreadable_image_is_named_with_its_reason(make_folder: Callable[..., Path], mode: Any) -> None:
    folder = make_folder({"cat": 5, "dog": 5})
    (folder / "cat" / "text.jpg").write_text("not an image")
    (folder / "dog" / "empty.png").touch()
    cut = folder / "dog" / "cut.jpg"
    whole = (folder / "dog" / "000.jpg").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    message = fails(run_cli("finetune", folder, *mode, "--epochs", 1), 3, "3 of 13 images", "try:")
    assert f"{folder / 'cat' / 'text.jpg'}: not an image" in message
    assert f"{folder / 'dog' / 'empty.png'}: the file is empty" in message
    assert f"{cut}: damaged" in message


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_another_architecture_are_refused(
    make_folder: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    from torchvision.models import resnet18

    path = tmp_path / f"resnet18{suffix}"
    state = resnet18().state_dict()
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    result = run_cli("finetune", make_folder({"a": 4, "b": 4}), *FROZEN, "--weights", path)
    fails(result, 3, path, "not a ResNet-50", "give ResNet-50 weights")


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("command", ["finetune", "eval", "predict"])
def test_a_pickle_is_refused_and_never_run(make_folder: Callable[..., Path], tmp_path: Path, command: str) -> None:
    folder, went_off, path = make_folder({"a": 4, "b": 4}), tmp_path / "went-off", tmp_path / "weights.pth"
    torch.save({"state_dict": Bomb(went_off)}, path)
    arguments = {
        "finetune": ["finetune", folder, *FROZEN, "--weights", path],
        "eval": ["eval", path, folder],
        "predict": ["predict", folder, "--model", path],
    }
    fails(run_cli(*arguments[command]), 9, path, "could run code", "safetensors")
    assert not went_off.exists()


def test_a_bare_pickle_is_refused(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "went-off"), protocol=2))
    fails(run_cli("finetune", make_folder({"a": 4, "b": 4}), *FROZEN, "--weights", path), 9, path)
    assert not (tmp_path / "went-off").exists()


@pytest.mark.parametrize("name", ["half.safetensors", "half.pth"])
def test_damaged_weights_are_named(make_folder: Callable[..., Path], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    tensors = {"fc.weight": torch.zeros(1000, 64)}
    torch.save(tensors, path) if path.suffix == ".pth" else save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:50_000])
    fails(run_cli("finetune", make_folder({"a": 4, "b": 4}), *FROZEN, "--weights", path), 3, path, "not a complete")


def test_without_weights_and_network_three_ways_out_are_named(make_folder: Callable[..., Path]) -> None:
    result = run_cli("finetune", make_folder({"a": 4, "b": 4}))
    fails(result, 5, "no ImageNet weights", "(1) put resnet50-", "(2) name a ResNet-50 file", "(3)", "--weights none")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--epochs", "0"], ["--epochs 0", "must be at least 1"]),
        (["--lr", "nan"], ["--lr nan", "finite"]),
        (["--lr", "inf"], ["--lr inf", "finite"]),
        (["--head-lr", "-1"], ["--head-lr -1", "greater than 0"]),
        (["--batch-size", "0"], ["--batch-size 0"]),
        (["--image-size", "8"], ["--image-size 8", "32"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--val-fraction", "0.5"], ["--val-fraction 0.5"]),
        (["--mode", "fast"], ["--mode fast", "one of auto, frozen, full"]),
        (["--mode", "frosen"], ["--mode frosen", "did you mean --mode frozen?"]),
        (["--head", "1024;512"], ["--head 1024;512", "linear"]),
        (["--augment", "wild"], ["--augment wild", "light, standard"]),
        (["--lr", "fast"], ["--lr fast"]),
        (["--batch-size", "many"], ["--batch-size many"]),
        (["--unfreeze", "layer5"], ["--unfreeze layer5", "stem, layer1"]),
        (["--max-time", "soon"], ["--max-time soon", "20m"]),
        (["--target", "97"], ["--target 97", "must be at most 1", "did you mean --target 97%?"]),
        (["--fit", "stretch"], ["--fit stretch", "crop, pad, squash"]),
        (["--resume", "--seed", "3"], ["--resume"]),
        (["--epochs", "ten"], ["--epochs ten: must be a whole number"]),
        (["--learning-rate", "1"], ["resnet-cli finetune has no flag --learning-rate", "did you mean --lr?"]),
        (["--epoch", "3"], ["has no flag --epoch", "did you mean --epochs?"]),
        (["--xyz"], ["has no flag --xyz", "try: for all flags: resnet-cli finetune --help-all"]),
        (["--epochs"], ["--epochs needs a value"]),
        (["--quiet=1"], ["--quiet takes no value"]),
        (["more", "still"], ["resnet-cli finetune: unexpected argument more still"]),
        (["--device", "gpu"], ["--device gpu", "use auto, cpu"]),
        (["--weights", "resnet50.onnx"], ["--weights resnet50.onnx", "no such file"]),
        (["--weights", "imagnet-v1"], ["--weights imagnet-v1", "did you mean imagenet-v1?"]),
        (["--config", "none.yaml"], ["none.yaml", "No such file"]),
    ],
    ids=lambda value: "=".join(value),
)
def test_a_bad_flag_is_a_usage_error_that_names_it(flags: list[str], named: list[str]) -> None:
    fails(run_cli("finetune", "digits", *flags), 2, *named)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epoch: 3", ["unknown key 'epoch'", "did you mean 'epochs'?"]),
        ("epochs: 3\nepochs: 4", ["occurs twice"]),
        ("epochs: 0", [": epochs 0"]),
        ("a: &x 1\nb: *x", ["aliases"]),
        ("epochs: !!python/object/apply:os.system [id]", ["tags"]),
        ("- 1", ["must be a mapping"]),
        ("epochs: [", ["not valid YAML"]),
    ],
)
def test_a_bad_config_file_is_named_with_its_reason(tmp_path: Path, text: str, named: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    fails(run_cli("finetune", "digits", "--config", path), 2, path, *named)


#: Flags that the mode beside them does nothing with, and what the refusal names.
WITHOUT_EFFECT: list[tuple[str, list[str]]] = [
    ("--mode frozen --lr 0.1", ["--lr", "frozen", "--head-lr"]),
    ("--mode frozen --layer-decay 0.5", ["--layer-decay", "frozen", "--mode lp-ft"]),
    ("--mode frozen --unfreeze layer4", ["--unfreeze", "frozen", "--mode lp-ft"]),
    ("--mode frozen --progressive 32", ["--progressive", "frozen", "--mode lp-ft"]),
    ("--mode frozen --augment light", ["--augment", "frozen", "--mode lp-ft"]),
    ("--mode frozen --policy randaugment", ["--policy", "frozen", "--mode lp-ft"]),
    ("--mode frozen --erasing 0.5", ["--erasing", "frozen", "--mode lp-ft"]),
    ("--mode frozen --mixup 0.2", ["--mixup", "frozen", "--mode lp-ft"]),
    ("--mode frozen --cutmix 0.2", ["--cutmix", "frozen", "--mode lp-ft"]),
    ("--mode frozen --mix-off-epochs 2", ["--mix-off-epochs", "frozen", "--mode lp-ft"]),
    ("--mode frozen --batchnorm eval", ["--batchnorm", "frozen", "--mode lp-ft"]),
    ("--mode frozen --max-time 1m", ["--max-time", "frozen", "--mode"]),
    ("--mode frozen --solver lbfgs --epochs 3", ["--solver lbfgs", "--epochs"]),
    ("--mode frozen --solver lbfgs --head 16", ["--solver lbfgs", "hidden layers"]),
    ("--mode full --solver lbfgs", ["--solver", "--mode lp-ft"]),
    ("--mode lp-ft --ema 0.9 --average 2", ["--ema", "--average"]),
    ("--mode lp-ft --average 20", ["--average 20", "10 epochs"]),
    ("--mode lp-ft --mix-off-epochs 2", ["--mix-off-epochs", "--mixup"]),
    ("--mode lp-ft --progressive 64", ["--progressive 64", "32"]),
    ("--mode lp-ft --schedule one-cycle --warmup 0.2", ["--warmup", "one-cycle"]),
    ("--mode frozen --add", ["--add", "--weights runs/NAME"]),
]


@pytest.mark.parametrize(("flags", "named"), WITHOUT_EFFECT, ids=[flags for flags, _ in WITHOUT_EFFECT])
def test_a_flag_without_effect_in_the_mode_is_refused(flags: str, named: list[str]) -> None:
    message = fails(run_cli("finetune", "digits", *TINY_FLAGS, *flags.split()), 2, *named)
    assert "try:" in message


def test_an_existing_out_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    fails(run_cli("finetune", "digits", *FROZEN, "--out", out), 2, f"--out {out}", "exists already", "another name")
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_name_of_data_or_of_a_path_is_answered_with_the_nearest_one(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    fails(run_cli("finetune", "cifr10", *FROZEN), 3, "DATA cifr10", "did you mean cifar10?")
    folder = make_folder({"cat": 4, "dog": 4})
    near = folder.with_name(folder.name + "s")
    fails(run_cli("finetune", near, *FROZEN), 3, f"did you mean {folder}?")
    fails(run_cli("eval", near), 2, f"did you mean {folder}?")


def test_what_can_be_known_at_once_is_refused_before_any_image_is_read(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder({"cat": 4, "dog": 4})
    (folder / "cat" / "text.jpg").write_text("not an image, which is an error when it is read")
    fails(run_cli("finetune", folder, "--weights", "none.pth"), 2, "--weights none.pth: no such file")
    fails(run_cli("finetune", folder, *FROZEN, "--out", "/proc/nowhere/run"), 6, "/proc/nowhere/run", "--out")
    monkeypatch.setattr("resnet_cli.loggers.listener.is_installed", lambda package: False)
    message = fails(run_cli("finetune", folder, *FROZEN, "--tensorboard", "--dry-run"), 4, "tensorboard needs")
    assert "[tensorboard]" in message


def test_a_place_that_cannot_be_written_is_named() -> None:
    fails(run_cli("finetune", "digits", *FROZEN, "--out", "/proc/nowhere/run"), 6, "/proc/nowhere")


def test_a_cache_that_cannot_be_written_is_named_and_stops_no_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_narrow(monkeypatch)
    monkeypatch.setenv("RESNET_CLI_CACHE", "/proc/nowhere")
    flags = ["--classes", "0,1", "--limit", 8, "--epochs", 1, "--out", tmp_path / "run"]
    with pytest.warns(CacheWarning, match=r"cache folder /proc/nowhere cannot be written"):
        result = run_cli("finetune", "digits", *FROZEN, *flags)
    assert result.exit_code == 0, result.output


def test_with_json_an_error_is_json_on_stderr(tmp_path: Path) -> None:
    result = run_cli("finetune", tmp_path / "nowhere", *FROZEN, "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    found = json.loads(result.stderr)
    assert found["schema_version"] == 1
    assert set(found["error"]) == {"code", "exit_code", "message", "hint"}
    assert (found["error"]["code"], found["error"]["exit_code"]) == ("data", 3)


def test_a_path_in_a_message_is_never_cut_or_read_as_markup(tmp_path: Path) -> None:
    missing = tmp_path / "[bold]deep[/bold] :smile:" / ("x" * 200)
    result = run_cli("finetune", missing, *FROZEN)
    assert str(missing) in result.stderr


def test_a_model_cut_short_is_refused(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    for arguments in (["eval", path, make_folder({"a": 1})], ["predict", tmp_path, "--model", path]):
        result = run_cli(*arguments)
        assert result.exit_code == 3, result.output


def test_escape_sequences_in_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    result = run_cli("finetune", tmp_path / "\x1b]0;PWN\x07")
    assert result.exit_code == 3
    assert "\x1b" not in result.stderr and "\x07" not in result.stderr


@pytest.mark.parametrize("name", ["~nosuchuser/x", "x" * 300])
def test_names_that_can_be_no_path_are_missing_data(name: str) -> None:
    assert run_cli("finetune", name).exit_code == 3
    assert run_cli("predict", name, "--model", name).exit_code == 2


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("trian photos/", "resnet-cli finetune photos/"),
        ("evaluate 'runs/a b'", "resnet-cli eval 'runs/a b'"),
        ("help", "resnet-cli --help"),
        ("xyz", "one of demo, finetune, predict"),
    ],
)
def test_a_command_that_does_not_exist_is_answered_with_the_one_that_was_meant(typed: str, hint: str) -> None:
    words = shlex.split(typed)
    fails(run_cli(*words), 2, f"there is no command '{words[0]}'", f"try: {hint}")


def test_what_was_typed_wrong_is_json_too_with_json() -> None:
    result = run_cli("finetune", "photos", "--learning-rate", "1", "--json")
    assert result.exit_code == 2 and result.stdout == ""
    assert json.loads(result.stderr)["error"]["hint"].startswith("did you mean --lr?")


def test_a_missing_argument_is_named_with_an_example() -> None:
    fails(run_cli("inspect"), 2, "resnet-cli inspect needs DATA", "try: resnet-cli inspect photos/")


def test_verbose_shows_what_led_to_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    short, long = (run_cli("finetune", "digits", "--config", missing, *more) for more in ([], ["-v"]))
    assert "cause:" not in short.stderr
    assert (
        long.stderr == short.stderr + f"  cause: FileNotFoundError: [Errno 2] No such file or directory: '{missing}'\n"
    )


def test_without_a_command_one_line_says_what_each_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run_cli()
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) < 80
    assert [line.split()[0] for line in lines if line.startswith("  ")][: len(COMMANDS)] == list(COMMANDS)
    assert sum("resnet-cli" in line for line in lines[-3:]) == 3


def test_the_version_has_a_short_flag_and_with_verbose_what_a_bug_report_needs() -> None:
    assert run_cli("-V").stdout == run_cli("--version").stdout == f"resnet-cli {__version__}\n"
    told = run_cli("--version", "--verbose").stdout
    assert told.startswith(f"resnet-cli {__version__}\n") and "Python" in told and "torch" in told
    fails(run_cli("-v", "finetune"), 2, "goes after the command", "resnet-cli finetune --verbose")
