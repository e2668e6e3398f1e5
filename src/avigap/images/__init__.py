"""The Bayesian decoder of images: data, mini-batch F-VI and A-VI, measures and figures (section 4.4 of the paper)."""
