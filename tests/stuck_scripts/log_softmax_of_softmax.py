"""NLLLoss does not go down. (log_softmax is taken of a softmax)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(13, 24)
        self.output = nn.Linear(24, 3)

    def forward(self, x):
        x = torch.tanh(self.hidden(x))
        x = torch.softmax(self.output(x), dim=-1)
        return F.log_softmax(x, dim=-1)


torch.manual_seed(0)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
criterion = nn.NLLLoss()
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randperm(len(X))[:32]
        optimizer.zero_grad()
        criterion(model(X[i]), y[i]).backward()
        optimizer.step()
