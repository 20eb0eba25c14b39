"""The layer on the meta device, through ``torch.export``, compilers and ONNX."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.tables import ones, standard_tables

MODES = ["soft", "hard", "ste", "noise", "sample", "identity"]
NORMALISED: dict[str, Any] = {"mean": (120.0, 115.0, 100.0), "std": (60.0, 62.0, 64.0)}
SUBSAMPLINGS = ["444", "420"]


def make(mode: str, **choices: Any) -> JPEGLayer:
    return JPEGLayer(standard_tables(50), mode=mode, alpha=0.05, **NORMALISED, **choices)


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 24, 19, generator=torch.Generator().manual_seed(0)) * 255


def seeded(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return layer(x)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("mode", MODES)
def test_a_layer_made_on_the_meta_device_is_filled_from_a_state(mode: str, subsampling: str) -> None:
    trained = make(mode, subsampling=subsampling)
    with torch.device("meta"):
        layer = make(mode, subsampling=subsampling)
        out = layer(torch.empty(2, 3, 24, 19))
    assert (out.device.type, out.shape) == ("meta", (2, 3, 24, 19))
    assert {one.device.type for one in (*layer.parameters(), *layer.buffers())} == {"meta"}
    layer = layer.to_empty(device="cpu")
    layer.load_state_dict(trained.state_dict())
    assert torch.equal(seeded(layer, images()), seeded(trained, images()))


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_sent_to_the_meta_device_gives_shapes_and_types(mode: str) -> None:
    model = prepend(nn.Conv2d(3, 4, 3), make(mode)).to("meta", torch.bfloat16)
    out = model(torch.empty(2, 3, 24, 19, device="meta", dtype=torch.bfloat16))
    assert (out.shape, out.dtype) == ((2, 4, 22, 17), torch.bfloat16)


def test_a_layer_is_where_its_tables_are() -> None:
    steps = ones()
    with torch.device("meta"):
        layer = JPEGLayer(steps, **NORMALISED)
    assert {one.device.type for one in (*layer.parameters(), *layer.buffers())} == {"cpu"}
    assert torch.equal(layer(images()), JPEGLayer(steps, **NORMALISED)(images()))


@pytest.mark.parametrize("mode", ["soft", "hard", "ste", "sample"])
def test_it_exports_for_batches_of_any_size(mode: str) -> None:
    layer = make(mode, subsampling="420")
    program = torch.export.export(layer, (images(),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    for count in (1, 3):
        torch.testing.assert_close(seeded(program.module(), images(count)), seeded(layer, images(count)))


def test_full_windows_report_that_they_cannot_be_exported() -> None:
    with pytest.raises(ValueError, match=r"levels=full needs .* the tables, which torch\.export .*hide: use an odd"):
        torch.export.export(make("soft", levels="full"), (images(),))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["soft", "hard", "ste", "identity"])
def test_one_graph_holds_the_layer_and_its_gradients(mode: str) -> None:
    layer = make(mode, subsampling="420")
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), layer(images()))
    if mode == "hard":
        return
    found, expected = (
        torch.autograd.grad(one(inputs).square().mean(), [inputs, one.steps], materialize_grads=True, allow_unused=True)
        for one, inputs in ((compiled, images().requires_grad_()), (layer, images().requires_grad_()))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_traced_layer_does_the_same(mode: str) -> None:
    layer = make(mode)
    traced = torch.jit.trace(layer, (images(),))
    torch.testing.assert_close(traced(images()), layer(images()))


@pytest.mark.parametrize("choices", [{}, {"subsampling": "420"}, {"integer": True}])
def test_in_hard_mode_it_exports_to_onnx(choices: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: torch.onnx.export needs it")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, path = prepend(nn.Conv2d(3, 4, 3), make("hard", **choices)).eval(), tmp_path / "model.onnx"
    count = torch.export.Dim("n", min=1)
    torch.onnx.export(model, (images(),), path, dynamo=True, verbose=False, dynamic_shapes=({0: count},))
    session = runtime.InferenceSession(str(path))
    for batch in (1, 3):
        (found,) = session.run(None, {session.get_inputs()[0].name: images(batch).numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(images(batch)), rtol=1e-4, atol=1e-4)


def test_hard_mode_uses_only_operations_of_onnx() -> None:
    program = torch.export.export(make("hard", subsampling="420"), (images(),)).run_decompositions()
    used = {str(node.target).split(".")[1] for node in program.graph.nodes if node.op == "call_function"}
    assert "floor" in used
    assert not used & {"copysign", "linalg_inv_ex", "nextafter", "frexp"}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_the_torchscript_exporter_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the TorchScript exporter cannot take a JPEGLayer: .*dynamo=True"):
        torch.onnx.export(make("hard"), (images(),), str(tmp_path / "model.onnx"), dynamo=False)
