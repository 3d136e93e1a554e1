"""The plan: everything that is decided before the first step.

Each value comes from the user or from ``defaults.py``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from resnet_cli.config.base import Resolved
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.inspect import Finding
from resnet_cli.data.inspection.used_images import NO_USED_IMAGES, USES, UsedImages
from resnet_cli.engines.choice import with_engine
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.model.start import Start, read_start
from resnet_cli.model.weights import IMAGENET_PREPROCESS, Weights, find_weights
from resnet_cli.preprocess import Preprocess
from resnet_cli.runs import used_by_run_of
from resnet_cli.system.device import Compute, choose_compute, choose_step_compute
from resnet_cli.system.events import OnWork
from resnet_cli.text import counted
from resnet_cli.training import defaults
from resnet_cli.training.decisions import Choice, Decisions
from resnet_cli.training.defaults import Mode
from resnet_cli.training.early_checks import check_early
from resnet_cli.training.exemplars import add_classes, compute_of_exemplars
from resnet_cli.training.ineffective_flags import refuse_ineffective
from resnet_cli.training.input_choices import choose_input, source_shape
from resnet_cli.training.plan_records import record_data, record_machine, record_seeds, record_solver
from resnet_cli.training.prepare import Prepared, prepare_data
from resnet_cli.training.recipe import Facts, Recipe, choose_recipe, count_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Recipe):
    """A complete training plan: the recipe, the data, the initial weights and the machine.

    Attributes:
        config: The user's config, with defaults.
        origins: Field of the config -> who set it, as in :class:`~resnet_cli.config.base.Resolved`.
        dataset: The data set with its splits; the training split is already limited.
        weights: Initial weights of the backbone.
        start: Head, preprocessing and exemplars of an earlier model of this program; None for other weights.
        compute: Device and precision of features, validation and all metrics.
        step_compute: Device and precision of the forward and backward passes that train the network.
        preprocess: Preprocessing that is stored in the model.
        choices: Rows of the plan, in the order in which they are shown.
        decided: Field of the config -> decided value.
        warnings: What the user should know before the training starts.
        skipped: Images that are skipped because they cannot be read, each with the reason.
        fingerprint: Hash of the images, their classes and splits.
        findings: Findings of the check of the images, for the report.
        draws_split: Whether each of several seeds draws the random split anew, since the training itself depends on no
            seed.
        used_images: The hashes of the images, and of those that the initial weights were trained on if these are known.
    """

    config: FinetuneConfig
    origins: Mapping[str, str]
    dataset: Dataset
    weights: Weights
    start: Start | None
    compute: Compute
    step_compute: Compute
    preprocess: Preprocess
    choices: tuple[Choice, ...]
    decided: Mapping[str, Any]
    warnings: tuple[str, ...]
    skipped: tuple[ImageError, ...]
    fingerprint: str
    findings: tuple[Finding, ...] = ()
    used_images: UsedImages = NO_USED_IMAGES
    draws_split: bool = False

    @property
    def notes(self) -> frozenset[str]:
        """Those of the warnings that only say how the data was read."""
        return frozenset(finding.message for finding in self.findings if finding.code == "note")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        num_train = len(self.dataset.split("train"))
        return count_steps(num_train, self.batch_size, train_batchnorm=self.train_batchnorm)

    @property
    def threads(self) -> int | None:
        """Number of threads that the user asks for; None if it is measured."""
        return None if self.config.threads == "auto" else self.config.threads

    @property
    def batchnorm_momentum(self) -> float:
        """Momentum of BatchNorm in the stages that train."""
        return defaults.batchnorm_momentum(self.steps_per_epoch)

    def with_lr(self, lr: float) -> Plan:
        """Returns the plan with the backbone's learning rate that a range test found."""
        assert self.rates.lr is not None
        # The test scaled both rates together; a rate that the user gave is not changed.
        head_lr = self.config.head_lr or self.rates.head_lr * lr / self.rates.lr
        found = {"lr": lr, "head-lr": head_lr}
        choices = [
            dataclasses.replace(choice, value=f"{found[choice.name]:.2g}", why="range test")
            if (choice.name in found and choice.origin == "auto") or choice.name == "lr"
            else choice
            for choice in self.choices
        ]
        return dataclasses.replace(
            self,
            rates=dataclasses.replace(self.rates, lr=lr, head_lr=head_lr),
            lr_is_auto=False,
            choices=tuple(choices),
            decided={**self.decided, "lr": lr, "head_lr": head_lr},
        )

    def resolved_config(self) -> FinetuneConfig:
        """The config with every automatic choice filled in: it gives the same plan again."""
        return self.config.model_copy(update={**self.decided, "seeds": 1, "out": None})


