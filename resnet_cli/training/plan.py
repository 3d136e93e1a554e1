"""Everything decided before the first step, each value with who set it and why.

The values come from the user, else from ``defaults.py``.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from pathlib import Path
from typing import Any

from resnet_cli.config.base import Resolved
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.findings import Finding
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.model.weights import IMAGENET_PREPROCESS, Start, Weights, find_weights, read_start
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import Compute, choose_compute, choose_step_compute
from resnet_cli.system.events import OnWork
from resnet_cli.system.intraop import given_threads
from resnet_cli.system.paths import refuse_existing
from resnet_cli.training import defaults
from resnet_cli.training.exemplars import joint_classes
from resnet_cli.training.prepare import prepare_data
from resnet_cli.training.recipe import STEP_FLAGS, Facts, Recipe, choose_recipe, refuse_ineffective

#: Images looked at to learn the sources' size and shape.
SIZE_SAMPLE = 32


@dataclasses.dataclass(frozen=True)
class Choice:
    """One row of the plan.

    Attributes:
        name: As the flag is called.
        value: As it is shown.
        origin: ``flag``, ``config`` (the YAML file), ``default`` or ``auto``.
        why: Where the value comes from; may be empty.
    """

    name: str
    value: str
    origin: str
    why: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Recipe):
    """What a finetune will do: a recipe, for these data, from these weights, on this machine.

    Attributes:
        config: As the user gave it, with defaults.
        dataset: With its splits, train already limited.
        weights: Where the backbone starts.
        start: What a model of ours brings besides its backbone; None for other weights.
        compute: Device and precision of answers: features, validation and all figures.
        step_compute: Device and precision of the forward and backward passes that train the network.
        preprocess: Stored in the model.
        choices: The rows to show.
        warnings: What the user should know before it starts.
        skipped: Why the images that are left out cannot be read.
        fingerprint: Of the images, their classes and splits.
        findings: What the look at the images found, for the report.
    """

    config: FinetuneConfig
    dataset: Dataset
    weights: Weights
    start: Start | None
    compute: Compute
    step_compute: Compute
    preprocess: Preprocess
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]
    skipped: tuple[ImageError, ...]
    fingerprint: str
    findings: tuple[Finding, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; images are spread over them evenly."""
        num_train = len(self.dataset.split("train"))
        # One image has no batch statistics.
        most = num_train // 2 if self.train_batchnorm else num_train
        return max(1, min(math.ceil(num_train / self.batch_size), most))

    @property
    def threads(self) -> int | None:
        """Threads that the user asks for; None: the clock decides."""
        return None if self.config.threads == "auto" else self.config.threads

    @property
    def batchnorm_momentum(self) -> float:
        """Of the trained stages."""
        return defaults.batchnorm_momentum(self.steps_per_epoch)

    def with_lr(self, lr: float) -> Plan:
        """The plan with another rate of the backbone, as a range test finds it."""
        assert self.rates.lr is not None
        # The test moved both at once; a rate that the user gave stays.
        head_lr = self.config.head_lr or self.rates.head_lr * lr / self.rates.lr
        found = {"lr": lr, "head-lr": head_lr}
        choices = [
            dataclasses.replace(choice, value=f"{found[choice.name]:.2g}", why="range test")
            if (choice.name in found and choice.origin == "auto") or choice.name == "lr"
            else choice
            for choice in self.choices
        ]
        rates = dataclasses.replace(self.rates, lr=lr, head_lr=head_lr)
        return dataclasses.replace(self, rates=rates, lr_is_auto=False, choices=tuple(choices))

    def resolved_config(self) -> FinetuneConfig:
        """The config with every automatic choice filled in: running it again makes the same plan."""
        values: dict[str, Any] = {
            "data": self.dataset.spec,
            "weights": self.weights.spec,
            "mode": self.mode,
            "solver": self.solver or "auto",
            "image_size": self.preprocess.crop_size,
            "fit": self.preprocess.fit,
            "precision": self.compute.precision,
            "loss": self.loss,
            "balance": self.balance,
            "seeds": 1,
            "out": None,
        }
        if self.takes_steps:
            values |= {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "optimizer": self.rates.optimizer,
                "head_lr": self.rates.head_lr,
                "weight_decay": self.rates.weight_decay,
                "schedule": self.schedule,
            }
        else:
            values |= dict.fromkeys(STEP_FLAGS)
        if self.config.add:
            # As the model has them, unless the user asked for others.
            values |= {"image_size": self.config.image_size, "fit": self.config.fit}
        if self.is_frozen:
            # What it decided is decided; with the mode given it would be refused.
            values["max_time"] = None
        if self.augment is not None:
            step_precision = self.step_compute.precision
            values |= {
                "lr": "auto" if self.lr_is_auto else self.rates.lr,
                "layer_decay": self.rates.layer_decay,
                "unfreeze": self.stages,
                "step_precision": None if step_precision == self.compute.precision else step_precision,
                "augment": self.augment.strength,
                "policy": self.augment.policy,
                "erasing": self.augment.erasing,
                "batchnorm": "train" if self.train_batchnorm else "eval",
            }
        return self.config.model_copy(update=values)


