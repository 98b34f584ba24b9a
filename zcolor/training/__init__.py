"""Making a model: packing photographs, colour priors, augmentation and the training loop."""
