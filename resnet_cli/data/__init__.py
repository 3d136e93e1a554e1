"""From DATA to batches: sources, splits, loading, augmentation."""
