"""The peers of the inference benchmark, each in its own virtual environment: timm's inference and ``yolo predict``.

Both get the same photos, the same backbone and weights, 224 px and 32 images per pass, and write their predictions.
"""

from __future__ import annotations

from pathlib import Path

from .peer_scripts import ULTRALYTICS_YAML
from .peers import Peer, PeerError, checkpoint, drive, install, write_checkpoints
from .table import Row

BATCH_SIZE = 32

#: The steps of timm's inference.py, which its package does not contain: loader, softmax, top-5, a CSV at the end.
TIMM = """
import csv, sys, timm, torch
from timm.data import create_dataset, create_loader, resolve_data_config
folder, size, batch, precision, weights = sys.argv[1:]
model = timm.create_model("resnet50.tv_in1k", pretrained=True, pretrained_cfg_overlay={"file": weights})
model = model.eval().to(memory_format=torch.channels_last)
config = resolve_data_config({}, model=model) | {"input_size": (3, int(size), int(size))}
dataset = create_dataset("", folder)
loader = create_loader(
    dataset, batch_size=int(batch), use_prefetcher=False, num_workers=2, device=torch.device("cpu"),
    **{key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")},
)
found = []
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
    for images, _ in loader:
        probs = model(images.contiguous(memory_format=torch.channels_last)).softmax(-1)
        values, indices = probs.float().topk(5)
        found += zip(values.tolist(), indices.tolist())
names = dataset.filenames(basename=True)
with open("answers.csv", "w") as file:
    csv.writer(file).writerows([name, *values, *indices] for name, (values, indices) in zip(names, found))
print(len(found))
"""
#: ``yolo predict`` from Python, as its docs have it for many images: stream=True.
ULTRALYTICS = (
    ULTRALYTICS_YAML
    + """
folder, size, batch, precision, weights = sys.argv[1:]
model = YOLO(yaml, task="classify")
with open("answers.txt", "w") as file:
    count = 0
    options = dict(imgsz=int(size), batch=int(batch), device="cpu", stream=True, verbose=False)
    for result in model.predict(source=folder, **options):
        print(result.path, result.probs.top5, result.probs.top5conf.tolist(), file=file)
        count += 1
print(count)
"""
)
PEERS = (Peer("timm", TIMM), Peer("ultralytics", ULTRALYTICS))


def measure_peer(peer: Peer, venvs: Path, folder: Path, weights: Path, precision: str, scratch: Path) -> Row:
    """Measures images/s of a peer, including its process; if it fails, the row says how.

    Args:
        peer: The peer.
        venvs: Folder of the virtual environments; an existing one is used as it is.
        folder: Folder of photos.
        weights: A ``.safetensors`` file in torchvision's layout.
        precision: ``fp32`` or ``bf16``, for peers that support it on a CPU.
        scratch: Folder for what the peer reads and writes.
    """
    what = f"{peer.package}, process"
    if not (scratch / "torch_home").exists():
        write_checkpoints(weights, scratch / "torch_home")
    try:
        seconds, num = answer_all(peer, install(peer, venvs), folder, precision, scratch)
    except PeerError as error:
        return Row(what, None, "images/s", details={"failed": str(error)})
    return Row(what, num / seconds, "images/s", details={"seconds": seconds, "images": num})


def answer_all(peer: Peer, python: Path, folder: Path, precision: str, scratch: Path) -> tuple[float, int]:
    """Measures the wall seconds of a peer over a folder, including its process, and counts its predictions.

    Args:
        peer: The peer.
        python: The Python of :func:`~benchmarks.peers.install`.
        folder: Folder of photos.
        precision: ``fp32`` or ``bf16``, for peers that support it on a CPU.
        scratch: Folder that contains ``torch_home`` of :func:`~benchmarks.peers.write_checkpoints`.

    Raises:
        PeerError: It did not finish.
    """
    arguments = (folder, 224, BATCH_SIZE, precision, checkpoint(scratch))
    seconds, text = drive(python, peer.driver, *map(str, arguments), scratch=scratch)
    return seconds, int(text.strip().splitlines()[-1])
