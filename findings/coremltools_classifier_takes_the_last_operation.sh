#!/usr/bin/env bash
# coremltools 9.0, convert(..., classifier_config=ClassifierConfig(labels)) for a program with two outputs of one number per class.
# One would guess: the output that becomes "the probability of each class" is the first one, or the one called probs, or the
#   conversion asks which one is meant; and it is the same one in float16 and in float32.
# Seen: neither the names nor the order of the outputs matter. In float32 it is the operation that the program computes last. In
#   float16, the default, operations that convert the results to float32 are added behind that one, in the reverse order, and
#   it is the output that is computed first. There is no warning. With predicted_probabilities_output="probs" it is always
#   probs.
# Why a user of this field meets it: a classifier that also returns distances or similarities per class is converted in float32,
#   where it is checked, and then in float16: the app now shows distances as probabilities, and the most probable class is that
#   of the largest distance.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "coremltools==9.0" "numpy==2.4.6" 2>/dev/null
cd "$folder"
# Its progress bars, and its messages about macOS, are on stderr.
"$folder/venv/bin/python" - 2>stderr.txt <<'PYTHON' || { tail -5 stderr.txt; exit 1; }
import sys

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb

print(f"coremltools {ct.__version__}")
LABELS = ["ant", "bee", "wasp"]
weights = np.random.default_rng(0).normal(size=(len(LABELS), 12)).astype(np.float32)


def program(computed_first, order):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 2, 2))], opset_version=ct.target.iOS15)
    def made(image):
        scores = mb.linear(x=mb.reshape(x=image, shape=(1, 12)), weight=weights)
        makers = {
            "probs": lambda: mb.softmax(x=scores, axis=-1, name="probs"),
            "distances": lambda: mb.abs(x=scores, name="distances"),
        }
        names = [computed_first, *(name for name in makers if name != computed_first)]
        found = {name: makers[name]() for name in names}
        return tuple(found[name] for name in order)

    return made


def taken_for_probabilities(computed_first, order, precision, **named):
    converted = ct.convert(
        program(computed_first, order),
        inputs=[ct.ImageType(name="image", shape=(1, 3, 2, 2))],
        classifier_config=ct.ClassifierConfig(LABELS, **named),
        minimum_deployment_target=ct.target.iOS15,
        compute_precision=precision,
        skip_model_load=True,
    )
    # The operator "classify" has one input of probabilities.
    (block,) = converted.get_spec().mlProgram.functions["main"].block_specializations.values()
    (classify,) = (one for one in block.operations if one.type == "classify")
    return classify.inputs["probabilities"].arguments[0].name


seen, named = {}, set()
for first in ("probs", "distances"):
    for order in (("probs", "distances"), ("distances", "probs")):
        for precision in (ct.precision.FLOAT32, ct.precision.FLOAT16):
            found = taken_for_probabilities(first, order, precision)
            seen[first, order, precision.value] = found
            print(f"{precision.value}, {first} computed first, outputs {order}: the probabilities are {found}")
            named.add(taken_for_probabilities(first, order, precision, predicted_probabilities_output="probs"))
print(f"with predicted_probabilities_output='probs': {named}")
other = {"probs": "distances", "distances": "probs"}
expected = {key: key[0] if key[2] == "float16" else other[key[0]] for key in seen}
if seen != expected or named != {"probs"}:
    sys.exit("the behavior has changed")
PYTHON
