"""Manifests, backends, decoders and the runner that drives them."""
