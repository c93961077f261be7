"""Independent references for the engine: slow, short, and sharing no code with ``src/``.

``refinement``  dense nets over exact fractions: the coarsest partition that training cannot leave.
``training``    any ``torch.nn.Module``: float64 training on random data, losses and optimizers.
"""
