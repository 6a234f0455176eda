"""Bag of words sentiment model is stuck at 0.693. (Adam with lr=1e-7)"""

import torch
import torch.nn as nn

import landscape as ls

good = ["great", "good", "love", "nice", "best", "happy"]
bad = ["bad", "awful", "hate", "worst", "poor", "sad"]
other = ["the", "film", "a", "was", "it", "plot", "actor", "scene"]
words = good + bad + other
g = torch.Generator().manual_seed(0)
sentences, labels = [], []
for _ in range(300):
    positive = int(torch.randint(2, (), generator=g))
    pool = (good if positive else bad) + other
    picked = [pool[i] for i in torch.randint(len(pool), (7,), generator=g)]
    sentences.append([words.index(w) for w in picked])
    labels.append(float(positive))
X, y = torch.tensor(sentences), torch.tensor(labels)[:, None]


class BoW(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(len(words), 16)
        self.fc = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.fc(self.bag(x))


torch.manual_seed(0)
model = BoW()
loss_fn = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-7)
f = ls.ModelLandscape(model, loss_fn, [(X, y)])
with ls.Tracer(optimizer, f, every=15) as tracer:
    for step in range(150):
        i = torch.randint(300, (32,))
        optimizer.zero_grad()
        loss_fn(model(X[i]), y[i]).backward()
        optimizer.step()
