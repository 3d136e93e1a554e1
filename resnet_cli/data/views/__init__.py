"""Augmented views of training images, in batches on the device, and storage of decoded images."""
