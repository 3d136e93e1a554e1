from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from resnet_cli.engines.feature_rows import in_memory
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.model.model_file import Exemplars
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.training.exemplars import (
    HELD_OUT_SHARE,
    MAX_ROWS,
    MIN_PER_CLASS,
    PER_CLASS,
    choose_exemplars,
    join,
    joint_classes,
    retention,
    rows_per_class,
)

OLD, NEW = ("dog", "cat"), ("horse", "deer")


def make_rows(labels: list[int], *, seed: int = 0, first: int = 0) -> tuple[Tensor, Tensor]:
    """Noise around a centre for each label; ``first`` is the first label's centre."""
    features = torch.randn(len(labels), NUM_FEATURES, generator=torch.Generator().manual_seed(seed))
    centres = 3 * torch.randn(8, NUM_FEATURES, generator=torch.Generator().manual_seed(99)) / NUM_FEATURES**0.25
    return (features + centres[torch.tensor(labels) + first]).half(), torch.tensor(labels)


def every(num_classes: int, per_class: int) -> list[int]:
    return [label for label in range(num_classes) for _ in range(per_class)]


def fit_head(rows: AnyRows, num_classes: int) -> nn.Linear:
    """scikit-learn's logistic regression, its priors taken out: logit adjustment after the fact."""
    model = LogisticRegression(C=1e-3).fit(in_memory(rows[0]).float().numpy(), rows[1].numpy())
    head = nn.Linear(NUM_FEATURES, num_classes)
    sign = torch.tensor([[-1.0], [1.0]]) / 2 if num_classes == 2 else torch.ones(1)
    shares = torch.bincount(rows[1], minlength=num_classes) / len(rows[1])
    with torch.no_grad():
        head.weight.copy_(torch.tensor(model.coef_).float() * sign)
        head.bias.copy_((torch.tensor(model.intercept_).float() * sign.squeeze()) - shares.log())
    return head


@pytest.fixture(scope="module")
def exemplars() -> Exemplars:
    return choose_exemplars(make_rows(every(2, 300)), make_rows(every(2, 150), seed=1), num_classes=2, seed=0)


def counts(exemplars: Exemplars) -> list[list[int]]:
    return [torch.bincount(exemplars.labels[rows]).tolist() for rows in (~exemplars.held_out, exemplars.held_out)]


def test_each_class_keeps_the_same_number_of_rows(exemplars: Exemplars) -> None:
    assert counts(exemplars) == [[PER_CLASS] * 2, [round(PER_CLASS * HELD_OUT_SHARE)] * 2]
    assert (
        exemplars.features.shape == (len(exemplars.labels), NUM_FEATURES) and exemplars.features.dtype == torch.float16
    )


def test_a_class_with_few_images_keeps_them_all_and_one_without_any_harms_nothing() -> None:
    kept = choose_exemplars(make_rows([0, 0, 0, 2]), make_rows([0], seed=1), num_classes=3, seed=0)
    assert counts(kept) == [[3, 0, 1], [1]]


