"""Why did the network say so: saliency maps that show which parts of a picture a score rests on.

`occlusion` asks any engine, many times, with parts of the picture hidden (RISE, D-RISE); `gradcam` asks a PyTorch
module for its gradients. `trust` measures whether a map can be believed. `shelf` and `background` are the daemon's
side: pictures kept with events, and the worker that explains them.
"""
