"""How much memory there is for what may be kept, and how what is unused is given back.

On a CUDA device a budget is a share of what is free there when it is asked for. On a CPU it is a
constant, so that the same numbers come out of every machine.
"""

import torch

# Bytes that each of the things below may take on a CPU.
HOST = 2**30
# Shares of a CUDA device's free memory: graphs kept across products, batches kept on the device, a
# Lanczos basis, the bases of a spectral density side by side.
GRAPHS, BATCHES, BASIS, DENSITY = 0.4, 0.2, 0.4, 0.05


def budget(device: torch.device, share: float, host: int = HOST) -> int:
    """Bytes that something may take on the device."""
    if device.type != "cuda":
        return host
    free = torch.cuda.mem_get_info(device)[0]
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(share * (free + max(0, spare)))


def release(device: torch.device) -> None:
    """Give back to the device what torch holds there unused."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
