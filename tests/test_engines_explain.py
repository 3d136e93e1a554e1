from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.running import COMPUTE, tolerance
from torch import Tensor, nn

from resnet_cli.data.dataset import Item
from resnet_cli.data.loading import stack
from resnet_cli.engines.explain import GradCam, overlays
from resnet_cli.model.heatmap import OFFSET_PX, STRIDE_PX, heat_maps, in_whole_image, overlay
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import load_model
from resnet_cli.preprocess import Preprocess

pytest_plugins = ["support.narrow_network"]
ROUNDING = tolerance(2e-4)
PREPROCESS = Preprocess(resize_size=96, crop_size=96)


def network(hidden: tuple[int, ...] = ()) -> ResNet50:
    """A narrow network whose features and head say something."""
    torch.manual_seed(3)
    made = ResNet50(4, hidden)
    for module in made.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made.eval()


def images(num: int = 3, size: int = 96) -> Tensor:
    return torch.randint(0, 256, (num, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def last_stage(net: ResNet50, pixels: Tensor) -> Tensor:
    found: list[Tensor] = []
    handle = net.layer4.register_forward_hook(lambda module, inputs, output: found.append(output))
    net(PREPROCESS.normalize(pixels))
    handle.remove()
    return found[0].detach()


def logit(net: ResNet50, activations: Tensor, targets: Tensor) -> Tensor:
    """The logits of the targets as a function of the last stage's output, [b]."""
    logits: Tensor = net.fc(activations.mean(dim=(2, 3)))
    return logits.gather(1, targets[:, None])[:, 0]


def scaled(heat: Tensor, pixels: Tensor) -> np.ndarray:
    return heat_maps(torch.relu(heat).numpy(), height=pixels.shape[2], width=pixels.shape[3])


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)], ids=["linear", "mlp", "deep mlp"])
def test_maps_equal_those_of_finite_differences_of_the_last_stage(hidden: tuple[int, ...]) -> None:
    net, pixels, step = network(hidden), images(1, size=64), 1e-4
    # Of the most probable class some place speaks for it.
    target = int(net(PREPROCESS.normalize(pixels)).argmax())
    maps = GradCam(net, PREPROCESS, COMPUTE).maps(pixels, torch.tensor([target]))
    activations = last_stage(net, pixels).double()  # [1 x 2048 x 2 x 2]
    exact = net.double()
    gradients = torch.zeros_like(activations[0])
    with torch.no_grad():
        for place in np.ndindex(*activations.shape[2:]):
            for channels in torch.split(torch.arange(activations.shape[1]), 256):
                moved = activations.repeat(len(channels), 1, 1, 1)
                rows = torch.arange(len(channels))
                ends = []
                for sign in (1, -1):
                    moved[rows, channels, *place] = activations[0, channels, *place] + sign * step
                    ends.append(logit(exact, moved, torch.full((len(channels),), target)))
                gradients[channels, *place] = (ends[0] - ends[1]) / (2 * step)
    # A channel's weight is the mean of its gradient over the places (equation 1 of the paper).
    heat = torch.einsum("bchw,c->bhw", activations, gradients.mean(dim=(1, 2)))
    assert maps.any()
    np.testing.assert_allclose(maps, scaled(heat, pixels), atol=ROUNDING)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("hidden", [(), (16,)], ids=["linear", "mlp"])
def test_maps_equal_grad_cam_by_a_backward_pass_from_the_logit(hidden: tuple[int, ...]) -> None:
    net, pixels, targets = network(hidden), images(), torch.tensor([0, 1, 3])
    activations = last_stage(net, pixels).requires_grad_()
    (gradients,) = torch.autograd.grad(logit(net, activations, targets).sum(), activations)
    heat = (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).detach()
    maps = GradCam(net, PREPROCESS, COMPUTE).maps(pixels, targets)
    np.testing.assert_allclose(maps, scaled(heat, pixels), atol=ROUNDING)


@pytest.mark.usefixtures("narrow")
def test_with_a_linear_head_the_map_is_the_class_activation_map() -> None:
    net, pixels, targets = network(), images(), torch.tensor([2, 2, 0])
    assert isinstance(net.fc, nn.Linear)
    heat = torch.einsum("bchw,bc->bhw", last_stage(net, pixels), net.fc.weight[targets]).detach()
    np.testing.assert_allclose(
        GradCam(net, PREPROCESS, COMPUTE).maps(pixels, targets), scaled(heat, pixels), atol=tolerance(2e-4)
    )


@pytest.mark.usefixtures("narrow")
def test_without_targets_the_most_probable_class_is_explained() -> None:
    net, pixels = network(), images()
    with torch.no_grad():
        best = net(PREPROCESS.normalize(pixels)).argmax(dim=1)
    cam = GradCam(net, PREPROCESS, COMPUTE)
    maps = cam.maps(pixels)
    assert maps.shape == (3, 96, 96) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1
    assert np.array_equal(maps, cam.maps(pixels, best))
    assert np.array_equal(maps, cam.maps(pixels, torch.tensor([-1, -1, -1])))
    assert np.allclose(maps[:1], cam.maps(pixels[:1]), atol=1e-5), "an image's map does not depend on its batch"


