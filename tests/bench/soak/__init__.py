"""The whole daemon for as long as you like while everything around it fails; see `__main__`."""
