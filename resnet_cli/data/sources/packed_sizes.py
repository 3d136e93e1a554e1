"""How much a compressed file may unpack to."""

from __future__ import annotations

#: Ratio of unpacked to packed bytes. Images hardly compress, flat BMP files by about 100; a bomb of zeros reaches
#: 1,032 with deflate and far more with the other methods. Source:
#: https://zlib.net/zlib_tech.html, "Maximum Compression Factor".
MAX_RATIO = 200
#: Smaller amounts do no harm, and a few tiny images can compress by any factor.
RATIO_FROM_BYTES = 64 * 1024 * 1024


def unpacked_limit(num_packed: int) -> int:
    """The most bytes that a file of ``num_packed`` bytes may unpack to; a decompression bomb unpacks to more."""
    return max(RATIO_FROM_BYTES, MAX_RATIO * num_packed)
