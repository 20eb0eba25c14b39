"""The fused kernels' arithmetic in Triton's interpreter, on the CPU, against the eager code in float64.

Triton reads TRITON_INTERPRET when it is imported, so that this file runs itself as a program in a process of its own,
which prints for every case how far apart the two are. What needs a GPU is in ``test_jpeg_gpu.py``.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import standard_tables

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton on this platform")

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CASES: dict[str, dict[str, Any]] = {
    "soft": {"alpha": 0.02},
    "soft, nearly the identity": {"alpha": 1e-4},
    "soft, nearly hard": {"steps": 4.0, "alpha": 1.0},
    "soft, alpha trained": {"alpha": 0.02, "alpha_mode": "trained"},
    "soft, alpha matched": {"alpha_mode": "matched"},
    "soft, some saturated": {"steps": 1.0, "alpha": 1.0, "alpha_mode": "trained"},
    "soft, all saturated": {"steps": 0.01, "alpha": 5.0, "alpha_mode": "trained"},
    "soft, 4 bits": {"alpha": 0.02, "bits": 4, "alpha_mode": "trained"},
    "soft, 12 bits": {"alpha": 0.02, "bits": 12},
    "soft, means removed": {"alpha": 0.02, "zero_dc": True},
    "soft, odd sides": {"alpha": 0.02, "shape": (1, 3, 19, 21)},
    "soft, more tiles than programs": {"alpha": 0.02, "alpha_mode": "trained", "shape": (2, 3, 56, 56)},
    "soft, channels last": {"alpha": 0.02, "channels_last": True, "shape": (2, 3, 17, 24)},
    "soft, a crop": {"alpha": 0.02, "crop": True},
    "soft, grey": {"alpha": 0.02, "shape": (2, 1, 16, 24)},
    "soft, replicated": {"alpha": 0.02, "padding": "replicate"},
    "soft, normalised": {"alpha": 0.02, "pixel_range": 1, **IMAGENET},
    "soft, odd and normalised": {"alpha": 0.02, "pixel_range": 1, "shape": (1, 3, 9, 30), **IMAGENET},
    "soft, steps out of bounds": {"alpha": 0.02, "stray": True},
    "soft, fixed steps": {"alpha": 0.02, "trainable": False},
    "soft, images without gradient": {"alpha": 0.02, "still": True},
    "ste": {"mode": "ste", "alpha_mode": "trained"},
    "ste, some saturated": {"mode": "ste", "steps": 1.0},
    "ste, means removed, odd sides": {"mode": "ste", "zero_dc": True, "shape": (1, 3, 19, 21)},
    "ste, normalised": {"mode": "ste", "pixel_range": 1, **IMAGENET},
    "hard": {"mode": "hard"},
    "hard, some saturated, odd sides": {"mode": "hard", "steps": 1.0, "shape": (1, 3, 19, 21)},
    "hard, normalised, channels last": {"mode": "hard", "pixel_range": 1, "channels_last": True, **IMAGENET},
}
EAGER: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": "420"},
    "integers": {"mode": "hard", "integer": True},
    "seven levels": {"levels": 7},
    "noise": {"mode": "noise"},
    "replicated edges": {"padding": "replicate", "shape": (1, 3, 19, 21)},
    "one mean for all": {"mean": (128.0,), "std": (64.0,)},
}


def make(case: dict[str, Any], device: str = "cpu") -> tuple[JPEGLayer, torch.Tensor]:
    """A layer and images for a case; none of the few coefficients is so near a tie that rounding errors matter."""
    options = {"shape": (2, 3, 16, 24), **case}
    torch.manual_seed(0)
    shape, step = options.pop("shape"), options.pop("steps", None)
    last, crop, stray, still = (options.pop(name, False) for name in ("channels_last", "crop", "stray", "still"))
    layer = JPEGLayer(standard_tables(75) if step is None else torch.full((2, 8, 8), step), **options)
    if stray:
        with torch.no_grad():
            layer.steps[:, 0, 3:] = torch.tensor([-1.0, 1e-6, 300.0, 256.0, 255.0])
    images = torch.rand(shape) * options.get("pixel_range", 255)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    if crop:
        images = images[:, :, 3:, 5:]
    return layer.to(device), images.to(device).requires_grad_(not still)


def distances(case: dict[str, Any], device: str = "cpu") -> dict[str, Any]:
    """Errors against the eager code: of the output in grey levels of [0, 255], of the gradients relatively."""
    layer, images = make(case, device)
    twin, twins_images = copy.deepcopy(layer).double(), images.detach().double().requires_grad_(images.requires_grad)
    out, expected = layer(images), twin(twins_images)
    weights = torch.randn(out.shape).to(device)
    unit = (255 / layer.pixel_range) * (1 if layer.std is None else layer.std)
    found = {
        "out": float(((out - expected) * unit).detach().abs().max()),
        "differentiable": (out.requires_grad, expected.requires_grad),
        "channels_last": out.is_contiguous(memory_format=torch.channels_last),
    }
    if expected.requires_grad:
        (out * weights).sum().backward()
        (expected * weights.double()).sum().backward()
        pairs = {"images": (images, twins_images)}
        pairs |= {name: (getattr(layer, name), getattr(twin, name)) for name in ("steps", "log_alpha")}
        found |= {name: relative(ours.grad, theirs.grad) for name, (ours, theirs) in pairs.items()}
    return found


def relative(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> float:
    """Relative distance; infinite if only one of both exists."""
    if ours is None or theirs is None:
        return 0.0 if ours is theirs else float("inf")
    return float((ours - theirs).norm() / theirs.norm())


def type_agrees(case: dict[str, Any], dtype: torch.dtype, device: str = "cpu") -> None:
    """A layer of another type through the kernels: rounded tables, float32 arithmetic and a rounded result."""
    layer, images = make(case, device)
    layer, images = layer.to(dtype), images.detach().to(dtype).requires_grad_()
    exact, exacts_images = copy.deepcopy(layer).float(), images.detach().float().requires_grad_()
    layer(images.detach())
    with pytest.MonkeyPatch.context() as patch:
        launches = Launches(patch)
        out = layer(images)
        assert launches.count == 1
    expected = exact(exacts_images)
    assert torch.equal(out, expected.to(dtype))
    if layer.mode == "hard":
        return
    weights = torch.randn(out.shape).to(device, dtype)
    (out * weights).sum().backward()
    (expected * weights.float()).sum().backward()
    for ours, theirs in zip((images, *layer.parameters()), (exacts_images, *exact.parameters()), strict=True):
        if ours.requires_grad and theirs.grad is not None:
            assert ours.grad is not None
            assert ours.grad.dtype == dtype
            assert relative(ours.grad.float(), theirs.grad) < 2 * torch.finfo(dtype).eps


class Launches:
    """Counts the kernels that are launched over blocks."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from toolkit.jpeg import fused

        self.count = 0
        launch = fused._Settings.launch

        def counted(*args: Any, **more: Any) -> None:
            self.count += 1
            launch(*args, **more)

        patch.setattr(fused._Settings, "launch", counted)


