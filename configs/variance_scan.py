"""The figure that explains the failure: steps to learn against how much the inputs vary."""

from idjax.published.experiments import VarianceScan

PUBLISHED = 0.0012380764 / 1.1090579

experiment = VarianceScan(
    name="variance_scan",
    title="Steps to learn against the variance of the inputs",
    question="What exactly makes the failing data fail?",
    mean=1.1090579,
    inputs=84,
    rows=96,
    ratios=tuple(sorted((*(10.0**power for power in range(-6, 3)), PUBLISHED))),
    marked=PUBLISHED,
    normalizers=("none", "center", "feature", "sample"),
    learning_rate=0.01,
    most_steps=1e5,
    full_steps=2e6,
    smallest_measured=1e-5,
    tolerance=0.02,
)
