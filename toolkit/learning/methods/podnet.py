"""PODNet (Douillard et al., ECCV 2020): distillation of pooled feature maps, and a cosine classifier with proxies.

After the main training, the classifier alone is finetuned on a balanced set. Differences from the paper:

- new proxies are initialised at random, not from clusters of features;
- the maps of all stages except the last are taken after their ReLU;
- the scale is fixed, as in CosFace (trained, it fell to 0 or stayed near 1 in the few hundred steps of a pilot, and the
  features learned nothing; published trainings take a hundred times as many steps);
- finetuning freezes the backbone's batch statistics; it has the published ratio of epochs (20 to 160) and of learning
  rates (0.005 to 0.1), but its steps are part of the stage's.

PyCIL's version differs further: cross entropy, and no finetuning.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from toolkit.foundation.errors import UsageError
from toolkit.learning.losses import nca, pooled_outputs_distance
from toolkit.learning.methods.base import Method, Phase, Stage, StageData
from toolkit.training.batches import Batch
from toolkit.training.cifar_resnet import CifarResNet, pooled
from toolkit.training.loop import Loss
from toolkit.training.networks import Channels, Classifier

MARGIN = 0.6
FINETUNING_SHARE = 20 / 180
FINETUNING_LR = 0.05


class PodClassifier(Classifier):
    """A classifier with a :class:`ProxyHead`; while ``finetuning``, only the head is trained."""

    finetuning = False

    def finetune(self, only_head: bool) -> None:
        """Train the head alone, or everything."""
        self.finetuning = only_head
        self.backbone.requires_grad_(not only_head)

    def train(self, mode: bool = True) -> PodClassifier:
        super().train(mode)
        if self.finetuning:
            self.backbone.eval()
        return self


class ProxyHead(nn.Module):
    """Cosine similarity to several proxies per class, averaged with softmax weights (eq. 7), times a scale.

    Args:
        features: D.
        classes: initial number of outputs.
        proxies: per class.
        scale: factor of the similarities.
    """

    def __init__(self, features: int, classes: int, proxies: int, scale: float = 1.0) -> None:
        super().__init__()
        self.proxies = proxies
        self.scale = scale
        self.weight = nn.Parameter(self._fresh(classes, features))

    def _fresh(self, classes: int, features: int) -> torch.Tensor:
        bound = features**-0.5
        return torch.empty(classes * self.proxies, features).uniform_(-bound, bound)

    @property
    def out_features(self) -> int:
        return len(self.weight) // self.proxies

    def grow(self, outputs: int) -> None:
        """Grow to ``outputs`` outputs, keeping the existing proxies."""
        added = self._fresh(outputs - self.out_features, self.weight.shape[1]).to(self.weight.device)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), added]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scaled similarities (N, classes) of features (N, D)."""
        with torch.autocast(features.device.type, enabled=False):  # 8-bit cosines would be too coarse
            similar = functional.normalize(features.float(), dim=1) @ functional.normalize(self.weight, dim=1).T
            each = similar.view(len(similar), -1, self.proxies)
            return self.scale * (functional.softmax(each, dim=2) * each).sum(dim=2)


class PODNet(Method):
    """NCA loss; from the second stage on also POD on maps and features, and balanced finetuning of the classifier."""

    has_teacher = True

    def __init__(
        self,
        *,
        spatial: float = 5.0,
        flat: float = 1.0,
        proxies: int = 10,
        scale: float = 8.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.spatial = spatial
        self.flat = flat
        self.proxies = proxies
        self.scale = scale

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        whole = backbone()
        if not isinstance(whole, CifarResNet):
            raise UsageError("podnet needs a network with feature maps: resnet8, resnet20, resnet32 or resnet56")
        whole.drop_last_relu()
        network = PodClassifier(whole, classes, mean, std)
        network.head = ProxyHead(whole.num_features, classes, self.proxies, self.scale)  # type: ignore[assignment]
        return network

    def phases(self, network: nn.Module, stage: Stage, data: StageData) -> list[Phase]:
        assert isinstance(network, PodClassifier)
        if data.memory is None:
            return [Phase(network, _plain_loss, data)]
        return [
            Phase(network, self.loss(stage), data, 1 - FINETUNING_SHARE, prepare=lambda: network.finetune(False)),
            Phase(
                network,
                _plain_loss,
                balanced(data, stage),
                FINETUNING_SHARE,
                FINETUNING_LR,
                prepare=lambda: network.finetune(True),
            ),
        ]

    def loss(self, stage: Stage) -> Loss:
        teacher = self.auxiliary["teacher"]
        # the weight grows with the ratio of all to new classes (section 3.3)
        factor = (stage.total / (stage.total - stage.known)) ** 0.5

        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            maps, features = _maps(network, batch.images)
            with torch.no_grad():
                old_maps, old_features = _maps(teacher, batch.images)
            flat = (1 - functional.cosine_similarity(features.float(), old_features.float())).mean()
            spatial = pooled_outputs_distance(maps, old_maps)
            value = _nca(network, network.head(features), batch)  # type: ignore[operator]  # a PodClassifier
            return value + factor * (self.spatial * spatial + self.flat * flat)

        return loss


def balanced(data: StageData, stage: Stage) -> StageData:
    """All exemplars, and as many images per new class as an old class has exemplars on average."""
    assert data.memory is not None
    each = max(1, round(len(data.memory) / stage.known))
    members = [torch.nonzero(data.new.labels == label).flatten()[:each] for label in range(stage.known, stage.total)]
    return StageData(data.new.subset(torch.cat(members)), data.memory, stage.known / stage.total)


def _plain_loss(network: nn.Module, batch: Batch) -> torch.Tensor:
    return _nca(network, network(batch.images), batch)


def _nca(network: nn.Module, similarities: torch.Tensor, batch: Batch) -> torch.Tensor:
    """NCA with a margin on the cosine, which is therefore scaled like it."""
    return nca(similarities, batch.labels, MARGIN * network.head.scale)  # type: ignore[operator, union-attr]


def _maps(network: nn.Module, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A classifier's feature maps and pooled features."""
    maps = network.backbone.feature_maps(network.normalise(images))  # type: ignore[operator, union-attr]
    return maps, pooled(maps[-1])
