"""``python -m crossbow_lab``: the command line."""

from crossbow_lab.cli import main

if __name__ == "__main__":
    main()
