"""The Python API: the calls behind the commands, for programs and notebooks; ``import resnet_cli`` offers them."""