def make_plan(
    resolved: Resolved[FinetuneConfig], *, on_work: OnWork = lambda *_: None, split_path: Path | None = None
) -> Plan:
    """Looks at the data, the weights and the machine, and decides everything.

    Args:
        resolved: The config and who set each value.
        on_work: Told of downloads and of the images looked at.
        split_path: A run's ``split.csv``, to train on the same images again.

    Raises:
        ConfigError: A flag that has no effect in the chosen mode, or cannot be.
        DataError: Data that cannot be used.
        NetworkError: Data or weights are not here and cannot be downloaded.
        SetupError: The device is not here.
    """
    config = resolved.config
    refuse_existing(config.out)
    if config.limit and config.fraction:
        raise ConfigError(f"--limit {config.limit} and --fraction {config.fraction:g}: choose one")
    compute = choose_compute(config.device, config.precision)
    if compute.type != "cpu" and config.threads != "auto":
        raise ConfigError(f"--threads {config.threads} has no effect: {compute.device} computes")
    prepared = prepare_data(resolved, on_work, split_path=split_path)
    dataset = prepared.dataset
    num_train = len(dataset.split("train"))
    source_px, aspects = source_shape(dataset)

    def on_download(done: int, total: int | None) -> None:
        on_work("download", done, total)

    weights = None
    if config.weights != "auto":
        weights = find_weights(config.weights, mode="frozen", offline=config.offline, on_download=on_download)
    made_for = weights.preprocess if weights else IMAGENET_PREPROCESS["imagenet-v1"]
    image_size, size_why = config.image_size, ""
    if image_size is None:
        image_size, size_why = defaults.default_image_size(made_for, source_px, compute.type)
    mode, mode_why = config.mode, ""
    if mode == "auto":
        mode, mode_why = (
            ("frozen", "--add")
            if config.add
            else defaults.default_mode(
                config.weights,
                compute.type,
                # A validation pass is a third of a training pass.
                num_images=(config.epochs or defaults.EPOCHS) * (num_train + len(dataset.split("val")) // 3),
                image_size=image_size,
                max_time_s=config.max_time,
            )
        )
    if weights is None:
        weights = find_weights(
            "auto",
            mode="frozen" if mode == "frozen" else "full",
            offline=config.offline,
            on_download=on_download,
        )
        made_for = weights.preprocess
    start = read_start(weights)
    fit, fit_why = config.fit, ""
    if fit is None:
        fit, fit_why = (start.preprocess.fit, "as in that model") if start else defaults.choose_fit(aspects)
    preprocess = defaults.choose_preprocess(made_for, image_size, source_px, fit)
    if config.add and start and config.image_size is None and config.fit is None:
        # What it remembers was made so, whatever the new images are.
        preprocess = start.preprocess
    if config.add:
        dataset = _add_classes(dataset, start, preprocess)
        compute = _compute_as_remembered(compute, config, start)
    refuse_ineffective(config, mode, mode_why)
    random_start = weights.path is None
    facts = Facts(
        num_train=num_train,
        source_px=source_px,
        image_size=image_size,
        random_start=random_start,
        mirror_safe=dataset.mirror_safe,
    )
    recipe, solver_why = choose_recipe(config, mode, facts)
    # A head on features is small: it is always trained in float32.
    asked = ("fp32", None) if recipe.is_frozen else (config.precision, config.step_precision)
    step_compute = choose_step_compute(compute, *asked)
    notes = {
        "check": prepared.checked,
        "mode": mode_why,
        "solver": solver_why,
        "image-size": size_why or defaults.enlarged_note(source_px, image_size),
        "fit": fit_why,
    }
    plan = Plan(
        **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)},
        config=config,
        dataset=dataset,
        weights=weights,
        start=start,
        compute=compute,
        step_compute=step_compute,
        preprocess=preprocess,
        choices=(),
        warnings=(*prepared.warnings, *_weights_warnings(weights, mode)),
        skipped=prepared.skipped,
        fingerprint=prepared.fingerprint,
        findings=prepared.findings,
    )
    return dataclasses.replace(plan, choices=tuple(_rows(plan, resolved.origins, notes)))


