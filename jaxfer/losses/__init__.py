"""Losses: pure functions, one value per example, `where=` to leave some out."""

from jaxfer.losses.adversarial import (
    least_squares_discriminator as least_squares_discriminator,
)
from jaxfer.losses.adversarial import least_squares_generator as least_squares_generator
from jaxfer.losses.adversarial import (
    log_adversarial_discriminator as log_adversarial_discriminator,
)
from jaxfer.losses.adversarial import (
    log_adversarial_generator as log_adversarial_generator,
)
from jaxfer.losses.attention import attention_consistency as attention_consistency
from jaxfer.losses.classification import cross_entropy as cross_entropy
from jaxfer.losses.cosine_harmony import cosine_harmony as cosine_harmony
from jaxfer.losses.flooding import flooding as flooding
from jaxfer.losses.metric_learning import affinity_loss as affinity_loss
from jaxfer.losses.metric_learning import angular_margin_logits as angular_margin_logits
from jaxfer.losses.metric_learning import center_loss as center_loss
from jaxfer.losses.metric_learning import cosine_margin_logits as cosine_margin_logits
from jaxfer.losses.multi_task import Weighting as Weighting
from jaxfer.losses.multi_task import equal_weights as equal_weights
from jaxfer.losses.multi_task import fixed_weights as fixed_weights
from jaxfer.losses.multi_task import multi_task as multi_task
from jaxfer.losses.multi_task import uncertainty_weights as uncertainty_weights
from jaxfer.losses.pattern_maps import mask_refinement as mask_refinement
from jaxfer.losses.pattern_maps import pattern_reconstruction as pattern_reconstruction
from jaxfer.losses.reduction import mean as mean
from jaxfer.losses.synthesis import cycle as cycle
from jaxfer.losses.synthesis import identity as identity
from jaxfer.losses.synthesis import reconstruction as reconstruction
from jaxfer.losses.synthesis import squared_reconstruction as squared_reconstruction
from jaxfer.losses.triplet import batch_all_triplet as batch_all_triplet
from jaxfer.losses.triplet import batch_hard_triplet as batch_hard_triplet
from jaxfer.losses.triplet import semi_hard_triplet as semi_hard_triplet
