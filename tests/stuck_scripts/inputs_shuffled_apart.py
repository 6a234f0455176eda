"""Train accuracy stays at the share of the largest class. (X shuffled without y)"""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import landscape as ls

X, y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X).astype(np.float32)
rng = np.random.default_rng(7)
rng.shuffle(X)
X, y = torch.from_numpy(X), torch.from_numpy(y)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(50):
        model.train()
        for i in torch.randperm(len(X)).split(30):
            optimizer.zero_grad()
            loss = criterion(model(X[i]), y[i])
            loss.backward()
            optimizer.step()
