#!/bin/sh
# A model for cats and dogs is reused for a model of farm animals.
# The images are CIFAR-10's: cat and dog, then horse and deer (CIFAR-10 has no cows).
#
# Usage: examples/cats_dogs_to_cows_horses.sh [DATA]
#   DATA has the classes cat, dog, horse and deer: cifar10, or a folder with one sub-folder per class.
set -eu
data=${1:-cifar10}
# The first backbone; `resnet-cli finetune --help` lists the choices.
weights=${WEIGHTS:-auto}

# The first task. The model file contains the features of some of its training images.
resnet-cli finetune "$data" --classes cat,dog --weights "$weights" --mode frozen --limit 1000 --out runs/cats_dogs

# The second task, with 20 labeled images: the old backbone and a new head. This model predicts only horses and deer.
resnet-cli finetune "$data" --classes horse,deer --weights runs/cats_dogs --mode frozen --limit 20 \
    --out runs/horses_deer_20

# One model for all four classes. No image of a cat or a dog is read: the features in the old model represent them.
# The accuracy on cats and dogs before and after is printed at the end.
resnet-cli finetune "$data" --classes horse,deer --weights runs/cats_dogs --add --limit 1000 --out runs/all_four

# A check with the old images: those of the test split, if DATA has one.
resnet-cli eval runs/cats_dogs
resnet-cli eval runs/all_four "$data" --classes cat,dog,horse,deer
