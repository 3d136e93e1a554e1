"""A page on this machine to collect images, train, look at the results, predict and export with."""
