"""An encoder with LoRA in its upper layers and linear heads over the mean of its states.

`model` offers it to the jobs; only `flywheel.worker.models` imports from here.
"""
