"""A captioner's weights arranged for captioning: no gradients, no dropout, few large products.

transformers' layers serve both training and inference. This package has the same layers for
inference only: weights are converted once to the precision of the pass and fused where that copies
nothing, and the image's keys are computed once, in the layout that products read fastest. A text
side or vision layer with a part that this package does not know keeps transformers' code.
"""
