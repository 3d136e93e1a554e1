#!/bin/sh
# The freelancer's story: a cats-and-dogs model goes to a farm.
# Its parts are CIFAR-10's classes: cat and dog, then horse and deer (CIFAR-10 has no cows).
#
# Usage: examples/cats_dogs_to_cows_horses.sh [DATA]
#   DATA has the classes cat, dog, horse and deer: cifar10, or a folder with one sub-folder a class.
set -eu
data=${1:-cifar10}
# Where the first backbone comes from; see `resnet-cli finetune --help`.
weights=${WEIGHTS:-auto}

# The old job. The model file remembers features of some of its images.
resnet-cli finetune "$data" --classes cat,dog --weights "$weights" --mode frozen --limit 1000 --out runs/cats_dogs

# The farmer's job, with 20 labelled images: that backbone, a new head. The model knows horses and deer alone.
resnet-cli finetune "$data" --classes horse,deer --weights runs/cats_dogs --mode frozen --limit 20 \
    --out runs/horses_deer_20

# The owner of both wants one model for all four. No image of a cat or a dog is read: the old model's memory
# stands for them. Printed at the end: how well cats and dogs are known before and after.
resnet-cli finetune "$data" --classes horse,deer --weights runs/cats_dogs --add --limit 1000 --out runs/all_four

# Was it true? Now with the old images, to check: those of the test split, where DATA has one.
resnet-cli eval runs/cats_dogs
resnet-cli eval runs/all_four "$data" --classes cat,dog,horse,deer
