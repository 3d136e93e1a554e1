"""The parity law: the same file gets the same probabilities in every command, batch and order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.running import CLASSES, COMPUTE, PRECISION, Trained, run_cli, tolerance

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.history import selection_key
from resnet_cli.model.model_file import Model
from resnet_cli.model.weights import load_model
from resnet_cli.prediction import Prediction
from resnet_cli.prediction import predict as predict_items
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import Compute

pytest_plugins = ["support.small_runs"]

#: Rounding error of other batches, which sum in another order.
ROUNDING = tolerance(1e-5)


@pytest.fixture(params=["frozen", "full"])
def trained(request: pytest.FixtureRequest) -> Trained:
    found: Trained = request.getfixturevalue(f"{request.param}_run")
    return found


@pytest.fixture
def val(trained: Trained) -> Sequence[Item]:
    return trained.result.plan.dataset.split("val")


def predict(model: Model, items: Iterable[Item], compute: Compute, **options: Any) -> Iterator[Prediction]:
    """The predictions of a model in torch."""
    for found in predict_items(TorchPredictor(model, compute), items, **options):
        yield found.prediction


def probs_of(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Probabilities [n x k] in the order of the classes."""
    return np.array([[dict(prediction.topk)[name] for name in CLASSES] for prediction in predictions])


def difference(found: NDArray[np.float64], trained: Trained) -> float:
    return float(np.abs(found - trained.result.val.probs).max())


def test_the_answers_are_worth_comparing(trained: Trained) -> None:
    probs = trained.result.val.probs
    # Neither certain nor all equal: a law that holds for constants shows nothing.
    assert np.ptp(probs, axis=0).max() > 0.01
    assert np.median(probs.max(axis=1)) < 0.99


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_predict_answers_as_training_did_at_any_batch_size(trained: Trained, val: list[Item], batch_size: int) -> None:
    found = list(predict(trained.result.model, val, COMPUTE, topk=3, batch_size=batch_size))
    assert [prediction.path for prediction in found] == [item.name for item in val]
    assert difference(probs_of(found), trained) < ROUNDING


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_predict_answers_alike_in_reversed_order(trained: Trained, val: list[Item], batch_size: int) -> None:
    found = list(predict(trained.result.model, val[::-1], COMPUTE, topk=3, batch_size=batch_size))
    assert difference(probs_of(found)[::-1], trained) < ROUNDING


def test_a_saved_model_answers_as_the_one_in_memory(trained: Trained, val: list[Item], tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    load_model(trained.run).save(again)
    for model in (load_model(trained.run), load_model(again)):
        assert (model.classes, model.preprocess, model.hidden) == (
            trained.result.model.classes,
            trained.result.model.preprocess,
            trained.result.model.hidden,
        )
        assert difference(probs_of(list(predict(model, val, COMPUTE, topk=3))), trained) < ROUNDING
        assert difference(evaluate(model, val, COMPUTE).probs.astype(np.float64), trained) < ROUNDING


def test_the_epoch_that_was_kept_scored_what_the_model_scores(trained: Trained) -> None:
    result = trained.result
    assert result.best == max(result.history, key=selection_key)
    # The model predicts at the temperature that fits its validation split best.
    assert result.best.val_fitted_loss == pytest.approx(result.val.loss, abs=ROUNDING)
    assert result.best.val_top1 == pytest.approx(result.val.top1)


def near(value: Any) -> Any:
    """Equal to what differs from it by less than the tolerance in every figure."""
    if isinstance(value, dict):
        return {name: near(part) for name, part in value.items()}
    if isinstance(value, list):
        return [near(part) for part in value]
    return pytest.approx(value, abs=ROUNDING) if isinstance(value, float) else value


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_eval_command_reports_the_runs_own_figures(trained: Trained, split: str) -> None:
    metrics = json.loads((trained.run / "metrics.json").read_text())
    found = run_cli("eval", trained.run, "--split", split, "--precision", PRECISION, "--json")
    assert found.exit_code == 0, found.output
    scores = json.loads(found.stdout)
    # In other batches the last digits differ.
    assert {name: scores[name] for name in metrics[split]} == near(metrics[split])


def test_the_predict_command_answers_as_training_did(trained: Trained, val: list[Item]) -> None:
    files = [item.source for item in val]
    found = run_cli("predict", *files, "--model", trained.run, "--json", "--precision", PRECISION, "--batch-size", 4)
    assert found.exit_code == 0, found.output
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(file) for file in files]
    probs = np.array([[{top["label"]: top["prob"] for top in row["topk"]}[name] for name in CLASSES] for row in rows])
    assert difference(probs, trained) < ROUNDING


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_an_unreadable_image_keeps_its_place_and_shifts_no_answer(
    full_run: Trained, tmp_path: Path, batch_size: int
) -> None:
    val = full_run.result.plan.dataset.split("val")
    broken = [Item(name, tmp_path / name) for name in ("first.jpg", "middle.jpg", "more.jpg", "last.jpg")]
    broken[1].source.write_text("no image")  # type: ignore[union-attr]
    mixed = [broken[0], *val[:4], *broken[1:3], *val[4:], broken[3]]
    found = list(predict(full_run.result.model, mixed, COMPUTE, topk=3, batch_size=batch_size))
    assert [prediction.path for prediction in found] == [item.name for item in mixed]
    assert [prediction.path for prediction in found if prediction.error] == [item.name for item in broken]
    assert all(isinstance(found[place].error, ImageError) for place in (0, 5, 6, -1))
    assert difference(probs_of([prediction for prediction in found if not prediction.error]), full_run) < ROUNDING


def test_topk_is_sorted_and_cut_at_the_number_of_classes(full_run: Trained) -> None:
    val = full_run.result.plan.dataset.split("val")
    (one,) = predict(full_run.result.model, val[:1], COMPUTE, topk=99)
    assert len(one.topk) == 3
    assert [prob for _, prob in one.topk] == sorted((prob for _, prob in one.topk), reverse=True)
    assert sum(prob for _, prob in one.topk) == pytest.approx(1)
    (short,) = predict(full_run.result.model, val[:1], COMPUTE, topk=1)
    assert (len(short.topk), short.label) == (1, one.label)
    assert short.prob == pytest.approx(one.prob)


def test_predict_takes_only_a_few_batches_ahead(full_run: Trained) -> None:
    item = full_run.result.plan.dataset.split("val")[0]
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield item

    model: Model = full_run.result.model
    answers = predict(model, endless(), COMPUTE, batch_size=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert taken <= 10
