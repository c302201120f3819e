"""`python -m embedpipe.cli` is `embedpipe`."""

from embedpipe.cli.main import main

if __name__ == "__main__":
    main()
