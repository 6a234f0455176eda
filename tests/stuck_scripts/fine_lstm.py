"""Works, still falling: a character LSTM."""

import codecs
import this

import torch
import torch.nn as nn
import torch.nn.functional as F

import landscape as ls

text = codecs.decode(this.s, "rot13").lower()
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])
windows = ids.unfold(0, 11, 5)


class CharRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(chars), 12)
        self.lstm = nn.LSTM(12, 20, batch_first=True)
        self.out = nn.Linear(20, len(chars))

    def forward(self, x):
        h, _ = self.lstm(self.embed(x))
        return self.out(h).transpose(1, 2)


torch.manual_seed(0)
model = CharRNN()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
X, Y = windows[:, :-1], windows[:, 1:]
f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(64), Y.split(64))))
with ls.Tracer(optimizer, f, every=25) as tracer:
    for epoch in range(15):
        for i in torch.randperm(len(X)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(X[i]), Y[i]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