def make_plan(
    resolved: Resolved[FinetuneConfig], *, on_work: OnWork = lambda *_: None, run: Path | None = None
) -> Plan:
    """Examines the data, the weights and the machine, and makes the plan.

    Args:
        resolved: The config and who set each value.
        on_work: Called with the progress of downloads and of the check of the images.
        run: Folder of a run, to train on the same images again.

    Raises:
        ConfigError: A flag has no effect in the chosen mode, or conflicts with the data.
        DataError: The data cannot be used.
        NetworkError: Data or weights must be downloaded and cannot be.
        SetupError: The device does not exist.
    """
    config = resolved.config
    check_early(config)
    compute = choose_compute(config.device, config.precision)
    # An engine that is missing is reported before the data are read.
    with_engine(compute, config.engine)
    if compute.type != "cpu" and config.threads != "auto":
        raise ConfigError(f"--threads {config.threads} has no effect on the device {compute.device}")
    prepared = prepare_data(resolved, on_work, run=run)
    decisions = Decisions(resolved)
    source_px, aspects = source_shape(prepared.dataset)
    mode, image_size, weights = _choose_start(
        decisions, prepared.dataset, on_work, source_px=source_px, device_type=compute.type
    )
    start = read_start(weights)
    preprocess = choose_input(
        decisions, prepared, weights, start, image_size=image_size, source_px=source_px, aspects=aspects
    )
    if config.add:
        prepared = dataclasses.replace(prepared, dataset=add_classes(prepared.dataset, start, preprocess))
        compute = compute_of_exemplars(compute, config, start)
    refuse_ineffective(config, mode, decisions.why("mode"))
    compute = with_engine(compute, config.engine) if mode == "frozen" else compute
    facts = Facts(
        num_train=len(prepared.dataset.split("train")),
        source_px=source_px,
        image_size=image_size,
        random_start=weights.path is None,
        mirror_safe=prepared.dataset.mirror_safe,
        task=prepared.dataset.task,
    )
    recipe = choose_recipe(decisions, mode, facts)
    # A head on features is small, so it is always trained in float32.
    asked = ("fp32", None) if recipe.is_frozen else (config.precision, config.step_precision)
    step_compute = choose_step_compute(compute, *asked)
    record_data(decisions, prepared, weights, start)
    record_solver(decisions, prepared, recipe)
    record_seeds(decisions, prepared, recipe)
    record_machine(decisions, compute, None if recipe.is_frozen else step_compute)
    used_images, warnings = _used_before(prepared, weights, start)
    if weights.path is None and recipe.is_frozen:
        warnings.append("the frozen backbone has random weights: this is a baseline, not a classifier")
    return Plan(
        **vars(recipe),
        config=config,
        origins=resolved.origins,
        dataset=prepared.dataset,
        weights=weights,
        start=start,
        compute=compute,
        step_compute=step_compute,
        preprocess=preprocess,
        choices=decisions.choices(),
        decided=decisions.values,
        warnings=tuple(warnings),
        skipped=prepared.skipped,
        fingerprint=prepared.fingerprint,
        findings=prepared.findings,
        used_images=used_images,
        draws_split=prepared.is_drawn and not recipe.depends_on_seed,
    )


def _used_before(prepared: Prepared, weights: Weights, start: Start | None) -> tuple[UsedImages, list[str]]:
    """The images that this training and the one that it starts from use, and the warnings so far."""
    used_images, warnings = prepared.used_images, list(prepared.warnings)
    if start is not None and weights.path is not None:
        used_images = used_images.started_from(used_by_run_of(weights.path, Path(weights.name).name))
        warnings += _known_test_images(used_images, weights)
    return used_images, warnings


def _choose_start(
    decisions: Decisions, dataset: Dataset, on_work: OnWork, *, source_px: int, device_type: str
) -> tuple[Mode, int, Weights]:
    """Chooses mode, image size and weights; each default depends on the choices before it."""
    config = decisions.config

    def find(spec: str, mode: Literal["frozen", "full"]) -> Weights:
        on_download = functools.partial(on_work, "download")
        return find_weights(spec, mode=mode, offline=config.offline, on_download=on_download)

    weights = None if config.weights == "auto" else find(config.weights, "frozen")
    made_for = weights.preprocess if weights else IMAGENET_PREPROCESS["imagenet-v1"]
    size = decisions.decide("image-size", *defaults.default_image_size(made_for, source_px, device_type))
    decisions.note("image-size", defaults.enlarged_note(source_px, size))
    # A validation pass is a third of a training pass.
    num_images = len(dataset.split("train")) + len(dataset.split("val")) // 3
    default: tuple[Mode, str] = ("frozen", "--add")
    if not config.add:
        default = defaults.default_mode(
            config.weights,
            device_type,
            num_images=(config.epochs or defaults.EPOCHS) * num_images,
            image_size=size,
            max_time_s=config.max_time,
        )
    mode = decisions.decide("mode", *default)
    return mode, size, weights or find("auto", "frozen" if mode == "frozen" else "full")


def _known_test_images(used_images: UsedImages, weights: Weights) -> list[str]:
    """A warning if the run that the training starts from was trained on images that are now to test it."""
    uses = used_images.find(used_images.hashes[used_images.uses == USES.index("test")])
    num_known = len(uses) - uses.count("test")
    if not num_known:
        return []
    return [
        f"{num_known:,} of the {counted(len(uses), 'test image')} trained {Path(weights.name).name}, which this "
        "training starts from: its test metrics will look better than they are, and eval will leave these images out"
    ]
