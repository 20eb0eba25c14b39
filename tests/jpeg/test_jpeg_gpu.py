"""The layer's fused kernels on a CUDA device, against the eager code; ``pytest -m gpu``."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from test_triton_kernels import CASES, EAGER, Launches, agrees, distances, make, relative, type_agrees

from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.tables import standard_tables

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_what_the_eager_code_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = make(CASES[name], "cuda")
    layer(images)
    launches = Launches(monkeypatch)
    agrees(distances(CASES[name], "cuda"), CASES[name])
    assert launches.count == (1 if CASES[name].get("mode") == "hard" else 2)


@pytest.mark.parametrize("shape", [(32, 3, 224, 224), (256, 3, 32, 32), (7, 3, 123, 211)])
def test_whole_batches_agree_with_the_eager_layer(shape: tuple[int, ...]) -> None:
    # of millions of coefficients a harder quantiser has some so near the middle of two levels that rounding decides
    case = {"shape": shape, "alpha": 1e-3, "alpha_mode": "trained"}
    agrees(distances(case, "cuda"), case)


@pytest.mark.parametrize("name", EAGER)
def test_unsupported_settings_are_left_to_the_eager_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = make(EAGER[name], "cuda")
    launches = Launches(monkeypatch)
    assert layer(images).shape == images.shape
    assert launches.count == 0


def test_small_gradients_do_not_vanish() -> None:
    layer, images = make({"alpha": 0.02, "alpha_mode": "trained"}, "cuda")
    wanted = [images, layer.steps, layer.log_alpha]
    weights = torch.randn(images.shape, device="cuda")
    large = torch.autograd.grad(layer(images), wanted, weights)
    small = torch.autograd.grad(layer(images), wanted, weights * 2**-30)
    for one, other in zip(large, small, strict=True):
        torch.testing.assert_close(other * 2**30, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_gradients_repeat_bit_by_bit() -> None:
    layer, images = make({"alpha": 0.02, "shape": (16, 3, 224, 224)}, "cuda")
    first, second = (torch.autograd.grad(layer(images).square().sum(), [images, layer.steps]) for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("name", ["soft", "soft, odd and normalised", "ste", "hard"])
def test_a_compiled_layer_does_the_same(name: str) -> None:
    layer, images = make(CASES[name], "cuda")
    compiled = torch.compile(layer)
    torch.testing.assert_close(compiled(images), layer(images), atol=1e-3, rtol=0)
    if layer.mode != "hard":
        ours, theirs = (torch.autograd.grad(one(images).sum(), [images, layer.steps]) for one in (compiled, layer))
        assert max(map(relative, ours, theirs)) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    layer, images = make(CASES["soft"], "cuda")
    with torch.autocast("cuda", dtype):
        out = layer(images)
        out.square().mean().backward()
    assert out.dtype == torch.float32
    assert torch.equal(out, layer(images))
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["soft, alpha trained", "ste, normalised", "hard, normalised, channels last"])
def test_other_types_are_computed_in_float32_and_come_back(name: str, dtype: torch.dtype) -> None:
    type_agrees(CASES[name], dtype, "cuda")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_behind_the_layer_takes_images_of_its_own_type(dtype: torch.dtype) -> None:
    layer, images = make(CASES["soft, normalised"], "cuda")
    model = prepend(torch.nn.Conv2d(3, 4, 3), layer).to("cuda", dtype)
    out = model(images.to(dtype))
    assert out.dtype == model((images.detach() > 0.5).byte()).dtype == dtype
    out.float().mean().backward()
    assert images.grad is not None
    assert images.grad.dtype == torch.float32


def test_bytes_become_float32() -> None:
    layer, images = make({"alpha": 0.02, "trainable": False}, "cuda")
    images = images.detach().byte()
    assert torch.equal(layer(images), layer(images.float()))


def test_double_is_left_to_the_eager_code(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = make(CASES["soft"], "cuda")
    launches = Launches(monkeypatch)
    assert layer(images.double()).dtype == torch.float64
    assert launches.count == 0


def test_transforms_of_functions_are_left_to_the_eager_code(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = make(CASES["soft"], "cuda")
    expected = torch.autograd.grad(layer(images).square().sum(), images)[0]
    images = images.detach()
    launches = Launches(monkeypatch)
    each = torch.func.vmap(torch.func.grad(lambda x: layer(x[None]).square().sum()))(images)
    _, tangent = torch.func.jvp(layer, (images,), (torch.ones_like(images),))
    assert launches.count == 0
    assert tangent.device.type == "cuda"
    assert relative(each, expected) < 5e-4


def test_training_brings_the_steps_where_the_eager_layer_brings_them() -> None:
    fused = JPEGLayer(standard_tables(50), alpha=0.02, alpha_mode="trained", pixel_range=1).cuda()
    eager = copy.deepcopy(fused)
    eager._fused = lambda images: None  # type: ignore[method-assign]
    for layer in (fused, eager):
        images = torch.rand(8, 3, 64, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
        optimizer = torch.optim.SGD(layer.parameters(), lr=10.0)
        for _ in range(20):
            optimizer.zero_grad()
            (layer(images) - images).square().mean().backward()
            optimizer.step()
    assert not torch.equal(fused.steps.detach().cpu(), standard_tables(50))
    torch.testing.assert_close(fused.steps, eager.steps, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fused.log_alpha, eager.log_alpha, rtol=1e-3, atol=1e-3)


@pytest.mark.benchmark
def test_the_layer_takes_at_most_three_copies_forwards_and_five_with_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import bench_jpeg_gpu

    rows = bench_jpeg_gpu.bench_layer((32, 3, 224, 224))
    over_copy = {row["work"]: row["over copy"] for row in rows}
    assert over_copy["fused forward"] <= 3, over_copy
    assert over_copy["fused forward + backward"] <= 5, over_copy
