# SPDX-License-Identifier: Apache-2.0
"""The spread of a few measurements: percentiles, and the interval in which their median lies. Scripts of this folder import this module."""

import random
import statistics


def percentile(values, share):
    return sorted(values)[round(share * (len(values) - 1))]


def interval_of_median(values):
    """The bootstrap 95 % interval of the median."""
    draw = random.Random(1)
    medians = [statistics.median(draw.choices(values, k=len(values))) for _ in range(2000)]
    return percentile(medians, 0.025), percentile(medians, 0.975)
