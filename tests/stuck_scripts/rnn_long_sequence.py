"""My RNN does not learn which word the sentence starts with. (60 steps, and the first one counts)"""

import torch
import torch.nn as nn
import torch.nn.functional as F

import landscape as ls

torch.manual_seed(0)
tokens = torch.randint(2, 30, (400, 60))
tokens[:, 0] = torch.arange(400) % 2
labels = tokens[:, 0].clone()


class Sentiment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.rnn = nn.RNN(8, 32, batch_first=True)
        self.out = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.out(output[:, -1])


model = Sentiment()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
f = ls.ModelLandscape(model, F.cross_entropy, [(tokens[:200], labels[:200])])
with ls.Tracer(optimizer, f, every=15) as tracer:
    for step in range(300):
        i = torch.randint(400, (40,))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens[i]), labels[i])
        loss.backward()
        optimizer.step()
