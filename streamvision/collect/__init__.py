"""Pictures that are worth labelling, collected while the daemon runs, with what the network saw in them.

`choice` says which pictures, `journal` keeps them so that nothing that was kept is lost, `collector` does it beside the
flow. The folder is a data set that `streamvision.dataset.read` and any COCO tool read.
"""
