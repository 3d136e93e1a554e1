"""Average precision against scikit-learn's, with unknown values, ties and classes that have none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from resnet_cli.heads.average_precision import average_precisions, mean_average_precision, rank_class


@st.composite
def labeled_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n x k] with many ties, and targets with any mixture of yes, no and unknown."""
    num, num_classes = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    cells = num * num_classes
    scores = np.array(draw(st.lists(st.integers(0, 4), min_size=cells, max_size=cells)), dtype=np.float32) / 4
    targets = np.array(draw(st.lists(st.sampled_from((1, 0, -1)), min_size=cells, max_size=cells)), dtype=np.int8)
    return scores.reshape(num, num_classes), targets.reshape(num, num_classes)


@given(labeled_scores())
def test_average_precision_is_scikit_learns_over_the_known_images(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = case
    found = average_precisions(scores, targets)
    expected = []
    for label, column in enumerate(targets.T):
        known = column >= 0
        if set(column[known].tolist()) == {0, 1}:
            expected.append(average_precision_score(column[known], scores[known, label]))
            ranked = rank_class(scores[known, label], scores[column == 1, label])
            assert found[label] == pytest.approx(expected[-1], abs=1e-12)
            assert ranked.roc_auc == pytest.approx(roc_auc_score(column[known], scores[known, label]), abs=1e-12)
        else:
            assert np.isnan(found[label])
    mean = mean_average_precision(scores, targets)
    assert mean == pytest.approx(np.mean(expected)) if expected else np.isnan(mean)


def test_logits_and_probabilities_have_the_same_average_precision() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(40, 3)), rng.integers(0, 2, size=(40, 3)).astype(np.int8)
    probs = 1 / (1 + np.exp(-logits))
    assert average_precisions(logits, targets).tolist() == average_precisions(probs, targets).tolist()
