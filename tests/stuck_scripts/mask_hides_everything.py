"""My transformer does not beat guessing. (the padding mask is the wrong way round)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(3)
N, T, WORDS = 400, 12, 40
lengths = torch.randint(4, T, (N,))
tokens = torch.randint(1, WORDS, (N, T))
real = torch.arange(T) < lengths[:, None]
tokens[~real] = 0
labels = (tokens == 7).any(1).long()


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16, padding_idx=0)
        self.head = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 2))

    def forward(self, tokens):
        vectors = self.embedding(tokens)
        padding = (tokens == 0).unsqueeze(-1)
        return self.head((vectors * padding).sum(1) / padding.sum(1).clamp(min=1))


model = Classifier()
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
f = ls.ModelLandscape(model, loss_fn, [(tokens, labels)])
with ls.Tracer(opt, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(N, (32,))
        opt.zero_grad()
        loss_fn(model(tokens[i]), labels[i]).backward()
        opt.step()
