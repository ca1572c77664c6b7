"""Program that runs notebooks from top to bottom and stores them with their outputs.

python notebooks/store.py [notebooks/01_*.ipynb ...]    # all notebooks by default
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(path: Path) -> None:
    """Run a notebook and write its outputs to the file, without the times of the run."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(HERE)}}
    # Printed text arrives in pieces that differ from run to run; coalesce_streams joins them.
    NotebookClient(notebook, timeout=600, resources=resources, coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times at which the cell ran
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    """Run the notebooks with these paths, or all; print the seconds of each."""
    for path in [Path(name) for name in names] or sorted(HERE.glob("*.ipynb")):
        begin = time.perf_counter()
        run(path)
        print(f"{path.name}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
