"""The Python API: the functions behind the commands, for programs and notebooks; ``import resnet_cli`` offers them."""
