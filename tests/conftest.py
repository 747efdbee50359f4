"""Set before anything imports torch: its threads would spin for one another on a busy machine,
and a training of five seconds would take minutes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
