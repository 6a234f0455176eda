"""Transformer does not overfit even one batch of data. (AdamW with lr=1e-7)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randint(6, (200, 5))
y = X[:, 0]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.fc = nn.Linear(8, 6)

    def forward(self, x):
        return self.fc(self.encoder(self.embed(x)).mean(1))


model = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=30) as tracer:
    for step in range(150):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
