"""The one way to read an image: bytes in, an upright RGB image out, or an error that names the file.

Training, evaluation, prediction and everything else use :func:`decode`, so the same file always gives the same pixels.
"""

from resnet_cli.images.decoding import BIT_DEPTH, FORMATS, decode, decode_whole, read_image, readable_extensions
from resnet_cli.images.extras import missing_library_command
from resnet_cli.images.formats import EXTENSIONS, is_image_name, recognize_image
from resnet_cli.images.pixels import MAX_PIXELS, Decoded, Pixels, from_pixels
from resnet_cli.images.versions import decoder_version, special_decoder

__all__ = [
    "BIT_DEPTH",
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "Decoded",
    "Pixels",
    "decode",
    "decode_whole",
    "decoder_version",
    "from_pixels",
    "is_image_name",
    "missing_library_command",
    "read_image",
    "readable_extensions",
    "recognize_image",
    "special_decoder",
]
