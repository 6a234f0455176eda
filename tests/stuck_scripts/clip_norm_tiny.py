"""GRU for a sine wave: very slow. (gradients clipped at 1e-4)"""

import math

import torch
import torch.nn as nn

import landscape as ls

t = torch.linspace(0, 60, 700)
wave = torch.sin(t) + 0.3 * torch.sin(3.1 * t)
windows = wave.unfold(0, 9, 2)
X, Y = windows[:, :8].unsqueeze(-1), windows[:, 8:]


class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 10, batch_first=True)
        self.head = nn.Linear(10, 1)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.head(out[:, -1, :])


torch.manual_seed(2)
model = Forecast()
loss_fn = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
f = ls.ModelLandscape(model, loss_fn, list(zip(X.split(128), Y.split(128))))
with ls.Tracer(optimizer, f, every=25) as tracer:
    for step in range(150):
        i = torch.randint(0, len(X), (64,))
        optimizer.zero_grad()
        loss = loss_fn(model(X[i]), Y[i])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-4)
        optimizer.step()
        assert math.isfinite(loss.item())
