"""What the commands do: from their options to a stored result. These modules import torch."""
