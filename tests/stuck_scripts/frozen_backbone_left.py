"""CNN does not get beyond 30 % (the body is still frozen, at random weights)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

digits = load_digits()
images = torch.tensor(digits.images[:800], dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target[:800])


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()
        )
        self.squeeze = nn.Linear(16, 3)
        self.classifier = nn.Linear(3, 10)

    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.classifier(torch.relu(self.squeeze(h)))


torch.manual_seed(0)
model = SmallCNN()
for name, p in model.named_parameters():
    if not name.startswith("classifier"):
        p.requires_grad_(False)  # warm-up of the head; should be undone after it
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

f = ls.ModelLandscape(model, F.cross_entropy, list(zip(images.split(100), labels.split(100))))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(len(images), (50,))
        optimizer.zero_grad()
        F.cross_entropy(model(images[i]), labels[i]).backward()
        optimizer.step()
