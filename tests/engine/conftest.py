"""Small machines run these tests: more threads than that only get into each other's way."""

import torch

torch.set_num_threads(1)
