"""Tiny transformer for copying, loss stays at log(vocab). (Adam with lr=0.3)"""

import torch
import torch.nn as nn
import torch.nn.functional as F

import landscape as ls

vocab, length = 8, 6


class Tiny(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.tokens = nn.Embedding(vocab, d)
        self.positions = nn.Parameter(torch.randn(length, d) * 0.1)
        layer = nn.TransformerEncoderLayer(d, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(d, vocab)

    def forward(self, x):
        return self.head(self.encoder(self.tokens(x) + self.positions)).transpose(1, 2)


torch.manual_seed(0)
X = torch.randint(vocab, (256, length))
Y = X.flip(1)
model = Tiny()
optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(64), Y.split(64))))
with ls.Tracer(optimizer, f, every=25) as tracer:
    for step in range(150):
        i = torch.randint(256, (32,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), Y[i]).backward()
        optimizer.step()