@pytest.mark.parametrize(
    ("num_classes", "expected"), [(2, PER_CLASS), (10, PER_CLASS), (100, MAX_ROWS // 100), (1000, MIN_PER_CLASS)]
)
def test_the_memory_stays_small_however_many_classes_there_are(num_classes: int, expected: int) -> None:
    assert rows_per_class(num_classes) == expected


def test_rows_are_remembered_bit_by_bit_and_none_twice(exemplars: Exemplars) -> None:
    train, val = make_rows(every(2, 300)), make_rows(every(2, 150), seed=1)
    for rows, (features, labels) in ((~exemplars.held_out, train), (exemplars.held_out, val)):
        known = {row.numpy().tobytes(): int(label) for row, label in zip(features, labels, strict=True)}
        found = [row.numpy().tobytes() for row in exemplars.features[rows]]
        assert len(set(found)) == len(found)
        assert [known[row] for row in found] == exemplars.labels[rows].tolist()


def test_the_same_seed_remembers_the_same(exemplars: Exemplars) -> None:
    again = choose_exemplars(make_rows(every(2, 300)), make_rows(every(2, 150), seed=1), num_classes=2, seed=0)
    other = choose_exemplars(make_rows(every(2, 300)), make_rows(every(2, 150), seed=1), num_classes=2, seed=1)
    assert torch.equal(exemplars.features, again.features)
    assert not torch.equal(exemplars.features, other.features)


def test_the_mean_of_the_remembered_is_nearer_to_the_mean_of_all_than_random_rows() -> None:
    # Few directions, as features of one class have: white noise is as far from its mean whichever rows are taken.
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 8, generator=generator) @ torch.randn(8, NUM_FEATURES, generator=generator)
    labels = torch.zeros(60, dtype=torch.int64)
    kept = choose_exemplars((features, labels), (features[:0], labels[:0]), num_classes=100, seed=0).features
    units = nn.functional.normalize(features.float(), dim=1)

    def distance(rows: Tensor) -> float:
        return float((nn.functional.normalize(rows.float(), dim=1).mean(dim=0) - units.mean(dim=0)).norm())

    drawn = [distance(features[torch.randperm(60, generator=generator)[: len(kept)]]) for _ in range(50)]
    assert len(kept) == MAX_ROWS // 100
    assert distance(kept) < min(drawn) / 2


def test_herding_takes_the_row_that_brings_the_mean_nearest() -> None:
    """Against the definition, step by step."""
    features, labels = make_rows([0] * 30)
    kept = choose_exemplars((features, labels), (features[:0], labels[:0]), num_classes=400, seed=0).features
    units = nn.functional.normalize(features.double(), dim=1)
    chosen: list[int] = []
    for _ in range(MIN_PER_CLASS):
        left = [row for row in range(30) if row not in chosen]
        distances = [float((units.mean(dim=0) - units[[*chosen, row]].mean(dim=0)).norm()) for row in left]
        chosen.append(left[distances.index(min(distances))])
    assert torch.equal(kept, features[chosen])


def test_old_classes_come_first_and_none_twice() -> None:
    assert joint_classes(OLD, NEW) == ("dog", "cat", "deer", "horse")
    assert joint_classes(OLD, ("ant", "cat")) == ("dog", "cat", "ant")


def test_joined_rows_keep_their_names(exemplars: Exemplars) -> None:
    new_classes, classes = ("horse", "cat"), ("dog", "cat", "deer", "horse")
    train, val = make_rows([0, 1, 0]), make_rows([1], seed=1)
    (features, labels), (val_features, val_labels) = join(
        exemplars,
        old_classes=OLD,
        train=(train[0].float(), train[1]),
        val=val,
        new_classes=new_classes,
        classes=classes,
    )
    num_old = int((~exemplars.held_out).sum())
    assert isinstance(features, Tensor)
    assert labels.tolist() == [*exemplars.labels[~exemplars.held_out].tolist(), 3, 1, 3]
    assert features.dtype == torch.float32
    assert torch.equal(features, torch.cat([exemplars.features[~exemplars.held_out], train[0]]).float())
    assert features[:num_old].half().equal(exemplars.features[~exemplars.held_out])
    assert val_labels.tolist() == [*exemplars.labels[exemplars.held_out].tolist(), 1]
    assert val_features.dtype == torch.float16 and len(val_features) == len(val_labels)


def test_a_joint_head_still_knows_the_classes_whose_images_are_gone(exemplars: Exemplars) -> None:
    old_head = fit_head((exemplars.features[~exemplars.held_out], exemplars.labels[~exemplars.held_out]), 2)
    classes = joint_classes(OLD, NEW)
    new_train, new_val = make_rows(every(2, 300), seed=5, first=2), make_rows(every(2, 20), seed=6, first=2)
    small = Exemplars(*(tensor[::10] for tensor in vars(exemplars).values()))
    train, _ = join(small, old_classes=OLD, train=new_train, val=new_val, new_classes=NEW, classes=classes)
    kept = retention(exemplars, old_head, fit_head(train, 4), old_classes=OLD, classes=classes)
    assert kept.num == int(exemplars.held_out.sum())
    assert kept.before > 0.95 and kept.after > 0.9


def test_retention_counts_right_answers_by_name(exemplars: Exemplars) -> None:
    """A head that always says one class is right for that class's half of the rows."""
    says_dog, says_cat, says_deer = nn.Linear(NUM_FEATURES, 2), nn.Linear(NUM_FEATURES, 3), nn.Linear(NUM_FEATURES, 3)
    for head, label in ((says_dog, 0), (says_cat, 2), (says_deer, 1)):
        nn.init.zeros_(head.weight)
        head.bias.data = nn.functional.one_hot(torch.tensor(label), head.out_features).float()
    classes = ("dog", "deer", "cat")
    assert vars(retention(exemplars, says_dog, says_cat, old_classes=OLD, classes=classes)) == {
        "num": 200,
        "before": 0.5,
        "after": 0.5,
    }
    assert retention(exemplars, says_dog, says_deer, old_classes=OLD, classes=classes).after == 0


def test_retention_without_held_out_rows_is_of_none(exemplars: Exemplars) -> None:
    none = Exemplars(exemplars.features, exemplars.labels, torch.zeros_like(exemplars.held_out))
    head = nn.Linear(NUM_FEATURES, 2)
    assert retention(none, head, head, old_classes=OLD, classes=OLD).num == 0


def test_a_joint_model_remembers_all_its_classes(exemplars: Exemplars) -> None:
    classes = joint_classes(OLD, NEW)
    train, val = join(
        exemplars,
        old_classes=OLD,
        train=make_rows(every(2, 250), seed=5, first=2),
        val=make_rows(every(2, 10), seed=6, first=2),
        new_classes=NEW,
        classes=classes,
    )
    assert counts(choose_exemplars(train, val, num_classes=4, seed=0)) == [[PER_CLASS] * 4, [100, 100, 10, 10]]
