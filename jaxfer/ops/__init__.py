"""Pure array maths on JAX alone: everything here is a function of arrays."""

from jaxfer.ops.augmentation import mixup as mixup
from jaxfer.ops.augmentation import random_affine as random_affine
from jaxfer.ops.augmentation import random_erasing as random_erasing
from jaxfer.ops.augmentation import random_flip as random_flip
from jaxfer.ops.augmentation import random_light as random_light
from jaxfer.ops.augmentation import random_noise as random_noise
from jaxfer.ops.augmentation import resize as resize
from jaxfer.ops.convolution import conv as conv
from jaxfer.ops.convolution import conv_transpose as conv_transpose
from jaxfer.ops.corruptions import CORRUPTIONS as CORRUPTIONS
from jaxfer.ops.corruptions import corrupt as corrupt
from jaxfer.ops.corruptions import gaussian_blur as gaussian_blur
from jaxfer.ops.corruptions import gaussian_noise as gaussian_noise
from jaxfer.ops.fusion import constraint_fusion as constraint_fusion
from jaxfer.ops.fusion import constraint_weights as constraint_weights
from jaxfer.ops.fusion import cosine_similarity as cosine_similarity
from jaxfer.ops.geometry import Padding as Padding
from jaxfer.ops.instance_norm import instance_norm as instance_norm
from jaxfer.ops.normalization import batch_norm as batch_norm
from jaxfer.ops.normalization import batch_norm_inference as batch_norm_inference
from jaxfer.ops.patches import patches_to_channels as patches_to_channels
from jaxfer.ops.pooling import avg_pool as avg_pool
from jaxfer.ops.pooling import global_avg_pool as global_avg_pool
from jaxfer.ops.pooling import max_pool as max_pool
