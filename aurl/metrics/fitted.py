"""A scikit-learn classifier, fitted without its advice.

The scores have published settings: some stop at 100 iterations, and classes may be as many as
samples. What scikit-learn says of that is for who can change it.
"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Integer, Real


def fitted(
    classifier: Any,  # noqa: ANN401 - scikit-learn has no type for them
    inputs: Real[np.ndarray, "sample input"],
    classes: Integer[np.ndarray, " sample"],
) -> Any:  # noqa: ANN401
    """The classifier, fitted."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return classifier.fit(inputs, classes)
