"""From a DATA spec to batches: sources, splits, loading, augmentation."""
