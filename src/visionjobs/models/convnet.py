"""ConvNet: three convolutions and a linear layer, from the experiments (question 2, part 2, figure 5)."""

from __future__ import annotations

from torch import Tensor, nn

from visionjobs.models.freeze import FreezableModule


class ConvNet(FreezableModule):
    """Images [N, 3, H, W], floating point, H and W >= 16 pixels -> logits [N, num_classes]."""

    def __init__(self, num_classes: int, size: tuple[int, int], dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.pool1 = nn.MaxPool2d(4)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.pool3 = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(128 * (size[0] // 16) * (size[1] // 16), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        x = self.pool3(self.relu(self.conv3(x)))
        logits: Tensor = self.fc(self.dropout(x.flatten(1)))
        return logits
