"""What tests of bags, models and heads share. Loading it puts this folder on the import path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
