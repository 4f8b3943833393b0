"""Smaller and faster networks: channels removed, layers in int8, knowledge of a larger network; and what that costs.

Everything that imports torch is loaded on demand; it is the extra ``train``.
"""
