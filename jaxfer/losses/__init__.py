"""Losses: pure functions, one value per example, `where=` to leave some out."""

from jaxfer.losses.classification import cross_entropy as cross_entropy
from jaxfer.losses.multi_task import Weighting as Weighting
from jaxfer.losses.multi_task import equal_weights as equal_weights
from jaxfer.losses.multi_task import fixed_weights as fixed_weights
from jaxfer.losses.multi_task import multi_task as multi_task
from jaxfer.losses.multi_task import uncertainty_weights as uncertainty_weights
from jaxfer.losses.reduction import mean as mean
