"""Pure array maths on JAX alone: everything here is a function of arrays."""

from jaxfer.ops.convolution import Padding as Padding
from jaxfer.ops.convolution import conv as conv
from jaxfer.ops.normalization import batch_norm as batch_norm
from jaxfer.ops.normalization import batch_norm_inference as batch_norm_inference
from jaxfer.ops.pooling import avg_pool as avg_pool
from jaxfer.ops.pooling import global_avg_pool as global_avg_pool
from jaxfer.ops.pooling import max_pool as max_pool
