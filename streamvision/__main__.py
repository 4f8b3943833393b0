"""``python -m streamvision``."""

from streamvision.cli import main

if __name__ == "__main__":
    main()
