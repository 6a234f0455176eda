"""A small network on the device that is asked for, for check.py."""

import torch
from torch import nn

import landscape as ls


def problem() -> ls.ModelLandscape:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    x, y = torch.randn(40, 4), torch.randint(3, (40,))
    return ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)], device="cuda")
