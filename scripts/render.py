"""Write what the overlays of deploy/kubernetes come to, for people to read and tests to hold, or check that it is.

python scripts/render.py            needs kubectl (make manifests brings it)
python scripts/render.py --check    needs nothing: compares the digest of the inputs
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = ROOT / "deploy/kubernetes"
RENDERED = KUBERNETES / "rendered"
OVERLAYS = ("dev", "production", "production-controller")
HEADER = "# Made by `make manifests` from overlays/{overlay}; inputs {digest}. Do not edit.\n"


def digest() -> str:
    """Of all that goes into the overlays."""
    total = hashlib.sha256()
    for file in inputs():
        total.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def inputs() -> Iterator[Path]:
    """The files that go into the overlays, in order."""
    folders = [*(KUBERNETES / part for part in ("base", "components", "overlays")), ROOT / "deploy/helm/everstep/rules"]
    yield from sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())


def kustomized(overlay: str) -> str:
    """What kustomize makes of an overlay.

    Raises:
        RuntimeError: it refuses it.
    """
    kubectl = os.environ.get("KUBECTL", "kubectl")
    ran = subprocess.run([kubectl, "kustomize", str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"overlays/{overlay} cannot be rendered: {ran.stderr.strip()}")
    return ran.stdout


def main() -> int:
    """Write the files, or with --check tell whether they are those of today's inputs."""
    inputs_now = digest()
    stale: list[str] = []
    for overlay in OVERLAYS:
        file, header = RENDERED / f"{overlay}.yaml", HEADER.format(overlay=overlay, digest=inputs_now)
        if "--check" not in sys.argv[1:]:
            RENDERED.mkdir(exist_ok=True)
            file.write_text(header + kustomized(overlay))
        elif not file.exists() or not file.read_text().startswith(header):
            stale.append(overlay)
    if stale:
        print(f"deploy/kubernetes/rendered is not that of today's overlays ({', '.join(stale)}): run make manifests")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
