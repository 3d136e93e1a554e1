"""The training script of each peer, as in its docs; ``peers.py`` starts them and reads ``top1`` from the last line."""

from __future__ import annotations

#: torchvision's backbone as one layer of a classifier of ultralytics.
ULTRALYTICS_YAML = """
import pathlib, sys
from ultralytics import YOLO
yaml = pathlib.Path("resnet50-cls.yaml")
yaml.write_text('''
nc: 1000
backbone:
  - [-1, 1, TorchVision, [2048, "resnet50", "DEFAULT", True, 2, False]]
head:
  - [-1, 1, Classify, [nc]]
''')
"""
#: freeze=1 freezes the backbone, which is the YAML's only layer before the head.
ULTRALYTICS = f"""{ULTRALYTICS_YAML}
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
result = YOLO(yaml, task="classify").train(
    data=folder, epochs=int(epochs), imgsz=int(size), batch=int(batch), freeze=1 if mode == "frozen" else None,
    device="cpu", workers=2, plots=False, project=str(pathlib.Path("runs").absolute()),
)
top1 = result.top1
"""
#: vision_learner starts with a frozen backbone; fine_tune(n) trains one frozen epoch and n of the whole network.
FASTAI = """
import sys
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, resnet50, set_seed, vision_learner
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
set_seed(0)
dls = ImageDataLoaders.from_folder(
    folder, train="train", valid="val", item_tfms=Resize(460), batch_tfms=aug_transforms(size=int(size)), bs=int(batch)
)
learn = vision_learner(dls, resnet50, metrics=accuracy)
learn.fit_one_cycle(int(epochs)) if mode == "frozen" else learn.fine_tune(int(epochs) - 1)
top1 = float(learn.validate()[1])
"""
#: The steps and defaults of timm's train.py, which its package does not contain: SGD at 0.1 for 256 images, cosine, no
#: warm-up (its five epochs are longer than the budget), smoothing 0.1, crops from 8 % of the area, color jitter.
TIMM = """
import pathlib, sys, timm, torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import freeze
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
torch.manual_seed(0)
classes = list(pathlib.Path(folder, "train").iterdir())
model = timm.create_model(
    "resnet50.tv_in1k", pretrained=True, num_classes=len(classes), pretrained_cfg_overlay={"file": weights}
).to(memory_format=torch.channels_last)
if mode == "frozen":
    freeze(model, [name for name, _ in model.named_children() if name != "fc"])
config = resolve_data_config({}, model=model) | {"input_size": (3, int(size), int(size))}
shared = dict(
    input_size=config["input_size"], batch_size=int(batch), mean=config["mean"], std=config["std"], num_workers=2,
    device=torch.device("cpu"), use_prefetcher=False,
)
train = create_loader(create_dataset("", folder, split="train"), is_training=True, interpolation="random", **shared)
shared |= dict(interpolation=config["interpolation"], crop_pct=config["crop_pct"])
val = create_loader(create_dataset("", folder, split="val"), **shared)
optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1 * int(batch) / 256, weight_decay=2e-5)
scheduler, _ = create_scheduler_v2(
    optimizer, "cosine", num_epochs=int(epochs), step_on_epochs=False, updates_per_epoch=len(train)
)
autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
loss_of, updates, top1 = LabelSmoothingCrossEntropy(0.1), 0, 0.0
for epoch in range(int(epochs)):
    model.train()
    for images, labels in train:
        with autocast:
            loss = loss_of(model(images.contiguous(memory_format=torch.channels_last)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        updates += 1
        scheduler.step_update(updates)
    model.eval()
    right = 0
    with torch.inference_mode(), autocast:
        for images, labels in val:
            right += int((model(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum())
    top1 = max(top1, right / len(val.dataset))
"""
#: torchvision's transfer-learning tutorial, the source of the ants and bees: its transforms, rates and schedule.
#: Source: https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
TORCHVISION = """
import sys, torch, torchvision
from torchvision import datasets, transforms
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
torch.manual_seed(0)
normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
steps = {
    "train": [transforms.RandomResizedCrop(int(size)), transforms.RandomHorizontalFlip()],
    "val": [transforms.Resize(int(size) * 256 // 224), transforms.CenterCrop(int(size))],
}
data = {
    split: datasets.ImageFolder(f"{folder}/{split}", transforms.Compose([*chosen, transforms.ToTensor(), normalize]))
    for split, chosen in steps.items()
}
loaders = {
    split: torch.utils.data.DataLoader(data[split], batch_size=int(batch), shuffle=split == "train", num_workers=2)
    for split in data
}
model = torchvision.models.resnet50(weights="DEFAULT")
model.requires_grad_(mode != "frozen")
model.fc = torch.nn.Linear(model.fc.in_features, len(data["train"].classes))
optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.001, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
top1 = 0.0
for epoch in range(int(epochs)):
    model.train()
    for images, labels in loaders["train"]:
        with autocast:
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    right = 0
    with torch.no_grad(), autocast:
        for images, labels in loaders["val"]:
            right += int((model(images).argmax(1) == labels).sum())
    top1 = max(top1, right / len(data["val"]))
"""
#: AutoMM's own defaults around timm's network. It cannot freeze an image backbone: it trains the whole network.
AUTOGLUON = """
import pathlib, sys, timm
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
create = timm.create_model
timm.create_model = lambda *names, **options: create(*names, **options, pretrained_cfg_overlay={"file": weights})
import pandas
from autogluon.multimodal import MultiModalPredictor
train, val = (
    pandas.DataFrame(
        [(str(path), path.parent.name) for path in sorted(pathlib.Path(folder, split).glob("*/*"))],
        columns=["image", "label"],
    )
    for split in ("train", "val")
)
predictor = MultiModalPredictor(label="label", problem_type="classification", eval_metric="accuracy", path="predictor")
predictor.fit(
    train, tuning_data=val, seed=0,
    hyperparameters={
        "model.names": ["timm_image"], "model.timm_image.checkpoint_name": "resnet50.tv_in1k",
        "model.timm_image.image_size": int(size), "optim.max_epochs": int(epochs), "optim.patience": 1000,
        "env.num_gpus": 0, "env.num_workers": 2, "env.batch_size": int(batch), "env.per_gpu_batch_size": int(batch),
        "env.precision": "bf16-mixed" if precision == "bf16" else 32,
    },
)
top1 = predictor.evaluate(val)["accuracy"]
"""
#: The end of each script.
ANSWER = """
import json
print("\\n" + json.dumps({"top1": top1}))
"""
