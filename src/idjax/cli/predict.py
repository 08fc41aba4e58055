"""`idjax predict`: what training will do, in the terminal, as JSON and as a figure."""

from pathlib import Path

import idjax
from idjax.cli.flags import DEFAULTS, Data, Json, Target, TrainingFlags, told_in_flags


def predict(
    data: Data,
    *,
    target: Target = None,
    labels: bool = False,
    settings: TrainingFlags = DEFAULTS,
    out: Path | None = None,
    json: Json = False,
    quiet: bool = False,
) -> int:
    """Say what training will do, from the moments of the data alone.

    Parameters
    ----------
    labels:
        Take the target's one column for class labels, as words always are.
    out:
        Folder for prediction.json and a figure.
    quiet:
        Print the summary without the epochs, and no progress.
    """
    from idjax.prediction.measured import open_rows
    from idjax.report.progress import progress_bar
    from idjax.results import store

    folder = store.check_folder(out) if out else None
    rows = open_rows(data, target, settings, labels=labels)
    with progress_bar(quiet) as progress:
        known = rows if isinstance(rows, idjax.Dataset) else data
        curve = told_in_flags(idjax.predict(known, settings, target=target, labels=labels, progress=progress))
    text = store.to_json({"data": rows.source, "settings": settings, **store.curve_object(curve)})
    if folder:
        from idjax.report.curves import curve_figure
        from idjax.report.drawing import to_png

        store.write(folder, {"prediction.json": text, "curve.png": to_png(curve_figure(curve, None))})
    if json:
        print(text, end="")
    else:
        from idjax.report.prediction import prediction_lines

        print(*prediction_lines(rows, settings, curve, quiet), sep="\n")
    return 0
