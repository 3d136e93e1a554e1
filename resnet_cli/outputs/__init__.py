"""Where answers go: files of answers and of features, sorted folders, pictures with labels on them. No torch."""
