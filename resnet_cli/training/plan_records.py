"""What the plan says about data, solver, seeds and machine: its lines on the terminal and in the report."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.data.sources.rows.references import lasting_image_folder
from resnet_cli.errors import ConfigError
from resnet_cli.model.start import Start
from resnet_cli.model.weights import Weights
from resnet_cli.system.device import Compute
from resnet_cli.system.intraop import given_threads
from resnet_cli.training import defaults
from resnet_cli.training.decisions import Decisions
from resnet_cli.training.prepare import Prepared
from resnet_cli.training.recipe import Recipe


def record_data(decisions: Decisions, prepared: Prepared, weights: Weights, start: Start | None) -> None:
    """Records which data were read and how, and the weights and the seed."""
    dataset, config = prepared.dataset, decisions.config
    sizes = ", ".join(f"{num:,} {split}" for split, num in dataset.sizes().items() if num)
    facts = ", ".join([f"{len(dataset.classes)} classes", *dataset.label_facts()])
    decisions.values |= {"data": dataset.spec, "weights": weights.spec}
    decisions.values["multi_label"] = dataset.task == "multi-label"
    decisions.values["image_folder"] = lasting_image_folder(dataset.spec, config.image_folder)
    reading = f"; read as {dataset.reading}" if dataset.reading else ""
    decisions.record("data", dataset.name, f"{sizes}; {facts}{reading}")
    if dataset.task == "multi-label":
        decisions.record(
            "task", dataset.task, "each class is predicted on its own, with a threshold fitted on validation"
        )
    decisions.record("split", dataset.split_note or "as in the source")
    decisions.record("check", prepared.checked, "every image was decoded; resnet-cli inspect shows more")
    decisions.record("weights", Path(weights.name).name, weights.reading or weights.why)
    decisions.record("seed", config.seed)
    if config.add and start:
        decisions.record("add", start.classes, "old classes, kept through the model's exemplars")


def record_solver(decisions: Decisions, prepared: Prepared, recipe: Recipe) -> None:
    """Adds how the solver reads more features than fit into memory."""
    if recipe.solver is not None:
        sizes = prepared.dataset.sizes()
        decisions.add_note("solver", defaults.blocks_note(sizes["train"] + sizes["val"], recipe.solver))


def record_seeds(decisions: Decisions, prepared: Prepared, recipe: Recipe) -> None:
    """Records what several seeds change.

    Raises:
        ConfigError: They change nothing.
    """
    num, name = decisions.config.seeds, prepared.dataset.name
    if num == 1:
        return
    if recipe.depends_on_seed:
        why = "they vary the training; the split stays the same"
    elif prepared.is_drawn:
        why = "they vary the random split: L-BFGS finds the same head with every seed"
    elif recipe.takes_steps:
        why = "they vary the steps; the L-BFGS head from which these start is always the same"
    else:
        raise ConfigError(
            f"--seeds {num} has no effect: {name} has its own validation split, and on the same images L-BFGS finds "
            "the same head with every seed",
            hint="vary a training that depends on the seed: add --mode lp-ft, or --solver sgd",
        )
    decisions.record("seeds", num, why)


def record_machine(decisions: Decisions, compute: Compute, step_compute: Compute | None) -> None:
    """Records device, precision, engine and threads."""
    config = decisions.config
    decisions.values["precision"] = compute.precision
    decisions.record("device", compute.device)
    decisions.record("precision", compute.precision, compute.reason)
    # A resumed training takes the same engine, whatever is installed by then.
    decisions.values["engine"] = compute.engine
    if config.engine != "auto" or compute.engine != "torch":
        decisions.record("engine", compute.engine)
    if step_compute is not None:
        is_same = step_compute.precision == compute.precision
        decisions.values["step_precision"] = None if is_same else step_compute.precision
        decisions.record("step-precision", step_compute.precision, step_compute.reason)
    if compute.type == "cpu":
        most = given_threads()
        why = "per process" if (config.devices or 1) > 1 else "fewer while other work occupies the cores"
        is_told = config.threads != "auto" or (most == 1 and (config.devices or 1) == 1)
        decisions.record("threads", most if config.threads == "auto" else config.threads, "" if is_told else why)