def source_shape(dataset: Dataset) -> tuple[int, list[float]]:
    """Median shorter side in pixels, and longer over shorter side, of a sample of the train images.

    The side is 224 if none can be read.
    """
    items = dataset.split("train")
    sizes = []
    for item in items[:: max(1, len(items) // SIZE_SAMPLE)][:SIZE_SAMPLE]:
        try:
            sizes.append(item.open().size)
        except ImageError:
            continue  # Named with all the others by the check before training.
    side = int(statistics.median(min(size) for size in sizes)) if sizes else 224
    return side, [max(size) / min(size) for size in sizes]


def _add_classes(dataset: Dataset, start: Start | None, preprocess: Preprocess) -> Dataset:
    """The data set with the classes of the model that it adds to in front of its own.

    Raises:
        ConfigError: That model cannot be added to.
    """
    if start is None or start.exemplars is None:
        raise ConfigError(
            "--add needs a model of this program, which remembers its classes",
            hint="name one: --weights runs/NAME",
        )
    if preprocess != start.preprocess:
        raise ConfigError(
            f"--add: the model's features were made at {start.preprocess.crop_size} px, fit {start.preprocess.fit}",
            hint=f"use --image-size {start.preprocess.crop_size} --fit {start.preprocess.fit}",
        )
    return dataset.relabel(joint_classes(start.classes, dataset.classes))


def _compute_as_remembered(compute: Compute, config: FinetuneConfig, start: Start | None) -> Compute:
    """The precision of the features that a model remembers: new ones are trained on beside them.

    Raises:
        ConfigError: The user asks for another one.
    """
    made = start.precision if start else None
    if made is None or made == compute.precision:
        return compute
    if config.precision != "auto":
        raise ConfigError(
            f"--add: the model's features were computed in {made}, not in {compute.precision}",
            hint=f"use --precision {made}",
        )
    return dataclasses.replace(choose_compute(config.device, made), reason="as in that model")  # type: ignore[arg-type]


def _rows(plan: Plan, origins: dict[str, str], notes: dict[str, str]) -> list[Choice]:
    """What is shown of a plan: what matters always, and everything that the user set."""
    config, dataset = plan.config, plan.dataset

    def row(name: str, value: object, why: str = "") -> Choice:
        field = name.replace("-", "_")
        origin = origins.get(field, "auto")
        if origin == "default" and getattr(config, field, None) in {None, "auto"}:
            origin = "auto"
        why = why or notes.get(name, "")
        return Choice(name, str(value), origin if origin in {"auto", "default", "flag"} else "config", why)

    def extra(name: str, value: object, why: str = "") -> list[Choice]:
        given = getattr(config, name.replace("-", "_"))
        return [] if given is None or given is False else [row(name, value, why)]

    counts = dataset.counts()
    sizes = ", ".join(f"{sum(per_class):,} {split}" for split, per_class in counts.items() if sum(per_class))
    rows = [
        row("data", dataset.name, f"{sizes}; {len(dataset.classes)} classes"),
        row("split", dataset.split_note or "as the source says"),
        row("check", notes["check"], "every image was decoded; resnet-cli inspect tells more"),
        *extra("limit", config.limit, "of the train split, spread over the classes"),
        *extra("fraction", config.fraction, "of each class of the train split"),
        row("weights", Path(plan.weights.name).name, plan.weights.why),
        *extra("add", ", ".join(plan.start.classes) if plan.start else "", "kept, from the model's memory"),
        row("mode", plan.mode),
        row("head", config.head),
    ]
    if plan.solver is not None:
        rows.append(row("solver", plan.solver))
    rows += [
        row("image-size", plan.preprocess.crop_size),
        *extra("progressive", plan.progressive, "pixels in the first epoch"),
        *([row("fit", plan.preprocess.fit)] if config.fit or plan.preprocess.fit != "crop" else []),
        row("device", plan.compute.device),
        row("precision", plan.compute.precision, plan.compute.reason),
        *([row("threads", plan.threads or given_threads(), _threads_why(plan))] if plan.compute.type == "cpu" else []),
    ]
    rows += extra("loss", plan.loss) + extra("label-smoothing", plan.label_smoothing) + extra("balance", plan.balance)
    if plan.takes_steps:
        rows += _step_rows(plan, row, extra)
    rows.append(row("seed", config.seed))
    shown = {choice.name for choice in rows}
    for field, about in FinetuneConfig.model_fields.items():
        name, value = field.replace("_", "-"), getattr(config, field)
        if name not in shown and value != about.default:
            rows.append(row(name, ", ".join(value) if isinstance(value, tuple) else value))
    return rows


def _threads_why(plan: Plan) -> str:
    if plan.threads is not None:
        return ""
    if (plan.config.devices or 1) > 1:
        return "of each process"
    return "fewer while other work holds the cores" if given_threads() > 1 else ""


def _step_rows(plan: Plan, row: Any, extra: Any) -> list[Choice]:
    config, rates = plan.config, plan.rates
    peak = "peak of warm-up and cosine" if plan.schedule == "cosine" else f"peak; {plan.schedule}"
    parts = f", {plan.micro_batch} at once" if plan.micro_batch < plan.batch_size else ""
    rows: list[Choice] = [
        row("epochs", plan.epochs, f"or as many as fit {config.max_time:.0f} s" if config.max_time else ""),
        *extra("patience", config.patience, "epochs without a better one until it stops"),
        *extra("target", config.target, "validation top-1 at which it stops"),
        row("batch-size", plan.batch_size, f"steps an epoch: {plan.steps_per_epoch}{parts}"),
    ]
    if rates.lr is not None:
        assert plan.augment is not None
        decay = f", times {rates.layer_decay:g} for each stage before" if rates.layer_decay < 1 else ""
        varied: list[str] = [plan.augment.strength if plan.augment.strength != "light" else "small shifts"]
        varied += ["mirrored"] if plan.augment.mirror else []
        varied += [plan.augment.policy] if plan.augment.policy != "none" else []
        varied += [f"erasing {plan.augment.erasing:g}"] if plan.augment.erasing else []
        random_why = "random weights need it" if plan.weights.path is None and config.optimizer is None else ""
        small = "" if plan.train_batchnorm else "the weights' own statistics stay"
        rows += [
            *extra("unfreeze", ", ".join(plan.stages)),
            row("optimizer", rates.optimizer, random_why),
            row("lr", "auto" if plan.lr_is_auto else f"{rates.lr:g}", f"backbone; {peak}{decay}"),
            row("step-precision", plan.step_compute.precision, plan.step_compute.reason),
            row("augment", plan.augment.strength, ", ".join(varied) if varied != ["none"] else ""),
            *extra("mixup", plan.mixup),
            *extra("cutmix", plan.cutmix),
            row("batchnorm", "train" if plan.train_batchnorm else "eval", small),
        ]
    rows += [
        row("head-lr", f"{rates.head_lr:g}", peak),
        *extra("weight-decay", f"{rates.weight_decay:g}"),
        *extra("clip-grad", plan.clip_grad, "largest norm of the gradient"),
        *extra("ema", plan.ema, "decay of the average that is validated and kept"),
        *extra("average", plan.average, "last epochs, averaged"),
    ]
    return rows


def _weights_warnings(weights: Weights, mode: str) -> tuple[str, ...]:
    if weights.path is None and mode == "frozen":
        return ("the frozen backbone has random weights: this is a baseline, not a classifier",)
    return ()
