"""Networks out of PyTorch: a recipe or a torchvision name, a state file, and out come ONNX files and a manifest.

Everything that imports torch is loaded on demand; it is the extra ``train``.
"""
