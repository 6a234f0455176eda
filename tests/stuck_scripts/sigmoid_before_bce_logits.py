"""Binary classifier, loss does not get under 0.5. (sigmoid in the model, BCEWithLogitsLoss)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import landscape as ls

X, y = load_breast_cancer(return_X_y=True)
X = torch.from_numpy(StandardScaler().fit_transform(X)).float()
y = torch.from_numpy(y).float()


class BinaryClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_1 = nn.Linear(30, 32)
        self.layer_2 = nn.Linear(32, 16)
        self.layer_out = nn.Linear(16, 1)
        self.relu = nn.ReLU()
        self.batchnorm = nn.BatchNorm1d(32)

    def forward(self, inputs):
        x = self.batchnorm(self.relu(self.layer_1(inputs)))
        x = self.relu(self.layer_2(x))
        return torch.sigmoid(self.layer_out(x)).squeeze(1)


torch.manual_seed(0)
model = BinaryClassifier()
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(25):
        for i in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(X[i]), y[i])
            loss.backward()
            optimizer.step()
