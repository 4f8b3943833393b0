"""A street that the program draws itself, with its exact truth: the demo's camera, a load generator, a judge.

scene  who is where at any time, a pure function of seed and time
view   the camera: metres -> pixels
figures, backdrop, render   metres -> a picture
encode pictures -> real H.264 as a file (``demo:street``, live, is one of the scenes of `capture.demo`)
truth  which crossings and stays a perfect observer would report
"""
