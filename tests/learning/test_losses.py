"""The methods' arithmetic against hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from toolkit.learning import losses
from toolkit.learning.methods.base import Stage, StageData
from toolkit.learning.methods.bic import BiasCorrected, split_for_correction
from toolkit.learning.methods.derpp import DERpp, dark_experience
from toolkit.learning.methods.er_ace import asymmetric_cross_entropy
from toolkit.learning.methods.expanding import DER, MEMO, ExpandingClassifier
from toolkit.learning.methods.foster import Boosted
from toolkit.learning.methods.podnet import PODNet, ProxyHead, balanced
from toolkit.learning.methods.wa import align_weights
from toolkit.training.backbones import build_backbone
from toolkit.training.batches import Batch, Pool
from toolkit.training.networks import Classifier, GrowingLinear

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(5, 4))
TEACHER = RANDOM.normal(size=(5, 4))
LABELS = np.array([0, 1, 2, 3, 1])
NORMAL = ((0.5,) * 3, (0.25,) * 3)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def pool(counts: list[int], first: int = 0) -> Pool:
    labels = torch.cat([torch.full((count,), first + label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 8, 8, 3)
    return Pool(images, labels)


def test_distillation_is_the_cross_entropy_of_softened_outputs() -> None:
    expected = -(softmax(TEACHER / 2, axis=1) * log_softmax(LOGITS / 2, axis=1)).sum(axis=1).mean()
    assert float(losses.distillation(tensor(LOGITS), tensor(TEACHER), 2.0)) == pytest.approx(expected, rel=1e-5)


def test_distilled_adds_both_terms_over_the_old_outputs_only() -> None:
    class Fixed(nn.Module):
        def __init__(self, logits: np.ndarray) -> None:
            super().__init__()
            self.logits = tensor(logits)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits

    batch = Batch(torch.zeros(5, 3, 8, 8), torch.from_numpy(LABELS))
    loss = losses.distilled(Fixed(TEACHER[:, :2]), 2, 2.0, plain=0.25, imitated=0.75)
    old = -(softmax(TEACHER[:, :2] / 2, axis=1) * log_softmax(LOGITS[:, :2] / 2, axis=1)).sum(axis=1).mean()
    expected = 0.25 * entropy(LOGITS, LABELS) + 0.75 * old
    assert float(loss(Fixed(LOGITS), batch)) == pytest.approx(expected, rel=1e-5)


def test_nca_has_a_one_in_the_denominator_for_the_label() -> None:
    similar = np.array([[2.0, 1.0, 0.5], [0.1, 5.0, 0.2], [3.0, 1.0, 0.0]])
    # the first two labels are the most similar, so the 1 is their own; the third's 1 is that of the most similar
    first = math.log(1 + math.exp(1.0 - 1.4) + math.exp(0.5 - 1.4))
    second = math.log(1 + math.exp(0.1 - 4.4) + math.exp(0.2 - 4.4))
    third = math.log(1 + 1 + math.exp(0.0 - 3.0)) - (0.4 - 3.0)
    found = losses.nca(tensor(similar), torch.tensor([0, 1, 1]), 0.6)
    assert float(found) == pytest.approx((first + second + third) / 3, rel=1e-5)


def test_pooled_outputs_distance_by_hand() -> None:
    ours, theirs = RANDOM.normal(size=(2, 3, 4, 5)), RANDOM.normal(size=(2, 3, 4, 5))

    def pooled(maps: np.ndarray) -> np.ndarray:
        rows = [np.concatenate([(one**2).sum(axis=2).ravel(), (one**2).sum(axis=1).ravel()]) for one in maps]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    expected = np.linalg.norm(pooled(ours) - pooled(theirs), axis=1).mean()
    assert float(losses.pooled_outputs_distance([tensor(ours)], [tensor(theirs)])) == pytest.approx(expected, rel=1e-4)
    assert float(losses.pooled_outputs_distance([tensor(ours)] * 2, [tensor(ours)] * 2)) == 0


def test_effective_numbers_favour_rare_classes_with_mean_one() -> None:
    weights = losses.effective_number_weights(torch.tensor([10.0, 1.0]), 0.9)
    raw = np.array([0.1 / (1 - 0.9**10), 1.0])
    np.testing.assert_allclose(weights, raw / raw.mean(), rtol=1e-5)
    np.testing.assert_allclose(losses.effective_number_weights(torch.tensor([10.0, 1.0]), 0.0), [1, 1])


def test_new_images_compete_with_new_classes_and_some_with_all() -> None:
    labels = np.array([2, 3, 2, 0, 1])
    batch = Batch(torch.zeros(5, 3, 8, 8), torch.from_numpy(labels), exemplars=2)
    expected = entropy(LOGITS[:3, 2:], labels[:3] - 2) + entropy(LOGITS[1:], labels[1:])
    assert float(asymmetric_cross_entropy(tensor(LOGITS), batch, Stage(1, 2, 4))) == pytest.approx(expected, rel=1e-5)
    first_stage = asymmetric_cross_entropy(
        tensor(LOGITS), Batch(batch.images, torch.from_numpy(LABELS)), Stage(0, 0, 4)
    )
    assert float(first_stage) == pytest.approx(entropy(LOGITS, LABELS), rel=1e-5)


def test_stored_logits_are_matched_where_they_exist() -> None:
    stored = np.array([[1.0, np.nan], [0.5, -0.5]])
    labels = np.array([2, 3, 3, 0, 1])
    kept = np.pad(stored, ((0, 0), (0, 2)), constant_values=np.nan)
    batch = Batch(torch.zeros(5, 3, 8, 8), torch.from_numpy(labels), 2, tensor(kept))
    squares = [(LOGITS[3, 0] - 1) ** 2, (LOGITS[4, 0] - 0.5) ** 2, (LOGITS[4, 1] + 0.5) ** 2]
    expected = entropy(LOGITS[:3], labels[:3]) + 0.5 * entropy(LOGITS[3:], labels[3:]) + 0.3 * np.mean(squares)
    found = dark_experience(tensor(LOGITS), batch, 2, alpha=0.3, beta=0.5)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_logits_survive_packing_in_half_precision() -> None:
    logits = np.array([[1.5, -2.25], [1e6, 0.1]], np.float32)
    method = DERpp()
    packed = method.pack_extras(logits)
    assert [len(data) for data in packed] == [method.extra_bytes(2)] * 2 == [4, 4]
    found = method.unpack_extras(packed, 3)
    np.testing.assert_allclose(found[:, :2], [[1.5, -2.25], [65504, 0.1]], rtol=1e-3)
    assert np.isnan(found[:, 2]).all()


def test_balanced_distillation_reweights_the_target() -> None:
    weights = np.array([0.5, 0.5, 1.0, 2.0])
    target = softmax(TEACHER / 2, axis=1) * weights
    target /= target.sum(axis=1, keepdims=True)
    expected = -(target * log_softmax(LOGITS / 2, axis=1)).sum(axis=1).mean()
    found = losses.distillation(tensor(LOGITS), tensor(TEACHER), 2.0, tensor(weights))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_alignment_gives_new_rows_the_old_rows_mean_norm() -> None:
    head = GrowingLinear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 12.0]]))
    align_weights(head, 2)
    np.testing.assert_allclose(head.weight.detach(), [[3, 4], [0, 1], [0, 3]])
    align_weights(head, 0)
    align_weights(head, 3)
    np.testing.assert_allclose(head.weight.detach(), [[3, 4], [0, 1], [0, 3]])


def test_corrections_scale_and_shift_their_own_stage_only() -> None:
    torch.manual_seed(0)
    network = BiasCorrected(Classifier(build_backbone("resnet8"), 2))
    network.grow(4)
    network.grow(5)
    network.eval()
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    plain = network.classifier(images).detach()
    torch.testing.assert_close(network(images), plain)
    with torch.no_grad():
        network.corrections[0].copy_(torch.tensor([2.0, 1.0]))
        network.corrections[1].copy_(torch.tensor([0.5, -1.0]))
    expected = torch.cat([plain[:, :2], 2 * plain[:, 2:4] + 1, 0.5 * plain[:, 4:] - 1], dim=1)
    torch.testing.assert_close(network(images), expected)


def test_only_the_last_correction_is_trained_and_batch_statistics_stay() -> None:
    network = BiasCorrected(Classifier(build_backbone("resnet8"), 2))
    network.grow(4)
    network.grow(6)
    network.correct(only=True)
    network.train()
    assert [name for name, one in network.named_parameters() if one.requires_grad] == ["corrections.1"]
    assert not network.classifier.backbone.training
    network.correct(only=False)
    network.train()
    assert not any(correction.requires_grad for correction in network.corrections)
    assert network.classifier.backbone.training


def test_the_correction_uses_images_that_train_nothing_else() -> None:
    data = StageData(pool([30, 30], first=2), pool([20, 10]), 0.5)
    fitted, judging = split_for_correction(data, 0.1, Stage(1, 2, 4))
    assert judging.memory is not None
    assert fitted.memory is not None
    assert torch.bincount(judging.memory.labels).tolist() == [2, 1]
    assert torch.bincount(fitted.memory.labels).tolist() == [18, 9]
    assert torch.bincount(judging.new.labels, minlength=4).tolist() == [0, 0, 2, 2]
    assert torch.bincount(fitted.new.labels, minlength=4).tolist() == [0, 0, 28, 28]
    assert judging.memory_share == 0.5
    seen = {int(image[0, 0, 0]) for image in fitted.new.images}
    assert seen.isdisjoint(int(image[0, 0, 0]) for image in judging.new.images)


def test_finetuning_data_is_balanced() -> None:
    data = balanced(StageData(pool([30, 30], first=3), pool([5, 4, 6]), 0.5), Stage(1, 3, 5))
    assert torch.bincount(data.new.labels, minlength=5).tolist() == [0, 0, 0, 5, 5]
    assert data.memory_share == pytest.approx(3 / 5)


def test_frequencies_are_those_that_batches_have() -> None:
    data = StageData(pool([30, 10], first=2), pool([5, 15]), 0.25)
    found = data.frequencies(4)
    assert float(found.sum()) == pytest.approx(60)
    np.testing.assert_allclose(found / found.sum(), [0.0625, 0.1875, 0.5625, 0.1875])


def test_proxies_are_averaged_with_softmax_weights() -> None:
    head = ProxyHead(3, 2, proxies=2, scale=3)
    features = RANDOM.normal(size=(4, 3))
    weight = head.weight.detach().numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = (unit @ (weight / np.linalg.norm(weight, axis=1, keepdims=True)).T).reshape(4, 2, 2)
    expected = 3 * (softmax(similar, axis=2) * similar).sum(axis=2)
    np.testing.assert_allclose(head(tensor(features)).detach(), expected, rtol=1e-5)
    head.grow(5)
    assert head.out_features == 5
    np.testing.assert_allclose(head(tensor(features)).detach()[:, :2], expected, rtol=1e-5)


def test_cosines_are_of_features_of_either_sign() -> None:
    torch.manual_seed(0)
    network = PODNet(scale=5).build(lambda: build_backbone("resnet8"), 2, *NORMAL).eval()
    features = network.features(torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8))
    assert (features < 0).any()
    assert (features > 0).any()
    assert network.head.scale == 5


@pytest.mark.parametrize("method", [DER(), MEMO(shared="frozen")])
def test_an_expanding_network_keeps_old_features_and_outputs(method: DER | MEMO) -> None:
    torch.manual_seed(0)
    network = method.build(lambda: build_backbone("resnet8"), 2, *NORMAL)
    assert isinstance(network, ExpandingClassifier)
    plain = Classifier(build_backbone("resnet8"), 2)
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    before = network.eval().features(images)
    assert before.shape == plain.features(images).shape
    network.grow(5)
    network.train()
    assert not network.branches[0].training
    assert network.branches[1].training
    trained = {".".join(name.split(".")[:2]) for name, one in network.named_parameters() if one.requires_grad}
    assert trained == {"branches.1", "head.weight", "head.bias", "auxiliary.weight", "auxiliary.bias"}
    torch.testing.assert_close(network.eval().features(images)[:, :64], before)
    logits, auxiliary = network.outputs(images)
    assert logits.shape == (3, 5)
    assert auxiliary.shape == (3, 4)


def test_charged_weights_are_those_of_the_added_branches() -> None:
    method = DER(charge_weights=True)
    network = method.build(lambda: build_backbone("resnet8"), 2, *NORMAL)
    size = sum(tensor.nbytes for tensor in build_backbone("resnet8").state_dict().values())
    assert method.weights_bytes(network) == 0
    network.grow(4)  # type: ignore[operator]
    network.grow(6)  # type: ignore[operator]
    assert method.weights_bytes(network) == 2 * size + 4 * 6 * 2 * 64, "two branches, and their part of the head"
    assert DER().weights_bytes(network) == 0


def test_a_boosted_network_sees_both_and_trains_the_new_one() -> None:
    torch.manual_seed(0)
    old = Classifier(build_backbone("resnet8"), 2)
    network = Boosted(old, 4).train()
    assert not network.old.training
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    both, new, before = network.eval().outputs(images)
    assert both.shape == new.shape == (3, 4)
    torch.testing.assert_close(before, old.eval()(images))
    assert {name.split(".")[0] for name, one in network.named_parameters() if one.requires_grad} == {"new", "head"}
