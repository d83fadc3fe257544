"""The tasks that `compose.yaml` runs, and a group of them.

docker compose up --detach
cd examples/compose && celerant send shop:canvas
celerant watch HANDLE -A shop:app
Or open http://127.0.0.1:8800.
"""

from __future__ import annotations

import os
import time

from celerant import Celerant, group

app = Celerant(
    "shop",
    broker=os.environ.get("SHOP_BROKER", "redis://127.0.0.1:6379/0"),
    celerant_index_groups=True,  # for the page
)


@app.task
def pack(order: int) -> str:
    """Pretend to work: there is nothing to pack."""
    time.sleep(0.05)
    return f"order {order} is packed"


canvas = group(pack.s(order) for order in range(500))
