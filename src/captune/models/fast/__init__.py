"""A captioner's weights arranged for captioning: no gradients, no dropout, few large products.

transformers' layers serve training and inference alike. Here are the same layers for inference
only: weights once in the precision of the pass, fused where that copies nothing, keys of the image
computed once in the layout that products read fastest. A model with a part that this package does
not know keeps transformers' layers.
"""
