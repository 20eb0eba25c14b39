"""The loop, its batches and its networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.training.augment import crop_flip
from toolkit.training.backbones import build_backbone
from toolkit.training.batches import Batch, IndexStream, Pool, ReplayBatches
from toolkit.training.device import resolve_device
from toolkit.training.loop import Recipe, predict, train
from toolkit.training.networks import Classifier
from toolkit.training.weights import load_network, save_network

CPU = torch.device("cpu")


def test_resnet32_has_the_published_number_of_parameters() -> None:
    assert sum(one.numel() for one in build_backbone("resnet32").parameters()) == 463_504


@pytest.mark.parametrize(("name", "layers"), [("resnet8", 8), ("resnet20", 20), ("resnet32", 32), ("resnet56", 56)])
def test_a_cifar_resnet_has_as_many_layers_as_its_name_says(name: str, layers: int) -> None:
    backbone = build_backbone(name)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in backbone.modules())
    assert convolutions + 1 == layers
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 64)


def test_a_timm_network_serves_as_backbone() -> None:
    network = Classifier(build_backbone("timm:resnet18"), 3)
    assert network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize("name", ["resnet9", "timm:no_such_net"])
def test_unknown_networks_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        build_backbone(name)


def test_a_growing_head_keeps_the_outputs_it_had() -> None:
    torch.manual_seed(0)
    network = Classifier(build_backbone("resnet8"), 3).eval()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    before = network(images)
    network.grow(5)
    torch.testing.assert_close(network(images)[:, :3], before)


def test_normalisation_uses_the_given_mean_and_deviation() -> None:
    class Echo(nn.Module):
        num_features = 3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3))

    network = Classifier(Echo(), 2, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    white = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    torch.testing.assert_close(network.features(white), torch.tensor([[1.0, 3.0, 1.0]]))


def test_cropping_shifts_flips_and_pads_with_black() -> None:
    images = torch.randint(1, 256, (64, 8, 8, 3), dtype=torch.uint8)
    augmented = crop_flip(images, torch.Generator().manual_seed(0), pad=2)
    assert augmented.shape == (64, 3, 8, 8)
    assert augmented.dtype == torch.uint8
    padded = nn.functional.pad(images.permute(0, 3, 1, 2), (2, 2, 2, 2))
    seen = set()
    for image, source in zip(augmented, padded, strict=True):
        crops = {
            (dy, dx, flip): crop.flip(2) if flip else crop
            for dy in range(5)
            for dx in range(5)
            for flip in (False, True)
            for crop in [source[:, dy : dy + 8, dx : dx + 8]]
        }
        fits = [where for where, crop in crops.items() if torch.equal(image, crop)]
        assert fits, "not a crop of the padded image"
        seen.update(fits[:1])
    assert {flip for _, _, flip in seen} == {False, True}
    assert len({(dy, dx) for dy, dx, _ in seen}) > 15


def test_brightness_scales_whole_images_within_the_limit() -> None:
    images = torch.full((200, 4, 4, 3), 100, dtype=torch.uint8)
    jittered = crop_flip(images, torch.Generator().manual_seed(0), pad=0, brightness=0.25)
    levels = jittered.flatten(1).mean(dim=1)
    assert float(jittered.flatten(1).std(dim=1).max()) < 1e-3
    assert 75 <= float(levels.min()) < 80
    assert 120 < float(levels.max()) <= 125


def test_every_item_occurs_once_per_pass_at_any_position() -> None:
    stream = IndexStream(7, seed=3)
    whole = torch.cat([stream.take(start, 1) for start in range(21)])
    for number in range(3):
        assert sorted(whole[7 * number : 7 * number + 7].tolist()) == list(range(7))
    assert torch.equal(IndexStream(7, seed=3).take(5, 11), whole[5:16])
    assert not torch.equal(IndexStream(7, seed=4).take(0, 21), whole)


def pool(value: int, count: int) -> Pool:
    return Pool(torch.full((count, 8, 8, 3), value, dtype=torch.uint8), torch.full((count,), value))


def test_half_of_each_batch_comes_from_the_memory() -> None:
    batches = ReplayBatches(pool(1, 30), pool(2, 3), 10)
    for step in range(4):
        assert sorted(batches(step)[1].tolist()) == [1] * 5 + [2] * 5
    assert batches(0)[0].is_contiguous(memory_format=torch.channels_last)
    assert set(ReplayBatches(pool(1, 30), None, 10)(0)[1].tolist()) == {1}
    assert ReplayBatches(pool(1, 30), pool(2, 3), 10, memory_share=0.2)(0)[1].tolist().count(2) == 2


def test_batches_are_a_function_of_seed_and_step() -> None:
    images = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8)
    source = Pool(images, torch.arange(20))
    first, second = (ReplayBatches(source, None, 6, seed=1) for _ in range(2))
    first(0), first(1)
    assert torch.equal(first(5)[0], second(5)[0])
    assert not torch.equal(ReplayBatches(source, None, 6, seed=2)(5)[0], first(5)[0])


def test_cosine_and_milestones_by_hand() -> None:
    cosine = Recipe(100, lr=1.0)
    assert [cosine.lr_at(step) for step in (0, 50)] == pytest.approx([1.0, 0.5])
    assert cosine.lr_at(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    steps = Recipe(100, lr=1.0, schedule="milestones", milestones=(0.3, 0.6), gamma=0.1)
    assert [steps.lr_at(step) for step in (29, 30, 60)] == pytest.approx([1.0, 0.1, 0.01])
    assert Recipe(10, lr=1.0, warmup=4).lr_at(1) == pytest.approx(0.5)


def problem() -> tuple[Classifier, ReplayBatches]:
    torch.manual_seed(0)
    labels = torch.arange(60) % 2
    images = torch.randint(0, 100, (60, 16, 16, 3)) + 100 * labels[:, None, None, None]
    network = Classifier(build_backbone("resnet8"), 2).to(memory_format=torch.channels_last)
    return network, ReplayBatches(Pool(images.to(torch.uint8), labels), None, 16, seed=5)


def test_training_learns_a_separable_problem() -> None:
    network, batches = problem()
    losses: list[float] = []
    train(network, batches, Recipe(25, lr=0.05), device=CPU, after_step=lambda s, loss, o: losses.append(float(loss)))
    assert len(losses) == 25
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])


def test_resuming_in_the_middle_gives_the_same_network() -> None:
    recipe = Recipe(12, lr=0.05)
    whole, batches = problem()
    train(whole, batches, recipe, device=CPU)

    class Stop(Exception):
        pass

    halved, batches = problem()
    saved = {}

    def stop(step: int, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        if step == 5:
            saved.update(optimizer=optimizer.state_dict())
            raise Stop

    with pytest.raises(Stop):
        train(halved, batches, recipe, device=CPU, after_step=stop)
    train(halved, batches, recipe, device=CPU, start=5, optimizer_state=saved["optimizer"])
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(halved.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_a_loss_that_is_not_finite_stops_the_run_with_the_step() -> None:
    network, batches = problem()

    def explode(network: nn.Module, batch: Batch) -> torch.Tensor:
        return network(batch.images).sum() * float("nan")

    with pytest.raises(WorkError, match="step 3"):
        train(network, batches, Recipe(3), device=CPU, loss=explode)


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    network, _ = problem()
    network.eval()
    images = torch.randint(0, 256, (10, 16, 16, 3), dtype=torch.uint8)
    whole, parts = (predict(network, images, batch_size=size, device=CPU, mixed_precision=False) for size in (10, 3))
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)


def test_saved_weights_come_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network, _ = problem()
    save_network(network, "resnet8", tmp_path / "n.pt")
    loaded = load_network(tmp_path / "n.pt")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    torch.save(network.state_dict(), tmp_path / "bare.pt")
    assert load_network(tmp_path / "bare.pt").head.out_features == 2


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / "executed"

    class Payload:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (open, (str(target), "w"))

    torch.save({"network": "resnet8", "state_dict": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="not plain weights"):
        load_network(tmp_path / "evil.pt")
    assert not target.exists()
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UsageError, match="not plain weights"):
        load_network(tmp_path / "text.pt")


def test_cuda_is_refused_if_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        resolve_device("cuda")
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        resolve_device("tpu")
    assert resolve_device("auto").type == "cpu"


def test_every_batch_has_some_new_images_and_some_exemplars() -> None:
    few, many = (ReplayBatches(pool(1, 30), pool(2, 3), 10, memory_share=share) for share in (0.01, 0.99))
    assert few(0).exemplars == 1
    assert many(0).exemplars == 9
    assert many(0).labels.tolist() == [1] + [2] * 9, "exemplars last"
