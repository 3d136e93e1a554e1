"""Several seeds: a training by steps differs; where it cannot, the split does, or nothing would."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from support.running import TINY, TINY_FLAGS, run_cli

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError, DivergedError
from resnet_cli.model import network as network_module
from resnet_cli.training import seeds
from resnet_cli.training.events import Event, PlanMade
from resnet_cli.training.plan import make_plan
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.seeds import run_seeds, spread, to_dict

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow", "no_plots")

DIGITS: dict[str, Any] = {"data": "digits", "classes": "0,1", "limit": 12, "val_fraction": 0.05, **TINY}
FLAGS = ("digits", "--classes", "0,1", "--limit", 12, "--val-fraction", 0.05, "--mode", "frozen", *TINY_FLAGS)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[FinetuneResult], list[Event]]:
    # Not before pytest has prepared it as a plugin.
    from support.narrow_network import stage

    events: list[Event] = []
    folder = tmp_path_factory.mktemp("seeds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RESNET_CLI_CACHE", str(folder / "cache"))
        patch.setattr(network_module, "_stage", stage)
        patch.setattr("resnet_cli.reporting.single_label_report.overlays", lambda *_, **__: {})
        patch.setattr("resnet_cli.training.report.write_report_files", lambda *_, **__: None)
        values = {**DIGITS, "mode": "frozen", "solver": "sgd", "epochs": 2, "seed": 5, "seeds": 3}
        values["out"] = folder / "three"
        return run_seeds(make_plan(resolve(FinetuneConfig, values)), on_event=events.append), events


def test_each_seed_has_a_run_of_its_own_in_one_folder(three: tuple[list[FinetuneResult], list[Event]]) -> None:
    results, events = three
    assert [result.run.path.name for result in results] == ["seed-5", "seed-6", "seed-7"]
    assert len({result.run.path.parent for result in results}) == 1
    assert [result.plan.config.seed for result in results] == [5, 6, 7]
    assert [event.plan.config.seed for event in events if isinstance(event, PlanMade)] == [5, 6, 7]
    configs = [yaml.safe_load((result.run.path / "config.yaml").read_text()) for result in results]
    assert [(config["seed"], config["seeds"]) for config in configs] == [(5, 1), (6, 1), (7, 1)]


def test_the_split_stays_and_the_weights_do_not(three: tuple[list[FinetuneResult], list[Event]]) -> None:
    results, _ = three
    splits = {(result.run.path / "split.csv").read_text() for result in results}
    assert len(splits) == 1
    heads = [load_file(result.run.model_path)["fc.weight"] for result in results]
    assert not heads[0].equal(heads[1]) and not heads[1].equal(heads[2])


def test_mean_and_spread_are_of_the_figures_to_quote(three: tuple[list[FinetuneResult], list[Event]]) -> None:
    results, _ = three
    top1 = [result.final.top1 for result in results]
    found = spread(results)
    assert found.mean == pytest.approx(statistics.fmean(top1))
    assert found.std == pytest.approx(statistics.stdev(top1))
    assert (found.lowest, found.highest) == (min(top1), max(top1))
    assert spread(results[:1]).std == 0
    told = json.loads(json.dumps(to_dict(results)))
    assert set(told) == {"schema_version", "varies", "top1", "runs"} and told["varies"] == "training"
    assert [run["run"] for run in told["runs"]] == [str(result.run.path) for result in results]


def test_a_run_of_its_own_with_the_same_seed_is_the_same_run(
    three: tuple[list[FinetuneResult], list[Event]], here: Path
) -> None:
    results, _ = three
    config = results[1].run.path / "config.yaml"
    result = run_cli("finetune", "--config", config, "--out", "again", "--quiet")
    assert result.exit_code == 0, result.output
    one, other = load_file(results[1].run.model_path), load_file("again/model.safetensors")
    assert all(one[name].equal(other[name]) for name in one)


def test_the_command_shows_each_seed_mean_and_spread(here: Path) -> None:
    result = run_cli("finetune", *FLAGS, "--seeds", 2, "--out", "two")
    assert result.exit_code == 0, result.output
    for text in ("two/seed-0", "two/seed-1", "mean", "std", "points"):
        assert text in result.stdout
    assert "seed 0" in result.stderr and "seed 1" in result.stderr


def test_quiet_and_json_name_every_run(here: Path) -> None:
    quiet = run_cli("finetune", *FLAGS, "--seeds", 2, "--out", "two", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "two/seed-0\ntwo/seed-1\n", "")
    told = json.loads(run_cli("finetune", *FLAGS, "--seeds", 2, "--json").stdout)
    assert set(told["top1"]) == {"mean", "std", "lowest", "highest"}
    assert len(told["runs"]) == 2
    parents = {Path(run["run"]).parent for run in told["runs"]}
    assert len(parents) == 1 and parents.pop().parent == Path("runs")


def test_an_out_that_exists_is_refused_before_any_training(here: Path) -> None:
    Path("two").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        make_plan(resolve(FinetuneConfig, {**DIGITS, "seeds": 2, "out": Path("two")}))


def test_a_first_seed_that_fails_leaves_no_empty_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DivergedError("the loss became nan")

    monkeypatch.setattr(seeds, "run_plan", fail)
    plan = make_plan(resolve(FinetuneConfig, {**DIGITS, "mode": "frozen", "seeds": 2, "out": Path("two")}))
    with pytest.raises(DivergedError):
        run_seeds(plan, on_event=lambda event: None)
    assert not Path("two").exists()


def test_one_seed_is_a_plain_run(here: Path) -> None:
    told = json.loads(run_cli("finetune", *FLAGS, "--seeds", 1, "--out", "one", "--json").stdout)
    assert told["run"] == "one"


def test_the_gate_is_for_every_seed(here: Path) -> None:
    result = run_cli("finetune", *FLAGS, "--seeds", 2, "--fail-under", 1.0, "--out", "two", "--json")
    tops = [run["test_top1"] for run in json.loads(result.stdout)["runs"]]
    assert result.exit_code == (10 if min(tops) < 1 else 0)


def test_where_lbfgs_fits_the_head_each_seed_draws_another_split(here: Path) -> None:
    result = run_cli("finetune", *FLAGS, "--split-seed", 4, "--seeds", 2, "--out", "two")
    assert result.exit_code == 0, result.output
    assert "they vary the random split" in " ".join(result.stderr.split())
    assert "each seed draws another split" in " ".join(result.stdout.split())
    configs = [yaml.safe_load(Path(f"two/seed-{seed}/config.yaml").read_text()) for seed in (0, 1)]
    assert [(config["seed"], config["split_seed"], config["seeds"]) for config in configs] == [(0, 4, 1), (1, 5, 1)]
    splits = [Path(f"two/seed-{seed}/split.csv").read_text() for seed in (0, 1)]
    assert splits[0] != splits[1]
    one, other = (load_file(f"two/seed-{seed}/model.safetensors")["fc.weight"] for seed in (0, 1))
    assert not one.equal(other)
    # Each is the run that its config describes.
    again = run_cli("finetune", "--config", "two/seed-1/config.yaml", "--out", "again", "--quiet")
    assert again.exit_code == 0, again.output
    assert Path("again/split.csv").read_text() == splits[1]
    assert load_file("again/model.safetensors")["fc.weight"].equal(other)


def test_steps_from_the_head_of_lbfgs_draw_another_split_too(here: Path) -> None:
    told = json.loads(run_cli("finetune", *FLAGS, "--epochs", 2, "--seeds", 2, "--out", "two", "--json").stdout)
    assert told["varies"] == "split"
    splits = {Path(run["run"], "split.csv").read_text() for run in told["runs"]}
    assert len(splits) == 2


def test_data_with_their_own_split_leave_lbfgs_nothing_to_vary(here: Path, photos: Path) -> None:
    flags = (photos, "--mode", "frozen", *TINY_FLAGS, "--seeds", 2)
    result = run_cli("finetune", *flags, "--dry-run")
    assert result.exit_code == 2
    assert "--seeds 2 has no effect" in result.stderr and "--mode lp-ft" in result.stderr
    # Another part of the training images, or another training, is something to vary.
    for more, varied in (
        (["--limit", 12], "they vary the random split"),
        (["--solver", "sgd"], "the split stays the same"),
    ):
        found = run_cli("finetune", *flags, *more, "--dry-run")
        assert found.exit_code == 0, found.output
        assert varied in " ".join(found.output.split())


@pytest.mark.parametrize("mode", [("frozen",), ("lp-ft", "--lr", 1e-30)], ids=["frozen", "lp-ft"])
def test_seeds_that_all_keep_the_head_of_lbfgs_say_so(mode: tuple[object, ...], here: Path, photos: Path) -> None:
    # Such small steps gain nothing.
    flags = ("--mode", *mode, *TINY_FLAGS, "--epochs", 1, "--head-lr", 1e-30, "--seeds", 2, "--out", "two")
    result = run_cli("finetune", photos, *flags)
    assert result.exit_code == 0, result.output
    assert "every run kept the L-BFGS head" in " ".join(result.stdout.split())
