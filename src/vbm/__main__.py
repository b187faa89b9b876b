"""``python -m vbm`` is the ``vbm`` command."""

from vbm.cli.main import run

if __name__ == "__main__":
    run()