def case_in_the_interpreter(case: dict[str, Any]) -> dict[str, Any]:
    layer, images = make(case)
    layer(images.detach()[:1, :, :8, :8])  # has the kernels tried with these settings
    with pytest.MonkeyPatch.context() as patch:
        launches = Launches(patch)
        return {**distances(case), "launches": launches.count}


def check_compilers_leave_the_kernels_alone() -> None:
    layer, images = make(CASES["soft, alpha trained"])
    compiled = torch.compile(layer, backend="aot_eager")
    layer(images).square().sum().backward()
    gradients = [one.grad.clone() for one in (images, layer.steps, layer.log_alpha) if one.grad is not None]
    layer.zero_grad()
    images.grad = None
    with pytest.MonkeyPatch.context() as patch:
        launches = Launches(patch)
        compiled(images).square().sum().backward()
        assert launches.count == 2
    for one, gradient in zip((images, layer.steps, layer.log_alpha), gradients, strict=True):
        assert torch.equal(one.grad, gradient)


def check_autocast_changes_nothing() -> None:
    layer, images = make(CASES["soft"])
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(images)
    assert out.dtype == torch.float32
    assert torch.equal(out, layer(images))


def check_neither_do_inference_mode_and_uint8() -> None:
    layer, images = make({"alpha": 0.0201})  # settings that no other case has tried on the kernels
    images = images.detach().round()
    with torch.inference_mode():
        out = layer(images.byte())
    assert torch.equal(out, layer(images))


def check_a_constant_gradient_need_not_be_stored() -> None:
    layer, images = make(CASES["soft"])
    (gradient,) = torch.autograd.grad(layer(images).sum(), images)
    weighted = torch.autograd.grad((layer(images) * torch.ones(images.shape)).sum(), images)[0]
    assert torch.equal(gradient, weighted)


def check_what_the_kernels_do_not_know_is_left_to_the_eager_code() -> None:
    for case in EAGER.values():
        layer, images = make(case)
        with pytest.MonkeyPatch.context() as patch:
            launches = Launches(patch)
            layer(images)
            assert launches.count == 0, case
    layer, images = make(CASES["soft"])
    assert layer(images[:0]).shape == (0, 3, 16, 24)
    with pytest.MonkeyPatch.context() as patch:
        launches = Launches(patch)
        assert layer(images.double()).dtype == torch.float64
        assert copy.deepcopy(layer).double()(images).dtype == torch.float32
        assert launches.count == 0


def check_other_types_are_computed_in_float32_and_come_back() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        for name in ("soft, alpha trained", "ste, normalised", "hard, normalised, channels last"):
            type_agrees(CASES[name], dtype)


