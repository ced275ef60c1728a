"""A small EPM on the project's own drawn faces; needs no data.

    python -m jaxfer.launch --config epm_synthetic.py

The three steps one after the other, three folds by subject of 48 drawn people. The
figures say that the path works, and what pattern maps look like, and nothing about
real faces. Ours: 76.6 ± 9.7 %, the trunk alone 78.0 ± 7.4 %; pattern maps
between : within classes 2.36. Time: 25 minutes on one CPU core.
"""

import ml_collections

from jaxfer.methods import epm


def get_config() -> ml_collections.ConfigDict:
    config = epm.default_config()
    config.epochs = 80
    config.batch_size = 32
    config.method.image_size = 56
    config.method.width = 0.125
    config.method.group_norm = True
    config.method.refinement_weights = "text"
    config.method.mining = "semi_hard"  # the hardest draw some classes together
    config.method.margins.pattern = 5.0  # with the paper's, maps differ invisibly
    config.method.weights.l4 = 2e-3  # 56 x 56 pixels, a sixteenth of the paper's
    config.method.weights.l5 = 4e-3
    config.data.name = "synthetic_sessions"
    config.data.image_size = 56
    config.protocol.kind = "subject"
    config.protocol.folds = 3
    config.protocol.validation_kind = "subject"
    config.augment.flip = True
    config.augment.translate = 0.05
    config.emr.epochs = 6
    config.epmg.epochs = 100
    config.epmg.select_after = 0.5  # maps form long after accuracy has settled
    for step in (config.emr, config.epmg):
        step.images_per_class = 5
    for optim in (config.optim, config.emr.optim, config.epmg.optim):
        optim.name = "adam"
        optim.schedule = "cosine"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_epochs = 2.0
    config.emr.optim.learning_rate = 1e-4
    config.epmg.optim.learning_rate = 1e-3
    return config
