"""What tests of bags, models and heads share. Loading it puts this folder on the import path."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
# There is a process of pytest on every core; threads inside them would wait for each other.
torch.set_num_threads(1)
