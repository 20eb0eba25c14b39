"""The layer as a module: modes, ranges, optimiser groups, compilers, several processes, and invalid arguments."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.quantizer import hard_quantize, soft_quantize
from toolkit.jpeg.tables import ones, standard_tables
from toolkit.jpeg.transform import BlockTransform


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 255


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_the_layer_is_transform_quantiser_and_inverse(mode: str, subsampling: str) -> None:
    x, steps = images(2, 3, 32, 48), standard_tables(40)
    transform = BlockTransform(subsampling)
    tables = steps.flatten(1)
    quantised = []
    for part in transform.analyse(x):
        rows = tables[[0, 1, 1]] if part.shape[3] == 3 else tables[[1, 1]] if part.shape[3] == 2 else tables[:1]
        quantised.append(soft_quantize(part, rows, 0.02) if mode == "soft" else hard_quantize(part, rows))
    expected = transform.synthesise(tuple(quantised), (32, 48))
    layer = JPEGLayer(steps, mode=mode, alpha=0.02, subsampling=subsampling)
    torch.testing.assert_close(layer(x), expected, atol=1e-3, rtol=0)


def test_both_ranges_give_the_same_image_and_normalisation_follows() -> None:
    x = images(2, 3, 16, 16)
    wide = JPEGLayer(standard_tables(50))(x)
    unit = JPEGLayer(standard_tables(50), pixel_range=1)(x / 255)
    torch.testing.assert_close(unit * 255, wide, atol=1e-3, rtol=0)
    normalised = JPEGLayer(standard_tables(50), pixel_range=1, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))(x / 255)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3)))
    torch.testing.assert_close(normalised, (unit - mean) / std, atol=1e-4, rtol=0)


def test_uint8_and_channels_last_images_give_the_same() -> None:
    x = images(2, 3, 19, 21).round()
    layer = JPEGLayer(standard_tables(50))
    expected = layer(x)
    last = x.to(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    for same in (x.byte(), last, last.byte()):
        torch.testing.assert_close(layer(same), expected, atol=1e-3, rtol=0)


def test_one_channel_is_taken_as_grey() -> None:
    grey = images(2, 1, 16, 16)
    layer = JPEGLayer(standard_tables(50))
    torch.testing.assert_close(layer(grey), layer(grey.expand(-1, 3, -1, -1).contiguous()))


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (23, 16)])
@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_and_odd_sizes(size: tuple[int, int], subsampling: str, batch: int) -> None:
    x = images(batch, 3, *size).requires_grad_()
    out = JPEGLayer(ones(), mode="ste", bits=12, subsampling=subsampling)(x)
    assert out.shape == x.shape
    out.square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_modes_switch_and_sampling_varies_around_the_soft_mean() -> None:
    x = images(1, 3, 16, 16)
    layer = JPEGLayer(torch.full((2, 8, 8), 8.0), alpha=0.02, bits=12)
    soft = layer(x)
    layer.mode = "sample"
    torch.manual_seed(0)
    draws = torch.stack([layer(x).detach() for _ in range(400)])
    assert not torch.equal(draws[0], draws[1])
    assert float((draws.mean(0) - soft).abs().mean()) < 1
    layer.mode = "identity"
    torch.testing.assert_close(layer(x), x, atol=2e-3, rtol=0)
    layer.mode = "noise"
    assert 0 < float((layer(x) - x).abs().mean()) < 10
    layer.mode = "hard"
    assert not layer(x).requires_grad


def test_without_dc_every_block_is_grey_in_the_mean() -> None:
    layer = JPEGLayer(ones(), mode="identity", zero_dc=True)
    out = layer(images(2, 3, 16, 24))
    blocks = out.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).mean((3, 5))
    torch.testing.assert_close(blocks, torch.full_like(blocks, 128), atol=1e-2, rtol=0)


def test_matched_sharpness_has_the_requested_hardness_and_no_gradient() -> None:
    layer = JPEGLayer(standard_tables(30), alpha_mode="matched", hardness=0.7)
    torch.testing.assert_close(layer.alphas() * layer.tables() ** 2, torch.full((2, 8, 8), 0.7))
    assert not layer.alphas().requires_grad
    assert len(layer.parameter_groups()) == 1


def test_trained_sharpness_learns() -> None:
    layer = JPEGLayer(torch.full((2, 8, 8), 6.0), alpha=0.05, alpha_mode="trained")
    x = images(1, 3, 16, 16)
    optimizer = torch.optim.Adam(layer.parameter_groups(lr=0.01, alpha_lr=0.1))
    before = layer.alphas().detach().clone()
    first = None
    for _ in range(5):
        loss = (layer(x) - x).square().mean()
        first = first or float(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < first
    assert (layer.alphas() != before).all()


def test_steps_stay_in_range_and_come_back_into_it() -> None:
    layer = JPEGLayer(ones())
    with torch.no_grad():
        layer.steps[0, 0, 0], layer.steps[1, 7, 7] = -3.0, 400.0
    tables = layer.tables()
    assert float(tables.min()) == pytest.approx(1e-5)
    assert float(tables.max()) == 255
    (tables[0, 0, 0] - tables[1, 7, 7]).backward()  # descending would move both further out
    assert layer.steps.grad[0, 0, 0] == layer.steps.grad[1, 7, 7] == 0
    layer.steps.grad = None
    (layer.tables()[1, 7, 7] - layer.tables()[0, 0, 0]).backward()
    assert layer.steps.grad[0, 0, 0] == -1
    assert layer.steps.grad[1, 7, 7] == 1


def test_parameter_groups_carry_their_own_settings() -> None:
    (group,) = JPEGLayer(ones()).parameter_groups(lr=0.003)
    assert group["lr"] == 0.003
    assert group["weight_decay"] == 0
    assert sum(one.numel() for one in group["params"]) == 128
    assert JPEGLayer(ones(), trainable=False).parameter_groups() == []


def test_the_state_dict_round_trips() -> None:
    layer = JPEGLayer(standard_tables(20), alpha=2.0, alpha_mode="trained", mean=(1, 2, 3), std=(4, 5, 6))
    other = JPEGLayer(ones(), alpha_mode="trained", mean=(0, 0, 0), std=(1, 1, 1))
    other.load_state_dict(layer.state_dict())
    x = images(1, 3, 16, 16)
    assert torch.equal(other(x), layer(x))


def test_autocast_leaves_the_layer_in_float32() -> None:
    x, layer = images(1, 3, 16, 16), JPEGLayer(ones(), bits=12)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_timm_network_learns_behind_the_layer() -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=3)
    layer = JPEGLayer(standard_tables(75), pixel_range=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = prepend(network, layer)
    assert model.layer is layer
    assert model.network is network
    optimizer = torch.optim.Adam([{"params": network.parameters()}, *layer.parameter_groups(lr=0.005)], lr=1e-3)
    before = layer.steps.detach().clone()
    nn.functional.cross_entropy(model(images(4, 3, 64, 64) / 255), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    assert (layer.steps != before).any()


def test_saved_for_backward_is_little_more_than_the_input() -> None:
    x = images(4, 3, 64, 64).requires_grad_()
    layer = JPEGLayer(standard_tables(50))
    own = {one.untyped_storage().data_ptr() for one in (*layer.parameters(), *layer.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    assert sum(kept.values()) <= 1.5 * x.untyped_storage().nbytes()


@pytest.mark.slow
def test_it_compiles_to_the_same_values_and_gradients() -> None:
    layer = JPEGLayer(standard_tables(50), alpha=0.05)
    compiled = torch.compile(copy.deepcopy(layer))
    x = images(2, 3, 16, 24)
    results = []
    for module, parameters in ((layer, layer.steps), (compiled, compiled.steps)):
        inputs = x.clone().requires_grad_()
        out = module(inputs)
        out.square().mean().backward()
        results.append((out.detach(), inputs.grad, parameters.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-3)


def _replica(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = prepend(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2, bias=False)), JPEGLayer(ones(), alpha=0.5))
    nn.init.constant_(model.network[1].weight, 0.01)
    wrapped = nn.parallel.DistributedDataParallel(model)
    x = images(2, 3, 16, 16)[rank : rank + 1]
    wrapped(x).square().mean().backward()
    torch.save(model.layer.steps.grad, os.path.join(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_one_layer(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_replica, (str(tmp_path),), nprocs=2)
    model = prepend(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2, bias=False)), JPEGLayer(ones(), alpha=0.5))
    nn.init.constant_(model.network[1].weight, 0.01)
    model(images(2, 3, 16, 16)).square().mean().backward()
    for rank in (0, 1):
        gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        scale = float(model.layer.steps.grad.abs().max())  # 5500: float32 sums in another order differ in the 7th digit
        torch.testing.assert_close(gradient, model.layer.steps.grad, rtol=1e-3, atol=1e-6 * scale)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"steps": torch.ones(2, 64)}, r"steps must be \(2, 8, 8\), got \(2, 64\)"),
        ({"steps": torch.zeros(2, 8, 8)}, r"steps must be in \(0, 255\], got 0 to 0"),
        ({"steps": torch.full((2, 8, 8), float("nan"))}, "got nan to nan"),
        ({"steps": torch.full((2, 8, 8), 256.0)}, "got 256 to 256"),
        ({"alpha": 0}, "alpha must be positive and finite, got 0"),
        ({"alpha": -1.0}, "alpha must be positive and finite, got -1"),
        ({"alpha": float("inf")}, "alpha must be positive and finite, got inf"),
        ({"hardness": 0}, "hardness must be positive and finite, got 0"),
        ({"alpha_mode": "free"}, "alpha_mode must be one of fixed, matched, trained, got 'free'"),
        ({"mode": "rough"}, "mode must be one of soft, hard, ste, noise, sample, identity, got 'rough'"),
        ({"pixel_range": 2}, "pixel_range must be 1 or 255, got 2"),
        ({"bits": 1}, r"bits must be 2..24, got 1"),
        ({"levels": 4}, "levels must be full or an odd number"),
        ({"subsampling": "411"}, "subsampling must be one of 444, 420, got '411'"),
        ({"bits": 2}, r"levels must be full for bits=2 \(3 levels\), got 5"),
        ({"bits": 2.5}, "bits must be 2..24, got 2.5"),
        ({"bits": "8"}, "bits must be 2..24, got '8'"),
        ({"alpha": "sharp"}, "alpha must be positive and finite, got 'sharp'"),
        ({"hardness": None}, "hardness must be positive and finite, got None"),
        ({"steps": [[1.0]]}, r"steps must be a tensor \(2, 8, 8\), got list"),
        ({"steps": torch.ones(2, 8, 8, dtype=torch.complex64)}, "steps must be real, got torch.complex64"),
        ({"mean": (1, 2)}, r"mean must be 3 finite numbers, one per channel, or 1 for all, got \(1, 2\)"),
        ({"mean": ()}, r"mean must be 3 finite numbers, one per channel, or 1 for all, got \(\)"),
        ({"mean": 0.5}, "mean must be 3 finite numbers, one per channel, or 1 for all, got 0.5"),
        ({"mean": (0, float("nan"), 0)}, "mean must be 3 finite numbers"),
        ({"mean": "red"}, "mean must be 3 finite numbers, one per channel, or 1 for all, got 'red'"),
        ({"std": (1, 2, 3, 4)}, r"std must be 3 positive numbers, one per channel, or 1 for all, got \(1, 2, 3, 4\)"),
        ({"std": (0.2, 0, 0.2)}, r"std must be 3 positive numbers, one per channel, or 1 for all, got \(0.2, 0, 0.2\)"),
        ({"std": (-1.0,)}, "std must be 3 positive numbers"),
        ({"std": (1, 1, float("inf"))}, "std must be 3 positive numbers"),
        ({"std": (1, 1, float("nan"))}, "std must be 3 positive numbers"),
    ],
)
def test_impossible_layers_are_refused(choices: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JPEGLayer(**{"steps": ones(), **choices})


def test_two_bits_have_three_levels() -> None:
    x = images(1, 3, 16, 16)
    steps = torch.full((2, 8, 8), 200.0)
    sharp = JPEGLayer(steps, alpha=5.0, bits=2, levels="full")
    torch.testing.assert_close(sharp(x), JPEGLayer(steps, mode="hard", bits=2, levels="full")(x), rtol=0, atol=0.1)


def test_a_dark_batch_among_others_is_accepted() -> None:
    layer = JPEGLayer(ones())
    layer(images(1, 3, 16, 16))
    assert layer(torch.full((1, 3, 16, 16), 0.5)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("x", "pixel_range", "message"),
    [
        (torch.zeros(3, 16, 16), 255, r"images must be \(N, 3, H, W\) or \(N, 1, H, W\), got \(3, 16, 16\)"),
        (torch.zeros(1, 4, 16, 16), 255, r"got \(1, 4, 16, 16\)"),
        (torch.zeros(1, 3, 7, 16), 255, "images must be at least 8 x 8, got 7 x 16"),
        (torch.full((1, 3, 16, 16), 200.0), 1, r"pixels must lie in \[0, 1\], got \[200, 200\]"),
        (torch.full((1, 3, 16, 16), -2.0), 1, r"pixels must lie in \[0, 1\], got \[-2, -2\]"),
        (
            torch.full((1, 3, 16, 16), 0.5),
            255,
            r"pixels must lie in \[0, 255\], got \[0.5, 0.5\]: did you mean pixel_range=1",
        ),
        (torch.full((1, 3, 16, 16), float("nan")), 255, r"pixels must lie in \[0, 255\], got \[nan, nan\]"),
        (torch.zeros(1, 3, 16, 16).numpy(), 255, "images must be a tensor, got ndarray"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.complex64), 255, "images must be dense, .* got torch.complex64"),
        (torch.zeros(1, 3, 16, 16).to_sparse(), 255, "images must be dense, .* got torch.float32, torch.sparse_coo"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.float8_e5m2), 255, "images must be dense, .* got torch.float8_e5m2"),
    ],
)
def test_other_images_are_refused(x: torch.Tensor, pixel_range: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JPEGLayer(ones(), pixel_range=pixel_range)(x)
