"""Fine-tuning: I replaced the head, the loss hardly moves. (the optimizer holds the old head)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import landscape as ls

X, y = load_wine(return_X_y=True)
X = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
y = torch.tensor(y)

torch.manual_seed(1)
backbone = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
for p in backbone.parameters():
    p.requires_grad = False
model = nn.Sequential(backbone, nn.Linear(32, 5))
optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2)
bias = model[1].bias
model[1] = nn.Linear(32, 3)
model[1].bias = nn.Parameter(bias[:3].detach())
for p in backbone[2].parameters():
    p.requires_grad = True
optimizer.add_param_group({"params": [model[1].bias]})

f = ls.ModelLandscape(model, nn.CrossEntropyLoss(), [(X, y)])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for step in range(150):
        i = torch.randint(len(X), (32,))
        loss = F.cross_entropy(model(X[i]), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
