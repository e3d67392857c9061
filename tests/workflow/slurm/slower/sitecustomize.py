"""One slide takes three seconds longer, so that a test can meet its job in the middle.

Python imports this module by its name when it starts; the runs of these tests have the folder on
their path.
"""

import sys
import time

if {"find_tissue", "slide_id=S001"} <= set(sys.orig_argv):
    time.sleep(3)
