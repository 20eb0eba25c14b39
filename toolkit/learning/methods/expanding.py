"""DER (Yan et al., CVPR 2021) and MEMO (Zhou et al., ICLR 2023): the network grows with the stages.

Both freeze the branches of earlier stages and add one branch per stage, whose features are concatenated with the
others; an auxiliary head on the newest branch separates the new classes from all old ones. DER's branches are whole
networks, MEMO's only the last block, on shared early blocks.

Both follow PyCIL: a new branch starts from the last one's weights, the head is aligned as in WA after each stage
(DER's masks and balanced second training are omitted), and MEMO's shared blocks are trained in every stage
(``shared=frozen`` trains them only in the first).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from toolkit.foundation.errors import UsageError
from toolkit.learning.methods.base import Method, Stage
from toolkit.learning.methods.wa import align_weights
from toolkit.training.batches import Batch
from toolkit.training.cifar_resnet import CifarResNet
from toolkit.training.loop import Loss, cross_entropy
from toolkit.training.networks import Channels, GrowingLinear, Normalisation


class ExpandingClassifier(nn.Module):
    """Shared early layers, one branch per stage, and one head on the features of all branches.

    Args:
        shared: from images to the branches' input.
        branch: the first branch, to features (N, D).
        features: D.
        classes: initial number of outputs.
        freeze_shared: from the second branch on.
    """

    def __init__(
        self, shared: nn.Module, branch: nn.Module, features: int, classes: int, freeze_shared: bool = True
    ) -> None:
        super().__init__()
        self.shared = shared
        self.freeze_shared = freeze_shared
        self.branches = nn.ModuleList([branch])
        self.width = features
        self.head = GrowingLinear(features, classes)
        self.auxiliary: nn.Linear | None = None

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Concatenated features of all branches, (N, branches x D)."""
        early = self.shared(images)
        return torch.cat([branch(early) for branch in self.branches], dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits, and auxiliary logits of the newest branch: first all old classes as one, then each new one."""
        assert self.auxiliary is not None
        features = self.features(images)
        return self.head(features), self.auxiliary(features[:, -self.width :])

    def grow(self, classes: int) -> None:
        """Add a branch, grow to ``classes`` outputs and freeze the earlier branches."""
        known = self.head.out_features
        if classes == known:
            return
        branch = copy.deepcopy(self.branches[-1]).requires_grad_(True)
        self.shared.requires_grad_(not self.freeze_shared)
        self.branches.requires_grad_(False)
        self.branches.append(branch)
        self.head.grow(classes, self.head.in_features + self.width)
        self.auxiliary = nn.Linear(self.width, classes - known + 1).to(self.head.weight.device)

    def train(self, mode: bool = True) -> ExpandingClassifier:
        """Frozen parts stay in evaluation mode: their batch statistics are frozen, too."""
        super().train(mode)
        if len(self.branches) > 1:
            if self.freeze_shared:
                self.shared.eval()
            for branch in self.branches[:-1]:
                branch.eval()
        return self


class _Expanding(Method):
    """Common base of DER and MEMO, which differ only in where the network is divided."""

    def __init__(self, *, charge_weights: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.charge_weights = charge_weights

    def loss(self, stage: Stage) -> Loss:
        if not stage.index:
            return cross_entropy(self.label_smoothing)

        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            logits, auxiliary = network.outputs(batch.images)  # type: ignore[operator]  # an ExpandingClassifier
            new = (batch.labels - stage.known + 1).clamp(min=0)
            value = functional.cross_entropy(logits.float(), batch.labels, label_smoothing=self.label_smoothing)
            return value + functional.cross_entropy(auxiliary.float(), new, label_smoothing=self.label_smoothing)

        return loss

    def finish(self, network: nn.Module, stage: Stage) -> nn.Module:
        align_weights(network.head, stage.known)  # type: ignore[arg-type]
        return network

    def weights_bytes(self, network: nn.Module) -> int:
        if not self.charge_weights:
            return 0
        assert isinstance(network, ExpandingClassifier)
        branches = sum(tensor.nbytes for branch in network.branches[1:] for tensor in branch.state_dict().values())
        return branches + network.head.weight[:, network.width :].nbytes


class DER(_Expanding):
    """One whole network per stage."""

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        whole = backbone()
        return ExpandingClassifier(Normalisation(mean, std), whole, int(whole.num_features), classes)  # type: ignore[arg-type]


class MEMO(_Expanding):
    """One last block per stage."""

    def __init__(self, *, charge_weights: bool = False, shared: str = "trained", label_smoothing: float = 0.0) -> None:
        super().__init__(charge_weights=charge_weights, label_smoothing=label_smoothing)
        self.shared = shared

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        whole = backbone()
        if not isinstance(whole, CifarResNet):
            raise UsageError("memo needs a network it can divide: resnet8, resnet20, resnet32 or resnet56")
        early, last = whole.cut()
        shared = nn.Sequential(Normalisation(mean, std), early)
        return ExpandingClassifier(shared, last, whole.num_features, classes, self.shared == "frozen")
