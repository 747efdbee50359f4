"""`python -m flywheel.worker JOB_DIR`."""

import sys

from flywheel.worker.jobs import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
