"""Control: a discriminator with one pass over real rows and one over false ones in every step."""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
real = torch.randn(600, 2) * 0.5 + 1.0
false = torch.randn(600, 2)
model = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
f = ls.ModelLandscape(
    model,
    bce,
    [(torch.cat([real, false]), torch.cat([torch.ones(600, 1), torch.zeros(600, 1)]))],
)
with ls.Tracer(optimizer, f, every=10) as tracer:
    for step in range(200):
        i = torch.randint(0, 600, (32,))
        optimizer.zero_grad()
        bce(model(real[i]), torch.ones(32, 1)).backward()
        bce(model(false[i]), torch.zeros(32, 1)).backward()
        optimizer.step()
