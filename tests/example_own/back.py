"""From a run's folder back to the net that it came from."""

import sys

import torch
from safetensors.torch import load_file
from theirs import Theirs

healed = load_file(f"{sys.argv[1]}/unlearned.safetensors")
net = Theirs(classes=10)
net.load_state_dict(
    {name.removeprefix("net."): w for name, w in healed.items() if name.startswith("net.")}
)
torch.save(net.state_dict(), "healed.pth")
