"""My LSTM learns nothing and the loss jumps around. (zero_grad was forgotten)"""

import codecs
import this

import torch
import torch.nn as nn

import landscape as ls

text = codecs.decode(this.s, "rot13").lower()
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])
length = 12
windows = ids.unfold(0, length + 1, 6)
inputs, targets = windows[:, :-1], windows[:, -1]


class CharRNN(nn.Module):
    def __init__(self, vocab, hidden=12):
        super().__init__()
        self.embed = nn.Embedding(vocab, 12)
        self.lstm = nn.LSTM(12, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, x):
        h, _ = self.lstm(self.embed(x))
        return self.out(h[:, -1])


torch.manual_seed(3)
model = CharRNN(len(chars))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

f = ls.ModelLandscape(model, criterion, list(zip(inputs.split(64), targets.split(64))))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(15):
        for i in torch.randperm(len(inputs)).split(32):
            out = model(inputs[i])
            loss = criterion(out, targets[i])
            loss.backward()
            optimizer.step()
