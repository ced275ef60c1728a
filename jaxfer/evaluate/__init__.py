"""Summaries, reports and robustness of finished runs, from their folders alone."""

from pathlib import Path


def finish(run_dir: str | Path) -> str:
    """Writes a finished run's results and report.

    Where its models give masks, pictures or embeddings, or draw faces, and its data
    set is here, they are measured first, once.

    Args:
      run_dir: the folder of a finished run.

    Returns:
      A table of the results, and a last line that names the report.

    Raises:
      DataError: if this is no folder of a finished run.
    """
    from jaxfer.errors import JaxferError
    from jaxfer.evaluate import explained, explanations, synthesis, synthesized
    from jaxfer.evaluate.pictures import image_source
    from jaxfer.evaluate.report import write_report
    from jaxfer.evaluate.run_folder import is_measured, load, read_json
    from jaxfer.evaluate.tables import results_table
    from jaxfer.methods import draws_faces

    folder, note = load(run_dir), ""
    image_of = image_source(folder)
    if image_of is not None and not is_measured(folder, explained.NAME):
        try:
            explanations.measure(folder.path)
        except JaxferError as error:  # results do not wait for it
            note = f"Explanations are not measured: {error}\n"
    if (
        image_of is not None
        and draws_faces(folder.config)
        and not is_measured(folder, synthesized.NAME)
    ):
        try:
            synthesis.measure(folder.path)
        except JaxferError as error:
            note += f"Drawn faces are not judged: {error}\n"
    page = write_report(run_dir, image_of)
    table = results_table(read_json(page.with_name("results.json")))
    return f"{table}\n{note}Report: {page}"
