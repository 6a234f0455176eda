"""The command line of `landscape`: it parses, calls the library once, and renders. No arithmetic
here.
"""

import time

BEGUN = time.monotonic()  # of the command, as far as its own code can tell
