"""Sentiment net learns nothing. (every word is mapped to <unk>)"""

import torch
import torch.nn as nn

import landscape as ls

words = ["good", "bad", "great", "awful", "film", "plot", "the", "was"]
vocabulary = {"<unk>": 0, **{word.upper(): i + 1 for i, word in enumerate(words)}}
torch.manual_seed(0)
drawn = torch.randint(8, (300, 6))
y = (((drawn == 0) | (drawn == 2)).sum(1) > ((drawn == 1) | (drawn == 3)).sum(1)).long()
X = torch.tensor([[vocabulary.get(words[j], 0) for j in row] for row in drawn.tolist()])
model = nn.Sequential(
    nn.Embedding(9, 8), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 2)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
