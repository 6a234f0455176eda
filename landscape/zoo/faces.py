"""P-Net and R-Net, the first two stages of a face detector (Zhang et al. 2016, IEEE SPL 23:1499,
"MTCNN").

Weights: those that facenet-pytorch 2.5.3 installs, converted by its authors from the original Caffe
models.
Data: scikit-image's ``lfw_subset.npy``, 200 grey images of 25 x 25 in [0, 1]; the first 100 are
faces, the rest not. Preparation, as the detector does it: grey values times 255, averaged down to
the network's input (12 x 12 or 24 x 24, "area" interpolation), the same in all three channels, (v -
127.5) / 128. Images go in with rows first; R-Net's last feature map is transposed before it is
flattened, because the weights were trained column by column.
Loss: cross-entropy of face (1) against not (0). The boxes that the networks also predict have no
targets here, so those parameters have neither slope nor curvature. Activations are PReLU and
pooling is a maximum: both have kinks.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import LoadingError
from landscape.files.checkpoints import load_checkpoint
from landscape.landscapes import losses
from landscape.landscapes.model import ModelLandscape
from landscape.zoo import packaged

FACES = 100  # of the images, the first are faces
BATCH = 10


class PNet(nn.Module):
    """The proposal network: images (N, 3, 12, 12) -> logits (N, 2) of not a face, face. 6,632
    parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)  # the box, unused here

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2) at the one place that a 12 x 12 image has."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        logits: Tensor = self.conv4_1(x)
        return logits.flatten(1)


class RNet(nn.Module):
    """The refinement network: images (N, 3, 24, 24) -> logits (N, 2) of not a face, face. 100,178
    parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)  # the box, unused here

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2)."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1).flatten(1)  # columns, rows, channels
        logits: Tensor = self.dense5_1(self.prelu4(self.dense4(x)))
        return logits


def pnet() -> ModelLandscape:
    """P-Net on ``lfw_subset``: 20 micro-batches of 10 images, faces and others in turn."""
    return _landscape("pnet", PNet(), 12)


def rnet() -> ModelLandscape:
    """R-Net on ``lfw_subset``: 20 micro-batches of 10 images, faces and others in turn."""
    return _landscape("rnet", RNet(), 24)


def images(side: int) -> tuple[Tensor, Tensor]:
    """The prepared images (200, 3, side, side) float32, faces and others in turn, and their labels
    (200,).

    Raises:
        LoadingError: scikit-image is not installed, or its file is not the one described above.
    """
    path = packaged.file("scikit-image", "skimage/data/lfw_subset.npy")
    grey = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    if grey.shape != (2 * FACES, 25, 25):
        raise LoadingError(
            f"{path} has shape {tuple(grey.shape)}, not (200, 25, 25): another version of "
            f"scikit-image?"
        )
    small = F.interpolate(255 * grey[:, None], size=(side, side), mode="area")
    prepared = ((small - 127.5) / 128).expand(-1, 3, -1, -1)
    order = torch.arange(2 * FACES, device="cpu").view(2, FACES).T.flatten()
    return prepared[order].contiguous(), (order < FACES).long()


def _landscape(name: str, model: nn.Module, side: int) -> ModelLandscape:
    load_checkpoint(model, packaged.file("facenet-pytorch", f"facenet_pytorch/data/{name}.pt"))
    x, y = images(side)
    batches = list(zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True))
    return ModelLandscape(model.eval(), losses.get("cross-entropy"), batches, name=name)
