"""Where predictions are written: files, features, sorted folders, annotated images, parts by Ray. No torch."""