def check_transforms_of_functions_are_left_to_the_eager_code() -> None:
    layer, images = make(CASES["soft, alpha trained"])
    layer(images.detach())
    expected = torch.autograd.grad(layer(images).square().sum(), images)[0]
    images = images.detach()
    with pytest.MonkeyPatch.context() as patch:
        launches = Launches(patch)
        found = torch.func.grad(lambda x: layer(x).square().sum())(images)
        each = torch.func.vmap(torch.func.grad(lambda x: layer(x[None]).square().sum()))(images)
        torch.func.jvp(layer, (images,), (images,))
        assert launches.count == 0
    assert relative(found, expected) < 5e-4
    assert relative(each, expected) < 5e-4


def check_batches_of_gradients_are_refused_in_one_line() -> None:
    layer, images = make(CASES["soft"])
    with pytest.raises(RuntimeError, match="the fused kernels take one gradient at a time"):
        torch.autograd.grad(layer(images), images, torch.ones(2, *images.shape), is_grads_batched=True)


def check_kernels_that_fail_are_given_up_with_one_warning() -> None:
    from toolkit.jpeg import fused

    layer, images = make(CASES["soft"])
    expected = layer(images)
    fused._runs.cache_clear()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(fused, "backward_kernel", {})
        for _ in range(2):
            torch.testing.assert_close(layer(images), expected, atol=1e-3, rtol=0)
    fused._runs.cache_clear()
    assert sum("without its fused kernels" in str(one.message) for one in caught) == 1


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


def interpret() -> None:
    """Prints the results from Triton's interpreter as JSON."""
    found: dict[str, Any] = {name: case_in_the_interpreter(case) for name, case in CASES.items()}
    for name, check in CHECKS.items():
        try:
            check()
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found))


def compile_without_a_gpu() -> None:
    """The kernels through Triton's compiler, which supports less of Python than its interpreter."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from toolkit.jpeg import fused

    class Compiler:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int]) -> Any:
            return functools.partial(self.kernel.warmup, grid=grid)

    names = {"get_current_target": GPUTarget("cuda", 90, 32), "get_current_device": 0, "get_current_stream": 0}
    driver.set_active(SimpleNamespace(**{name: lambda *_, value=value: value for name, value in names.items()}))
    for name in ("forward_kernel", "backward_kernel", "sum_kernel"):
        setattr(fused, name, Compiler(getattr(fused, name)))
    for case in ({"alpha_mode": "trained", "pixel_range": 1, **IMAGENET}, CASES["ste, means removed, odd sides"]):
        layer, images = make(case)
        log_alpha = layer.log_alpha if layer.log_alpha.requires_grad else None
        settings = fused._Settings(layer.mode, layer.bits, layer.zero_dc, 1.0, 0.7)
        inputs = (images, layer.steps, log_alpha, layer.transform.dct, layer.mean, layer.std, settings)
        fused._Fused.apply(*inputs).sum().backward()


def in_a_process(*arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **variables}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return json.loads(in_a_process(__file__, TRITON_INTERPRET="1").splitlines()[-1])


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_what_the_eager_code_does(found: dict[str, Any], name: str) -> None:
    agrees(found[name], CASES[name])
    assert found[name]["launches"] == (1 if CASES[name].get("mode") == "hard" else 2)


def agrees(distance: dict[str, Any], case: dict[str, Any]) -> None:
    ours, theirs = distance["differentiable"]
    assert ours == theirs == (case.get("mode") != "hard")
    assert distance["channels_last"] == case.get("channels_last", False)
    assert distance["out"] < 1e-3
    assert all(distance.get(name, 0.0) < 5e-4 for name in ("images", "steps", "log_alpha")), distance


@pytest.mark.slow
@needs_triton
def test_the_kernels_compile_without_a_gpu(tmp_path: Path) -> None:
    in_a_process(__file__, "compile", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("name", CHECKS)
def test_around_the_kernels(found: dict[str, Any], name: str) -> None:
    assert not found[name], found[name]


PROGRAM = """
import sys, torch
{before}
from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import ones
JPEGLayer(ones())(torch.rand(1, 3, 8, 8) * 255).sum().backward()
print("triton" in sys.modules and sys.modules["triton"] is not None)
"""


def test_on_a_cpu_the_layer_does_not_import_triton() -> None:
    assert in_a_process("-c", PROGRAM.format(before=""), TRITON_INTERPRET="0").strip() == "False"


def test_the_layer_works_where_there_is_no_triton() -> None:
    program = PROGRAM.format(before="sys.modules['triton'] = None")
    assert in_a_process("-c", program, TRITON_INTERPRET="1").strip() == "False"


if __name__ == "__main__":
    compile_without_a_gpu() if sys.argv[1:] else interpret()
