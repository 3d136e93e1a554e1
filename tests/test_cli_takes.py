"""Flags that come from a config's fields: what they accept, how help shows them, and what the shell offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from support.running import run_cli
from typer.testing import CliRunner

from resnet_cli.cli import App, app
from resnet_cli.cli.completion import complete_data, complete_model
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import Config, Flag, Resolved, Rule, resolve
from resnet_cli.config.units import Duration, NumBytes, Positive, Share
from resnet_cli.errors import ConfigError


class _Example(Config):
    share: Annotated[Share | None, Flag("A share.", "Numbers", "none")] = None
    wait: Annotated[Duration, Flag("A duration.", "Numbers")] = 30.0
    size: Annotated[NumBytes | None, Flag("A size.", "Numbers")] = None
    number: Annotated[Positive | Literal["auto"], Flag("A number. It counts.", "Numbers")] = "auto"
    mode: Annotated[Literal["fast", "exact"], Flag("A choice.", short="-m")] = "exact"
    names: Annotated[list[str] | None, Flag("Several.", name="--name")] = None
    folder: Annotated[Path | None, Flag("A folder.")] = None
    keep: Annotated[bool, Flag("Do not keep it.")] = True
    force: Annotated[bool, Flag("Force it.")] = False
    deep: Annotated[bool | None, Flag("Below it.", two_way=True)] = None
    hidden: int = 3

    rules = (Rule(("force",), lambda config: config.mode == "fast", "has no effect without --mode fast"),)


@pytest.fixture
def run() -> Callable[..., tuple[int, str, dict[str, Any], Resolved[_Example] | None]]:
    """Calls a command with the flags of the example: exit code, output, what was given, what it came to."""
    app = App(context_settings={"help_option_names": ["-h", "--help", "--help-all"]})
    seen: list[Any] = []

    @app.command(epilog=examples("try this", docs="that.md"))
    @takes(_Example, essential=("mode", "share", "where"), omit={"size"})
    def command(where: str = "here", *, flags: Flags, last: bool = False) -> None:
        seen[:] = [dict(flags), resolve(_Example, flags)]

    def call(*arguments: str) -> tuple[int, str, dict[str, Any], Resolved[_Example] | None]:
        seen[:] = [{}, None]
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, ConfigError):
            return result.exception.exit_code, result.exception.message, {}, None
        return result.exit_code, result.output, seen[0], seen[1]

    return call


def test_flags_and_yaml_accept_the_same_spellings(run: Any, tmp_path: Path) -> None:
    _, _, given, resolved = run("--share", "95%", "--wait", "1.5m", "--number", "3", "-m", "fast", "--name", "a")
    assert given == {"share": "95%", "wait": "1.5m", "number": "3", "mode": "fast", "names": ["a"]}
    file = tmp_path / "c.yaml"
    file.write_text("share: 95%\nwait: 1.5m\nnumber: 3\nmode: fast\nnames: [a]\nsize: 2MB\n")
    written = resolve(_Example, {}, file).config
    assert resolved is not None
    assert resolved.config == written.model_copy(update={"size": None})
    assert (written.share, written.wait, written.size) == (0.95, 90.0, 2_000_000)


def test_what_was_not_typed_is_not_given(run: Any) -> None:
    assert run()[2] == {}
    assert run("--no-keep", "--no-deep", "--folder", "x")[2] == {"keep": False, "deep": False, "folder": Path("x")}
    assert run("--deep", "--force", "-m", "fast")[2] == {"deep": True, "force": True, "mode": "fast"}


def test_a_wrong_value_and_a_flag_without_effect_are_config_errors(run: Any) -> None:
    assert run("--share", "95")[:2] == (2, "--share 95: must be at most 1")
    assert run("--number", "ten")[:2] == (2, "--number ten: must be a whole number, or auto")
    assert run("--mode", "fats")[:2] == (2, "--mode fats: must be one of fast, exact")
    assert run("--force")[:2] == (2, "--force has no effect without --mode fast")
    assert run("--size", "1")[0] == 2


def test_help_shows_the_essential_flags_with_their_choices_and_all_of_them_on_request(run: Any) -> None:
    for flag in ("-h", "--help"):
        _, text, _, _ = run(flag)
        assert "-m, --mode [fast|exact]" in text and "--share SHARE" in text and "--where WHERE" in text
        assert text.index("--mode") < text.index("--share") < text.index("--help-all: all 13 flags")
        assert text.rstrip().endswith("Examples:\n  try this\nMore: docs/that.md")
        assert "--number" not in text and "--size" not in text and "--hidden" not in text
    _, text, _, _ = run("--help-all")
    assert "--number [N|auto]" in text and "--wait DURATION" in text and "--[no-]deep" in text
    assert "It counts. [default: auto]" in text
    assert "--size" not in text and "--hidden" not in text
    assert text.index("\nNumbers:") < text.index("--number") and text.index("\nOptions:") < text.index("--force")


def test_help_fits_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (40, 60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        for flag in ("-h", "--help-all"):
            assert max(map(len, run(flag)[1].splitlines())) <= min(width, 100)


def test_the_shell_offers_data_sets_runs_weights_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "pets").mkdir(parents=True)
    (tmp_path / "cifs.csv").touch()
    assert complete_data("cif") == ["cifar10", "cifar100", "cifs.csv"]
    assert complete_model("runs/") == ["runs/pets/"]
    assert "runs/pets/" in complete_model("") and "imagenet-v1" in complete_model("imagenet")


@pytest.mark.slow
def test_the_model_can_be_named_by_argument_or_flag_and_not_by_both() -> None:
    for command, more in (("export", []), ("serve", []), ("eval", ["digits"])):
        by_argument, by_flag = (run_cli(command, *words, *more).stderr for words in (["a.pth"], ["--model", "a.pth"]))
        assert "a.pth" in by_argument and by_argument == by_flag
    result = run_cli("export", "a", "-m", "b")
    assert result.exit_code == 2 and "a and --model b: choose one" in result.stderr


def test_every_command_that_writes_to_a_place_accepts_the_same_names_for_it() -> None:
    for name, *words in (["inspect", "d"], ["finetune", "d"], ["eval"], ["export"], ["predict", "i"], ["demo"]):
        for flag in ("--out", "-o", "--output"):
            # What is refused is the other flag, so that nothing is done.
            message = run_cli(name, *words, flag, "x", "--nonsense").stderr
            assert "has no flag --nonsense" in message and "did you mean" not in message


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fine", "finetune"),
        ("finetune --mode f", "frozen full"),
        ("finetune --split-s", "--split-seed"),
        ("finetune --device c", "cpu cuda cuda:0 cuda:1"),
        ("finetune cifar", "cifar10 cifar100"),
        ("finetune --weights imagenet-v", "imagenet-v1 imagenet-v2"),
        ("eval runs/p", "runs/pets/"),
        ("predict --model runs/", "runs/pets/"),
        ("export --format o", "onnx openvino"),
        ("download imagenet-v1 cifar100", "cifar100"),
    ],
)
def test_the_shell_completes_commands_flags_and_values(
    typed: str, offered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "pets").mkdir(parents=True)
    words = {"COMP_WORDS": f"resnet-cli {typed}", "COMP_CWORD": str(len(typed.split()))}
    env = {"_RESNET_CLI_COMPLETE": "complete_bash", **words}
    assert CliRunner().invoke(app, prog_name="resnet-cli", env=env).output.split() == offered.split()
