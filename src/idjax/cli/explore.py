"""`idjax explore`: a live page of data and settings, on this machine alone."""

import contextlib
import sys
import webbrowser

from idjax.cli.flags import DIAGNOSIS_DEFAULTS, Data, DiagnosisFlags, Target


def explore(
    data: Data,
    *,
    target: Target = None,
    settings: DiagnosisFlags = DIAGNOSIS_DEFAULTS,
    port: int = 0,
    browser: bool = True,
) -> int:
    """Open a live page of these data: change a setting, and see at once what it leads to.

    Only this machine can open it, with the address that is printed. Ctrl-C ends it. Needs pip install "idjax[explore]".

    Parameters
    ----------
    port:
        Where to listen; any free port if not given.
    browser:
        Open the page in the browser.
    """
    from idjax.diagnosis.explore.open_page import live_page
    from idjax.report.progress import progress_bar

    with progress_bar(False) as progress:
        live = live_page(data, settings, target, port, progress)
    print(live.url, flush=True)
    print("Ctrl-C ends it.", file=sys.stderr, flush=True)
    if browser:
        webbrowser.open(live.url)
    with contextlib.suppress(KeyboardInterrupt):
        live.serve()
    return 0
