"""``python -m streamvision``."""

from streamvision.cli import program

if __name__ == "__main__":
    program()
