"""Training views of images: augmentation, batched on the device, and where decoded images are kept."""
