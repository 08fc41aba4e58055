"""Files larger than the memory allowed are read in blocks."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

BIG = """
import sys
from idjax.data import stream
from idjax.moments.moments import measure_stream
got = measure_stream(stream(sys.argv[1]))
assert got.moments.raw.count == int(sys.argv[2]), got.moments.raw.count
with open("/proc/self/status") as status:  # ru_maxrss would start from that of the parent process
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("kind", ["c.npy", "f.npy", "row-group.parquet", "x.feather"])
def test_files_larger_than_the_memory_allowed(kind, tmp_path):
    """3 GiB of rows go through under 1 GiB; a Parquet file as well that has them in one group of rows."""
    rows, columns = 3 * 2**20, 128
    piece = np.random.default_rng(0).normal(size=(2**15, columns))
    path = tmp_path / kind
    if kind.endswith(".npy"):
        values = np.lib.format.open_memmap(path, "w+", np.float64, (rows, columns), fortran_order=kind == "f.npy")
        for i in range(0, rows, len(piece)):
            values[i : i + len(piece)] = piece
        del values
    else:
        group = pa.table({f"c{i}": column for i, column in enumerate(piece.T.copy())})
        if kind == "x.feather":
            with pa.ipc.new_file(path, group.schema) as writer:
                for _ in range(rows // len(piece)):
                    writer.write_table(group)
        else:
            with pq.ParquetWriter(path, group.schema, compression="none", use_dictionary=False) as writer:
                for _ in range(rows // len(piece) // 32):
                    writer.write_table(pa.concat_tables([group] * 32).combine_chunks(), row_group_size=rows)
    size = path.stat().st_size
    assert size > 2.9 * 2**30
    command = [sys.executable, "-c", BIG, str(path), str(rows)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    peak = int(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)
    print(f"{kind}: {size / 2**30:.2f} GiB read with a peak of {peak / 2**10:.0f} MiB")
    assert peak < 2**20
