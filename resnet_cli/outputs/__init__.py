"""Where answers go: files of answers and of features, sorted folders, images with labels on them. No torch."""
