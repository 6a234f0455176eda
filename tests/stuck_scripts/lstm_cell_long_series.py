"""LSTM regression, the loss stays at the variance. (the target is an early value of 80)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(1)
series = torch.randn(300, 80, 1)
target = series[:, :3, 0].mean(1, keepdim=True) * 2


class Model(nn.Module):
    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = hidden
        self.cell = nn.LSTMCell(1, hidden)
        self.fc = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), self.hidden)
        c = x.new_zeros(len(x), self.hidden)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.fc(h)


model = Model()
criterion = nn.MSELoss()
opt = torch.optim.SGD(model.parameters(), lr=0.1)
f = ls.ModelLandscape(model, criterion, [(series[:150], target[:150])])
with ls.Tracer(opt, f, every=15) as tracer:
    for epoch in range(30):
        for batch in torch.randperm(300).split(50):
            opt.zero_grad()
            loss = criterion(model(series[batch]), target[batch])
            loss.backward()
            opt.step()
