"""From labelled pictures to a network: recipe, training, run folder. Needs the extra `train`."""
