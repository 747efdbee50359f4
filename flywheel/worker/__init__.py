"""Torch lives here: `python -m flywheel.worker JOB_DIR` trains, predicts and cross-fits.

Nobody imports this package; the daemon starts it as a process and reads the files it leaves.
"""
