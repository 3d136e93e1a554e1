"""``resnet-cli runs`` lists, shows and removes runs in whatever state they are, and touches nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.running import IMPORTED, Trained, run_cli
from support.terminal import on_terminal

from resnet_cli.cli.completion import complete_run
from resnet_cli.cli.run_tables import runs_table
from resnet_cli.commands import run_files
from resnet_cli.commands.run_list import list_runs
from resnet_cli.system.latest import mark_latest
from resnet_cli.system.paths import LATEST
from resnet_cli.training.journal import JOURNAL, Journal

pytest_plugins = ["support.small_runs"]

#: What the first version wrote.
OLD_METRICS = {
    "run": "runs/old",
    "mode": "frozen",
    "weights": "imagenet-v1",
    "epochs": 2,
    "best_epoch": 1,
    "num_classes": 2,
}
OLD_METRICS |= {"val_top1": 0.9, "test_top1": None, "val": {"num_images": 40, "top1": 0.9}, "test": None}


@pytest.fixture
def runs(here: Path) -> Path:
    folder = here / "runs"
    folder.mkdir()
    return folder


def copy_of(trained: Trained, to: Path, *, without: tuple[str, ...] = (), age_s: float = 0) -> Path:
    """The small files of a run and an empty model, as old as asked for."""
    to.mkdir(parents=True)
    for path in trained.run.iterdir():
        if path.is_file() and path.name not in without:
            if path.name == "model.safetensors":
                (to / path.name).touch()
            else:
                shutil.copyfile(path, to / path.name)
    (to / "checkpoints").mkdir()
    (to / "checkpoints" / "step-000000009.safetensors").write_bytes(b"12345")
    for path in to.iterdir():
        os.utime(path, (time.time() - age_s,) * 2)
    return to


def listed(*arguments: object) -> dict[str, dict[str, Any]]:
    result = run_cli("runs", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return {run["name"]: run for run in json.loads(result.stdout)["runs"]}


def test_runs_are_listed_newest_first_with_scores_sizes_and_states(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "old", age_s=9000)
    copy_of(full_run, runs / "stopped", without=("metrics.json",), age_s=60)
    copy_of(full_run, runs / "sweep" / "seed-3", age_s=300)
    copy_of(full_run, runs / "busy", without=("metrics.json",), age_s=5)
    mark_latest(runs / "old")
    (runs / "notes").mkdir()
    with Journal(runs / "busy" / JOURNAL):
        found = listed()
    assert list(found) == ["busy", "stopped", "sweep/seed-3", "old"]
    states = [(run["state"], run["is_resumable"], run["is_latest"]) for run in found.values()]
    assert states == [
        ("running", False, False), ("interrupted", True, False), ("finished", False, False), ("finished", False, True)
    ]  # fmt: skip
    old, metrics = found["old"], json.loads((full_run.run / "metrics.json").read_text())
    score = old["scores"][0]
    assert (score["split"], score["value"]) == ("test", metrics["test_top1"])
    assert score["interval"] == metrics["test"]["intervals"]["top1"]
    assert (old["mode"], old["epochs"], old["epochs_done"], old["data"]) == ("full", 3, 3, str(full_run.photos))
    assert old["num_bytes"] == sum(path.stat().st_size for path in (runs / "old").rglob("*") if path.is_file())
    best = min(result.val_fitted_loss for result in full_run.result.history)
    kept = next(record for record in full_run.result.history if record.val_fitted_loss == best)
    assert found["stopped"]["scores"][0]["value"] == kept.val_score


def test_a_damaged_run_is_listed_with_what_is_wrong(runs: Path, full_run: Trained) -> None:
    for name, file, content in (
        ("torn", "metrics.json", '{"mode": "full", "val_top1": 0.'),
        ("list", "metrics.json", "[]"),
        ("deep", "metrics.json", "[" * 200_000),
        ("tab", "config.yaml", "\tdata: [x"),
        ("bytes", "config.yaml", "\0"),
        ("cells", "history.csv", "epoch,val_top1\n1,0.5\n2,\n3"),
    ):
        copy_of(full_run, runs / name)
        (runs / name / file).write_text(content)
    copy_of(full_run, runs / "no-model", without=("model.safetensors",))
    copy_of(full_run, runs / "no-split", without=("split.csv",))
    (runs / "killed").mkdir()
    (runs / "killed" / JOURNAL).touch()
    (runs / "folder" / "metrics.json").mkdir(parents=True)
    (runs / "folder" / JOURNAL).touch()
    found = listed()
    problems = {name: run["problems"] for name, run in found.items()}
    assert problems["torn"] == problems["list"] == problems["deep"] == ["metrics.json is damaged"]
    assert problems["tab"] == problems["bytes"] == ["config.yaml is not valid YAML"]
    assert problems["no-model"] == ["model.safetensors is missing"]
    assert problems["no-split"] == ["split.csv is missing"]
    assert problems["killed"] == ["it ended before anything was saved"]
    assert problems["cells"] == [] and found["cells"]["state"] == "finished"
    assert {found[name]["state"] for name in ("torn", "tab", "no-model", "no-split", "folder")} == {"damaged"}
    assert found["killed"]["state"] == "failed"
    assert any(text.startswith("metrics.json cannot be read") for text in problems["folder"])
    for name in found:
        assert run_cli("runs", "show", name).exit_code == 0


def test_a_run_of_the_first_version_has_an_interval_and_its_epoch(runs: Path) -> None:
    run = runs / "old"
    run.mkdir()
    (run / "config.yaml").write_text("data: photos\nmode: frozen\nepochs: 2\nweights: auto\n")
    (run / "split.csv").write_text("path,label,split\na.jpg,cat,train\n")
    (run / "history.csv").write_text(
        "epoch,train_loss,train_top1,val_loss,val_top1,lr,seconds\n1,0.5,0.8,0.4,0.9,0.01,2.0\n2,0.4,0.9,0.5,0.85,0.0,2.0\n"
    )
    (run / "metrics.json").write_text(json.dumps(OLD_METRICS))
    (run / "model.safetensors").touch()
    score = listed()["old"]["scores"][0]
    assert (score["split"], score["value"]) == ("val", 0.9)
    # Wilson's interval of 36 of 40.
    assert score["interval"] == pytest.approx([0.7695, 0.9604], abs=1e-4)
    shown = run_cli("runs", "show", "old")
    assert shown.exit_code == 0 and "epoch 1" in shown.stdout


def test_only_the_beginning_of_large_metrics_is_read(
    runs: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(full_run, runs / "large")
    whole = listed()["large"]
    monkeypatch.setattr(run_files, "WHOLE_BYTES", 100)
    monkeypatch.setattr(run_files, "PART_BYTES", 2000)
    assert listed()["large"] == whole
    data = (run / "metrics.json").read_bytes()
    (run / "metrics.json").write_bytes(data[: len(data) // 2])
    assert listed()["large"]["problems"] == ["metrics.json is damaged"]


def test_the_list_imports_no_torch_and_fits_the_terminal(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "photos-20261130-101500")
    copy_of(full_run, runs / "stopped", without=("metrics.json",))
    program = f"import sys; sys.argv[1:] = ['runs']\n{IMPORTED}"
    screen = on_terminal(columns=60, cwd=runs.parent, program=program)
    code, imported = json.loads(screen.stderr.decode().splitlines()[-1])
    assert code == 0 and not {"torch", "PIL", "sklearn", "safetensors"}.intersection(imported)
    # Hyperlinks take no room.
    lines = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", screen.text).splitlines()
    assert_fits(lines, 60, "run top-1 state age")
    for columns, headings in ((80, "run top-1 95 % state age"), (140, "run data mode epochs")):
        console = Console(width=columns, file=io.StringIO())
        console.print(runs_table(list_runs().runs, width=columns))
        assert isinstance(console.file, io.StringIO)
        assert_fits(console.file.getvalue().splitlines(), columns, headings)


def test_a_long_name_of_a_run_costs_columns_of_the_list_and_is_not_broken(runs: Path, full_run: Trained) -> None:
    name = "demo-20261130-090149/compare-untrained-all"
    copy_of(full_run, runs / name)
    console = Console(width=80, file=io.StringIO())
    console.print(runs_table(list_runs().runs, width=80))
    assert isinstance(console.file, io.StringIO)
    assert f" {name} " in console.file.getvalue() and "95 %" not in console.file.getvalue()


def assert_fits(lines: list[str], columns: int, headings: str) -> None:
    """One line per run, none of them broken."""
    assert all(len(line) <= columns for line in lines)
    assert any(" ".join(line.split()).startswith(headings) for line in lines), lines
    states = {line.split()[0]: line for line in lines if line.startswith((" photos-20261130-101500 ", " stopped "))}
    assert "finished" in states["photos-20261130-101500"] and "interrupted" in states["stopped"]


def test_a_pipe_gets_one_line_with_tabs_per_run(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "a")
    header, line = run_cli("runs").stdout.splitlines()
    row = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (row["run"], row["state"], row["split"]) == ("runs/a", "finished", "test")
    assert run_cli("runs", "--quiet").stdout == "runs/a\n"
    assert run_cli("runs", runs / "a", "--quiet").stdout.strip() == str(runs / "a")


def test_show_names_the_command_that_made_the_run_and_those_to_continue_with(
    here: Path, full_run: Trained, runs: Path
) -> None:
    result = run_cli("runs", "show", full_run.run, "--json")
    found = json.loads(result.stdout)
    commands = found["commands"]
    assert commands["made_by"].startswith(f"resnet-cli finetune {full_run.photos} ")
    assert "--mode full" in commands["made_by"] and "--epochs 3" in commands["made_by"]
    assert commands["extend"] == f"resnet-cli finetune --resume {full_run.run} --epochs 6"
    assert commands["evaluate"] == f"resnet-cli eval {full_run.run}"
    assert found["kept"].startswith("kept epoch ") and len(found["history"]) == 3
    assert found["num_images"] == {"train": 24, "val": 15, "test": 9}
    assert "model.safetensors" in [file["name"] for file in found["files"]]
    text = run_cli("runs", "show", full_run.run).stdout
    assert "24 training, 15 validation, 9 test" in text and "lowest calibrated loss" in text
    copy_of(full_run, runs / "stopped", without=("metrics.json",))
    stopped = json.loads(run_cli("runs", "show", "stopped", "--json").stdout)
    assert stopped["commands"]["resume"] == "resnet-cli finetune --resume runs/stopped"


def test_the_shell_completes_names_of_runs(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "photos-1")
    copy_of(full_run, runs / "sweep" / "seed-0")
    (runs / "photos-notes").mkdir()
    assert complete_run("ph") == ["photos-1"] and complete_run("sw") == ["sweep/seed-0"]
    assert complete_run("") == ["latest", "photos-1", "sweep/seed-0", "runs/"]


def test_a_name_that_is_no_run_is_an_error_with_the_nearest_one(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "photos-1")
    result = run_cli("runs", "show", "fotos-1")
    assert result.exit_code == 2 and "did you mean photos-1?" in result.stderr
    assert run_cli("runs", "nowhere").exit_code == 2
    (runs / "empty").mkdir()
    assert "not a run folder" in run_cli("runs", "rm", "runs/empty", "--yes").stderr
    LATEST.symlink_to("gone")
    assert "points to a run that does not exist" in run_cli("runs", "show").stderr


def test_removing_a_run_moves_latest_and_keeps_everything_else(runs: Path, full_run: Trained) -> None:
    for name, age_s in (("a", 300), ("b", 200), ("c", 100)):
        copy_of(full_run, runs / name, age_s=age_s)
    precious = runs.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (runs / "c" / "plots").symlink_to(precious, target_is_directory=True)
    (runs / "elsewhere").symlink_to(precious, target_is_directory=True)
    mark_latest(runs / "c")
    refused = run_cli("runs", "rm", "latest")
    assert refused.exit_code == 2 and "runs/c: finished" in refused.stderr and "add --yes" in refused.stderr
    removed = run_cli("runs", "rm", "latest", "--yes", "--json")
    assert json.loads(removed.stdout)["latest"] == "runs/b"
    assert not (runs / "c").exists() and (precious / "file").exists()
    assert run_cli("runs", "rm", "runs/elsewhere", "--yes").exit_code == 2 and (precious / "file").exists()
    # One that is not the latest leaves it alone; the last one takes it away.
    assert run_cli("runs", "rm", "a", "--yes").exit_code == 0 and os.readlink(LATEST) == "b"
    assert run_cli("runs", "rm", "b", "--yes").exit_code == 0
    assert not os.path.lexists(LATEST) and sorted(os.listdir(runs)) == ["elsewhere"]


def test_an_empty_name_is_not_the_run_that_the_user_is_in_and_an_endless_one_is_an_error(
    runs: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_of(full_run, runs / "a"))
    for words in (("runs", "rm", "--yes"), ("runs", "show"), ("export",), ("predict", "x.png", "--model")):
        refused = run_cli(*words, "")
        assert refused.exit_code == 2 and "is empty" in refused.stderr
    for words in (("runs",), ("runs", "show"), ("runs", "rm", "--yes"), ("finetune", "--resume")):
        assert run_cli(*words, "x" * 5000).exit_code == 2
    assert (runs / "a" / "model.safetensors").exists()


def test_what_can_be_resumed_or_is_training_needs_force(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "stopped", without=("metrics.json",))
    copy_of(full_run, runs / "busy")
    refused = run_cli("runs", "rm", "stopped", "--yes")
    assert refused.exit_code == 2 and "resnet-cli finetune --resume runs/stopped" in refused.stderr
    with Journal(runs / "busy" / JOURNAL):
        # Nothing is removed if one of them must stay.
        copy_of(full_run, runs / "done")
        assert "still training" in run_cli("runs", "rm", "done", "busy", "--yes").stderr
    assert {run.name for run in list_runs().runs} == {"stopped", "busy", "done"}
    assert run_cli("runs", "rm", "stopped", "--yes", "--force").exit_code == 0
    assert not (runs / "stopped").exists()


def test_runs_of_several_seeds_are_removed_with_their_folder_and_a_run_inside_a_run_is_kept(
    runs: Path, full_run: Trained
) -> None:
    for seed in (0, 1):
        copy_of(full_run, runs / "sweep" / f"seed-{seed}")
    copy_of(full_run, runs / "outer")
    copy_of(full_run, runs / "outer" / "inner")
    assert "contains another run" in run_cli("runs", "rm", "outer", "--yes").stderr
    assert run_cli("runs", "rm", "sweep", "--yes").exit_code == 0
    assert sorted(os.listdir(runs)) == ["outer"] and (runs / "outer" / "inner" / "config.yaml").exists()


def test_only_small_files_of_a_run_are_opened(runs: Path, full_run: Trained) -> None:
    copy_of(full_run, runs / "a")
    opened: list[str] = []
    hook_is_on = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if hook_is_on and event == "open" and "runs/a/" in str(arguments[0]):
            opened.append(Path(str(arguments[0])).name)

    sys.addaudithook(hear)
    assert listed()["a"]["state"] == "finished"
    hook_is_on = False
    assert set(opened) == {"config.yaml", "metrics.json", JOURNAL}


def compared(*arguments: object) -> dict[str, Any]:
    result = run_cli("runs", "compare", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_runs_on_the_same_images_are_tested_in_pairs_and_make_a_page(
    here: Path, full_run: Trained, frozen_run: Trained
) -> None:
    found = compared(full_run.run, frozen_run.run, "--device", "cpu", "--out", "page.html")
    assert found["scores_are_comparable"] and not found["obstacles"]
    names = {one["name"]: one["values"] for one in found["settings"]}
    assert names["mode"] == ["full", "frozen"] and names["epochs"] == ["3", "6"]
    assert "data" not in names and "out" not in names and found["num_same_settings"] > 20
    paired = found["paired"]
    assert (paired["split"], paired["letters"]) == ("test", ["A", "B"])
    counts = paired["comparisons"][0]
    assert sum(counts[key] for key in ("both_right", "only_first", "only_second", "both_wrong")) == 9
    assert [model["top1"] for model in paired["models"]] == [run["scores"][0]["value"] for run in found["runs"]]
    page = Path("page.html").read_text()
    assert found["page"] == "page.html" and "Paired test" in page and "McNemar" in page
    assert page.count('class="line series-0"') >= 2 and "Do not compare" not in page
    assert "<script src" not in page and "http://" not in page
    text = run_cli("runs", "compare", full_run.run, frozen_run.run, "--no-eval").stdout
    assert "Settings that differ" in text and "Paired test" not in text


def test_runs_with_other_images_or_classes_are_told_apart(runs: Path, full_run: Trained, frozen_run: Trained) -> None:
    moved, two = copy_of(full_run, runs / "moved"), copy_of(full_run, runs / "two")
    lines = (moved / "split.csv").read_text().splitlines(keepends=True)
    (moved / "split.csv").write_text(
        "".join(line.replace(",test", ",train", 1) if ",blue," in line else line for line in lines)
    )
    (two / "split.csv").write_text("".join(line for line in lines if ",blue," not in line))
    stopped = copy_of(full_run, runs / "stopped", without=("metrics.json", "model.safetensors"))
    found = compared(full_run.run, moved, two, stopped, "--no-eval")
    assert not found["scores_are_comparable"]
    assert found["obstacles"] == [
        "A and B were scored on different images: 9 and 6, 6 in common",
        "A and C have different classes: only A has blue",
        "A and D were scored on different splits: test and validation",
    ]
    # Only C and D are left, and neither can take part.
    found = compared(full_run.run, two, stopped)
    assert found["paired"] is None
    assert found["notes"][0] == "B is not in the paired test: its classes differ from those of A"
    assert found["notes"][1] == "C is not in the paired test: it has no model"
    assert run_cli("runs", "compare", two).exit_code == run_cli("runs", "compare", two, "two").exit_code == 2


def test_without_the_images_of_the_first_run_those_of_the_next_are_used(
    runs: Path, full_run: Trained, frozen_run: Trained
) -> None:
    gone = copy_of(full_run, runs / "gone")
    shutil.copyfile(full_run.run / "model.safetensors", gone / "model.safetensors")
    config = (gone / "config.yaml").read_text().replace(str(full_run.photos), str(runs / "nowhere"))
    (gone / "config.yaml").write_text(config)
    found = compared(gone, frozen_run.run, "--device", "cpu")
    assert found["paired"]["models"][0]["model"].endswith("gone/model.safetensors")
    assert found["notes"] == ["the paired test uses 9 test images of B; no run was trained on them"]


def test_impossible_values_are_not_shown_as_scores(runs: Path, full_run: Trained) -> None:
    for name, file, old, new in (
        ("nan", "metrics.json", '"seconds": ', '"seconds": NaN, "x": '),
        ("huge", "metrics.json", '"seconds": ', '"seconds": 1e999, "x": '),
        ("words", "metrics.json", '"num_images": {', '"num_classes": "many", "num_images": {"train": [1], "x": -1, '),
        ("above", "metrics.json", '"test_top1": 0', '"test_top1": 7'),
        ("epoch", "history.csv", "\n1,", "\ninf,"),
        ("loss", "history.csv", "\n1,", "\n1,nan"),
        ("escape", "config.yaml", "data: ", 'data: "\\e[31m\\u202e"\nx: '),
    ):
        copy_of(full_run, runs / name)
        text = (runs / name / file).read_text()
        (runs / name / file).write_text(text.replace(old, new, 1))
    found = listed()
    assert found["nan"]["problems"] == ["metrics.json is damaged"]
    assert [score["split"] for score in found["above"]["scores"]] == ["val"]
    for name in found:
        for arguments in ((name,), (name, "--json")):
            result = run_cli("runs", "show", *arguments)
            assert result.exit_code == 0, result.output
        assert "\x1b" not in run_cli("runs", "show", name).stdout
    assert json.loads(run_cli("runs", "show", "huge", "--json").stdout)["seconds"] is None
    assert run_cli("runs", "compare", *found, "--no-eval").exit_code == 0


def test_without_locks_a_run_counts_as_running_while_it_is_written(
    runs: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_cli.commands.run_summary.is_open", lambda _: None)
    copy_of(full_run, runs / "fresh", without=("metrics.json",))
    copy_of(full_run, runs / "old", without=("metrics.json",), age_s=1000)
    copy_of(full_run, runs / "done")
    assert {name: run["state"] for name, run in listed().items()} == {
        "fresh": "running",
        "old": "interrupted",
        "done": "finished",
    }