@pytest.mark.usefixtures("narrow")
def test_the_network_is_left_as_it_was() -> None:
    net = network()
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    GradCam(net, PREPROCESS, COMPUTE).maps(images(1))
    assert net.training and not net.layer4._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.usefixtures("narrow")
def test_where_nothing_speaks_for_a_class_the_map_is_empty() -> None:
    net = network()
    assert isinstance(net.fc, nn.Linear)
    nn.init.constant_(net.fc.weight, -1.0)
    assert not GradCam(net, PREPROCESS, COMPUTE).maps(images(2)).any()


def test_each_cell_is_enlarged_to_where_it_looks() -> None:
    heat = np.zeros((1, 3, 3), dtype=np.float32)
    heat[0, 1, 2] = 1
    large = heat_maps(heat, height=96, width=80)
    assert large.shape == (1, 96, 80)
    row, column = divmod(int(large.argmax()), 80)
    # The centre of cell i's square, less the offset.
    assert abs(row - (1.5 * STRIDE_PX - OFFSET_PX)) <= 1
    assert abs(column - (2.5 * STRIDE_PX - OFFSET_PX)) <= 1


def test_an_overlay_shows_the_image_where_it_is_cold_and_is_lighter_where_it_is_hot() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 160, (40, 60, 3), dtype=np.uint8))
    heat = np.zeros((40, 60), dtype=np.float32)
    heat[:, 30:] = 1
    before = np.asarray(image.convert("L")).astype(float)
    after = np.asarray(overlay(image, heat).convert("L")).astype(float)
    assert np.abs(after[:, :30] - before[:, :30]).max() <= 2, "its brightness stays, so it can be recognised"
    assert after[:, 30:].mean() > before[:, 30:].mean() + 60, "it also reads in grey"
    assert np.corrcoef(after[:, 30:].ravel(), before[:, 30:].ravel())[0, 1] > 0.99, "and the image shines through"


def test_the_colours_of_heat_get_lighter_all_the_way() -> None:
    black = Image.new("RGB", (101, 1))
    shown = np.asarray(overlay(black, np.linspace(0, 1, 101, dtype=np.float32)[None]).convert("L")).astype(int)[0]
    assert (np.diff(shown) >= 0).all() and shown[-1] > 100


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="10 x 20"):
        overlay(Image.new("RGB", (20, 10)), np.zeros((20, 10)))


@pytest.mark.usefixtures("narrow")
def test_overlays_show_what_the_network_saw_and_leave_out_what_cannot_be_read(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 60, 120, 3), dtype=np.uint8)
    items: list[Item] = [Item(str(n), pixels) for n, pixels in enumerate(colours)]
    items[3] = Item("gone", tmp_path / "gone.jpg")
    model = Model(network(), ("a", "b", "c", "d"), PREPROCESS)
    seen: list[tuple[int, int]] = []
    made = overlays(model, items, [4, 3, 0], COMPUTE, targets=[2, 1, -1], on_progress=lambda *done: seen.append(done))
    assert sorted(made) == [0, 4] and seen[-1] == (3, 3)
    assert all(image.size == (96, 96) and image.mode == "RGB" for image in made.values())
    pixels = stack([PREPROCESS(items[4].open())])
    heat = GradCam(model.network, PREPROCESS, COMPUTE).maps(pixels, torch.tensor([2]))[0]
    expected = overlay(Image.fromarray(PREPROCESS(items[4].open())), heat)
    assert np.abs(np.asarray(made[4]).astype(int) - np.asarray(expected)).max() <= 1
    assert overlays(model, items, [], COMPUTE) == {}


def test_a_golf_ball_is_found_where_it_lies(assets: Path) -> None:
    model = load_model(next((assets / "weights").glob("*.safetensors")))
    paths = sorted((assets / "photos" / "imagenet" / "golf_ball").iterdir())
    if not paths:
        pytest.skip("no photo of a golf ball")
    pixels = model.preprocess(Item(paths[0].name, paths[0]).open())
    # Pasted into an empty corner, the ball takes the heat with it.
    plain = np.full_like(pixels, model.preprocess.mean_color)
    plain[:112, :112] = pixels[::2, ::2]
    heat = GradCam(model.network, model.preprocess, COMPUTE).maps(stack([plain]))[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < 112 and column < 112
    assert heat[:112, :112].sum() > 0.6 * heat.sum()


def test_an_overlay_is_where_the_network_saw_it_and_the_rest_is_dark() -> None:
    whole = Image.new("RGB", (60, 40), (200, 200, 200))
    explained = Image.new("RGB", (32, 32), (250, 10, 10))
    pixels = np.asarray(in_whole_image(whole, explained, (0.25, 0.0, 0.75, 1.0), (0, 0, 32, 32)))
    assert pixels.shape == (40, 60, 3)
    assert (pixels[5:35, 18:42] == (250, 10, 10)).all()
    assert (pixels[:, :13].max(axis=2) < 120).all() and (pixels[:, 47:].max(axis=2) < 120).all()
    # With padding, only the part of the input that is image.
    padded = explained.copy()
    padded.paste((0, 0, 255), (0, 0, 32, 5))
    whole_part = in_whole_image(whole, padded, (0, 0, 1, 1), (0, 5, 32, 27))
    assert (np.asarray(whole_part)[..., 2] < 60).all()
