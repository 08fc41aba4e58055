"""The server of the live page: on the loopback interface alone, behind a token in the address."""

import asyncio
import logging
import queue
import secrets
import threading
from typing import Any

import panel as pn  # pyright: ignore[reportMissingImports]

from idjax.diagnosis.explore.page import Page
from idjax.diagnosis.explore.study import Study

LOOPBACK = "127.0.0.1"


class Live:
    """A study on a server of its own; notebooks show its page, and everything is fetched from it.

    Paths that do not begin with the token are not found, so that neither another person on this machine nor a page of
    another site can look.
    """

    def __init__(self, study: Study, port: int = 0):
        self._study = study
        token = secrets.token_urlsafe(24)
        logging.getLogger("tornado.access").setLevel(logging.ERROR)
        self._server: Any = pn.io.server.get_server(
            {"/": lambda: Page(study).template()},
            port=port, address=LOOPBACK, prefix=f"/{token}", title="idjax explore",
            start=False, show=False, verbose=False,
        )  # fmt: skip
        self.port: int = self._server.port
        self._server._tornado.websocket_origins.update({f"{LOOPBACK}:{self.port}", f"localhost:{self.port}"})
        self.url = f"http://{LOOPBACK}:{self.port}/{token}/"

    def serve(self) -> None:
        """Serves in this thread until interrupted."""
        self._server.start()
        try:
            self._server.io_loop.start()
        finally:
            self.close()

    def close(self) -> None:
        """Ends the server and what runs for it."""
        self._study.close()
        self._server.io_loop.add_callback(self._server.io_loop.stop)

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.url}" title="idjax explore" width="100%" height="900" style="border: 0"></iframe>'
            f'<p>If nothing shows here: <a href="{self.url}">{self.url}</a></p>'
        )


def in_background(study: Study) -> Live:
    """The page on a server in a thread of its own, which ends with the program."""
    made: queue.Queue[Live] = queue.Queue()

    def run() -> None:
        # A loop of its own: that of the caller's thread may be running, as in a notebook.
        asyncio.set_event_loop(asyncio.new_event_loop())
        live = Live(study)
        made.put(live)
        live.serve()

    threading.Thread(target=run, daemon=True, name="idjax-explore").start()
    return made.get()
