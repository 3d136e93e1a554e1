#!/bin/sh
# The freelancer's story: a cats-and-dogs model becomes a cows-and-horses model with little data.
#
# Usage: examples/cats_dogs_to_cows_horses.sh PETS FARM
#   PETS and FARM are folders with one sub-folder a class: PETS/cat, PETS/dog; FARM/cow, FARM/horse.
set -eu
pets=$1
farm=$2
# Where the first backbone comes from; see `resnet-cli finetune --help`.
weights=${WEIGHTS:-auto}

# The old job. On a CPU the backbone stays frozen; with a GPU all of it is trained.
resnet-cli finetune "$pets" --weights "$weights" --out runs/cats-dogs

# The farmer's job: that backbone, a new head, 20 labelled pictures. What was computed is cached, so trying
# another number of pictures or another head takes seconds.
resnet-cli finetune "$farm" --weights runs/cats-dogs --mode frozen --limit 20 --out runs/cows-horses-20
resnet-cli finetune "$farm" --weights runs/cats-dogs --mode frozen --out runs/cows-horses

# What it can and cannot do, and its answers as CSV.
resnet-cli eval runs/cows-horses
resnet-cli predict "$farm" --model runs/cows-horses --csv > answers.csv
