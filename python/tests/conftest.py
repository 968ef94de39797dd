# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the model that is part of the repository, and a function that makes arrays of noise."""

import pathlib

import numpy
import pytest
import stilla

MODELS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "models"
DROP = MODELS / "stilla-drop-q4_0.gguf"


@pytest.fixture(scope="session")
def model():
    return stilla.load(DROP, threads=2)


@pytest.fixture
def noise():
    """Returns the function noise(shape, seed=0), which makes float32 arrays of normally distributed numbers."""
    return lambda shape, seed=0: numpy.random.default_rng(seed).standard_normal(shape, dtype=numpy.float32)
