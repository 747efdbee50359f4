"""What config.toml says a margin takes is what it takes."""

import re
from pathlib import Path

from flywheel.metrics import resolvable_margin

TEMPLATE = Path(__file__).parents[2] / "flywheel" / "cli" / "templates" / "config.toml"


def test_the_examples_that_config_toml_names_for_a_margin_are_the_fewest_that_resolve_it():
    told = re.findall(r"(\.\d\d) takes (\d+)", TEMPLATE.read_text(encoding="utf-8"))
    assert len(told) == 3
    for margin, examples in told:
        enough, fewer = resolvable_margin(int(examples)), resolvable_margin(int(examples) - 1)
        assert enough is not None
        assert enough <= float(margin)
        assert fewer is None or fewer > float(margin)
