"""``python -m selfreward_bench.cli`` is ``srbench``."""

from selfreward_bench.cli import main

if __name__ == "__main__":
    main()
