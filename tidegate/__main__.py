"""`tidegate` and `python -m tidegate`."""

from tidegate.cli.root import main

if __name__ == "__main__":
    main()
