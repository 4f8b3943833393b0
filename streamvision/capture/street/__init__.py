"""A street that the program draws itself, with its exact truth: the demo's camera, a load generator, a judge.

scene  who is where at any time, a pure function of seed and time
view   the camera: metres -> pixels
figures, backdrop, render   metres -> a picture
encode pictures -> real H.264, live or as a file
source the ``demo:street`` capture source
truth  which crossings and stays a perfect observer would report
"""
