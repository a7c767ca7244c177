"""
Make `rayservice.json.gz`: the schema of a RayService without its descriptions, which are four fifths of it.

    python tests/kuberay/crds/strip.py ray.io_rayservices.yaml
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

SCHEMA = Path(__file__).with_name("rayservice.json.gz")
VERSION = "v1"


def stripped(crd: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI schema of the version that manifests use."""
    versions = {version["name"]: version for version in crd["spec"]["versions"]}
    schema: dict[str, Any] = _without_descriptions(versions[VERSION]["schema"]["openAPIV3Schema"])
    return schema


def _without_descriptions(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_descriptions(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A property may be called `description`, too; then it is a schema and no text.
    return {k: _without_descriptions(v) for k, v in node.items() if k != "description" or isinstance(v, dict)}


if __name__ == "__main__":
    schema = stripped(yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8")))
    SCHEMA.write_bytes(gzip.compress(json.dumps(schema, sort_keys=True).encode(), mtime=0))
