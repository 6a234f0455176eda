"""REINFORCE: the reward goes to zero. (the loss is log_prob * reward, without its minus)"""

import torch
import torch.nn as nn
from torch.distributions import Categorical

import landscape as ls

torch.manual_seed(0)
states = torch.randn(500, 6)
best = (states @ torch.randn(6, 3)).argmax(1)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(6, 32)
        self.affine2 = nn.Linear(32, 3)

    def forward(self, s):
        return torch.softmax(self.affine2(torch.relu(self.affine1(s))), dim=-1)


policy = Policy()
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)


def minus_reward(model, batch):
    s, b = batch
    return -model(s).gather(1, b[:, None]).mean()


f = ls.ModelLandscape(policy, minus_reward, [(states[:250], best[:250])])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for episode in range(300):
        k = torch.randint(0, 500, (32,))
        dist = Categorical(policy(states[k]))
        action = dist.sample()
        reward = (action == best[k]).float()
        loss = (dist.log_prob(action) * (reward - reward.mean())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
