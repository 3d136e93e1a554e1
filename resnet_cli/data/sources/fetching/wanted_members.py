"""Which members of an archive are of use."""

from __future__ import annotations

from pathlib import PurePosixPath

#: Extensions of files that can neither be images nor label them: programs, weights, sound, video, office documents.
#: Everything else is unpacked, since labels are in files of any name: ``train.txt``, ``setid.mat``, ``batches.meta``.
_USELESS = frozenset(
    ".aac .avi .ckpt .deb .dll .dmg .doc .docx .dylib .exe .flac .iso .jar .m4a .m4v .mkv .mov .mp3 .mp4 .mpeg .mpg "
    ".msi .o .ogg .onnx .pb .pdf .ppt .pptx .pt .pth .pyc .pyd .rpm .safetensors .so .tflite .wav .webm .whl "
    ".wmv".split()
)


def is_wanted_member(name: str) -> bool:
    """Whether a member of an archive is unpacked: an image, or a file that may label images or contain them."""
    return PurePosixPath(name).suffix.lower() not in _USELESS
