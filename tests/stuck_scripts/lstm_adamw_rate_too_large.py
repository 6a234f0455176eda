"""LSTM loss stays high. (AdamW with lr=0.5)"""

import torch
import torch.nn as nn
import torch.nn.functional as F

import landscape as ls

torch.manual_seed(0)
tokens = torch.randint(5, (240, 6))
X = F.one_hot(tokens, 5).float()
y = tokens[:, 2]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


model = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=30) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
