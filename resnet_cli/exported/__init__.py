"""Opens and runs the files that ``resnet-cli export`` writes. A runtime is imported only where it is used."""
