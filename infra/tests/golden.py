"""Writes golden/*.yaml anew, one for each case of the chart."""

from chart import CASES
from test_chart import GOLDEN, golden_text

for old in GOLDEN.glob("*.yaml"):
    old.unlink()
for case in CASES:
    (GOLDEN / f"{case}.yaml").write_text(golden_text(case))
