"""The command line: reads argv, calls a command, exits. Nothing heavy is imported before a command runs."""

import os
import sys
from typing import Literal, NoReturn

import cyclopts
from cyclopts import App

import idjax
from idjax.cli.cache import keep_compiled
from idjax.cli.diagnose import diagnose, explain
from idjax.cli.explore import explore
from idjax.cli.flags import in_flags
from idjax.cli.predict import predict
from idjax.cli.reproduce import reproduce
from idjax.cli.sweep import sweep_app
from idjax.cli.train import train
from idjax.types import IdjaxError

app = App(
    name="idjax",
    version=idjax.__version__,
    help="Predict how fast one dense layer learns your data, before training it; then train it and compare.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(sweep_app)
for _command in (diagnose, explain, explore, reproduce, predict, train):
    app.command(_command)


@app.command
def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a completion script: eval "$(idjax completion bash)" makes the shell complete commands and flags.

    Parameters
    ----------
    shell:
        The shell to write it for.
    """
    print(app.generate_completion(shell=shell))
    return 0


def main(argv: list[str] | None = None) -> None:
    """Runs a command; exits 0, 1 where a published claim does not hold, 2 on bad input, 130 on Ctrl-C."""
    keep_compiled()
    try:
        status = app(
            sys.argv[1:] if argv is None else argv,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        if isinstance(error.__cause__, IdjaxError):
            _fail(str(error.__cause__))
        _fail(f"{' '.join(str(error).split())} (idjax --help lists what there is)")
    except IdjaxError as error:
        _fail(in_flags(str(error)))
    except MemoryError:
        _fail("not enough memory for these data and settings: use fewer rows or columns")
    except BrokenPipeError:
        # The reader of our output has gone (as `head` does): no more can be said, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("\nidjax: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"idjax: error: {message}", file=sys.stderr)
    sys.exit(2)
