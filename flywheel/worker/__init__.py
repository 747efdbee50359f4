"""Torch lives here: `python -m flywheel.worker JOB_DIR` trains, predicts and cross-fits.

The daemon starts it as a process and reads the files it leaves; only `flywheel.router`, which
answers in the process that asks it, imports this package.
"""
