"""Summaries, reports and robustness of finished runs, from their folders alone."""

from pathlib import Path


def finish(run_dir: str | Path) -> str:
    """Writes a finished run's results and report.

    Args:
      run_dir: the folder of a finished run.

    Returns:
      A table of the results, and a last line that names the report.

    Raises:
      DataError: if this is no folder of a finished run.
    """
    from jaxfer.evaluate.cli import results_table
    from jaxfer.evaluate.pictures import image_source
    from jaxfer.evaluate.report import write_report
    from jaxfer.evaluate.run_folder import load, read_json

    page = write_report(run_dir, image_source(load(run_dir)))
    table = results_table(read_json(page.with_name("results.json")))
    return f"{table}\nReport: {page}"
