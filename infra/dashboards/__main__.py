"""`python -m infra.dashboards [DATASOURCE]`: print folder, dashboards and alerts as one JSON document."""

import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from infra.dashboards.alerts import FOLDER, build_alerts
from infra.dashboards.boards import BOARDS
from infra.dashboards.panels import build_board


def render(datasource: str) -> str:
    """Return the document; the same for the same sources."""
    document = {
        "folder": {"uid": FOLDER, "title": "比翼 / Biyi"},
        "dashboards": [build_board(board).build() for board in BOARDS],
        "alerts": [rule.build() for rule in build_alerts(datasource)],
    }
    return JSONEncoder(sort_keys=True, indent=1).encode(document)


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1] if len(sys.argv) > 1 else "prometheus") + "\n")
