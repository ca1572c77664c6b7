"""Run notebooks from top to bottom and store them with their outputs.

python notebooks/store.py [notebooks/01_*.ipynb ...]    all by default
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(path: Path) -> None:
    """Run one and write it back; what a run leaves besides outputs is taken out."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(HERE)}}
    # What a cell prints comes in pieces, other ones each time.
    NotebookClient(notebook, timeout=600, resources=where, coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the time of day
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    """Run those named, or all, and say how long each took."""
    for path in [Path(name) for name in names] or sorted(HERE.glob("*.ipynb")):
        begin = time.perf_counter()
        run(path)
        print(f"{path.name}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
