"""Writes a strict JSON schema of each kind of a Kubernetes version, for kubeconform, from OpenAPI
files in a folder. Fields that a kind does not have are refused, as they are by an API server.

Usage: kube_schemas.py FOLDER OUT
"""

import json
import sys
from pathlib import Path


def strict(node):
    """Closes every object whose fields are listed, and takes what only OpenAPI understands away."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    # Defaults are no constraints, and formats (int32, byte) are OpenAPI's own.
    kept = {
        word: {name: strict(field) for name, field in value.items()}
        if word == "properties"
        else strict(value)
        for word, value in node.items()
        if word not in ("default", "format", "description")
    }
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept


def main(folder, out):
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.rglob("*.json")):
        schemas = json.loads(file.read_text())["components"]["schemas"]
        closed = {name: strict(schema) for name, schema in schemas.items()}
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                if "metadata" not in schema.get("properties", {}):
                    continue
                # As kubeconform names it: v1 is group and version of the core.
                group = kind["group"] or kind["version"]
                target = out / f"{kind['kind'].lower()}-{group}-{kind['version']}.json"
                text = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed}}
                target.write_text(json.dumps(text))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
