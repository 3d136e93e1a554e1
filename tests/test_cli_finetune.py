"""``resnet-cli finetune``: the JSON contract, quiet and dry runs, and YAML beneath flags."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.running import TINY_FLAGS, Trained, run_cli

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow_unless_trained", "no_plots")

MODES = ("frozen", "full", "lp-ft", "gradual")
WITHOUT_STEPS = ("digits", "--classes", "0,1,2", "--limit", "12", "--val-fraction", "0.05", *TINY_FLAGS)
SMALL = (*WITHOUT_STEPS, "--epochs", "2")


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A dry run measures one batch; a small one will do.
    monkeypatch.setattr("resnet_cli.training.estimate.inference_batch_size", lambda *_: 4)
    # Half a gigabyte each; tests/test_training_resume.py is about them.
    monkeypatch.setattr("resnet_cli.training.checkpointer.write_checkpoint", lambda *_, **__: None)


def finetune_json(*flags: object) -> dict[str, Any]:
    result = run_cli("finetune", *SMALL, *flags, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_json_is_one_object_with_the_promised_keys(mode: str) -> None:
    found = finetune_json("--mode", mode)
    promised = {"schema_version", "run", "model", "mode", "num_classes", "val_top1", "test_top1", "seconds"}
    more = {"weights", "num_images", "num_skipped", "epochs", "best_epoch", "old_classes", "precision", "threads"}
    more |= {"weights_reading", "penalties", "best_penalty"}
    assert set(found) == promised | more
    assert (found["schema_version"], found["mode"], found["num_classes"], found["epochs"]) == (1, mode, 3, 2)
    assert 0 <= found["val_top1"] <= 1 and 0 <= found["test_top1"] <= 1
    assert found["num_images"]["train"] == 12
    assert found["old_classes"] is None
    assert Path(found["model"]).is_file()
    assert Path(found["model"]).parent == Path(found["run"])
    assert Path("runs/latest").resolve() == Path(found["run"]).resolve()


def test_without_a_test_split_test_top1_is_null(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no-test"
    folder.mkdir()
    for split in ("train", "val"):
        (folder / split).symlink_to(photos / split)
    result = run_cli("finetune", folder, *TINY_FLAGS, "--mode", "frozen", "--epochs", 1, "--json", "--follow-links")
    assert json.loads(result.stdout)["test_top1"] is None


def test_a_plain_run_shows_figures_confusion_files_and_the_next_command_and_opens_its_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("resnet_cli.cli.opening.open_url", lambda url: not opened.append(url))  # type: ignore[func-returns-value]
    result = run_cli("finetune", *SMALL, "--mode", "frozen", "--out", "mine", "--open")
    assert opened == [(Path.cwd() / "mine" / "report.html").as_uri()]
    assert run_cli("finetune", *SMALL, "--open", "--dry-run").exit_code == 2
    assert result.exit_code == 0, result.output
    for text in ("Results", "validation", "test", "Confusion", "mine/model.safetensors", "resnet-cli eval mine"):
        assert text in result.stdout
    # The plan, progress and warnings accompany the result.
    for text in ("Plan", "random initialization", "warning: the frozen backbone has random weights", "epoch 2 of 2:"):
        assert text in result.stderr
        assert text not in result.stdout
    assert "kept epoch" in result.stdout and "lowest calibrated loss" in result.stdout
    assert "\x1b" not in result.output


def test_a_probe_by_lbfgs_shows_penalties_in_place_of_epochs() -> None:
    result = run_cli("finetune", *WITHOUT_STEPS, "--mode", "frozen", "--out", "mine")
    assert result.exit_code == 0, result.output
    assert "penalty 16: validation top-1" in result.stderr
    assert "kept penalty" in result.stdout
    assert "epoch" not in result.stderr


def test_a_finetune_shows_its_probe_first() -> None:
    result = run_cli("finetune", *SMALL, "--mode", "lp-ft", "--out", "mine")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    (probe,) = [at for at, line in enumerate(lines) if line.startswith("epoch 0, the linear probe: validation ")]
    assert probe < next(at for at, line in enumerate(lines) if line.startswith("epoch 2 of 2"))
    assert "kept epoch" in result.stdout


def test_quiet_prints_the_run_and_nothing_else() -> None:
    result = run_cli("finetune", *SMALL, "--mode", "frozen", "--out", "mine", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "mine\n", "")


def test_an_expression_in_the_help_can_be_copied() -> None:
    # The help is drawn as markup, which would take [a-z] for a style.
    assert r"'^(\w+)'" in run_cli("finetune", "--help-all").stdout


def test_every_value_of_the_config_is_a_flag_with_help() -> None:
    text = " ".join(run_cli("finetune", "--help-all").stdout.replace("│", " ").split())
    flags = {"--" + name.replace("_", "-") for name in FinetuneConfig.model_fields} - {"--data"}
    missing = {flag for flag in flags if not re.search(rf"{flag}(?![\w-])", text)}
    assert not missing
    assert "[DATA]" in text or "data" in text.lower()


@pytest.mark.parametrize("mode", MODES)
def test_a_dry_run_writes_nothing(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))

    def written() -> list[Path]:
        # What the look at the images showed is kept; it is no part of a run.
        return sorted(path for path in tmp_path.rglob("*") if tmp_path / "cache" not in [path, *path.parents])

    before = written()
    result = run_cli("finetune", *SMALL, "--mode", mode, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "No run was started" in result.stdout
    assert written() == before


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "frozen"])
def test_a_dry_run_as_json_has_every_choice_and_a_cost(mode: str) -> None:
    found = finetune_json("--mode", mode, "--dry-run")
    assert set(found) == {"schema_version", "plan", "warnings", "estimate"}
    assert set(found["estimate"]) == {"seconds", "memory_bytes"}
    assert found["estimate"]["memory_bytes"] > 0
    assert all(set(row) == {"name", "value", "origin", "why"} for row in found["plan"])
    names = {"data", "split", "weights", "mode", "head", "image-size", "device", "precision", "epochs", "batch-size"}
    assert {row["name"] for row in found["plan"]} >= names | {"lr", "head-lr", "augment", "seed"}
    assert not Path("runs").exists()


def plan_of(*flags: object) -> dict[str, tuple[str, str]]:
    result = run_cli("finetune", *flags, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    return {row["name"]: (row["value"], row["origin"]) for row in json.loads(result.stdout)["plan"]}


def test_flags_win_over_yaml_and_yaml_over_defaults() -> None:
    Path("recipe.yaml").write_text(
        "data: digits\nweights: none\nmode: full\nepochs: 7\nimage-size: 32\nbatch_size: 16\nlr: 1e-3\n"
        "precision: fp32\nclasses: [0, 1]\n"
    )
    plan = plan_of("--config", "recipe.yaml", "--epochs", 3, "--precision", "auto")
    assert plan["epochs"] == ("3", "flag")
    assert plan["precision"][1] == "flag"
    assert plan["batch-size"] == ("16", "config")
    assert plan["lr"] == ("0.001", "config")
    assert plan["image-size"] == ("32", "config")
    assert plan["seed"] == ("0", "default")
    assert plan["head-lr"][1] == "auto"


def test_a_runs_own_config_repeats_it(full_run: Trained) -> None:
    config = full_run.run / "config.yaml"
    values = yaml.safe_load(config.read_text())
    assert values["mode"] == "full"
    result = run_cli("finetune", "--config", config, "--epochs", 1, "--out", "again", "--json")
    assert result.exit_code == 0, result.output
    assert (Path("again") / "split.csv").read_text() == (full_run.run / "split.csv").read_text()


def test_the_same_command_gives_the_same_figures() -> None:
    figures = [finetune_json("--mode", "frozen", "--head", "8", "--seed", 3, "--out", name) for name in ("a", "b")]
    assert Path("a/history.csv").read_text().count("\n") == 3
    assert figures[0]["val_top1"] == figures[1]["val_top1"]
    rows = [list(csv.DictReader(Path(name, "history.csv").read_text().splitlines())) for name in "ab"]
    for row in (*rows[0], *rows[1]):
        del row["seconds"]
    assert rows[0] == rows[1]


def test_added_classes_and_what_is_left_of_the_old_ones_are_shown(frozen_run: Trained) -> None:
    flags = ("--weights", frozen_run.run, "--add", "--device", "cpu", "--precision", "fp32")
    shown = run_cli("finetune", "digits", "--classes", "0,1", "--limit", "12", *flags, "--out", "mine")
    assert shown.exit_code == 0, shown.output
    for text in ("Old classes", "the 3 old classes, before", "all 5 classes, now"):
        assert text in shown.stdout
    assert "blue, green, red" in shown.stderr
    told = json.loads(run_cli("finetune", "--config", "mine/config.yaml", "--out", "again", "--json").stdout)
    assert set(told["old_classes"]) == {"num", "before", "after"}
    assert (told["num_classes"], told["old_classes"]["num"]) == (5, 15)
    answered = run_cli("predict", frozen_run.photos / "test" / "green", "--model", "mine", "--json")
    labels = [json.loads(line)["label"] for line in answered.stdout.splitlines()]
    assert labels.count("green") >= 2


def test_a_result_below_what_was_asked_for_exits_with_10_after_it_is_shown() -> None:
    result = run_cli("finetune", *SMALL, "--mode", "full", "--lr", 1e-9, "--head-lr", 1e-9, "--fail-under", 1, "--json")
    assert result.exit_code == 10, result.output
    found = json.loads(result.stdout)
    assert found["test_top1"] < 1 and Path(found["model"]).is_file()
    assert json.loads(result.stderr.splitlines()[-1])["error"]["code"] == "verification"


def test_without_data_the_download_is_announced_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise ConfigError("the plan begins")

    monkeypatch.setattr("resnet_cli.commands.finetune.make_plan", stop)
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESNET_CLI_OFFLINE", raising=False)
    said = run_cli("finetune").stderr
    assert "cifar10 is downloaded: 170 MB from www.cs.toronto.edu" in said
    assert "To train on your own images: resnet-cli finetune FOLDER" in said
    assert said.index("170 MB") < said.index("the plan begins")
    assert "170 MB" not in run_cli("finetune", "cifar10").stderr


def test_without_data_and_network_it_says_first_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    said = run_cli("finetune", "--offline", "--weights", "none").stderr
    assert "No DATA was given, so cifar10 is needed: 170 MB from www.cs.toronto.edu" in said
    assert said.index("170 MB") < said.index("error: offline")
